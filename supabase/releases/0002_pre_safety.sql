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

-- Messages that `outbox adopt` remembers.
create table outbox_engine.adopted_messages (
  provider text not null,
  plan text not null,
  batch_id text not null,
  reference uuid not null,
  recipient text not null,
  -- The MD5 of the text. Null where the provider's list does not give it.
  digest uuid,
  sent_at timestamptz not null,
  -- The message that the claim holds because of this one, and when an operator had that one sent.
  outbox_id bigint,
  released_at timestamptz,
  -- The provider's list shows the batch no longer.
  kept_until timestamptz not null,
  primary key (reference, batch_id, recipient)
);
alter table outbox_engine.adopted_messages enable row level security;

create index adopted_messages_recipient on outbox_engine.adopted_messages (recipient)
  where released_at is null;
create index adopted_messages_held on outbox_engine.adopted_messages (outbox_id)
  where outbox_id is not null and released_at is null;

create type outbox_engine.listed_batch as (
  batch_id text,
  reference text,
  created_at timestamptz,
  -- Those that could be read; `is_whole`: all.
  recipients text[],
  digests uuid[],
  is_whole boolean
);

-- functions
