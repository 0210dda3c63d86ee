-- What the dashboard reads (93_dashboard).

-- `total` is what a block held when it was last counted, the deleted messages included, and `removed` what
-- was deleted of it. Null in a block's column means not known, or none. The messages that are there lie
-- between `first_id` and `last_id`.
create table outbox_engine.block_figures (
  id bigint generated always as identity primary key,
  block integer not null,
  is_total boolean not null,
  hour timestamptz not null,
  country text,
  plan text,
  campaign text,
  status text not null,
  status_code integer,
  delay smallint,
  messages integer not null,
  parts integer not null,
  first_id bigint,
  last_id bigint
);
alter table outbox_engine.block_figures enable row level security;

create index block_figures_block on outbox_engine.block_figures (block);
-- For searches, which take the blocks from the newest on.
create index block_figures_status on outbox_engine.block_figures (status, block);
create index block_figures_code on outbox_engine.block_figures (status_code, block)
  where status_code is not null;
create index block_figures_campaign on outbox_engine.block_figures (campaign, block)
  where campaign is not null;

-- The sums, by hour (UTC) of send_at. They stay when messages are deleted. `delay` is the bucket of the time
-- from acceptance to delivery, null for messages that were not delivered.
create table outbox_engine.hourly_figures (
  id bigint generated always as identity primary key,
  hour timestamptz not null,
  country text,
  plan text,
  status text not null,
  status_code integer,
  delay smallint,
  messages bigint not null,
  parts bigint not null,
  unique nulls not distinct (hour, country, plan, status, status_code, delay)
) with (fillfactor = 70);
alter table outbox_engine.hourly_figures enable row level security;

-- Blocks that are to be counted again. Rows are only inserted, so that no transaction waits for another.
create table outbox_engine.changed_blocks (
  id bigint generated always as identity primary key,
  block integer not null
);
alter table outbox_engine.changed_blocks enable row level security;

-- How far changes were followed. One row. `safe_to` and the mark are as in event_follow, with their times.
-- `complete_at`: the sums have all that happened until then. `noted_to` is the newest message of which the
-- block was noted. `counted_to`: no message up to this id comes later; `drawn_to` is the mark for it.
create table outbox_engine.figures_follow (
  only_row boolean primary key default true check (only_row),
  followed_to bigint,
  safe_to bigint,
  safe_at timestamptz,
  marked_to bigint,
  marked_at timestamptz,
  marked_by text[],
  noted_to bigint not null default 0,
  counted_to bigint not null default 0,
  drawn_to bigint,
  drawn_by text[],
  complete_at timestamptz
) with (fillfactor = 10);
alter table outbox_engine.figures_follow enable row level security;

-- What counts of a message.
create type outbox_engine.message_of_figures as (
  id bigint,
  recipient text,
  dispatch_id uuid,
  campaign text,
  send_at timestamptz,
  status text,
  status_code integer,
  parts smallint,
  sent_at timestamptz,
  finalized_at timestamptz
);

create type outbox_engine.message_filter as (
  recipients text[],
  last_digits text,
  statuses text[],
  codes integer[],
  countries text[],
  campaign text,
  template text,
  -- 'provider:plan'
  plan text,
  priority_from smallint,
  priority_to smallint,
  since timestamptz,
  until timestamptz,
  idempotency_key text,
  batch_id text,
  dispatch_id uuid,
  metadata jsonb,
  id bigint,
  below_id bigint
);

-- Ids to read for a filter, from `first_id` to `last_id`. `messages` is how many of them match, null where
-- only the messages tell.
create type outbox_engine.id_range as (first_id bigint, last_id bigint, messages bigint);

-- A block by its figures: how many rows of them an index gave, how many messages match, and between which
-- ids.
create type outbox_engine.matching_block as (
  block integer, figures bigint, messages bigint, first_id bigint, last_id bigint
);

-- The audit (05_engine/35_audit.sql).
create table outbox_engine.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  actor text not null,
  via text not null,
  -- The function, without outbox_.
  action text not null,
  -- What it acted on: ids and names. Numbers are masked, and texts are never here.
  target text,
  detail jsonb not null
);
alter table outbox_engine.audit enable row level security;

create index audit_at on outbox_engine.audit (at);

-- Bulk actions (93_dashboard/60_bulk.sql).
create table outbox_engine.bulk_actions (
  id bigint generated always as identity primary key,
  action text not null check (action in ('retry', 'cancel', 'reschedule')),
  filter jsonb not null,
  options jsonb not null,
  actor text not null,
  via text not null,
  started_at timestamptz not null,
  -- When a driver last finished a stretch. The upkeep job goes on with one that was silent since.
  worked_at timestamptz not null,
  ended_at timestamptz,
  is_stopped boolean not null default false,
  -- The ids of this moment, exclusive: messages that are inserted later never join.
  first_before bigint not null,
  -- Where the next stretch begins. Ids from there on were handled. Null at the end.
  next_before bigint,
  -- Messages by outcome.
  counts jsonb not null default '{}'
) with (fillfactor = 50);
alter table outbox_engine.bulk_actions enable row level security;

create index bulk_actions_running on outbox_engine.bulk_actions (worked_at) where ended_at is null;
