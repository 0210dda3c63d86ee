-- Routes (35_routes/10_routes.sql).
-- The ids of routes and detours, which a message stores. Route 0 is the default one and has no row here.
-- A last value of null says that there is none but the default route, which costs an insert and a claim
-- nothing.
create sequence outbox_engine.route_ids as smallint minvalue 1;

-- One row for each route that `outbox_set_route` wrote. A message takes the most specific one that it
-- matches, then the one with the lowest position.
create table public.outbox_routes (
  id smallint primary key default nextval('outbox_engine.route_ids'),
  name text not null unique check (name ~ '^[a-z][a-z0-9_-]{0,39}$'),
  position smallint not null,
  -- What it matches. Null is all.
  channel text check (channel in ('sms', 'mms')),
  countries text[] check (cardinality(countries) > 0),
  priority_from smallint,
  priority_below smallint,
  campaign text,
  -- Whether a text that failed in the network may be sent once more by another plan.
  after_network_failure boolean not null default false,
  created_at timestamptz not null default outbox_engine.now(),
  -- It takes no new message, and serves those that it has.
  retired_at timestamptz,
  check (priority_from < priority_below)
);
alter table public.outbox_routes enable row level security;

-- The plans of a route. Those of weight 0 stand by, in the order of their positions. A default route without
-- plans has all that processes are configured for.
create table public.outbox_route_plans (
  route smallint not null,
  provider text not null,
  plan text not null,
  weight smallint not null check (weight between 0 and 100),
  position smallint not null,
  primary key (route, provider, plan)
);
alter table public.outbox_route_plans enable row level security;

-- Detours: a route without the plans that refused a message, or for one country in which a plan is slow. The
-- engine makes and deletes them. A message stores the id of its detour as it stores that of its route, so a
-- plan never meets a message that it must not take.
create table outbox_engine.detours (
  id smallint primary key default nextval('outbox_engine.route_ids'),
  route smallint not null,
  -- Plans that it leaves out, as "provider plan", sorted.
  without text[] not null default '{}',
  -- Null is all countries.
  country text,
  -- Since when the upkeep job has found it without use. Null while it is in use.
  unused_since timestamptz,
  unique nulls not distinct (route, without, country)
);
alter table outbox_engine.detours enable row level security;

-- What a sender such as "Acme" is called at each plan, for numbers of a country; an empty country is all.
create table public.outbox_senders (
  alias text not null check (alias <> ''),
  provider text not null,
  plan text not null,
  country text not null default '',
  sender text not null,
  -- What the provider asks for beside it, such as {"entity_id": "…", "content_id": "…"} in India.
  options jsonb,
  primary key (alias, provider, plan, country)
);
alter table public.outbox_senders enable row level security;

create policy outbox_routes_server on public.outbox_routes for select to service_role using (true);
create policy outbox_route_plans_server on public.outbox_route_plans for select to service_role using (true);
create policy outbox_senders_server on public.outbox_senders for select to service_role using (true);
revoke all on public.outbox_routes, public.outbox_route_plans, public.outbox_senders
from public, anon, authenticated, service_role;
grant select on public.outbox_routes, public.outbox_route_plans, public.outbox_senders to service_role;

-- What a claim may take of a route or detour. `most` is null where the plan alone carries it. `why` is told
-- where another plan would carry it if it could.
create type outbox_engine.route_share as (
  route smallint,
  most integer,
  why text
);

-- The routes that take messages. The most specific one has the lowest `level`: one of a campaign goes before
-- one of countries, then one of priorities, then one of a channel. Of two that both name a campaign, the next
-- condition counts, and so on; at last the lower position.
create view outbox_engine.active_routes as
select r.id, r.channel, r.countries, coalesce(r.priority_from, -32768) as priority_from,
  coalesce(r.priority_below, 32768) as priority_below, r.campaign, r.position,
  case when r.campaign is null then 8 else 0 end
    + case when r.countries is null then 4 else 0 end
    + case when num_nonnulls(r.priority_from, r.priority_below) = 0 then 2 else 0 end
    + case when r.channel is null then 1 else 0 end as level
from public.outbox_routes r
where r.retired_at is null;

