-- The installation: which references at the provider are this database's, and which project it sends from.

-- One row. A backup holds it, so a restored database recognizes the requests made since that backup.
create table outbox_engine.installation (
  only_row boolean primary key default true check (only_row),
  -- 48 random bits in hexadecimal: the beginning of each dispatch's id.
  id text not null default left(replace(gen_random_uuid()::text, '-', ''), 12)
    check (id ~ '^[0-9a-f]{12}$'),
  -- The ids that it had before `outbox bind` moved it to another project.
  earlier_ids text[] not null default '{}',
  -- The hosts of SUPABASE_URL that it sends from. The first claim writes the first one.
  hosts text[] not null default '{}',
  -- Whether requests with an earlier id that it does not know show that it was restored: since a move, until
  -- an operator ends that pause.
  asks_earlier boolean not null default false,
  -- The key of all digests of what was erased (`keyed_digest`).
  digest_key text not null default gen_random_uuid()::text || gen_random_uuid()::text
);
alter table outbox_engine.installation enable row level security;

-- Called where a dispatch is made. A version-8 UUID (RFC 9562): the installation, then 74 random bits.
create function outbox_engine.new_dispatch_id() returns uuid
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  v_random constant text := gen_random_uuid();
begin
  return (
    select left(i.id, 8) || '-' || right(i.id, 4) || '-8' || substr(v_random, 16)
    from outbox_engine.installation i
  )::uuid;
end
$$;

-- Whether this database made the request with this reference, by the reference alone. Ids from before version
-- 2 do not tell. `p_or_earlier`: or made it before `outbox bind` moved it. The database that it was copied
-- from goes on using that id, so an unknown reference of it does not prove a restore.
create function outbox_engine.is_own_reference(p_reference text, p_or_earlier boolean default false)
returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce(
    p_reference ~* '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$' and (
      select lower(left(p_reference, 8) || substr(p_reference, 10, 4))
        = any (case when p_or_earlier then i.earlier_ids else '{}' end || i.id)
      from outbox_engine.installation i
    ),
    false);
end
$$;

-- Whether a provider may have made this of a reference of this database: it left the reference out, cut it
-- short, or wrote something around it. False for a whole UUID, of which `is_own_reference` tells.
create function outbox_engine.may_be_own_reference(p_reference text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce(btrim(p_reference), '') = '' or (
    p_reference !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' and exists (
      select
      from outbox_engine.installation i
      cross join unnest(i.id || i.earlier_ids) x (id)
      where position(left(x.id, 8) in lower(p_reference)) > 0));
end
$$;
