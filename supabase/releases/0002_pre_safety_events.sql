-- Outgoing events (85_events/10_endpoints.sql).

create table public.outbox_event_endpoints (
  id bigint generated always as identity primary key,
  name text not null unique check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
  url text not null,
  -- Null: all but message.sent.
  event_types text[],
  include_recipient boolean not null default false,
  created_at timestamptz not null,
  failing_since timestamptz,
  disabled_at timestamptz,
  disabled_reason text check (disabled_reason in ('operator', 'gone', 'failing')),
  last_delivered_at timestamptz
) with (fillfactor = 50);
alter table public.outbox_event_endpoints enable row level security;

comment on table public.outbox_event_endpoints is
  'Servers that are told what happened to messages. outbox events add makes one.';
comment on column public.outbox_event_endpoints.event_types is 'Null: all but message.sent';
comment on column public.outbox_event_endpoints.include_recipient is
  'Whether its events have whole phone numbers; else they are masked';
comment on column public.outbox_event_endpoints.failing_since is
  'The first request that failed since one succeeded';

-- What the engine keeps of an endpoint.
create table outbox_engine.event_lanes (
  endpoint_id bigint primary key,
  -- It gets the events of messages whose history rows have a higher id, and once it is disabled those up to
  -- the last id that was drawn by then.
  history_after bigint not null,
  history_until bigint,
  -- It gets the notices with a higher id.
  notices_after bigint not null default 0,
  -- How many requests failed since one succeeded, and before when no more are made.
  failures integer not null default 0,
  probe_at timestamptz
) with (fillfactor = 50);
alter table outbox_engine.event_lanes enable row level security;

-- What signs the requests to an endpoint. Never in `public`.
create table outbox_engine.event_secrets (
  id bigint generated always as identity primary key,
  endpoint_id bigint not null,
  secret text not null,
  created_at timestamptz not null,
  -- Null for the current one. An older one signs too until then.
  ends_at timestamptz
);
alter table outbox_engine.event_secrets enable row level security;

create index event_secrets_endpoint on outbox_engine.event_secrets (endpoint_id, id);

-- Events without a row in the history of messages. Written only while an endpoint is enabled.
create table outbox_engine.notices (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  type text not null,
  -- The number it is about, which `data` has masked or not at all.
  recipient text,
  data jsonb not null,
  -- For one endpoint only. Null: for all.
  endpoint_id bigint,
  -- Its deliveries are not made yet.
  is_new boolean not null default true
);
alter table outbox_engine.notices enable row level security;

create index notices_new on outbox_engine.notices (id) where is_new;
create index notices_recipient on outbox_engine.notices (recipient) where recipient is not null;
create index notices_at on outbox_engine.notices (at);

