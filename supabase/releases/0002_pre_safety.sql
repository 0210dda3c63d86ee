-- One row. A backup holds it, so a restored database recognizes the requests made since that backup.
create table outbox_engine.installation (
  only_row boolean primary key default true check (only_row),
  -- 48 random bits in hexadecimal: the beginning of each dispatch's id.
  id text not null default left(replace(gen_random_uuid()::text, '-', ''), 12)
    check (id ~ '^[0-9a-f]{12}$'),
  -- The ids that it had before `outbox bind` moved it to another project.
  earlier_ids text[] not null default '{}',
  -- The hosts of SUPABASE_URL that it sends from. The first claim writes the first one.
  hosts text[] not null default '{}'
);
alter table outbox_engine.installation enable row level security;

-- What a claim is told of the database, which a process compares with what it has seen of it. `lacks_token`
-- and the others are true only where it named one.
create type outbox_engine.database_state as (
  hosts text[],
  heartbeat_at timestamptz,
  lacks_token boolean,
  lacks_dispatch boolean,
  lacks_heartbeat boolean
);

-- The kind `restored` is new.
alter table outbox_engine.plan_pauses drop constraint plan_pauses_kind_check;
alter table outbox_engine.plan_pauses add constraint plan_pauses_kind_check check (kind in (
  'throttled', 'unreachable', 'account', 'setting', 'operator', 'restored'
)) not valid;

-- functions
