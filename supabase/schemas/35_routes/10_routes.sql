-- Routes: which plans carry which messages. docs/decisions/0022-routes.md says how the parts fit together.

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

-- A plan as the rules of routes and the texts for operators name it.
create function outbox_engine.plan_name(p_provider text, p_plan text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_provider || ' ' || p_plan
$$;

-- Whether there are routes or detours, or were.
create function outbox_engine.has_routes() returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return pg_sequence_last_value('outbox_engine.route_ids') is not null;
end
$$;
