-- What an operator does: send again, cancel, stop a plan and let it go on. Each call answers what became of
-- each thing it was asked for, and each change stands in the trail as the operator's.

-- Called by `outbox retry` and `outbox cancel` for "all that …": the ids of one stretch of the table that
-- match, oldest first. `after` is where to go on, null at the end; there is no index to lean on, so a table
-- of any size is read in small steps. `p_since` is compared with the time a message became final, for
-- messages that are not with the time they were inserted.
create function public.outbox_select(
  p_statuses text[], p_campaign text, p_since timestamptz, p_after bigint, p_stretch integer, p_most integer
) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  with stretch as materialized (
    select id, status, campaign, coalesce(finalized_at, created_at) as at
    from public.outbox
    where id > p_after
    order by id
    limit p_stretch
  ),
  matching as materialized (
    select id from stretch
    where (p_statuses is null or status = any (p_statuses)) and (p_campaign is null or campaign = p_campaign)
      and (p_since is null or at >= p_since)
    order by id
    limit p_most
  ),
  read as (
    select case when (select count(*) from matching) = p_most then (select max(id) from matching) else (select max(id) from stretch) end
      as upto
  )
  select jsonb_build_object(
    'ids', coalesce((select jsonb_agg(id order by id) from matching), '[]'),
    'after', read.upto,
    'last', (select max(id) from public.outbox)
  )
  from read
$$;

-- Why a message is not sent again, in words, or null where it may be.
create function outbox_engine.retry_problem(o public.outbox, p_open boolean, p_force boolean, p_expires boolean, p_now timestamptz)
returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when o.id is null then 'no such message'
    when o.finalized_at is null then 'not final: it is still on its way'
    when p_open then 'a request for it is open: its outcome has to be known first'
    when o.body is null and o.parameters is null then 'its text was blanked after BODY_RETENTION_DAYS'
    when o.status = 'delivered' and not p_force then 'it was delivered; --force sends it a second time'
    when o.status = 'unknown' and not p_force then 'nobody knows whether it arrived; --force may send it a second time'
    when o.cancel_requested_at is not null and not p_force then 'it was cancelled on request; --force sends it all the same'
    when o.status = 'expired' and not p_force then 'it expired; --force with --expires-in sends it late'
    when o.expires_at <= p_now and not p_expires then 'its expiry has passed; --expires-in gives it a new one'
  end
$$;

