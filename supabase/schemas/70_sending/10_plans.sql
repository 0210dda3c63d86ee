-- Service plans and their limits, which all processes of a plan share.

-- One row for each service plan that a process has claimed for.
create table outbox_engine.plans (
  provider text not null,
  plan text not null,
  host text not null,
  messages_per_second double precision,
  requests_per_minute integer not null,
  tokens double precision not null,
  refilled_at timestamptz not null,
  -- How long after an acceptance the reconcile job asks for missing reports. Stored here for requests that
  -- a report proves accepted, because the webhook app does not know the setting.
  reconcile_after interval not null default '5 minutes',
  -- Counted by release 0.1.0; refused_contents counts now.
  shared_refusals smallint not null default 0,
  -- When messages more urgent than the default were last claimed, to the second.
  urgent_at timestamptz,
  -- The database's clock, read at most every ten seconds. Where it is ahead, the clock was set back.
  seen_at timestamptz,
  -- MAX_MESSAGES_PER_DAY, which is for all plans together. Null is no limit.
  messages_per_day bigint,
  -- The day (UTC) of this plan's latest request, and how many messages of it count (15_daily_cap.sql).
  messages_day date,
  messages_today bigint not null default 0,
  -- The place of the account in OUTBOX_PROVIDERS. Null in a process that has one account only.
  position smallint,
  -- The time between two claims of an idle process, and the latest claim. Kept where there may be other
  -- plans.
  tick interval not null default '1 second',
  asked_at timestamptz,
  -- Since when it has claimed without a break. Others may have been silent before only because nobody looked.
  asking_since timestamptz,
  -- Since when its rate has left rows behind that were ready.
  spent_since timestamptz,
  primary key (provider, plan)
) with (fillfactor = 50);
alter table outbox_engine.plans enable row level security;

-- Requests made or promised in each second, for the limit on requests in any sixty seconds.
create table outbox_engine.plan_requests (
  provider text not null,
  plan text not null,
  second timestamptz not null,
  kind text not null check (kind in ('send', 'lookup', 'poll')),
  requests integer not null,
  primary key (provider, plan, second, kind)
);
alter table outbox_engine.plan_requests enable row level security;

-- Inserts the plan if it is new.
create function outbox_engine.add_plan(
  p_provider text, p_plan text, p_host text, p_messages_per_second double precision,
  p_requests_per_minute integer
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.plans (
    provider, plan, host, messages_per_second, requests_per_minute, tokens, refilled_at
  )
  values (
    p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute,
    greatest(p_messages_per_second, 1), outbox_engine.now()
  )
  on conflict do nothing;
end
$$;

-- The same, called by a claim that found nothing: a message that another plan refuses can move to one that
-- was idle all the time. Never waits: while another idle claim inserts the plan, this one leaves it to that.
create function outbox_engine.add_idle_plan(
  p_provider text, p_plan text, p_host text, p_messages_per_second double precision,
  p_requests_per_minute integer
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from outbox_engine.plans x where x.provider = p_provider and x.plan = p_plan)
    and pg_try_advisory_xact_lock(hashtext(format('outbox plan %s %s', p_provider, p_plan))) then
    perform outbox_engine.add_plan(
      p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute);
  end if;
end
$$;

-- Called by the claim. Inserts the plan if it is new, stores its present limits, and holds its row until
-- the end of the transaction.
create function outbox_engine.lock_plan(
  p_provider text, p_plan text, p_host text, p_messages_per_second double precision,
  p_requests_per_minute integer
) returns outbox_engine.plans
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_plan outbox_engine.plans;
begin
  perform outbox_engine.add_plan(
    p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute);

  select *
  into v_plan
  from outbox_engine.plans
  where provider = p_provider and plan = p_plan
  for update;

  if (v_plan.host, v_plan.messages_per_second, v_plan.requests_per_minute)
    is distinct from (p_host, p_messages_per_second, p_requests_per_minute) then
    update outbox_engine.plans
    set
      host = p_host,
      messages_per_second = p_messages_per_second,
      requests_per_minute = p_requests_per_minute,
      tokens = least(coalesce(tokens, 0), greatest(p_messages_per_second, 1))
    where provider = p_provider and plan = p_plan
    returning * into v_plan;
  end if;
  return v_plan;
end
$$;

-- Holds a plan until the end of the transaction, if a process has claimed for it. Called before the plan's
-- pauses are written and before messages are locked (docs/decisions/0008).
create function outbox_engine.hold_plan(p_provider text, p_plan text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform from outbox_engine.plans
  where provider = p_provider and plan = p_plan
  for update;
end
$$;

-- The same for the plans of these dispatches.
create function outbox_engine.hold_plans_of(p_dispatches uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform from outbox_engine.plans
  where (provider, plan) in (
    select d.provider, d.plan
    from outbox_engine.dispatches d
    where d.id = any (p_dispatches)
  )
  order by provider, plan
  for update;
end
$$;

-- How many messages the plan may send now: a token bucket that holds one second's worth, at least one. Null
-- means no limit.
create function outbox_engine.tokens_now(p_plan outbox_engine.plans, p_now timestamptz)
returns double precision
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case when p_plan.messages_per_second is not null then
    least(
      greatest(p_plan.messages_per_second, 1),
      coalesce(p_plan.tokens, 0)
        + greatest(extract(epoch from p_now - p_plan.refilled_at), 0) * p_plan.messages_per_second
    )
  end
$$;

-- How many requests of a kind (null: of all kinds) count against the limit now. Counts 61 seconds, so that
-- a request that starts late within its second still keeps the limit in any sixty seconds.
create function outbox_engine.requests_made(p_provider text, p_plan text, p_kind text, p_now timestamptz)
returns integer
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(sum(r.requests), 0)::integer
  from outbox_engine.plan_requests r
  where r.provider = p_provider
    and r.plan = p_plan
    and r.second > date_trunc('second', p_now) - interval '61 seconds'
    and (p_kind is null or r.kind = p_kind)
$$;

-- How many more requests the plan may make now.
create function outbox_engine.requests_left(p_plan outbox_engine.plans, p_now timestamptz) returns integer
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select greatest(
    0, p_plan.requests_per_minute - outbox_engine.requests_made(p_plan.provider, p_plan.plan, null, p_now))
$$;

-- Counts requests of a kind against the plan's limit, at the second in which they are made.
create function outbox_engine.count_requests(
  p_provider text, p_plan text, p_kind text, p_requests integer, p_at timestamptz
) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.plan_requests as r (provider, plan, second, kind, requests)
  select p_provider, p_plan, date_trunc('second', p_at), p_kind, p_requests
  where p_requests > 0
  on conflict (provider, plan, second, kind) do update
  set requests = r.requests + excluded.requests
$$;

-- Reserves one request and returns how many seconds the caller has to wait before it makes it. Counts
-- requests that others reserved for later. The caller holds the plan.
create function outbox_engine.reserve_request(p_plan outbox_engine.plans, p_now timestamptz)
returns double precision
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_at timestamptz := p_now;
begin
  while outbox_engine.requests_left(p_plan, v_at) = 0 loop
    v_at := date_trunc('second', v_at) + interval '1 second';
  end loop;
  perform outbox_engine.count_requests(p_plan.provider, p_plan.plan, 'send', 1, v_at);
  return extract(epoch from v_at - p_now);
end
$$;
