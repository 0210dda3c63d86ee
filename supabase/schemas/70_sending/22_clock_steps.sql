-- The database's clock is set back: what was to happen soon does not wait until the clock has caught up.
-- docs/decisions/0012-clocks.md lists every time that the engine stores, and what a step does to it.

-- Called after the clock was set back by `p_by` or more, with the plan held. Moves the times that were
-- stored by the clock as it was. They move by no more than the clock did, so nothing comes too early.
-- Dispatches that another transaction holds are skipped, because that transaction writes new times.
create function outbox_engine.move_times_back(
  p_provider text, p_plan text, p_by interval, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  with ahead as (
    delete from outbox_engine.plan_requests
    where provider = p_provider and plan = p_plan and second > p_now
    returning kind, second, requests
  )
  insert into outbox_engine.plan_requests as r (provider, plan, second, kind, requests)
  select p_provider, p_plan, date_trunc('second', second - p_by), kind, sum(requests)
  from ahead
  group by 3, 4
  on conflict (provider, plan, second, kind) do update set requests = r.requests + excluded.requests;

  -- An operator names an instant, so that pause keeps its end. One after a restore has none.
  update outbox_engine.plan_pauses
  set
    since = case when since > p_now then since - p_by else since end,
    until = case when kind not in ('operator', 'restored') and until > p_now then until - p_by else until end
  where provider = p_provider and plan = p_plan;

  -- A lease that was renewed since the step ends sooner than `p_by` from now.
  update outbox_engine.dispatches
  set lease_until = lease_until - p_by
  where id = any (array(
    select id from outbox_engine.dispatches
    where provider = p_provider and plan = p_plan and state = 'claimed'
      and lease_until >= p_now + p_by and p_by > 9 * deadline
    order by id
    for update skip locked
  ));
  update outbox_engine.dispatches
  set lookup_at = greatest(lookup_at - p_by, p_now)
  where id = any (array(
    select id from outbox_engine.dispatches
    where provider = p_provider and plan = p_plan and lookup_at > p_now
    order by lookup_at
    limit 5000
    for update skip locked
  ));
  update outbox_engine.dispatches
  set reconcile_at = greatest(reconcile_at - p_by, p_now)
  where id = any (array(
    select id from outbox_engine.dispatches
    where provider = p_provider and plan = p_plan and reconcile_at > p_now
    order by reconcile_at
    limit 5000
    for update skip locked
  ));
end
$$;

-- Called by each function that reads a plan's limits, with the plan held. Notes the time, and returns the
-- plan with times that suit the clock. A step of less than ten seconds may be overlooked: it is waited
-- out.
create function outbox_engine.follow_clock(p_plan outbox_engine.plans) returns outbox_engine.plans
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_seen_at constant timestamptz := greatest(p_plan.seen_at, p_plan.refilled_at, p_plan.urgent_at);
begin
  if v_seen_at > v_now + interval '1 second' then
    perform outbox_engine.move_times_back(p_plan.provider, p_plan.plan, v_seen_at - v_now, v_now);
  elsif p_plan.seen_at > v_now - interval '10 seconds' then
    return p_plan;
  end if;
  update outbox_engine.plans
  set seen_at = v_now, refilled_at = least(refilled_at, v_now),
    urgent_at = case when urgent_at > v_now then v_now else urgent_at end
  where provider = p_plan.provider and plan = p_plan.plan
  returning * into p_plan;
  return p_plan;
end
$$;
