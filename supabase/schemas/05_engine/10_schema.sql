-- The engine's own schema. The API never exposes it.

create schema outbox_engine;
revoke all on schema outbox_engine from public;

-- One row for each release of the schema that was applied. A process that does not know a breaking one stops.
create table outbox_engine.schema_versions (
  version integer primary key,
  breaking boolean not null,
  release text not null,
  applied_at timestamptz not null default clock_timestamp()
);
alter table outbox_engine.schema_versions enable row level security;

-- Seeds that a project may change afterwards, and that are therefore written once.
create table outbox_engine.seeds (
  name text primary key
);
alter table outbox_engine.seeds enable row level security;

-- A refusal an app can read: one message that names the column, with a hint. 22023 reaches the client whole
-- everywhere.
create function outbox_engine.refuse(p_message text, p_hint text default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using errcode = '22023', message = p_message, hint = coalesce(p_hint, '');
end
$$;

-- The signed-in user of the request, or null for a server. An earlier transaction leaves '' behind in the
-- setting.
create function outbox_engine.caller_id() returns uuid
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;