-- Called by `outbox retry`. Final messages become a new attempt, counted from none; what the claim checks
-- (opt-out, window, campaign, country) it checks again. Reports of the attempt before go to the trail alone,
-- a `delivered` excepted. An attempt that the provider may yet prove to have taken stays attached, so that it
-- can be adopted before the new one goes out. `p_expires_in_seconds` is the new expiry of those whose own has
-- passed. Asked with `p_dry_run` it changes nothing.
create function public.outbox_retry(
  p_ids bigint[], p_force boolean, p_expires_in_seconds double precision, p_dry_run boolean
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_answer jsonb;
begin
  if p_expires_in_seconds <= 0 then
    perform outbox_engine.refuse('a new expiry must lie ahead');
  end if;
  perform from public.outbox where id = any (p_ids) order by id for update;

  with judged as materialized (
    select a.id, o.status, o.attempts, o.error, d.batch_id is not null as accepted,
      outbox_engine.retry_problem(
        o, coalesce(d.state in ('claimed', 'awaiting_half', 'ambiguous'), false), p_force, p_expires_in_seconds is not null, v_now
      ) as problem
    from (select distinct unnest(p_ids) as id) a
    left join public.outbox o on o.id = a.id
    left join outbox_engine.dispatches d on d.id = o.dispatch_id
  ),
  changed as (
    update public.outbox o
    set
      status = 'pending', queue = 'r', due_at = v_now, attempts = 0, status_code = null, error = 'an operator has it sent again', reported_rank = null,
      reported_at = null, finalized_at = null, cancel_requested_at = null,
      dispatch_id = case when j.accepted then null else o.dispatch_id end,
      expires_at = case when o.expires_at <= v_now then v_now + make_interval(secs => p_expires_in_seconds) else o.expires_at end
    from judged j
    where not p_dry_run and j.problem is null and o.id = j.id
    returning o.id, j.status as was, j.attempts, j.error
  ),
  -- The time of a campaign that had it back is the message's again.
  given_back as (
    update public.outbox_campaign_occurrences o
    set taken_back = false, reason = null
    from changed c
    where o.outbox_id = c.id and (o.taken_back or o.reason is not null)
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select id, v_now, 'operator', 'retried', 'pending', concat_ws(': ', format('%s after %s attempts', was, attempts), error)
    from changed
    order by id
  )
  select coalesce(jsonb_agg(
    jsonb_build_object('id', j.id, 'was', j.status, 'done', j.problem is null,
      'outcome', coalesce(j.problem, case when p_dry_run then 'would be sent again' else 'waits to be sent again' end))
    order by j.id), '[]')
  into v_answer
  from judged j;

  perform pg_notify('outbox', '');
  return v_answer;
end
$$;

-- Called by `outbox cancel`. What waits ends at once; what is in a request keeps the wish, should it come
-- back; later it has no effect. The trail says each.
create function public.outbox_cancel(p_ids bigint[], p_dry_run boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_answer jsonb;
begin
  perform from public.outbox where id = any (p_ids) order by id for update;

  with judged as materialized (
    select a.id, o.status as was,
      case
        when o.id is null then 'missing'
        when o.status in ('scheduled', 'pending') then 'cancelled'
        when o.status = 'cancelled' then 'already'
        when o.status = 'sending' then 'wished'
        else 'too_late'
      end as effect
    from (select distinct unnest(p_ids) as id) a
    left join public.outbox o on o.id = a.id
  ),
  changed as (
    update public.outbox o
    set
      cancel_requested_at = v_now,
      status = case when j.effect = 'cancelled' then 'cancelled' else o.status end,
      queue = case when j.effect = 'cancelled' then null else o.queue end,
      finalized_at = case when j.effect = 'cancelled' then v_now else o.finalized_at end
    from judged j
    where not p_dry_run and j.effect in ('cancelled', 'wished') and o.id = j.id
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status)
    select id, v_now, 'operator',
      case effect when 'cancelled' then 'cancelled' when 'wished' then 'cancel_requested' else 'cancel_too_late' end,
      case effect when 'cancelled' then 'cancelled' else was end
    from judged
    where not p_dry_run and effect in ('cancelled', 'wished', 'too_late')
    order by id
  )
  select coalesce(jsonb_agg(
    jsonb_build_object('id', j.id, 'was', j.was, 'done', j.effect in ('cancelled', 'already', 'wished'), 'outcome', case j.effect
      when 'missing' then 'no such message'
      when 'cancelled' then case when p_dry_run then 'would be cancelled' else 'cancelled' end
      when 'already' then 'was cancelled before'
      when 'wished' then 'in a request: it ' || case when p_dry_run then 'would end' else 'ends' end
        || ' as cancelled should it come back'
      else format('too late: it is %s', j.was)
    end)
    order by j.id), '[]')
  into v_answer
  from judged j;
  return v_answer;
end
$$;

-- The plans a command is about: those known by that name, paused ones among them; all known ones where none
-- is named; and one nobody worked for yet where the provider is named too.
create function outbox_engine.matching_plans(p_provider text, p_plan text) returns table (provider text, plan text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.provider, p.plan
  from (select provider, plan from outbox_engine.plans union select provider, plan from outbox_engine.plan_pauses) p
  where (p_provider is null or p.provider = p_provider) and (p_plan is null or p.plan = p_plan)
  union
  select p_provider, p_plan
  where p_provider is not null and p_plan is not null
$$;

-- A pause as operators see it; `until` is null where it lasts until somebody ends it.
create function outbox_engine.pause_json(
  p_provider text, p_plan text, p_kind text, p_reason text, p_since timestamptz, p_until timestamptz, p_now timestamptz
) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'provider', p_provider, 'plan', p_plan, 'kind', p_kind, 'reason', p_reason, 'since', p_since,
    'until', case when p_until < '9999-01-01 00:00Z' then p_until end,
    -- An account or setting pause that has run its time still lets only one probe through.
    'probing', p_until <= p_now
  )
$$;

-- Every pause that still holds a plan back, as operators see it. Not that of a credential which another one
-- has replaced.
create function outbox_engine.pauses_json(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(outbox_engine.pause_json(p.provider, p.plan, p.kind, p.reason, p.since, p.until, p_now)
    order by p.provider, p.plan, p.since), '[]')
  from outbox_engine.plan_pauses p
  where (p.until > p_now or p.kind in ('account', 'setting')) and not p.replaced
$$;

-- Called by `outbox pause`. No process claims for these plans until that time, for good (the end of the year
-- 9998) where none is given: an infinite time has no number of seconds left. Said again, the new time and
-- reason hold. What is in a request already is not called back.
create function public.outbox_pause(p_provider text, p_plan text, p_until timestamptz, p_seconds double precision, p_reason text)
returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_until timestamptz := coalesce(p_until, v_now + make_interval(secs => p_seconds), '9999-01-01 00:00Z');
  v_answer jsonb;
begin
  if v_until <= v_now then
    perform outbox_engine.refuse(format('the pause would end at %s, which has passed', v_until));
  end if;
  with paused as (
    insert into outbox_engine.plan_pauses as p (provider, plan, kind, reason, since, until)
    select m.provider, m.plan, 'operator', left(coalesce(p_reason, 'an operator paused it'), 500), v_now, v_until
    from outbox_engine.matching_plans(p_provider, p_plan) m
    on conflict (provider, plan, kind, credential) do update
    set
      reason = excluded.reason,
      since = case when p.until > v_now then p.since else v_now end,
      until = excluded.until
    returning p.provider, p.plan, p.kind, p.credential, p.reason, p.since, p.until
  )
  select coalesce(jsonb_agg(outbox_engine.pause_json(p.provider, p.plan, p.kind, p.reason, p.since, p.until, v_now)
    order by p.provider, p.plan), '[]')
  into v_answer
  from paused p;
  return v_answer;
end
$$;

-- Called by `outbox resume`: ends the operator's pauses. Other pauses end by themselves; with `p_force` they
-- are over now, and those for the account or a setting let their probe through at the next claim. Answers
-- what was ended and what remains.
create function public.outbox_resume(p_provider text, p_plan text, p_force boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_ended jsonb;
begin
  with ended as (
    delete from outbox_engine.plan_pauses p
    using outbox_engine.matching_plans(p_provider, p_plan) m
    where p.provider = m.provider and p.plan = m.plan and p.kind = 'operator'
    returning p.provider, p.plan, p.kind, p.reason, p.since, p.until
  )
  select coalesce(jsonb_agg(outbox_engine.pause_json(e.provider, e.plan, e.kind, e.reason, e.since, e.until, v_now)
    order by e.provider, e.plan), '[]')
  into v_ended
  from ended e
  where e.until > v_now;

  if p_force then
    update outbox_engine.plan_pauses p
    set until = v_now
    from outbox_engine.matching_plans(p_provider, p_plan) m
    where p.provider = m.provider and p.plan = m.plan and p.until > v_now;
    perform outbox_engine.release_waiting_probes(m.provider, m.plan, null, v_now)
    from outbox_engine.matching_plans(p_provider, p_plan) m;
  end if;

  perform pg_notify('outbox', '');
  return jsonb_build_object('ended', v_ended, 'remaining', outbox_engine.pauses_json(v_now));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_select,
  public.outbox_retry,
  public.outbox_cancel,
  public.outbox_pause,
  public.outbox_resume
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_select,
  public.outbox_retry,
  public.outbox_cancel,
  public.outbox_pause,
  public.outbox_resume
to service_role;
