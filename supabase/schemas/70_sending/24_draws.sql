-- Draws: requests that query the provider, from the limits of their plan.

-- Draws at most `p_wanted` requests that query the provider (lookups, reports, inbound messages) from the
-- plan and returns how many are allowed. Polling gets a fifth of the plan's requests, lookups all that are
-- left, and neither gets any while the provider throttles the plan.
create function outbox_engine.draw_requests(p_provider text, p_plan text, p_kind text, p_wanted integer)
returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz;
  v_plan outbox_engine.plans;
  v_allowed integer;
begin
  select *
  into v_plan
  from outbox_engine.plans
  where provider = p_provider and plan = p_plan
  for update;
  if v_plan.plan is not null then
    v_plan := outbox_engine.follow_clock(v_plan);
  end if;
  -- Read after the lock, which may have taken time.
  v_now := outbox_engine.now();

  if v_plan.plan is null then
    -- No process has claimed for this plan yet, so its limits are not known.
    v_allowed := p_wanted;
  elsif exists (
    select from outbox_engine.plan_pauses
    where provider = p_provider and plan = p_plan and kind = 'throttled' and until > v_now
  ) then
    v_allowed := 0;
  else
    v_allowed := least(p_wanted, outbox_engine.requests_left(v_plan, v_now));
    if p_kind = 'poll' then
      v_allowed := least(v_allowed, greatest(
        0,
        v_plan.requests_per_minute / 5 - outbox_engine.requests_made(p_provider, p_plan, 'poll', v_now)
      ));
    end if;
  end if;
  perform outbox_engine.count_requests(p_provider, p_plan, p_kind, v_allowed, v_now);
  return v_allowed;
end
$$;

-- Called by the recover, reconcile and inbound jobs before each further request.
create function public.outbox_draw_requests(p_provider text, p_plan text, p_kind text, p_wanted smallint)
returns integer
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.draw_requests(p_provider, p_plan, p_kind, p_wanted)
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_draw_requests
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_draw_requests
to service_role;
