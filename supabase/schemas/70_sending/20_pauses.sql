-- Why a plan is not sending, and what lets it go on.

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
  -- Something was accepted under another credential since: it holds back whoever still uses this one, and is
  -- no news to others.
  replaced boolean not null default false,
  primary key (provider, plan, kind, credential)
);
alter table outbox_engine.plan_pauses enable row level security;

-- Stops a plan, or stops it longer. Each further try of the same kind doubles the wait where the provider
-- names none: throttling from one second to a minute, an unreachable provider from one to thirty seconds,
-- account trouble from ten seconds to five minutes, all jittered.
create function outbox_engine.pause_plan(
  p_provider text, p_plan text, p_kind text, p_credential text, p_reason text, p_seconds double precision default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_tries smallint;
  v_is_new boolean;
  v_first double precision := case p_kind when 'account' then 10 when 'setting' then 10 else 1 end;
  v_most double precision := case p_kind when 'account' then 300 when 'setting' then 300 when 'unreachable' then 30 else 60 end;
  v_seconds double precision;
begin
  select tries into v_tries
  from outbox_engine.plan_pauses
  where provider = p_provider and plan = p_plan and kind = p_kind and credential = p_credential;
  v_tries := coalesce(v_tries, 0);
  -- A wait of nothing, or until a time that has passed, would never back off.
  v_seconds := case when p_seconds >= 1 then p_seconds
    else least(v_most, v_first * 2 ^ least(v_tries, 10)) * (0.75 + random() * 0.25) end;

  insert into outbox_engine.plan_pauses as p (provider, plan, kind, credential, reason, since, until, tries)
  values (p_provider, p_plan, p_kind, p_credential, left(p_reason, 500), v_now, v_now + make_interval(secs => v_seconds), 1)
  on conflict (provider, plan, kind, credential) do update
  set
    reason = excluded.reason,
    replaced = false,
    until = greatest(p.until, excluded.until),
    -- Several requests in flight that fail together are one piece of news.
    tries = p.tries + case when p.until <= v_now then 1 else 0 end
  -- The first transaction that ever wrote a row left no mark of one that changed it.
  returning p.xmax = 0 into v_is_new;

  if v_is_new and p_kind in ('account', 'setting') then
    perform outbox_engine.alarm('plan.paused', jsonb_build_object(
      'provider', p_provider, 'plan', p_plan, 'kind', p_kind, 'reason', left(p_reason, 500)));
  end if;
end
$$;

-- Rows that wait because they served as a probe wait no longer: what refused them is over, or another
-- credential is to be tried, which `p_credential` then is. Whoever holds one of them at this moment keeps it.
create function outbox_engine.release_waiting_probes(p_provider text, p_plan text, p_credential text, p_now timestamptz) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update public.outbox
  set queue = 'r', due_at = p_now
  where id = any (array(
    select o.id
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    join public.outbox o on o.id = m.outbox_id and o.dispatch_id = d.id
    where d.provider = p_provider and d.plan = p_plan and d.is_probe and d.closed_at >= p_now - interval '5 minutes'
      and d.state = 'refused' and d.credential is distinct from p_credential and o.queue = 'w' and o.status = 'pending'
    order by o.id
    for update of o skip locked
  ))
$$;

-- An accepted request proves that the account, the settings and the way there are in order, if it was claimed
-- after they were found not to be: what was under way then proves nothing. Where reports said that the
-- account is blocked, only a report proves that it no longer is. A pause of another credential is no news
-- from here on, and goes once it has run its time.
create function outbox_engine.lift_pauses(p_provider text, p_plan text, p_credential text, p_claimed_at timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_lifted boolean;
begin
  with lifted as (
    delete from outbox_engine.plan_pauses
    where provider = p_provider and plan = p_plan
      and (kind in ('throttled', 'unreachable') and until <= v_now
        or kind = 'setting' and since <= p_claimed_at
        or kind = 'account' and credential = p_credential and since <= p_claimed_at and not by_report
        or kind = 'account' and credential <> p_credential and until <= v_now)
    returning kind
  )
  select count(*) filter (where kind in ('account', 'setting')) > 0 into v_lifted from lifted;
  if v_lifted then
    perform outbox_engine.release_waiting_probes(p_provider, p_plan, null, v_now);
  end if;
  update outbox_engine.plan_pauses
  set replaced = true
  where provider = p_provider and plan = p_plan and kind = 'account' and credential <> p_credential and not replaced;
end
$$;

-- Called by the jobs that ask, where the provider answered a question with a 429 or with trouble of the
-- account: that speaks for the plan, so sending stops as well.
create function public.outbox_pause_plan(
  p_provider text, p_plan text, p_kind text, p_credential text, p_reason text, p_seconds double precision
) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.pause_plan(p_provider, p_plan, p_kind, case when p_kind = 'account' then p_credential else '' end,
    p_reason, p_seconds)
  where p_kind in ('throttled', 'account')
$$;

-- Which pause holds this plan, if any. An account or setting pause that has run its time lets one probe
-- through.
create function outbox_engine.current_pause(p_provider text, p_plan text, p_credential text, p_now timestamptz)
returns outbox_engine.plan_pauses
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from outbox_engine.plan_pauses p
  where p.provider = p_provider and p.plan = p_plan
    and p.credential in ('', p_credential)
    and (p.until > p_now or p.kind in ('account', 'setting'))
  order by p.until > p_now desc, p.until desc
  limit 1
$$;

-- Where the account was refused under another credential and not under this one, its probes are this one's to
-- send, at once.
create function outbox_engine.try_new_credential(p_provider text, p_plan text, p_credential text, p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select from outbox_engine.plan_pauses
    where provider = p_provider and plan = p_plan and kind = 'account'
    having bool_and(credential <> p_credential)
  ) then
    perform outbox_engine.release_waiting_probes(p_provider, p_plan, p_credential, p_now);
  end if;
end
$$;

-- How many requests that ask (looks, reports, inbounds) are allowed now, at most `p_wanted`. Polling gets a
-- fifth of the plan's requests; looks for lost requests all that is left; nobody any while the provider
-- throttles the plan.
create function outbox_engine.draw_requests(p_provider text, p_plan text, p_kind text, p_wanted integer) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz;
  v_plan outbox_engine.plans;
  v_allowed integer;
begin
  select * into v_plan from outbox_engine.plans where provider = p_provider and plan = p_plan for update;
  -- Waiting for the plan took time.
  v_now := outbox_engine.now();
  if v_plan.plan is null then
    -- No process has claimed for this plan yet, so nothing is known of its limits.
    perform outbox_engine.count_requests(p_provider, p_plan, p_kind, p_wanted, v_now);
    return p_wanted;
  end if;
  v_allowed := least(p_wanted, outbox_engine.requests_left(v_plan, v_now));
  if exists (
    select from outbox_engine.plan_pauses
    where provider = p_provider and plan = p_plan and kind = 'throttled' and until > v_now
  ) then
    v_allowed := 0;
  end if;
  if p_kind = 'poll' then
    v_allowed := least(v_allowed, greatest(0, v_plan.requests_per_minute / 5 - (
      select coalesce(sum(requests), 0)
      from outbox_engine.plan_requests
      where provider = p_provider and plan = p_plan and kind = 'poll'
        and second > date_trunc('second', v_now) - interval '61 seconds'
    )::integer));
  end if;
  perform outbox_engine.count_requests(p_provider, p_plan, p_kind, v_allowed, v_now);
  return v_allowed;
end
$$;

-- Called by the jobs that ask, before each further request.
create function public.outbox_draw_requests(p_provider text, p_plan text, p_kind text, p_wanted smallint) returns integer
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.draw_requests(p_provider, p_plan, p_kind, p_wanted)
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_pause_plan,
  public.outbox_draw_requests
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_pause_plan,
  public.outbox_draw_requests
to service_role;
