-- What operators do with plans: pause and resume them.

-- The plans that a command is about: known plans by that name (null: all), including plans that only have a
-- pause; and the named one, if the provider is named too, even if no process has claimed for it.
create function outbox_engine.matching_plans(p_provider text, p_plan text)
returns table (provider text, plan text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.provider, p.plan
  from (
    select provider, plan from outbox_engine.plans
    union
    select provider, plan from outbox_engine.plan_pauses
  ) p
  where (p_provider is null or p.provider = p_provider)
    and (p_plan is null or p.plan = p_plan)
  union
  select p_provider, p_plan
  where p_provider is not null and p_plan is not null
  order by 1, 2
$$;

-- Holds these plans in order, before their pauses are written.
create function outbox_engine.hold_matching_plans(p_provider text, p_plan text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.hold_plan(m.provider, m.plan)
  from outbox_engine.matching_plans(p_provider, p_plan) m
$$;

-- A pause as operators see it; `until` is null where it lasts until an operator ends it, and where it is
-- over. `probing`: it is over, and messages go to the plan one at a time until the provider accepts one.
create function outbox_engine.pause_json(
  p_provider text, p_plan text, p_kind text, p_reason text, p_since timestamptz, p_until timestamptz,
  p_now timestamptz
) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'provider', p_provider,
    'plan', p_plan,
    'kind', p_kind,
    'reason', p_reason,
    'since', p_since,
    'until', case when p_until > p_now and p_until < outbox_engine.endless() then p_until end,
    'probing', p_until <= p_now
  )
$$;

-- Every pause that stops a plan, as operators see it, without those of credentials that no process uses any
-- more.
create function outbox_engine.pauses_json(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_agg(
      outbox_engine.pause_json(p.provider, p.plan, p.kind, p.reason, p.since, p.until, p_now)
      order by p.provider, p.plan, p.since
    ),
    '[]'
  )
  from outbox_engine.plan_pauses p
  where outbox_engine.stops_plan(p, p_now) and outbox_engine.is_current(p, p_now)
$$;

-- Called by `outbox pause`. No process claims for these plans until that time, or, where none is given,
-- until an operator resumes them. A repetition replaces the time and the reason. Requests that are open go
-- on. Returns the pauses.
create function public.outbox_pause(
  p_provider text, p_plan text, p_until timestamptz, p_seconds double precision, p_reason text
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_until constant timestamptz :=
    coalesce(p_until, v_now + make_interval(secs => p_seconds), outbox_engine.endless());
  v_answer jsonb;
begin
  perform outbox_engine.audit_change(
    'pause', outbox_engine.audit_plan(p_provider, p_plan), jsonb_build_object(
    'until', p_until, 'seconds', p_seconds, 'reason', outbox_engine.audit_words(p_reason)));
  if v_until <= v_now then
    perform outbox_engine.refuse(format('the pause would end at %s, which has passed', v_until));
  end if;
  perform outbox_engine.hold_matching_plans(p_provider, p_plan);

  with paused as (
    insert into outbox_engine.plan_pauses as p (provider, plan, kind, reason, since, until)
    select
      m.provider, m.plan, 'operator', left(coalesce(p_reason, 'an operator paused it'), 500), v_now, v_until
    from outbox_engine.matching_plans(p_provider, p_plan) m
    on conflict (provider, plan, kind, credential) do update
    set
      reason = excluded.reason,
      since = case when p.until > v_now then p.since else v_now end,
      until = excluded.until
    returning p.provider, p.plan, p.kind, p.credential, p.reason, p.since, p.until
  )
  select coalesce(
    jsonb_agg(
      outbox_engine.pause_json(p.provider, p.plan, p.kind, p.reason, p.since, p.until, v_now)
      order by p.provider, p.plan
    ),
    '[]'
  )
  into v_answer
  from paused p;
  return v_answer;
end
$$;

-- Called by `outbox resume`: ends the pauses of operators. Other pauses end by themselves; with `p_force`
-- their time has run now, those of an account let a probe through at the next claim, and so do held contents.
-- A pause after a restore stays. Returns the pauses that were ended and those that remain.
create function public.outbox_resume(p_provider text, p_plan text, p_force boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_ended jsonb;
begin
  perform outbox_engine.audit_change(
    'resume', outbox_engine.audit_plan(p_provider, p_plan), jsonb_build_object('force', p_force));
  perform outbox_engine.hold_matching_plans(p_provider, p_plan);
  with ended as (
    delete from outbox_engine.plan_pauses p
    using outbox_engine.matching_plans(p_provider, p_plan) m
    where p.provider = m.provider and p.plan = m.plan and p.kind = 'operator'
    returning p.provider, p.plan, p.kind, p.reason, p.since, p.until
  )
  select coalesce(
    jsonb_agg(
      outbox_engine.pause_json(e.provider, e.plan, e.kind, e.reason, e.since, e.until, v_now)
      order by e.provider, e.plan
    ),
    '[]'
  )
  into v_ended
  from ended e
  where e.until > v_now;

  if p_force then
    update outbox_engine.plan_pauses p
    set until = v_now
    from outbox_engine.matching_plans(p_provider, p_plan) m
    where p.provider = m.provider and p.plan = m.plan and p.until > v_now and p.kind <> 'restored';
    perform outbox_engine.release_waiting_probes(m.provider, m.plan, null, v_now)
    from outbox_engine.matching_plans(p_provider, p_plan) m;
    update outbox_engine.refused_contents r
    set probe_at = v_now
    from outbox_engine.matching_plans(p_provider, p_plan) m
    where r.provider = m.provider and r.plan = m.plan and r.held_since is not null;
  end if;

  perform pg_notify('outbox', '');
  return jsonb_build_object('ended', v_ended, 'remaining', outbox_engine.pauses_json(v_now));
end
$$;

-- Called by `outbox resume --restored`, which does not adopt what was sent since the backup: ends the pauses
-- after a restore. Returns those that were ended.
create function public.outbox_resume_restored(p_provider text, p_plan text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_ended jsonb;
begin
  perform outbox_engine.audit_change('resume_restored', outbox_engine.audit_plan(p_provider, p_plan));
  perform outbox_engine.hold_matching_plans(p_provider, p_plan);
  select coalesce(
    jsonb_agg(
      outbox_engine.pause_json(p.provider, p.plan, p.kind, p.reason, p.since, p.until, v_now)
      order by p.provider, p.plan
    ),
    '[]'
  )
  into v_ended
  from outbox_engine.plan_pauses p
  join outbox_engine.matching_plans(p_provider, p_plan) m on m.provider = p.provider and m.plan = p.plan
  where p.kind = 'restored';
  perform outbox_engine.lift_restored(m.provider, m.plan)
  from outbox_engine.matching_plans(p_provider, p_plan) m;
  update outbox_engine.timelines t
  set dismissed_at = v_now
  from jsonb_to_recordset(v_ended) e (provider text, plan text)
  where (t.provider, t.plan) = (e.provider, e.plan)
    and t.number = (
      select max(x.number) from outbox_engine.timelines x where (x.provider, x.plan) = (t.provider, t.plan));
  return v_ended;
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_pause,
  public.outbox_resume,
  public.outbox_resume_restored
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_pause,
  public.outbox_resume,
  public.outbox_resume_restored
to service_role;
