-- Shares: which routes a plan serves now, and how much it may take of each. Weights, failover and the way
-- back are all here: a claim takes nothing else. docs/decisions/0022-routes.md.

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

-- The plans of all routes and detours, as configured, with the weight that health leaves. `is_bound` is false
-- for the default route where nobody configured it: it has all plans, of which the first carries everything.
create function outbox_engine.route_members()
returns table (
  id smallint, provider text, plan text, configured smallint, weight smallint, place smallint,
  is_bound boolean
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with ids as (
    select 0::smallint as id, 0::smallint as route, '{}'::text[] as without, null::text as country
    union all
    select r.id, r.id, '{}', null from public.outbox_routes r
    union all
    select d.id, d.route, d.without, d.country from outbox_engine.detours d
  ),
  first as (select min(coalesce(p.position, 0)) as place from outbox_engine.plans p),
  members as (
    select m.route, m.provider, m.plan, m.weight, m.position as place, true as is_bound
    from public.outbox_route_plans m
    union all
    select 0, p.provider, p.plan,
      case when coalesce(p.position, 0) = first.place then 100 else 0 end, coalesce(p.position, 0), false
    from outbox_engine.plans p
    cross join first
    where not exists (select from public.outbox_route_plans m where m.route = 0)
  )
  select i.id, m.provider, m.plan, m.weight::smallint,
    greatest(0, m.weight - coalesce((
      select sum(h.lost)
      from outbox_engine.plan_health h
      where h.provider = m.provider and h.plan = m.plan and h.country in ('', i.country)
    ), 0))::smallint,
    m.place::smallint, m.is_bound
  from ids i
  join members m on m.route = i.route
  where outbox_engine.plan_name(m.provider, m.plan) <> all (i.without);
end
$$;

-- How many messages a plan may take that has this share, of 0 to 1, of a route: it stays within 100 of its
-- share of all that the plans took that can send now (`p_able`), in the last ten minutes, with what it takes.
-- What others take at this moment makes the bound stricter, never looser, so claims of several plans need no
-- lock. Less than 50 count as none: requests would shrink to a few messages, and another plan is below its
-- share then. Null is no bound.
create function outbox_engine.most_by_weight(
  p_share double precision, p_route smallint, p_provider text, p_plan text, p_able text[],
  p_now timestamptz
) returns integer
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_share >= 1 then
    return null;
  end if;
  return (
    select case
        when s.left_of_share >= 50 then least(1000000, floor(s.left_of_share / (1 - p_share)))
        else 0
      end
    from (
      select p_share * coalesce(sum(r.messages), 0) + 100
        - coalesce(sum(r.messages) filter (where r.provider = p_provider and r.plan = p_plan), 0)
          as left_of_share
      from outbox_engine.route_sends r
      where r.route = p_route and r.minute > p_now - interval '10 minutes' and r.minute <= p_now
        and outbox_engine.plan_name(r.provider, r.plan) = any (p_able)
    ) s
  );
end
$$;

-- The share, of 0 to 1, of a member of a route that can send beside others that can. `p_weights` is the sum
-- of the weights of those; `p_carriers` how many have one. Where one plan alone carries a route, the weight
-- that it lost goes to the first plan that stands by; where none does, that plan carries everything.
create function outbox_engine.share_of(
  p_weight integer, p_weights integer, p_carriers integer, p_lost integer, p_is_next boolean
) returns double precision
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_carriers = 0 then case when p_is_next then 1 else 0 end
    when p_carriers > 1 then p_weight::double precision / p_weights
    when p_weight > 0 then p_weight::double precision / (p_weight + p_lost)
    when p_is_next then p_lost::double precision / (p_weights + p_lost)
    else 0
  end
$$;

-- The routes that a plan is in, as a claim of it sees them. `why` it cannot send itself; of all members that
-- can: their names, the sum of their weights, how many have one, and what health took of it where a
-- plan stands by. `is_next`: it is the first that stands by and can send. `beside` says what keeps the others
-- from carrying what they should.
create function outbox_engine.memberships(p_provider text, p_plan text, p_now timestamptz)
returns table (
  id smallint, weight smallint, is_bound boolean, why text, able text[], weights integer, carriers integer,
  lost integer, is_next boolean, beside text
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_self constant outbox_engine.plans := (
    select p from outbox_engine.plans p where p.provider = p_provider and p.plan = p_plan);
begin
  return query
  with states as materialized (
    select p.provider, p.plan, outbox_engine.why_unable(p, p_now, v_self.asking_since) as why
    from outbox_engine.plans p
  ),
  members as materialized (
    select m.*, m.provider = p_provider and m.plan = p_plan as is_self,
      case
        when s.plan is not null then s.why
        when (v_self.asking_since > p_now - outbox_engine.silent_after(v_self)) is not true
          then 'has no running process'
      end as why
    from outbox_engine.route_members() m
    left join states s on s.provider = m.provider and s.plan = m.plan
  )
  select t.id, t.weight, t.is_bound, t.why, t.able, t.weights, t.carriers,
    case when t.next is null then 0 else t.lost end,
    coalesce(t.next = outbox_engine.plan_name(p_provider, p_plan), false),
    -- Among plans that have a weight, each message goes one of the usual ways.
    concat_ws('; ', t.stopped, case when t.weight = 0 then t.weakened end)
  from (
    select m.id,
      max(m.weight) filter (where m.is_self) as weight,
      max(m.why) filter (where m.is_self) as why,
      bool_or(m.is_bound) as is_bound,
      coalesce(array_agg(outbox_engine.plan_name(m.provider, m.plan)) filter (where m.why is null), '{}')
        as able,
      coalesce(sum(m.weight) filter (where m.why is null), 0)::integer as weights,
      count(*) filter (where m.why is null and m.weight > 0)::integer as carriers,
      coalesce(sum(m.configured - m.weight) filter (where m.why is null and m.weight > 0), 0)::integer
        as lost,
      -- One that lost all of its weight comes after those that stand by.
      (array_agg(
        outbox_engine.plan_name(m.provider, m.plan) order by m.configured > 0, m.place, m.provider, m.plan
      ) filter (where m.why is null and m.weight = 0))[1] as next,
      string_agg(outbox_engine.plan_name(m.provider, m.plan) || ' ' || m.why, '; '
        order by m.place, m.provider, m.plan
      ) filter (where not m.is_self and m.configured > 0 and m.why is not null) as stopped,
      string_agg(
        format('%s lost %s points of its weight',
          outbox_engine.plan_name(m.provider, m.plan), m.configured - m.weight),
        '; ' order by m.place, m.provider, m.plan
      ) filter (where m.weight < m.configured and m.why is null) as weakened
    from members m
    group by m.id
    having bool_or(m.is_self)
  ) t;
end
$$;

-- Called by a claim where there may be other plans: what the plan may take now, without the routes of which
-- that is nothing at all. A `most` of 0 waits for others to send. A plan whose pause lingers gets one message
-- at a time where another can send: its acceptance ends the pause. Not one that stands by while the others
-- carry everything: nobody needs it then, and each message might be lost.
create function outbox_engine.shares_of(p_provider text, p_plan text, p_now timestamptz)
returns outbox_engine.route_share[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select row(
      m.id,
      case
        when x.others = 0 or m.why = outbox_engine.spent_reason() then null
        when m.why is not null then 1
        when not m.is_bound and m.weight > 0 and m.lost = 0 then null
        else outbox_engine.most_by_weight(x.share, m.id, p_provider, p_plan, m.able, p_now)
      end,
      case when m.why is null or x.others = 0 then nullif(m.beside, '') end
    )::outbox_engine.route_share
    from outbox_engine.memberships(p_provider, p_plan, p_now) m
    cross join lateral (
      select cardinality(m.able) - case when m.why is null then 1 else 0 end as others,
        outbox_engine.share_of(m.weight, m.weights, m.carriers, m.lost, m.is_next) as share
    ) x
    where x.share > 0 or x.others = 0
      or m.why is not null and (m.weight > 0 or m.carriers = 0 or m.beside <> '')
    order by m.id
  );
end
$$;

-- Called by the claim. Null where the plan may take everything without a bound: there are no routes, and it
-- is the first of its process or the only one.
create function outbox_engine.shares_for_claim(
  p_provider text, p_plan text, p_host text, p_messages_per_second double precision,
  p_requests_per_minute integer, p_position smallint, p_tick_seconds double precision, p_now timestamptz
) returns outbox_engine.route_share[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if p_position is null and not outbox_engine.has_routes() then
    return null;
  end if;
  perform outbox_engine.note_claim(p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute,
    p_position, make_interval(secs => coalesce(p_tick_seconds, 1)), p_tick_seconds is null, p_now);
  if coalesce(p_position, 0) = 0 and not outbox_engine.has_routes() and not exists (
      select from outbox_engine.plan_pauses x where x.provider = p_provider and x.plan = p_plan)
    and not exists (select from outbox_engine.plan_health) then
    return null;
  end if;
  return outbox_engine.shares_of(p_provider, p_plan, p_now);
end
$$;

-- The shares of which nothing may be taken now, without that bound: to see what waits there.
create function outbox_engine.shares_used_up(p_shares outbox_engine.route_share[])
returns outbox_engine.route_share[]
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select row(s.route, null, null)::outbox_engine.route_share from unnest(p_shares) s where s.most = 0);
end
$$;

-- Whether another plan of the message's route can send it now, so that it need not wait for this one.
create function outbox_engine.has_other_plan(
  p_route smallint, p_provider text, p_plan text, p_now timestamptz
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select
    from outbox_engine.route_members() m
    join outbox_engine.plans p on p.provider = m.provider and p.plan = m.plan
    where m.id = p_route and (m.provider, m.plan) <> (p_provider, p_plan)
      and outbox_engine.why_unable(p, p_now) is null
  );
end
$$;

-- Called after a claim where there may be other plans: counts for weights what it took of each route, and
-- writes into the history of its messages why they did not go the usual way.
create function outbox_engine.record_shares(
  p_shares outbox_engine.route_share[], p_provider text, p_plan text, p_dispatches jsonb, p_now timestamptz
) returns void
language sql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  with taken as materialized (
    select m.outbox_id, m.dispatch_id, o.route
    from outbox_engine.dispatch_members m
    cross join lateral (select x.route from public.outbox x where x.id = m.outbox_id limit 1) o
    where m.dispatch_id in (
      select (d.value ->> 'dispatch_id')::uuid from jsonb_array_elements(p_dispatches) d)
  ),
  counted as (
    insert into outbox_engine.route_sends as r (route, minute, provider, plan, messages)
    select route, date_trunc('minute', p_now), p_provider, p_plan, count(*)
    from taken
    group by route
    on conflict (route, minute, provider, plan) do update
    set messages = r.messages + excluded.messages
  )
  insert into public.outbox_events (outbox_id, at, source, event, status, dispatch_id, detail)
  select t.outbox_id, p_now, 'engine', 'routed', 'sending', t.dispatch_id,
    format('through %s, because %s', outbox_engine.plan_name(p_provider, p_plan), s.why)
  from taken t
  join unnest(p_shares) s on s.route = t.route and s.why is not null
  order by t.outbox_id
$$;
