-- Pauses: why a plan sends nothing, and what lets it go on. Every function that writes a pause holds its
-- plan first.

-- One row for each reason that stops a plan. A pause of kind `account` belongs to one credential: with a
-- new token the plan is tried at once.
create table outbox_engine.plan_pauses (
  provider text not null,
  plan text not null,
  kind text not null check (kind in (
    'throttled', 'unreachable', 'account', 'setting', 'operator', 'restored'
  )),
  credential text not null default '',
  reason text not null,
  since timestamptz not null,
  until timestamptz not null,
  tries smallint not null default 0,
  -- Delivery reports say that the account is blocked, although the provider accepts requests.
  by_report boolean not null default false,
  -- A request under another credential was accepted since. The pause still stops processes that use this
  -- credential; operators no longer see it.
  replaced boolean not null default false,
  primary key (provider, plan, kind, credential)
);
alter table outbox_engine.plan_pauses enable row level security;

-- The instant that stands for a pause without an end. An infinite one would have no number of seconds left.
create function outbox_engine.endless() returns timestamptz
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select timestamptz '9999-01-01 00:00Z'
$$;

-- Whether a pause stops its plan. An account pause whose time has run still does, but for one probe. Release
-- 0.1.0 paused plans for a setting; now such messages are held, so a pause that it left stops nothing.
create function outbox_engine.stops_plan(p_pause outbox_engine.plan_pauses, p_now timestamptz) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return p_pause.kind <> 'setting' and (p_pause.until > p_now or p_pause.kind = 'account');
end
$$;

-- How many seconds a pause lasts after so many tries where the provider names no time, before jitter. It
-- doubles with each try: account from 10 seconds to 5 minutes, an unreachable provider from 1
-- to 30 seconds, throttling from 1 second to 1 minute.
create function outbox_engine.pause_seconds(p_kind text, p_tries integer) returns double precision
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select least(b.most, b.first * 2 ^ least(p_tries, 10))
  from (values
    ('account', 10, 300),
    ('unreachable', 1, 30),
    ('throttled', 1, 60)
  ) b (kind, first, most)
  where b.kind = p_kind
$$;