-- One row, if the default route was configured.
create table outbox_engine.default_route (
  only_row boolean primary key default true check (only_row),
  after_network_failure boolean not null
);
alter table outbox_engine.default_route enable row level security;

-- A route as an operator writes it, with countries and plans in their stored form.
create type outbox_engine.route_rule as (
  name text,
  channel text,
  countries text[],
  priority_from smallint,
  priority_below smallint,
  campaign text
);

-- A plan of a route as an operator writes it.
create type outbox_engine.route_plan as (
  provider text,
  plan text,
  weight smallint,
  place smallint
);

-- What the sender of a dispatch is called at the plan, and the options beside it.
alter table outbox_engine.dispatches add column sent_as jsonb;
alter table public.outbox add column route smallint not null default 0;
comment on column public.outbox.route is
  'Engine: which plans carry it, a row of outbox_routes; 0 is the default route';

alter table outbox_engine.plans add column position smallint;
alter table outbox_engine.plans add column tick interval not null default '1 second';
alter table outbox_engine.plans add column asked_at timestamptz;
alter table outbox_engine.plans add column asking_since timestamptz;
alter table outbox_engine.plans add column spent_since timestamptz;

-- Messages that each plan took of a route or detour in a minute, for weights.
create table outbox_engine.route_sends (
  route smallint not null,
  minute timestamptz not null,
  provider text not null,
  plan text not null,
  messages integer not null,
  primary key (route, minute, provider, plan)
) with (fillfactor = 50);
alter table outbox_engine.route_sends enable row level security;

-- What health took from the weight of a plan, in one country or ('') in all.
create table outbox_engine.plan_health (
  provider text not null,
  plan text not null,
  country text not null default '',
  lost smallint not null default 0 check (lost between 0 and 100),
  -- An operator decided: health changes nothing until it is released.
  is_pinned boolean not null default false,
  reason text not null,
  changed_at timestamptz not null,
  -- Since when nothing has been wrong.
  quiet_since timestamptz not null,
  primary key (provider, plan, country)
);
alter table outbox_engine.plan_health enable row level security;
-- Requests that ended as unreachable, throttled or ambiguous, in five seconds each. Kept for ten minutes.
create table outbox_engine.failed_requests (
  provider text not null,
  plan text not null,
  at timestamptz not null,
  requests integer not null,
  primary key (provider, plan, at)
);
alter table outbox_engine.failed_requests enable row level security;

-- One row: when health was last judged.
create table outbox_engine.health_judged (
  only_row boolean primary key default true check (only_row),
  at timestamptz not null default '-infinity'
);
alter table outbox_engine.health_judged enable row level security;

-- Processes that send for a plan: their heartbeat is of the last minute, and they have not ended.
create view outbox_engine.running_dispatchers as
select provider, plan, worker
from outbox_engine.heartbeats
where job = 'dispatch' and at > outbox_engine.now() - interval '1 minute' and ended_at is null;

-- The queue is kept for each route and priority.
alter table outbox_engine.priorities add column route smallint not null default 0;
alter table outbox_engine.queue_bounds add column routes smallint[];
create or replace view outbox_engine.messages as
select id, recipient, campaign, priority, queue, due_at, send_at, expires_at, batch_id,
  num_nonnulls(dispatch_id, batch_id, error) > 0 as was_in_request, route
from public.outbox;
create type outbox_engine.queue_part as (
  route smallint,
  priority smallint,
  ready_from timestamptz,
  rows integer
);

-- functions
drop trigger outbox_6_requeue on public.outbox;
create trigger outbox_6_requeue before update on public.outbox for each row
  when (new.queue is not null
    and (old.queue is null
      or (new.due_at, new.priority, new.send_at, new.route)
        is distinct from (old.due_at, old.priority, old.send_at, old.route)))
  execute function outbox_engine.before_requeue();
create trigger outbox_5_route
  before update of recipient, priority, campaign, media_url, queue on public.outbox for each row
  when (new.queue is not null and (
    old.queue is null and new.route = old.route
    or (new.recipient, new.priority, new.campaign, new.media_url)
      is distinct from (old.recipient, old.priority, old.campaign, old.media_url)))
  execute function outbox_engine.before_route_change();