create table public.outbox_event_deliveries (
  id bigint generated always as identity primary key,
  endpoint_id bigint not null,
  event_id text generated always as (
    case when notice_id is null then 'evt_' || history_id::text else 'evt_n' || notice_id::text end
  ) stored,
  -- The message and the row of its history that it is about; or a notice.
  outbox_id bigint,
  history_id bigint,
  notice_id bigint,
  type text not null,
  -- The status that the event tells. Null for a notice.
  message_status text,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed', 'gone')),
  attempts smallint not null default 0,
  -- When to send it. Null while it is being sent, and after the end. No index has another column that the
  -- first request changes, so a delivery that arrives at once is updated in place.
  next_at timestamptz,
  last_status smallint,
  last_error text,
  created_at timestamptz not null,
  delivered_at timestamptz,
  failed_at timestamptz,
  -- The body of its requests, the same in each. Null after the end.
  payload text,
  check (num_nonnulls(outbox_id, history_id) = case when notice_id is null then 2 else 0 end)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
alter table public.outbox_event_deliveries enable row level security;

create unique index outbox_event_deliveries_message on public.outbox_event_deliveries
  (outbox_id, history_id, endpoint_id) where outbox_id is not null;
create unique index outbox_event_deliveries_notice on public.outbox_event_deliveries
  (notice_id, endpoint_id) where notice_id is not null;
-- On an expression, so that only lists use it. Plans made while the table was small would take it for any
-- query with an endpoint, and read all deliveries of that endpoint.
create index outbox_event_deliveries_endpoint on public.outbox_event_deliveries ((endpoint_id + 0), id);
create index outbox_event_deliveries_due on public.outbox_event_deliveries (endpoint_id, next_at)
  where next_at is not null;
create index outbox_event_deliveries_failed on public.outbox_event_deliveries (endpoint_id, failed_at)
  where failed_at is not null;

comment on table public.outbox_event_deliveries is
  'Events on their way to an endpoint, and for some days those that arrived or failed.';
comment on column public.outbox_event_deliveries.event_id is
  'The webhook-id of its requests, the same at all endpoints';
comment on column public.outbox_event_deliveries.next_at is
  'When it is sent; null while it is being sent, and after the end';
comment on column public.outbox_event_deliveries.payload is
  'The body of its requests; null after the end';

-- Deliveries that a process is sending. A row of its own, so that the delivery is written once less.
create table outbox_engine.event_leases (
  delivery_id bigint primary key,
  -- The claim, from the sequence below. A failure counts under this number only.
  token bigint not null,
  endpoint_id bigint not null,
  worker text not null,
  leased_at timestamptz not null,
  until timestamptz not null
);
alter table outbox_engine.event_leases enable row level security;

create sequence outbox_engine.event_claims;

create index event_leases_until on outbox_engine.event_leases (until);
create index event_leases_endpoint on outbox_engine.event_leases (endpoint_id);

-- How far the history has been followed. One row.
create table outbox_engine.event_follow (
  only_row boolean primary key default true check (only_row),
  followed_to bigint not null default 0,
  -- Every row up to it is committed, or never will be.
  safe_to bigint not null default 0,
  -- The mark: the last id that was drawn at `marked_at`, and the transactions that were writing then.
  marked_to bigint,
  marked_by text[],
  marked_at timestamptz
) with (fillfactor = 10);
alter table outbox_engine.event_follow enable row level security;

create policy outbox_event_endpoints_server on public.outbox_event_endpoints for select
  to service_role using (true);
create policy outbox_event_deliveries_server on public.outbox_event_deliveries for select
  to service_role using (true);
revoke all on public.outbox_event_endpoints, public.outbox_event_deliveries
from public, anon, authenticated, service_role;
revoke all on sequence public.outbox_event_endpoints_id_seq, public.outbox_event_deliveries_id_seq
from public, anon, authenticated, service_role;
grant select on public.outbox_event_endpoints, public.outbox_event_deliveries to service_role;

create view outbox_engine.event_types (name, by_default) as
values
  ('message.sent', false), ('message.delivered', true), ('message.failed', true),
  ('message.cancelled', true), ('message.suppressed', true), ('reply.received', true),
  ('recipient.opted_out', true), ('recipient.opted_in', true), ('plan.paused', true),
  ('plan.resumed', true), ('alarm.raised', true), ('webhook.test', true);

create type outbox_engine.event_lane as (
  endpoint_id bigint,
  include_recipient boolean,
  event_types text[],
  history_after bigint,
  history_until bigint,
  is_failing boolean,
  share integer,
  free integer,
  taken bigint[]
);

create type outbox_engine.event_claim as (
  token bigint,
  worker text,
  most integer,
  at timestamptz,
  until timestamptz
);

create type outbox_engine.event_result as (
  id bigint,
  lease bigint,
  status integer,
  error text,
  retry_after_seconds double precision
);

create type outbox_engine.replayed_event as (
  outbox_id bigint,
  history_id bigint,
  notice_id bigint,
  type text,
  message_status text,
  delivery_id bigint,
  status text
);

-- functions

create trigger outbox_inbound_notices after insert on public.outbox_inbound
  referencing new table as recorded for each statement
  execute function outbox_engine.after_replies();

create trigger outbox_suppressions_notices after insert on public.outbox_suppressions
  referencing new table as recorded for each statement
  execute function outbox_engine.after_opt_outs();

create trigger outbox_suppressions_lifted_notices after delete on public.outbox_suppressions
  referencing old table as lifted for each statement
  execute function outbox_engine.after_opt_ins();

create trigger plan_pauses_event_ids after insert on outbox_engine.plan_pauses for each row
  when (new.kind = 'restored')
  execute function outbox_engine.after_restored();

create trigger plan_pauses_notices after insert on outbox_engine.plan_pauses for each row
  when (new.kind in ('account', 'operator', 'restored'))
  execute function outbox_engine.after_pause();

create trigger plan_pauses_ended_notices after delete on outbox_engine.plan_pauses for each row
  when (old.kind in ('account', 'operator', 'restored'))
  execute function outbox_engine.after_pause();

create trigger alarms_notices after insert on outbox_engine.alarms for each row
  execute function outbox_engine.after_alarm();
