-- Dispatches (requests to the provider), the messages in them, and duplicate sends.

-- A request to the provider, written down before it is made. At most one request is made for a dispatch.
create table outbox_engine.dispatches (
  id uuid primary key,
  claim_id uuid not null,
  worker text not null,
  provider text not null,
  plan text not null,
  host text not null,
  credential text not null,
  sender text,
  -- Null where the texts of its messages differ, and after the dispatch was closed.
  body text,
  texts_differ boolean not null default false,
  expire_at timestamptz,
  expires_at timestamptz not null,
  recipients smallint not null,
  state text not null check (state in (
    'claimed', 'awaiting_half', 'ambiguous', 'accepted', 'refused', 'released', 'not_found', 'given_up'
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
  -- Parts of a refused dispatch, its family: the dispatch as it was claimed, and what the split tests, a
  -- recipient that the provider named or the part that all share.
  parent_id uuid,
  split text check (split in ('recipient', 'shared')),
  split_error text,
  -- The refusal says nothing about this dispatch: the plan was stopped.
  inconclusive boolean not null default false,
  -- Since when it is unknown whether the provider accepted it, and why.
  ambiguous_at timestamptz,
  ambiguous_error text,
  -- When to look it up at the provider, how many lookups did not find it, and when the first of them was.
  lookup_at timestamptz,
  lookup_misses smallint not null default 0,
  first_missed_at timestamptz,
  -- When to reconcile it (fetch its missing reports), when a process last began to, when the provider last
  -- answered, and how often it did.
  reconcile_at timestamptz,
  reconcile_started_at timestamptz,
  reconciled_at timestamptz,
  reconciliations smallint not null default 0,
  -- The provider's clock at the first lookup that did not find it.
  missed_provider_at timestamptz,
  -- Batches that reports without a reference name, and that proved to be other requests.
  other_batches text[],
  -- Of an MMS. Null after the dispatch was closed.
  media_url text,
  -- What its sender is called at the plan, and the options beside it. Null where it goes as it is.
  sent_as jsonb
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
alter table outbox_engine.dispatches enable row level security;

create index dispatches_claim on outbox_engine.dispatches (claim_id);
create index dispatches_batch on outbox_engine.dispatches (batch_id)
  where batch_id is not null;
create index dispatches_leased on outbox_engine.dispatches (provider, plan, lease_until)
  where state = 'claimed';
create index dispatches_to_look_up on outbox_engine.dispatches (provider, plan, lookup_at)
  where lookup_at is not null;
create index dispatches_to_reconcile on outbox_engine.dispatches (provider, plan, reconcile_at)
  where reconcile_at is not null;
create index dispatches_probes on outbox_engine.dispatches (provider, plan, closed_at)
  where is_probe;
create index dispatches_parent on outbox_engine.dispatches (parent_id)
  where parent_id is not null;

create sequence outbox_engine.lease_tokens;

-- What the claim reads of messages, and whether each was in a request before: a dispatch_id, batch_id or
-- error marks an earlier attempt. A view, because the claim asks this of each message that it picks.
create view outbox_engine.messages as
select id, recipient, campaign, priority, queue, due_at, send_at, expires_at, batch_id,
  num_nonnulls(dispatch_id, batch_id, error) > 0 as was_in_request, route
from public.outbox;

-- The messages of each dispatch. Kept as long as the message, so that late reports of earlier attempts find
-- it.
create table outbox_engine.dispatch_members (
  dispatch_id uuid not null,
  recipient text not null,
  outbox_id bigint not null,
  primary key (dispatch_id, recipient)
);
alter table outbox_engine.dispatch_members enable row level security;

create index dispatch_members_message on outbox_engine.dispatch_members (outbox_id);

-- Accepted dispatches whose messages had been sent again meanwhile. Confirmed once both dispatches are known
-- to be accepted.
create table outbox_engine.duplicate_sends (
  outbox_id bigint not null,
  dispatch_id uuid not null,
  batch_id text not null,
  found_at timestamptz not null,
  confirmed_at timestamptz,
  primary key (outbox_id, dispatch_id, batch_id)
);
alter table outbox_engine.duplicate_sends enable row level security;

create index duplicate_sends_batch on outbox_engine.duplicate_sends (batch_id);
create index duplicate_sends_dispatch on outbox_engine.duplicate_sends (dispatch_id);

-- The states of a dispatch whose outcome is not decided: its messages are still with it.
create function outbox_engine.is_open(p_state text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_state in ('claimed', 'awaiting_half', 'ambiguous')
$$;
