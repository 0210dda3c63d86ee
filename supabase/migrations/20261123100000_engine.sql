-- The engine's own schema: the clock, the status lattice and what the plans may still do. The API never exposes it.

create schema outbox_engine;
revoke all on schema outbox_engine from public;

-- Tests move time here. Nobody has a grant on it, so nothing that comes in through the API can.
create table outbox_engine.clock (
  only_row boolean primary key default true check (only_row),
  frozen_at timestamptz,
  shift interval not null default '0'
);
alter table outbox_engine.clock enable row level security;
insert into outbox_engine.clock default values;

-- The one clock that due times, leases and expiries go by.
create function outbox_engine.now() returns timestamptz
language sql stable security definer set search_path = ''
as $$
  select coalesce(c.frozen_at, clock_timestamp()) + c.shift
  from outbox_engine.clock c
$$;

-- The signed-in user of the request, or null for a server. An earlier transaction leaves '' behind in the setting.
create function outbox_engine.caller_id() returns uuid
language sql stable set search_path = ''
as $$
  select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

-- How far a status is along within one attempt. A report only ever raises a row, so the order of arrival cannot matter.
create function outbox_engine.rank_of(p_status text) returns smallint
language sql immutable set search_path = ''
as $$
  select array_position(
    array['sent', 'dispatched', 'unknown', 'expired', 'cancelled', 'deleted', 'aborted', 'rejected', 'failed', 'delivered'],
    p_status
  )::smallint
$$;

-- What a provider's codes mean in words, and the few that ask for more than a note:
-- `retry` the attempt may be made again, `account` sending stops, `opt_out` the recipient wants no more.
create table outbox_engine.report_codes (
  provider text not null,
  code integer not null,
  meaning text not null,
  effect text check (effect in ('retry', 'account', 'opt_out')),
  primary key (provider, code)
);
alter table outbox_engine.report_codes enable row level security;
insert into outbox_engine.report_codes (provider, code, meaning, effect) values
  ('sinch', 402, 'message unroutable', null),
  ('sinch', 403, 'internal error at the provider', null),
  ('sinch', 404, 'temporary delivery failure', 'retry'),
  ('sinch', 405, 'a placeholder without a value', null),
  ('sinch', 406, 'expired before it reached the carrier', null),
  ('sinch', 407, 'cancelled', null),
  ('sinch', 408, 'rejected by the provider', null),
  ('sinch', 410, 'no default sender matches', null),
  ('sinch', 411, 'too many parts', null),
  ('sinch', 412, 'region not provisioned', null),
  ('sinch', 413, 'account blocked', 'account'),
  ('sinch', 15, 'screened by the carrier', null),
  ('sinch', 60, 'sender blocked', null),
  ('sinch', 62, 'taken for spam', null),
  ('sinch', 64, 'quota exceeded', null),
  ('sinch', 152, 'sender not provisioned', null),
  ('sinch', 257, 'recipient opted out', 'opt_out');

-- One row for each service plan that any process ever worked for: its limits, shared by all processes.
create table outbox_engine.plans (
  provider text not null,
  plan text not null,
  host text not null,
  messages_per_second double precision,
  requests_per_minute integer not null,
  tokens double precision not null,
  refilled_at timestamptz not null,
  -- How long a report may be missing. Remembered for what a report proves accepted, since the webhook app is not told.
  ask_after interval not null default '5 minutes',
  throttles smallint not null default 0,
  shared_refusals smallint not null default 0,
  -- When rows more urgent than the default were last claimed, to the second.
  urgent_at timestamptz,
  primary key (provider, plan)
) with (fillfactor = 50);
alter table outbox_engine.plans enable row level security;

-- Requests made or promised, by the second, for "no more than so many in any sixty seconds".
create table outbox_engine.plan_requests (
  provider text not null,
  plan text not null,
  second timestamptz not null,
  kind text not null check (kind in ('send', 'look', 'poll')),
  requests integer not null,
  primary key (provider, plan, second, kind)
);
alter table outbox_engine.plan_requests enable row level security;

-- Why a plan is not sending. `account` pauses belong to one credential: a new token is tried at once.
create table outbox_engine.plan_pauses (
  provider text not null,
  plan text not null,
  kind text not null check (kind in ('throttled', 'unreachable', 'account', 'setting', 'operator')),
  credential text not null default '',
  reason text not null,
  since timestamptz not null,
  until timestamptz not null,
  tries smallint not null default 0,
  -- Requests are accepted all the while, and what became of them says that the account is blocked.
  by_report boolean not null default false,
  -- Something was accepted under another credential since: it holds back whoever still uses this one, and is no news to others.
  replaced boolean not null default false,
  primary key (provider, plan, kind, credential)
);
alter table outbox_engine.plan_pauses enable row level security;

-- What somebody should be told. A process takes an alarm, which is its own until `offered_until`, and passes it on; told is told.
create table outbox_engine.alarms (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  kind text not null,
  detail jsonb not null,
  offered_until timestamptz,
  told_at timestamptz
);
alter table outbox_engine.alarms enable row level security;
create index alarms_waiting on outbox_engine.alarms (id) where told_at is null;

create function outbox_engine.alarm(p_kind text, p_detail jsonb) returns void
language sql set search_path = ''
as $$
  insert into outbox_engine.alarms (at, kind, detail) values (outbox_engine.now(), p_kind, p_detail)
$$;

notify pgrst, 'reload schema';
