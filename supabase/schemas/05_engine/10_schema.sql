-- The engine's own schema. The API does not expose it.

create schema outbox_engine;
revoke all on schema outbox_engine from public;

-- One row for each release of the schema that was applied. A process stops when it finds a breaking version
-- that it does not know: when it starts, and at its next claim.
create table outbox_engine.schema_versions (
  version integer primary key,
  breaking boolean not null,
  release text not null,
  applied_at timestamptz not null default clock_timestamp()
);
alter table outbox_engine.schema_versions enable row level security;

-- Called first by the claim, if the newest version is above `p_known`, the newest one that the process knows.
-- The newest breaking version above it, null if there is none. Takes no lock.
create function outbox_engine.breaking_version(p_known integer) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select jsonb_build_object('version', v.version, 'release', v.release, 'breaking', v.breaking)
    from outbox_engine.schema_versions v
    where v.breaking and v.version > p_known
    order by v.version desc
    limit 1
  );
end
$$;

-- The seeds that were written. A project may change these rows, so they are written once only.
create table outbox_engine.seeds (
  name text primary key
);
alter table outbox_engine.seeds enable row level security;

-- Called by checks. Raises an error for the app: `p_message` says what is wrong and where, `p_hint` what to
-- do. The API passes code 22023 on with message and hint.
create function outbox_engine.refuse(p_message text, p_hint text default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using errcode = '22023', message = p_message, hint = coalesce(p_hint, '');
end
$$;

-- Called by policies and triggers. The signed-in user of the request. Null for servers, and for users of
-- other auth providers, whose ids are no UUIDs. Outside a request the setting is missing, or empty where an
-- earlier transaction of the connection was a request.
create function outbox_engine.caller_id() returns uuid
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case when c.sub ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then c.sub::uuid end
  from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub' as sub) c
$$;

-- JSON that a caller gave. Supabase's lightweight server passes it on as a string.
create function outbox_engine.given_json(p_json jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case when jsonb_typeof(p_json) = 'string' then (p_json #>> '{}')::jsonb else p_json end
$$;
