-- Health: what lowers the weight of a plan, and raises it again. It concerns new claims only. The figures are
-- those of GOV.UK Notify, which has run them for years.

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

-- Whether health has to be judged now. Never where there is one plan only.
create function outbox_engine.health_due(p_now timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from outbox_engine.plans where asked_at is not null) then
    return false;
  end if;
  return (select j.at not between p_now - interval '1 minute' and p_now from outbox_engine.health_judged j);
end
$$;

-- Something is wrong with a plan, in one country or ('') in all: takes 10 from its weight, at most once in
-- `p_every`. A pinned weight stays. Health is decided by one transaction at a time.
create function outbox_engine.lower_weight(
  p_provider text, p_plan text, p_country text, p_reason text, p_every interval, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_lost smallint;
begin
  perform pg_advisory_xact_lock(hashtext('outbox plan health'));
  insert into outbox_engine.plan_health as h (
    provider, plan, country, lost, reason, changed_at, quiet_since
  )
  values (p_provider, p_plan, p_country, 10, p_reason, p_now, p_now)
  on conflict (provider, plan, country) do update
  set lost = least(100, h.lost + 10), reason = excluded.reason, changed_at = p_now, quiet_since = p_now
  where not h.is_pinned and h.changed_at not between p_now - p_every and p_now
  returning lost into v_lost;
  if found then
    perform outbox_engine.alarm('plan.weight_lowered', jsonb_build_object(
      'provider', p_provider, 'plan', p_plan, 'country', p_country, 'lost', v_lost, 'reason', p_reason));
  else
    update outbox_engine.plan_health
    set quiet_since = p_now
    where provider = p_provider and plan = p_plan and country = p_country;
  end if;
end
$$;

-- Called where a request of a plan was not answered. The first one pauses nothing, but if none is accepted
-- within two ticks, other plans carry the messages, and this one gets one at a time. Those that are not
-- answered either pause it, longer each time. An acceptance ends all of it. Where there is one plan only,
-- nothing is noted: nobody could take over.
create function outbox_engine.doubt_plan(p_plan outbox_engine.plans, p_error text, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_since timestamptz;
begin
  perform outbox_engine.hold_plan(p_plan.provider, p_plan.plan);
  insert into outbox_engine.plan_pauses (provider, plan, kind, reason, since, until)
  values (p_plan.provider, p_plan.plan, 'unreachable', left('no answer: ' || p_error, 500), p_now, p_now)
  on conflict do nothing;
  if not found then
    select x.since
    into v_since
    from outbox_engine.plan_pauses x
    where x.provider = p_plan.provider and x.plan = p_plan.plan and x.kind = 'unreachable';
    if v_since <= p_now - 2 * p_plan.tick then
      perform outbox_engine.pause_plan(
        p_plan.provider, p_plan.plan, 'unreachable', '', 'no answer: ' || p_error);
    end if;
  end if;
end
$$;

-- Called where requests of a plan failed without its messages being to blame. More than 50 in a minute lower
-- the weight; where they are half of all, they pause the plan too. Nothing is counted where there is one plan
-- only. `p_unanswered` is the error of a request whose outcome is unknown.
create function outbox_engine.count_failed_requests(
  p_provider text, p_plan text, p_requests integer, p_now timestamptz, p_unanswered text default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_plan outbox_engine.plans;
  v_failed bigint;
begin
  select * into v_plan from outbox_engine.plans p where p.provider = p_provider and p.plan = p_plan;
  if v_plan.asked_at is null then
    return;
  end if;
  -- Pauses come before the lock of health: they are written under the lock of their plan.
  if p_unanswered is not null then
    perform outbox_engine.doubt_plan(v_plan, p_unanswered, p_now);
  end if;
  insert into outbox_engine.failed_requests as f (provider, plan, at, requests)
  values (p_provider, p_plan, date_bin('5 seconds', p_now, timestamptz 'epoch'), p_requests)
  on conflict (provider, plan, at) do update set requests = f.requests + excluded.requests;
  select sum(f.requests)
  into v_failed
  from outbox_engine.failed_requests f
  where f.provider = p_provider and f.plan = p_plan and f.at > p_now - interval '1 minute' and f.at <= p_now;
  if v_failed > 50 then
    -- A provider that accepts connections and never answers looks like this, and each request to it may cost
    -- a message.
    if 2 * v_failed >= outbox_engine.requests_made(p_provider, p_plan, 'send', p_now) then
      perform outbox_engine.pause_plan(p_provider, p_plan, 'unreachable', '',
        format('%s requests in a minute came to nothing, or were never answered', v_failed));
    end if;
    perform outbox_engine.lower_weight(p_provider, p_plan, '',
      format('%s requests in a minute ended as unreachable, throttled or ambiguous', v_failed),
      interval '1 minute', p_now);
  end if;
end
$$;

-- Called by the upkeep job. Gives 10 of its weight back to each plan of which nothing bad was heard for 15
-- minutes, and that did not change meanwhile.
create function outbox_engine.raise_weights(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock(hashtext('outbox plan health'));
  update outbox_engine.plan_health
  set lost = greatest(0, lost - 10), changed_at = p_now,
    reason = 'quiet for 15 minutes after: '
      || regexp_replace(reason, '^(quiet for 15 minutes after: )+', '')
  where not is_pinned and lost > 0 and quiet_since <= p_now - interval '15 minutes'
    and changed_at <= p_now - interval '15 minutes';
  delete from outbox_engine.plan_health
  where not is_pinned and lost = 0 and changed_at <= p_now - interval '1 day';
  -- By a clock that was set back since.
  update outbox_engine.plan_health
  set changed_at = least(changed_at, p_now), quiet_since = least(quiet_since, p_now)
  where greatest(changed_at, quiet_since) > p_now + interval '1 minute';
  delete from outbox_engine.failed_requests where at not between p_now - interval '10 minutes' and p_now;
  delete from outbox_engine.route_sends
  where minute not between p_now - interval '1 hour' and p_now + interval '1 minute';
end
$$;

-- The id of about the first event that was written at an instant or later. Ids and times go up together, but
-- for clocks that were set back.
create function outbox_engine.event_at(p_at timestamptz) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_low bigint := coalesce((select min(id) from public.outbox_events), 0);
  v_high bigint := coalesce((select max(id) from public.outbox_events), 0) + 1;
  v_middle bigint;
begin
  while v_high - v_low > 100 loop
    v_middle := (v_low + v_high) / 2;
    if (select e.at from public.outbox_events e where e.id >= v_middle order by e.id limit 1) < p_at then
      v_low := v_middle;
    else
      v_high := v_middle;
    end if;
  end loop;
  return v_low;
end
$$;

-- A sample of the acceptances between two instants, from 6000 events, or all where there are fewer. `took` is
-- the time until the delivery by the provider's own clock, which may be off by `clocks_off`; null where no
-- delivery is known. `is_open` where nothing final is known, `was_called` where a callback told of the
-- delivery.
create function outbox_engine.sampled_attempts(p_from timestamptz, p_to timestamptz)
returns table (
  provider text, plan text, recipient text, accepted_at timestamptz, took interval, is_open boolean,
  was_called boolean
)
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_first constant bigint := outbox_engine.event_at(p_from);
  v_events constant bigint := outbox_engine.event_at(p_to) + 100 - v_first;
begin
  return query
  select d.provider, d.plan, o.recipient, e.at,
    r.occurred_at - e.at - make_interval(secs => coalesce((
      select c.seconds
      from outbox_engine.clocks_off c
      where c.clock = 'provider' and c.name = outbox_engine.plan_name(d.provider, d.plan)
    ), 0)),
    r.occurred_at is null and o.status in ('sent', 'dispatched'),
    coalesce(r.source = 'webhook', false)
  from (
    select v_first + case
      when v_events > 6000 then floor(random() * v_events)::bigint else n.n end as id
    from generate_series(0, least(v_events, 6000) - 1) n (n)
  ) x
  join public.outbox_events e on e.id = x.id
  join outbox_engine.dispatches d on d.id = e.dispatch_id
  join public.outbox o on o.id = e.outbox_id
  left join lateral (
    select y.occurred_at, y.source
    from public.outbox_events y
    where y.outbox_id = e.outbox_id and y.dispatch_id = e.dispatch_id and y.event = 'report'
      and y.status = 'delivered'
    order by y.id
    limit 1
  ) r on true
  where e.event = 'accepted' and e.at >= p_from and e.at < p_to;
end
$$;

-- The deliveries of each plan in each country among the acceptances between two instants: how many were told
-- of or are open, how many of those took more than five minutes or are open, the share that was delivered,
-- and whether callbacks arrive. Messages that failed say nothing about speed.
create function outbox_engine.delivery_figures(p_from timestamptz, p_to timestamptz)
returns table (
  provider text, plan text, country text, judged bigint, slow bigint, delivered double precision,
  has_callbacks boolean
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with attempts as materialized (
    select row_number() over () as place, a.* from outbox_engine.sampled_attempts(p_from, p_to) a
  )
  select a.provider, a.plan, c.country,
    count(*) filter (where a.took is not null or a.is_open),
    count(*) filter (where a.took > interval '5 minutes' or a.is_open),
    avg((a.took is not null)::integer)::double precision,
    bool_or(a.was_called)
  from attempts a
  join outbox_engine.countries_of(array(select x.recipient from attempts x order by x.place)) c
    on c.place = a.place
  where c.country is not null
  group by a.provider, a.plan, c.country;
end
$$;

-- Whether a plan that is slow in a country shares a route with one that can send and is not slow there.
create function outbox_engine.has_quicker_plan(
  p_provider text, p_plan text, p_slow text[], p_now timestamptz
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select
    from outbox_engine.route_members() m
    join outbox_engine.route_members() n on n.id = m.id and (n.provider, n.plan) <> (m.provider, m.plan)
    join outbox_engine.plans p on p.provider = n.provider and p.plan = n.plan
    where m.provider = p_provider and m.plan = p_plan
      and outbox_engine.plan_name(n.provider, n.plan) <> all (p_slow)
      and outbox_engine.why_unable(p, p_now) is null
  );
end
$$;

-- A weight of its own for a country: from now on its messages take a detour of each route that has the plan.
create function outbox_engine.make_country_detours(p_provider text, p_plan text, p_country text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.make_detour(m.id, '{}', p_country)
  from outbox_engine.route_members() m
  where m.provider = p_provider and m.plan = p_plan
    and not exists (select from outbox_engine.detours d where d.id = m.id)
$$;

-- Called by the upkeep job, once a minute where there is more than one plan. A plan loses weight in a country
-- where, of at least 100 texts that it took 5 to 20 minutes ago, 15 percent or more were not delivered within
-- 5 minutes, if another plan of the route is quicker. Not where no callbacks arrive, or where receipts were
-- rare yesterday: there, each plan looks slow. New messages for that country take a detour of their own.
create function outbox_engine.judge_slowness(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_slow record;
begin
  for v_slow in
    with figures as materialized (
      select f.*, outbox_engine.plan_name(f.provider, f.plan) as name
      from outbox_engine.delivery_figures(p_now - interval '20 minutes', p_now - interval '5 minutes') f
      where f.judged >= 100 and f.slow >= 0.15 * f.judged
    )
    select f.*, array(select x.name from figures x where x.country = f.country) as slow_plans
    from figures f
    where f.has_callbacks
    order by f.provider, f.plan, f.country
  loop
    continue when not outbox_engine.has_quicker_plan(
        v_slow.provider, v_slow.plan, v_slow.slow_plans, p_now)
      or not exists (
        select
        from outbox_engine.delivery_figures(p_now - interval '48 hours', p_now - interval '24 hours') y
        where y.provider = v_slow.provider and y.plan = v_slow.plan and y.country = v_slow.country
          and y.judged >= 20 and y.delivered >= 0.85
      );
    perform outbox_engine.lower_weight(v_slow.provider, v_slow.plan, v_slow.country,
      format('%s of %s texts to %s were not delivered within 5 minutes', v_slow.slow, v_slow.judged,
        v_slow.country),
      interval '5 minutes', p_now);
    perform outbox_engine.make_country_detours(v_slow.provider, v_slow.plan, v_slow.country);
  end loop;
end
$$;

-- Called by the upkeep job: all of the above, at most once a minute.
create function outbox_engine.tend_health(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if outbox_engine.health_due(p_now) then
    update outbox_engine.health_judged set at = p_now;
    perform outbox_engine.raise_weights(p_now);
    perform outbox_engine.judge_slowness(p_now);
  end if;
end
$$;
