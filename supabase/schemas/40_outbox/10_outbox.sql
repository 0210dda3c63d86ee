-- The tables that apps work with: messages and their events.

create table public.outbox (
  id bigint generated always as identity primary key,
  owner_id uuid,
  recipient text not null,
  body text,
  template text,
  parameters jsonb,
  sender text,
  send_at timestamptz not null,
  expires_at timestamptz not null,
  priority smallint not null,
  idempotency_key text unique,
  metadata jsonb,
  campaign text,
  status text not null,
  status_code integer,
  batch_id text,
  attempts smallint not null,
  error text,
  parts smallint,
  created_at timestamptz not null,
  sent_at timestamptz,
  finalized_at timestamptz,
  -- 'r' ready to be claimed, 'w' waiting for its time, null not queued. Indexes depend on this column instead
  -- of status, so that every update after the claim is done in place.
  queue "char",
  due_at timestamptz,
  dispatch_id uuid,
  reported_rank smallint,
  reported_at timestamptz,
  cancel_requested_at timestamptz,
  -- A dispatch that it shared with other texts was refused, so the next one has this text only.
  sends_alone boolean,
  secret boolean not null default false,
  media_url text,
  channel text not null default 'sms',
  -- A row of outbox_routes or of detours. 0 is the default route.
  route smallint not null default 0,
  trace_context text,
  -- The same as `e164_pattern`, in a third of the time: every update of a row checks it again.
  constraint outbox_recipient_is_e164 check (
    rtrim(recipient, '0123456789') = '+'
    and octet_length(recipient) between 8 and 16
    and recipient >= '+1' collate "C"
  ),
  constraint outbox_has_a_text check (
    body is not null or template is not null or finalized_at is not null or secret
  ),
  constraint outbox_idempotency_key_length check (char_length(idempotency_key) <= 255),
  -- Counting bytes is quicker than counting characters.
  constraint outbox_body_length check (
    body <> '' and (octet_length(body) <= 2000 or char_length(body) <= 2000)
  ),
  constraint outbox_known_status check (status in (
    'scheduled', 'pending', 'sending', 'sent', 'dispatched', 'delivered', 'failed', 'rejected', 'aborted',
    'expired', 'cancelled', 'deleted', 'unknown', 'suppressed'
  )),
  constraint outbox_known_queue check (queue in ('r', 'w'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
alter table public.outbox enable row level security;

-- Triggers of one event run in the order of their names, so each trigger of this table has a number of its
-- own. Before an insert: 1 refuses what apps may not write, 2 checks the row, fills in defaults and tells
-- processes that sleep. Before an update: 3 checks what an app changes, and makes a cancel request of a
-- status that the engine did not write, 4 ends the hold of a text that changes, 5 finds the route of a row
-- that waits, 6 keeps a queued row above the queue bounds, 8 refuses what is no transition, d times outside
-- the calendar, e what is wrong with an MMS. After an update: 7 gives the time of a campaign's message back,
-- c notes when the text of a secret message has to go, also after an insert. Before a delete: f refuses
-- it to apps. After a delete: 9 removes what hangs on the messages, g keeps them in the figures.

create index outbox_ready_on_route on public.outbox (route, priority, due_at, id) where queue = 'r';
-- No index orders waiting rows by time over all priorities: the claim would use it, and pass a campaign that
-- came due to find one one-time code. `first_waiting` asks each priority instead.
create index outbox_waiting_on_route on public.outbox (route, priority, due_at, id) where queue = 'w';
create index outbox_expiring on public.outbox (expires_at) where queue is not null;
create index outbox_waiting_recipient on public.outbox (recipient) where queue is not null;
create index outbox_owner on public.outbox (owner_id, id) where owner_id is not null;
-- Finds the rows of some days. It is tiny, and updates of a row do not change it.
create index outbox_day on public.outbox
  using brin (((send_at at time zone 'UTC')::date)) with (pages_per_range = 32);
-- For the dashboard. No update after the claim changes them.
create index outbox_recipient on public.outbox (recipient, id);
create index outbox_metadata on public.outbox using gin (metadata jsonb_path_ops)
  where metadata is not null;
create index outbox_waiting_campaign on public.outbox (campaign, id)
  where queue is not null and campaign is not null;
create index outbox_waiting_template on public.outbox (template)
  where queue is not null and template is not null;

comment on table public.outbox is
  'Messages to send. Insert a row to send a message; the engine writes its status back.';
comment on column public.outbox.recipient is 'E.164 with +';
comment on column public.outbox.body is
  'The text, 1 to 2000 characters; with a template, the text as it was sent';
comment on column public.outbox.send_at is 'Not before this instant; null or past means now';
comment on column public.outbox.expires_at is
  'Not after this instant; null means three days after the later of send_at and the insert';
comment on column public.outbox.priority is
  'Smaller goes first: 0 for one-time codes, 100 by default, 200 for campaigns';
comment on column public.outbox.status is
  'Written by the engine. An app may only set it to cancelled';
comment on column public.outbox.owner_id is
  'The signed-in user who inserted it, or whom a server names: sees the message and may cancel it';
comment on column public.outbox.secret is
  'A one-time code or the like: no command shows its text, which is removed once it has expired';
comment on column public.outbox.media_url is
  'Makes the message an MMS: the https URL of a picture or another file, to which body is the caption';
comment on column public.outbox.channel is
  'sms, or mms where media_url is given';
comment on column public.outbox.route is
  'Engine: which plans carry it, a row of outbox_routes; 0 is the default route';
comment on column public.outbox.trace_context is
  'The W3C trace context (traceparent) of what inserted it; by default that of the request';
comment on column public.outbox.queue is 'Engine: r ready, w waiting for its time';

-- The history of messages: one row for each event. No foreign key, because checking it would cost more than
-- writing the report. Events go with their message (90_operators/08_removed.sql).
create table public.outbox_events (
  id bigint generated always as identity primary key,
  outbox_id bigint not null,
  at timestamptz not null,
  source text not null check (source in ('app', 'engine', 'webhook', 'reconcile', 'operator')),
  event text not null,
  status text,
  status_code integer,
  batch_id text,
  dispatch_id uuid,
  occurred_at timestamptz,
  detail text,
  report jsonb,
  -- A digest of batch, recipient, status, code and time, so that a repeated report is stored once.
  report_key uuid
) with (autovacuum_vacuum_insert_scale_factor = 0.05);
alter table public.outbox_events enable row level security;

create index outbox_events_message on public.outbox_events (outbox_id, id);
-- The message first: ordered by their keys alone, the reports of a batch would be spread over the whole
-- index.
create unique index outbox_events_report on public.outbox_events (outbox_id, report_key)
  where report_key is not null;

comment on table public.outbox_events is
  'What happened to each message: when, on whose word, and the raw report.';
comment on column public.outbox_events.at is 'When it was recorded';
comment on column public.outbox_events.occurred_at is
  'When it happened, where the provider says so';

-- The error of a message that expired while it waited.
create function outbox_engine.expired_error() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 'expired before it could be sent'
$$;

-- On Supabase, service_role bypasses row level security. The policy allows the same where it does not.
create policy outbox_server on public.outbox for all to service_role using (true) with check (true);
create policy outbox_own on public.outbox for select to authenticated
  using (owner_id = (select outbox_engine.caller_id()));
create policy outbox_own_insert on public.outbox for insert to authenticated
  with check (owner_id = (select outbox_engine.caller_id()));
-- For cancel requests: a trigger refuses all other changes.
create policy outbox_own_cancel on public.outbox for update to authenticated
  using (owner_id = (select outbox_engine.caller_id()))
  with check (owner_id = (select outbox_engine.caller_id()));
create policy outbox_events_server on public.outbox_events for select to service_role using (true);
-- An array, because it is read once, from an index, and then leads to the events by their index. A condition
-- with `exists` is asked of each event of all users.
create policy outbox_events_own on public.outbox_events for select to authenticated
  using (outbox_id = any (array(
    select o.id from public.outbox o where o.owner_id = (select outbox_engine.caller_id())
  )));

-- The history of a message, for the API: `select=*,outbox_events(*)` reads it with the message, with the
-- caller's rights.
create function public.outbox_events(public.outbox) returns setof public.outbox_events
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select e.* from public.outbox_events e where e.outbox_id = $1.id order by e.id
$$;
revoke all on function public.outbox_events from public, anon, authenticated, service_role;
grant execute on function public.outbox_events to authenticated, service_role;

-- Projects from before October 2026 grant all rights on new tables and sequences to the roles of the API, so
-- they are revoked first.
revoke all on public.outbox, public.outbox_events from public, anon, authenticated, service_role;
revoke all on sequence public.outbox_id_seq, public.outbox_events_id_seq
from public, anon, authenticated, service_role;
grant select on public.outbox, public.outbox_events to authenticated, service_role;
-- All columns, so that triggers can refuse those that apps may not write and say why. A missing right on a
-- column is an error that names neither the column nor the reason.
grant insert, update on public.outbox to service_role;
grant update on public.outbox to authenticated;