-- Pauses a plan, or prolongs its pause. Only a pause of kind `account` is about the credential. `p_seconds`
-- is the time that the provider names. A time below one second would never back off, so it counts as none. A
-- refused probe is a further try, although the pause was prolonged when the probe was claimed.
create function outbox_engine.pause_plan(
  p_provider text, p_plan text, p_kind text, p_credential text, p_reason text,
  p_seconds double precision default null, p_is_probe boolean default false
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_credential constant text := case when p_kind = 'account' then p_credential else '' end;
  v_tries smallint;
  v_seconds double precision;
  v_is_new boolean;
begin
  perform outbox_engine.hold_plan(p_provider, p_plan);
  select tries
  into v_tries
  from outbox_engine.plan_pauses
  where provider = p_provider and plan = p_plan and kind = p_kind and credential = v_credential;
  v_seconds := case
    when p_seconds >= 1 then p_seconds
    else outbox_engine.pause_seconds(p_kind, coalesce(v_tries, 0)) * (0.75 + random() * 0.25)
  end;

  insert into outbox_engine.plan_pauses as p (
    provider, plan, kind, credential, reason, since, until, tries
  )
  values (
    p_provider, p_plan, p_kind, v_credential, left(p_reason, 500), v_now,
    v_now + make_interval(secs => v_seconds), 1
  )
  on conflict (provider, plan, kind, credential) do update
  set
    reason = excluded.reason,
    replaced = false,
    until = greatest(p.until, excluded.until),
    -- Requests that were open together and fail together are one try. The wait stops growing long before 100.
    tries = least(p.tries + case when p.until <= v_now or p_is_probe then 1 else 0 end, 100)
  -- Only a row that this statement inserted has no xmax.
  returning p.xmax = 0 into v_is_new;

  if v_is_new and p_kind = 'account' then
    perform outbox_engine.alarm('plan.paused', jsonb_build_object(
      'provider', p_provider, 'plan', p_plan, 'kind', p_kind, 'reason', left(p_reason, 500)));
  end if;
end
$$;

-- Messages that wait because they were refused as a probe become ready: the cause is over, or
-- `p_credential` is a new one and the refusal was for another. Messages that another transaction holds keep
-- waiting.
create function outbox_engine.release_waiting_probes(
  p_provider text, p_plan text, p_credential text, p_now timestamptz
) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update public.outbox
  set queue = 'r', due_at = p_now
  where id = any (array(
    select o.id
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    join public.outbox o on o.id = m.outbox_id and o.dispatch_id = d.id
    where d.provider = p_provider
      and d.plan = p_plan
      and d.is_probe
      and d.closed_at >= p_now - interval '5 minutes'
      and d.state = 'refused'
      and d.credential is distinct from p_credential
      and o.queue = 'w'
      and o.status = 'pending'
    order by o.id
    for update of o skip locked
  ))
$$;

-- Called when the provider accepted a request that was claimed at `p_claimed_at`. That ends the pauses that
-- began before the claim: account (of this credential) at once, throttled and unreachable once their time has
-- run. A request that was open when the pause began proves nothing. Where delivery reports
-- say that the account is blocked, only a report ends the pause. Account pauses of other credentials count
-- as replaced and go once their time has run. The caller holds the plan.
create function outbox_engine.lift_pauses(
  p_provider text, p_plan text, p_credential text, p_claimed_at timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_probing_ends boolean;
begin
  with lifted as (
    delete from outbox_engine.plan_pauses
    where provider = p_provider
      and plan = p_plan
      and case kind
        when 'throttled' then until <= v_now
        when 'unreachable' then until <= v_now
        when 'setting' then true
        when 'account' then case
          when credential = p_credential then since <= p_claimed_at and not by_report
          else until <= v_now
        end
        else false
      end
    returning kind
  )
  select coalesce(bool_or(kind = 'account'), false)
  into v_probing_ends
  from lifted;

  if v_probing_ends then
    perform outbox_engine.release_waiting_probes(p_provider, p_plan, null, v_now);
  end if;
  update outbox_engine.plan_pauses
  set replaced = true
  where provider = p_provider
    and plan = p_plan
    and kind = 'account'
    and credential <> p_credential
    and not replaced;
end
$$;

-- Called by the recover, reconcile and inbound jobs when the provider answers a query with 429 or with
-- account trouble. That is true of the whole plan, so sending pauses too.
create function public.outbox_pause_plan(
  p_provider text, p_plan text, p_kind text, p_credential text, p_reason text, p_seconds double precision
) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.pause_plan(p_provider, p_plan, p_kind, p_credential, p_reason, p_seconds)
  where p_kind in ('throttled', 'account')
$$;

-- The pause that stops the plan for this credential, if any. A pause after a restore stops all plans, because
-- the process of any plan takes any message.
create function outbox_engine.current_pause(
  p_provider text, p_plan text, p_credential text, p_now timestamptz
) returns outbox_engine.plan_pauses
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from outbox_engine.plan_pauses p
  where (p.provider = p_provider and p.plan = p_plan or p.kind = 'restored')
    and p.credential in ('', p_credential)
    and outbox_engine.stops_plan(p, p_now)
  order by p.until > p_now desc, p.until desc
  limit 1
$$;

-- Whether operators see a pause: not where all processes of the plan use other credentials by now. A process
-- of release 0.1.0 does not say which one it uses.
create function outbox_engine.is_current(p_pause outbox_engine.plan_pauses, p_now timestamptz) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select not p_pause.replaced and (p_pause.credential = '' or coalesce((
    select bool_or(coalesce(h.credential, p_pause.credential) = p_pause.credential)
    from outbox_engine.heartbeats h
    where h.job = 'dispatch' and h.provider = p_pause.provider and h.plan = p_pause.plan
      and h.at > p_now - interval '90 seconds' and h.ended_at is null
  ), true))
$$;

-- Called by the claim. Where the account was refused under other credentials and never under this one, the
-- messages of refused probes become ready, for this credential to try.
create function outbox_engine.try_new_credential(
  p_provider text, p_plan text, p_credential text, p_now timestamptz
) returns void
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

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_pause_plan
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_pause_plan
to service_role;
