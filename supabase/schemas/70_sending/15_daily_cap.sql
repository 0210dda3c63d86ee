-- The daily cap: how many messages the whole installation may send on one day (UTC), through all plans.
-- MAX_MESSAGES_PER_DAY sets it. It is there for runaway loops, so a message counts as soon as a request
-- with it may be made.

-- Messages that counted for a day and that the provider certainly never got. The next claim of the plan
-- subtracts them. Rows, because a transaction that hands messages back must wait for no other.
create table outbox_engine.returned_messages (
  id bigint generated always as identity primary key,
  provider text not null,
  plan text not null,
  day date not null,
  messages integer not null
);
alter table outbox_engine.returned_messages enable row level security;

-- Called by the claim, which holds the plan: stores the cap of the process that claims. Null is no cap.
create function outbox_engine.set_daily_cap(p_plan outbox_engine.plans, p_messages_per_day bigint)
returns outbox_engine.plans
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if p_plan.messages_per_day is distinct from p_messages_per_day then
    update outbox_engine.plans
    set messages_per_day = p_messages_per_day
    where provider = p_plan.provider and plan = p_plan.plan
    returning * into p_plan;
  end if;
  return p_plan;
end
$$;

-- The day (UTC) for which a message counts that is claimed at an instant.
create function outbox_engine.cap_day(p_at timestamptz) returns date
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select (p_at at time zone 'UTC')::date
$$;

-- Messages that a plan sent on a day, without those that were returned. A count of a later day is of a clock
-- that was set back since: it counts, so that no step of the clock raises the cap.
create function outbox_engine.messages_of(p_plan outbox_engine.plans, p_day date) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case when p_plan.messages_day >= p_day then greatest(0, p_plan.messages_today - coalesce((
    select sum(r.messages) from outbox_engine.returned_messages r
    where r.provider = p_plan.provider and r.plan = p_plan.plan and r.day = p_plan.messages_day
  ), 0)) else 0 end::bigint
$$;

-- The same for all plans together.
create function outbox_engine.messages_of_day(p_day date) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(sum(outbox_engine.messages_of(p, p_day)), 0)::bigint from outbox_engine.plans p
$$;

-- Called by the claim of a plan that has a cap, which holds the plan. How many messages of today are left.
-- Claims of several plans take turns until their end, so that they do not pass the cap together.
-- A count of a clock that was far ahead ends with tomorrow. It would stop all sending until that day.
create function outbox_engine.messages_left_today(p_plan outbox_engine.plans, p_now timestamptz)
returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_day constant date := outbox_engine.cap_day(p_now);
begin
  perform pg_advisory_xact_lock(hashtext('outbox daily cap'));
  -- Another plan that is locked does this itself.
  update outbox_engine.plans p
  set messages_day = v_day + 1
  from (
    select provider, plan from outbox_engine.plans where messages_day > v_day + 1 for update skip locked
  ) ahead
  where p.provider = ahead.provider and p.plan = ahead.plan;
  return greatest(0, p_plan.messages_per_day - outbox_engine.messages_of_day(v_day));
end
$$;

-- What a claim answers once the cap is reached. Raises the alarm, once a day for each value of the cap.
create function outbox_engine.refuse_over_cap(p_plan outbox_engine.plans, p_now timestamptz) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_day constant date := outbox_engine.cap_day(p_now);
  v_cap constant jsonb := jsonb_build_object('day', v_day, 'max_messages_per_day', p_plan.messages_per_day);
begin
  perform outbox_engine.alarm_at_most('daily_cap.reached', v_cap, v_cap, interval '1 day', p_now);
  return jsonb_build_object(
    'limited', 'messages_per_day',
    'wait_seconds', extract(epoch from (v_day + 1)::timestamp at time zone 'UTC' - p_now));
end
$$;

-- Called by the claim after it made requests of `p_messages`, with the plan held: counts them. Raises an
-- alarm at 80 percent of the cap, once a day for each value of it. After the clock was set back across
-- midnight, the count stays that of the later day: otherwise that day would begin anew when it comes again.
create function outbox_engine.count_messages(
  p_plan outbox_engine.plans, p_messages integer, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_day constant date := outbox_engine.cap_day(p_now);
  v_cap constant jsonb := jsonb_build_object('day', v_day, 'max_messages_per_day', p_plan.messages_per_day);
  v_messages bigint;
begin
  -- One statement: it subtracts just the rows that it deletes.
  with returned as (
    delete from outbox_engine.returned_messages
    where provider = p_plan.provider and plan = p_plan.plan
    returning day, messages
  )
  update outbox_engine.plans p
  set
    messages_day = case when p.messages_day > v_day then v_day + 1 else v_day end,
    messages_today = p_messages + case
      when p.messages_day >= v_day then greatest(0, p.messages_today - coalesce(
        (select sum(r.messages) from returned r where r.day = p.messages_day), 0))
      else 0
    end
  where p.provider = p_plan.provider and p.plan = p_plan.plan;

  if p_plan.messages_per_day is not null then
    v_messages := outbox_engine.messages_of_day(v_day);
    if v_messages >= 0.8 * p_plan.messages_per_day then
      perform outbox_engine.alarm_at_most('daily_cap.near',
        v_cap || jsonb_build_object('messages', v_messages), v_cap, interval '1 day', p_now);
    end if;
  end if;
end
$$;

-- Called with locked messages of dispatches that certainly did not reach the provider: they count no longer.
-- The parts of a refused dispatch were counted with it, perhaps on the day before they were made.
create function outbox_engine.return_messages(p_ids bigint[]) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.returned_messages (provider, plan, day, messages)
  select d.provider, d.plan, outbox_engine.cap_day(coalesce(f.claimed_at, d.claimed_at)), count(*)
  from public.outbox o
  join outbox_engine.dispatches d on d.id = o.dispatch_id
  left join outbox_engine.dispatches f on f.id = d.parent_id
  where o.id = any (p_ids)
  group by 1, 2, 3
$$;
