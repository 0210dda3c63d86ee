-- What operators see of plans and their weights, and how they pin them.

-- A plan's places in routes, as operators see them: what is configured, what health leaves, and what the plan
-- took in the last ten minutes, of a route with all of its detours. Detours are left out where nothing waits
-- on them.
create function outbox_engine.memberships_json(p_provider text, p_plan text, p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'route', coalesce(r.name, 'default'), 'is_retired', r.retired_at is not null,
    'without', to_jsonb(d.without), 'country', d.country,
    'weight', m.configured, 'effective', m.weight, 'stands_by', m.configured = 0,
    'took', coalesce((
      select sum(s.messages)
      from outbox_engine.route_sends s
      where (s.route = m.id or d.id is null and s.route in (
          select x.id from outbox_engine.detours x where x.route = m.id))
        and s.provider = m.provider and s.plan = m.plan
        and s.minute > p_now - interval '10 minutes' and s.minute <= p_now
    ), 0)
  ) order by m.id), '[]')
  from outbox_engine.route_members() m
  left join outbox_engine.detours d on d.id = m.id
  left join public.outbox_routes r on r.id = coalesce(d.route, m.id)
  where m.provider = p_provider and m.plan = p_plan
    and (d.id is null
      or exists (select from public.outbox o where o.queue = 'r' and o.route = d.id)
      or exists (select from public.outbox o where o.queue = 'w' and o.route = d.id))
$$;

-- Why a plan that claims nothing cannot send. Its other jobs go on while its process may not claim, such as
-- with a wrong token: then it is paused, or waits for the provider. A process that ends or is killed may
-- leave a tick of them behind its last claim.
create function outbox_engine.why_silent(p_provider text, p_plan text, p_now timestamptz) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case
    when not exists (
      select from outbox_engine.heartbeats h
      where h.job in ('waiting', 'recover', 'reconcile', 'inbound')
        and h.provider = p_provider and h.plan = p_plan
        and h.at > p_now - interval '90 seconds'
        and not exists (
          select from outbox_engine.heartbeats d
          where d.job = 'dispatch' and d.provider = p_provider and d.plan = p_plan
            and coalesce(d.ended_at + interval '2 seconds', d.at + interval '30 seconds') >= h.at)
    ) then 'has no running process'
    else coalesce(
      (
        select format('is paused (%s): %s', x.kind, x.reason)
        from outbox_engine.plan_pauses x
        where x.provider = p_provider and x.plan = p_plan and not x.replaced and x.until > p_now
          and x.kind in ('account', 'operator', 'restored')
        order by x.until desc
        limit 1
      ),
      'waits until it can read the provider''s list, see the log of `outbox run`')
  end
$$;

-- Why a plan cannot send now, null where it can. A process that has one account and no routes notes no
-- claims: there, a heartbeat of the last minute shows that one runs.
create function outbox_engine.cannot_send(p_provider text, p_plan text, p_now timestamptz) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_plan outbox_engine.plans;
  v_beat timestamptz;
  v_why text := 'has no running process';
begin
  select * into v_plan from outbox_engine.plans p where p.provider = p_provider and p.plan = p_plan;
  select max(h.at)
  into v_beat
  from outbox_engine.heartbeats h
  where h.job = 'dispatch' and h.provider = p_provider and h.plan = p_plan and h.ended_at is null
    and h.at > p_now - interval '1 minute';
  if v_plan.plan is not null then
    v_why := outbox_engine.why_unable(v_plan, p_now, case
      when v_beat > coalesce(v_plan.asked_at + interval '30 seconds', '-infinity') then p_now
    end);
  end if;
  return case
    when v_why = 'has no running process' then outbox_engine.why_silent(p_provider, p_plan, p_now)
    else v_why
  end;
end
$$;

-- The plans that may carry messages of a route or detour, in their order: their weights as configured and
-- now, and why they cannot send.
create function outbox_engine.carriers_json(p_route smallint, p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'provider', m.provider, 'plan', m.plan, 'weight', m.configured, 'effective', m.weight,
    'cannot_send', outbox_engine.cannot_send(m.provider, m.plan, p_now)
  ) order by m.configured = 0, m.place, m.provider, m.plan), '[]')
  from outbox_engine.route_members() m
  where m.id = p_route
$$;

