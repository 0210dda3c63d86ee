-- Which plans can send now. Where there may be other plans, each claim notes that its plan is alive.

-- How long after its latest claim a plan counts as silent: two ticks and a second.
create function outbox_engine.silent_after(p_plan outbox_engine.plans) returns interval
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 2 * p_plan.tick + interval '1 second'
$$;

-- Called by a claim where there may be other plans: notes that the plan is alive. Since when it has claimed
-- without a break decides which silence of other plans counts; a single run cannot wait, so for it all does.
-- Skips a locked row: another claim of the plan holds it, and notes the same.
create function outbox_engine.note_claim(
  p_provider text, p_plan text, p_host text, p_messages_per_second double precision,
  p_requests_per_minute integer, p_position smallint, p_tick interval, p_is_single_run boolean,
  p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select from outbox_engine.plans p
    where p.provider = p_provider and p.plan = p_plan and p.position is not distinct from p_position
      and p.tick = p_tick and p.asked_at between p_now - p_tick / 4 and p_now
  ) then
    return;
  end if;
  perform outbox_engine.add_plan(
    p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute);
  update outbox_engine.plans p
  set position = p_position, tick = p_tick, asked_at = p_now,
    asking_since = case
      when p_is_single_run then '-infinity'
      when p.asked_at between p_now - outbox_engine.silent_after(p) and p_now
        then coalesce(p.asking_since, p_now)
      else p_now
    end
  from (
    select x.provider, x.plan
    from outbox_engine.plans x
    where x.provider = p_provider and x.plan = p_plan
    for update skip locked
  ) free
  where p.provider = free.provider and p.plan = free.plan;
end
$$;

-- Called by a claim that holds the plan: notes whether its rate leaves rows behind.
create function outbox_engine.note_spent(
  p_plan outbox_engine.plans, p_is_spent boolean, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(p_is_spent, false) <> (p_plan.spent_since is not null) or p_plan.spent_since > p_now then
    update outbox_engine.plans
    set spent_since = case when p_is_spent then p_now end
    where provider = p_plan.provider and plan = p_plan.plan;
  end if;
end
$$;

-- What `why_unable` says of a plan at its limit: it may take what it can, and so may the others.
create function outbox_engine.spent_reason() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 'is at the limit of its rate'
$$;

-- Why others carry what a plan would: it is silent, paused or out of its rate, for two ticks or more. Null
-- where it can send. A pause that began two ticks ago counts until a request is accepted: its plan gets one
-- message at a time until then. Shorter pauses are common, because a throttled plan pauses for a second.
-- `p_asking_since`: since when the asking plan has claimed. Earlier silence of another plan does not count,
-- because both may have been stopped together.
create function outbox_engine.why_unable(
  p_plan outbox_engine.plans, p_now timestamptz, p_asking_since timestamptz default null
) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_pause outbox_engine.plan_pauses;
begin
  -- A claim of the future is of a clock that was set back since.
  if (greatest(
    case when p_plan.asked_at <= p_now + interval '10 seconds' then p_plan.asked_at end, p_asking_since
  ) > p_now - outbox_engine.silent_after(p_plan)) is not true then
    return case
      when exists (
        select from outbox_engine.heartbeats h
        where h.job = 'dispatch' and h.provider = p_plan.provider and h.plan = p_plan.plan
          and h.ended_at is null and h.at > p_now - interval '30 seconds'
      ) then 'has claimed nothing for two ticks'
      else 'has no running process'
    end;
  end if;
  select x.*
  into v_pause
  from outbox_engine.plan_pauses x
  where x.provider = p_plan.provider and x.plan = p_plan.plan and not x.replaced and x.kind <> 'setting'
    and (x.kind in ('account', 'operator', 'restored')
      or greatest(x.until, p_now) - x.since >= 2 * p_plan.tick)
  order by x.until desc
  limit 1;
  if found then
    return format('is paused (%s): %s', v_pause.kind, v_pause.reason);
  elsif p_plan.spent_since <= p_now - 2 * p_plan.tick then
    return outbox_engine.spent_reason();
  end if;
  return null;
end
$$;
