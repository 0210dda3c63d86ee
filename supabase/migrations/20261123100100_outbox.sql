-- The two tables applications know: the outbox and its trail.

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
  -- Where the row waits: 'r' ready to be claimed, 'w' for its time, null nowhere. Indexes hang on this column and not on
  -- status, so that everything that happens after the claim is a cheap update in place.
  queue "char",
  due_at timestamptz,
  dispatch_id uuid,
  reported_rank smallint,
  reported_at timestamptz,
  cancel_requested_at timestamptz,
  -- A request that it shared with other texts was refused: it goes without them.
  sends_alone boolean,
  -- ^\+[1-9][0-9]{6,14}$ in words that take a third of its time: every update of a row checks it again.
  constraint outbox_recipient_is_e164 check (
    rtrim(recipient, '0123456789') = '+' and octet_length(recipient) between 8 and 16 and recipient >= '+1' collate "C"
  ),
  constraint outbox_has_a_text check (body is not null or template is not null or finalized_at is not null),
  constraint outbox_idempotency_key_length check (char_length(idempotency_key) <= 255),
  constraint outbox_body_length check (body <> '' and (octet_length(body) <= 2000 or char_length(body) <= 2000)),
  constraint outbox_known_status check (status in (
    'scheduled', 'pending', 'sending', 'sent', 'dispatched', 'delivered', 'failed', 'rejected', 'aborted', 'expired',
    'cancelled', 'deleted', 'unknown', 'suppressed'
  )),
  constraint outbox_known_queue check (queue in ('r', 'w'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
alter table public.outbox enable row level security;

create index outbox_ready on public.outbox (priority, due_at, id) where queue = 'r';
create index outbox_waiting on public.outbox (due_at, priority, id) where queue = 'w';
create index outbox_waiting_urgent on public.outbox (priority, due_at, id) where queue = 'w';
create index outbox_expiring on public.outbox (expires_at) where queue is not null;
create index outbox_waiting_recipient on public.outbox (recipient) where queue is not null;
create index outbox_owner on public.outbox (owner_id, id) where owner_id is not null;

comment on table public.outbox is 'Messages to send. Insert a row; the engine writes back what became of it.';
comment on column public.outbox.recipient is 'E.164 with +';
comment on column public.outbox.body is 'The text, 1 to 2000 characters; with a template, the text as it was sent';
comment on column public.outbox.send_at is 'Not before this instant; null or past means now';
comment on column public.outbox.expires_at is 'Never after this instant; null means three days after the later of send_at and the insert';
comment on column public.outbox.priority is 'Smaller goes first: 0 for one-time codes, 100 by default, 200 for campaigns';
comment on column public.outbox.status is 'Written by the engine. An app may only set it to cancelled';
comment on column public.outbox.queue is 'Engine: r ready, w waiting for its time';

-- The trail: one row for each thing that happened to a message. No foreign key: nobody but retention deletes messages, it takes
-- their trail along, and a check of the key for every report would cost more than the report.
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
  -- A digest of (batch, recipient, status, code, at): the same report again is no news.
  report_key uuid
) with (autovacuum_vacuum_insert_scale_factor = 0.05);
alter table public.outbox_events enable row level security;
create index outbox_events_message on public.outbox_events (outbox_id, id);
-- By message first: keys alone lie anywhere in it, and the more reports there are the more pages each group of them would touch.
create unique index outbox_events_report on public.outbox_events (outbox_id, report_key) where report_key is not null;

comment on table public.outbox_events is 'What happened to each message: who said so, when, and the raw report.';
comment on column public.outbox_events.at is 'When it was recorded';
comment on column public.outbox_events.occurred_at is 'When it happened, where the provider says so';

-- A request to the provider, written down before it is made. At most one request is ever made for a dispatch.
create table outbox_engine.dispatches (
  id uuid primary key,
  claim_id uuid not null,
  worker text not null,
  provider text not null,
  plan text not null,
  host text not null,
  credential text not null,
  sender text,
  -- Null where the texts of its rows differ, and once it is closed.
  body text,
  texts_differ boolean not null default false,
  expire_at timestamptz,
  expires_at timestamptz not null,
  recipients smallint not null,
  state text not null check (state in (
    'claimed', 'parked', 'doubtful', 'accepted', 'refused', 'released', 'returned', 'lost'
  )),
  lease_token bigint not null,
  lease_until timestamptz not null,
  deadline interval not null,
  is_probe boolean not null default false,
  claimed_at timestamptz not null,
  accepted_at timestamptz,
  closed_at timestamptz,
  batch_id text,
  http_status smallint,
  error text,
  -- Halves of a refused dispatch: what they came from, and whether a number was named or the shared part is on trial.
  parent_id uuid,
  split text check (split in ('recipient', 'shared')),
  split_error text,
  -- Refused for what is not about it: the plan was stopped, and what the provider makes of this request nobody knows.
  unjudged boolean not null default false,
  -- Since when nobody knew whether the provider took it, and why.
  doubtful_at timestamptz,
  doubt text,
  -- When to look for it at the provider, how often that found nothing, and the first time it did.
  look_at timestamptz,
  misses smallint not null default 0,
  missed_at timestamptz,
  -- When to ask for its missing reports, when a process last set out to, when the provider last answered, and how often it did.
  ask_at timestamptz,
  asked_at timestamptz,
  answered_at timestamptz,
  asks smallint not null default 0
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
alter table outbox_engine.dispatches enable row level security;
create index dispatches_claim on outbox_engine.dispatches (claim_id);
create index dispatches_batch on outbox_engine.dispatches (batch_id) where batch_id is not null;
create index dispatches_leased on outbox_engine.dispatches (provider, plan, lease_until) where state = 'claimed';
create index dispatches_to_look on outbox_engine.dispatches (provider, plan, look_at) where look_at is not null;
create index dispatches_to_ask on outbox_engine.dispatches (provider, plan, ask_at) where ask_at is not null;
create index dispatches_probes on outbox_engine.dispatches (provider, plan, closed_at) where is_probe;
create index dispatches_parent on outbox_engine.dispatches (parent_id) where parent_id is not null;
create sequence outbox_engine.lease_tokens;

-- Which rows travelled in which dispatch, kept as long as the row so that late reports of earlier attempts find it.
create table outbox_engine.dispatch_members (
  dispatch_id uuid not null,
  recipient text not null,
  outbox_id bigint not null,
  primary key (dispatch_id, recipient)
);
alter table outbox_engine.dispatch_members enable row level security;
create index dispatch_members_message on outbox_engine.dispatch_members (outbox_id);

-- An accepted request whose rows had meanwhile been sent again. Confirmed once both are known to have been accepted.
create table outbox_engine.doubles (
  outbox_id bigint not null,
  dispatch_id uuid not null,
  batch_id text not null,
  found_at timestamptz not null,
  confirmed_at timestamptz,
  primary key (outbox_id, dispatch_id, batch_id)
);
alter table outbox_engine.doubles enable row level security;
create index doubles_batch on outbox_engine.doubles (batch_id);
create index doubles_dispatch on outbox_engine.doubles (dispatch_id);

notify pgrst, 'reload schema';