-- Called by `outbox plans`: each plan, whether it can send and why not, and its weights with the reasons.
create function public.outbox_list_plans() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'provider', p.provider, 'plan', p.plan, 'position', p.position,
    'messages_per_second', p.messages_per_second, 'requests_per_minute', p.requests_per_minute,
    'cannot_send', outbox_engine.cannot_send(p.provider, p.plan, n.at),
    'routes', outbox_engine.memberships_json(p.provider, p.plan, n.at),
    'health', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'country', nullif(h.country, ''), 'lost', h.lost, 'pinned', h.is_pinned, 'reason', h.reason,
        'since', h.changed_at) order by h.country), '[]')
      from outbox_engine.plan_health h
      where h.provider = p.provider and h.plan = p.plan
    )
  ) order by p.position nulls first, p.provider, p.plan), '[]')
  from outbox_engine.plans p
  cross join (select outbox_engine.now() as at) n
$$;

-- Called by `outbox plans pin` and `release`. Pins what a plan loses of its weight, in one country or (null)
-- in all, so that health changes nothing; null `p_lost` keeps what it has lost. With `p_is_pinned` false,
-- health decides again from there on. Returns what it loses now.
create function public.outbox_pin_plan(
  p_provider text, p_plan text, p_country text, p_lost smallint, p_is_pinned boolean,
  p_reason text default null
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_country constant text := coalesce(upper(p_country), '');
  v_lost smallint;
begin
  perform outbox_engine.audit_change(
    'pin_plan', outbox_engine.audit_plan(p_provider, p_plan), jsonb_build_object(
    'country', p_country, 'lost', p_lost, 'is_pinned', p_is_pinned,
    'reason', outbox_engine.audit_words(p_reason)));
  if not exists (select from outbox_engine.plans where provider = p_provider and plan = p_plan) then
    perform outbox_engine.refuse(
      format('no process has claimed for plan %s of %s', p_plan, p_provider),
      'outbox plans lists the plans that are known.');
  elsif p_lost not between 0 and 100 then
    perform outbox_engine.refuse(
      format('%s is not between 0 and 100', p_lost),
      'Give how many points of its weight the plan loses: 0 is nothing, 100 is all.');
  elsif v_country <> '' and not exists (
    select from outbox_engine.number_regions where region = v_country
  ) then
    perform outbox_engine.refuse(
      format('%L is no country', p_country), 'Give its ISO 3166 code of two letters, such as DE.');
  end if;
  perform pg_advisory_xact_lock(hashtext('outbox plan health'));
  insert into outbox_engine.plan_health as h (
    provider, plan, country, lost, is_pinned, reason, changed_at, quiet_since
  )
  values (
    p_provider, p_plan, v_country, coalesce(p_lost, 0), p_is_pinned,
    concat_ws(': ', case when p_is_pinned then 'pinned' else 'released' end || ' by an operator',
      left(nullif(btrim(p_reason), ''), 200)), v_now, v_now
  )
  on conflict (provider, plan, country) do update
  set
    lost = coalesce(p_lost, h.lost), is_pinned = excluded.is_pinned, reason = excluded.reason,
    changed_at = excluded.changed_at, quiet_since = excluded.quiet_since
  returning lost into v_lost;
  delete from outbox_engine.plan_health
  where provider = p_provider and plan = p_plan and country = v_country and lost = 0 and not is_pinned;
  if v_country <> '' then
    perform outbox_engine.make_country_detours(p_provider, p_plan, v_country);
  end if;
  return jsonb_build_object('lost', v_lost);
end
$$;

-- What keeps a plan from being forgotten, as a sentence and what to do about it. Null where nothing does.
create function outbox_engine.why_remembered(
  p_provider text, p_plan text, p_now timestamptz, out why text, out hint text
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_name constant text := p_provider || ':' || p_plan;
  v_sent bigint;
begin
  if exists (
    select from outbox_engine.running_dispatchers d where d.provider = p_provider and d.plan = p_plan
  ) then
    why := format('a process sends for plan %s', v_name);
    hint := 'Stop it, or correct its settings, first. outbox status lists processes.';
  elsif exists (
    select from outbox_engine.claimed_dispatches d where d.provider = p_provider and d.plan = p_plan
    union all
    select from outbox_engine.dispatches d
    where d.provider = p_provider and d.plan = p_plan and d.lookup_at is not null
  ) then
    why := format('plan %s has unfinished requests', v_name);
    hint := 'A process with its settings finishes them. Without one they end after 13 days.';
  elsif exists (
    select from outbox_engine.held_messages h where h.provider = p_provider and h.plan = p_plan
  ) then
    why := format('messages are held for plan %s', v_name);
    hint := 'Cancel them with outbox cancel, or let a process of the plan try them.';
  elsif exists (
    select from outbox_engine.plan_pauses p
    where p.provider = p_provider and p.plan = p_plan and p.kind = 'restored'
  ) then
    why := format('plan %s is paused since a restore', v_name);
    hint := format('First run outbox resume --restored --provider %s --plan %s', p_provider, p_plan);
  elsif exists (
    select from public.outbox_route_plans m where m.provider = p_provider and m.plan = p_plan
  ) then
    why := format('a route names plan %s', v_name);
    hint := 'Set the route without it: outbox routes lists routes.';
  elsif exists (
    select from public.outbox_senders s where s.provider = p_provider and s.plan = p_plan
  ) then
    why := format('a sender has a name at plan %s', v_name);
    hint := 'Remove that name first: outbox senders lists senders.';
  else
    select outbox_engine.messages_of(p, outbox_engine.cap_day(p_now))
    into v_sent
    from outbox_engine.plans p
    where p.provider = p_provider and p.plan = p_plan;
    if v_sent > 0 and exists (select from outbox_engine.plans p where p.messages_per_day is not null) then
      why := format('plan %s sent messages today that count for the daily cap', v_name);
      hint := 'Forget it tomorrow (UTC).';
    end if;
  end if;
end
$$;

-- Called by `outbox plans forget`: removes what the engine keeps of a plan that nobody uses, such as one with
-- a typing error in its name: its limits, its pauses, its heartbeats and its health. Its requests, and what
-- ended pauses after a restore, stay as history. Returns how many pauses were removed.
create function public.outbox_forget_plan(p_provider text, p_plan text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_pauses bigint;
  v_kept record;
begin
  perform outbox_engine.audit_change('forget_plan', outbox_engine.audit_plan(p_provider, p_plan));
  delete from outbox_engine.feeds where provider = p_provider and plan = p_plan;
  perform outbox_engine.hold_plan(p_provider, p_plan);
  if not exists (
    select from outbox_engine.matching_plans(null, null) p where p.provider = p_provider and p.plan = p_plan
    union all
    select from outbox_engine.heartbeats h where h.provider = p_provider and h.plan = p_plan
  ) then
    perform outbox_engine.refuse(
      format('plan %s:%s is not known', p_provider, p_plan), 'outbox plans and outbox status list plans.');
  end if;
  v_kept := outbox_engine.why_remembered(p_provider, p_plan, v_now);
  if v_kept.why is not null then
    perform outbox_engine.refuse(v_kept.why, v_kept.hint);
  end if;

  with removed as (
    delete from outbox_engine.plan_pauses where provider = p_provider and plan = p_plan returning 1
  )
  select count(*) into v_pauses from removed;
  delete from outbox_engine.refused_contents where provider = p_provider and plan = p_plan;
  delete from outbox_engine.route_sends where provider = p_provider and plan = p_plan;
  delete from outbox_engine.returned_messages where provider = p_provider and plan = p_plan;
  delete from outbox_engine.plan_requests where provider = p_provider and plan = p_plan;
  delete from outbox_engine.heartbeats
  where (job, provider, plan, worker) in (
    select h.job, h.provider, h.plan, h.worker
    from outbox_engine.heartbeats h
    where h.provider = p_provider and h.plan = p_plan
    for update skip locked);
  delete from outbox_engine.plans where provider = p_provider and plan = p_plan;
  delete from outbox_engine.failed_requests where provider = p_provider and plan = p_plan;
  perform pg_advisory_xact_lock(hashtext('outbox plan health'));
  delete from outbox_engine.plan_health where provider = p_provider and plan = p_plan;
  return jsonb_build_object('pauses', v_pauses);
end
$$;

-- Called by commands, with the server's key.
revoke all on function public.outbox_list_plans, public.outbox_pin_plan, public.outbox_forget_plan
from public, anon, authenticated, service_role;
grant execute on function public.outbox_list_plans, public.outbox_pin_plan, public.outbox_forget_plan
to service_role;
