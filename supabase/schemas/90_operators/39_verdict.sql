-- The verdict: whether messages go out now and, if not, why, as codes and values. Python finds the words.

-- Whether the process of a heartbeat of the dispatch job sends. With `p_every`, `outbox run --once` starts
-- that often, so a run that has ended counts until the next one is late.
create function outbox_engine.is_sending(
  p_heartbeat outbox_engine.heartbeats, p_every interval, p_now timestamptz
) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_heartbeat.ended_at is null and p_heartbeat.at > p_now - interval '90 seconds'
    or coalesce(p_heartbeat.at > p_now - p_every - interval '1 minute', false)
$$;

-- The pause that stops a plan, if any: the one that lasts longest. A pause after a restore stops all plans.
-- A throttled plan pauses for a second again and again, and a provider that cannot be reached is tried
-- between two pauses: such pauses count from ten seconds on, until a minute after their end, unless a request
-- is accepted meanwhile. The caller tells a pause that is over from one that lasts.
create function outbox_engine.stopping_pause(p_provider text, p_plan text, p_now timestamptz)
returns setof outbox_engine.plan_pauses
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from outbox_engine.plan_pauses p
  where (p.provider = p_provider and p.plan = p_plan or p.kind = 'restored')
    and outbox_engine.is_current(p, p_now)
    and case
      when p.kind in ('throttled', 'unreachable') then
        p.until > p_now - interval '1 minute'
        and greatest(p.until, p_now) - p.since >= interval '10 seconds'
      else outbox_engine.stops_plan(p, p_now)
    end
  order by p.until > p_now desc, p.until desc
  limit 1
$$;

-- The plans that are expected to send, and what keeps each from it (`code`, null for nothing): its pause
-- (`paused`), a pause that is over while no request was accepted since (`trying`), a process that does not
-- claim because it cannot read the provider's list, or no process. `sign_at` is the last sign of any job of
-- the plan. Expected are plans with a process, plans of which a process fell silent within a day, and plans
-- of a route.
create function outbox_engine.plan_states(p_every interval, p_now timestamptz)
returns table (
  provider text, plan text, is_alive boolean, code text, heard_at timestamptz, sign_at timestamptz,
  pause outbox_engine.plan_pauses
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with dispatchers as (
    select distinct on (h.provider, h.plan) h.provider, h.plan, h.ended_at is not null as has_ended,
      coalesce(h.ended_at, h.at) as heard_at,
      outbox_engine.is_sending(h, p_every, p_now) as is_sending
    from outbox_engine.heartbeats h
    where h.job = 'dispatch'
    order by h.provider, h.plan, is_sending desc, coalesce(h.ended_at, h.at) desc
  ),
  -- Other jobs of a plan go on while it may not claim, and so do the turns of its dispatch job.
  others as (
    select h.provider, h.plan, max(h.at) as at
    from outbox_engine.heartbeats h
    where h.job in ('waiting', 'recover', 'reconcile', 'inbound')
    group by h.provider, h.plan
  ),
  named as (
    select distinct m.provider, m.plan
    from public.outbox_route_plans m
    left join public.outbox_routes r on r.id = m.route
    where r.retired_at is null
  ),
  known as (
    select x.provider, x.plan, coalesce(d.is_sending, false) as is_sending, d.heard_at,
      coalesce(d.has_ended, false) as has_ended,
      -- They may tick a moment after the last claim of their process.
      coalesce(o.at > greatest(p_now - interval '90 seconds',
        d.heard_at + make_interval(secs => case when d.has_ended then 2 else 30 end)), false) as is_up,
      greatest(d.heard_at, o.at) as sign_at, n.plan is not null as is_named
    from (
      select d.provider, d.plan from dispatchers d
      union select o.provider, o.plan from others o
      union select n.provider, n.plan from named n
      union select p.provider, p.plan from outbox_engine.plan_pauses p where p.kind = 'account'
    ) x
    left join dispatchers d using (provider, plan)
    left join others o using (provider, plan)
    left join named n using (provider, plan)
  )
  select k.provider, k.plan, k.is_sending or w.is_waiting,
    case
      when not (k.is_sending or w.is_waiting) then 'no_process'
      when p.until > p_now then 'paused'
      when p.plan is not null then 'trying'
      when not k.is_sending then 'not_claiming'
    end,
    k.heard_at, k.sign_at, p
  from known k
  left join lateral outbox_engine.stopping_pause(k.provider, k.plan, p_now) p on true
  -- A pause that began since the last claim is of a process that asked the provider before it claims.
  cross join lateral (
    select k.is_up or coalesce(p.kind = 'account' and p.until > p_now - interval '1 minute'
      and p.since > coalesce(k.heard_at, '-infinity'), false) as is_waiting
  ) w
  where k.is_sending or w.is_waiting or k.is_named
    or not k.has_ended and k.heard_at > p_now - interval '1 day'
  order by k.provider, k.plan
$$;

-- Why nothing is sent where no process sends, and since when: none has run, the last one said that it ended,
-- or it fell silent. A process that could not claim has heartbeats of its other jobs only.
create function outbox_engine.silence_json() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce((
    select jsonb_build_object(
      'code', case when h.ended_at is null then 'no_scheduler' else 'stopped' end,
      'since', coalesce(h.ended_at, h.at))
    from outbox_engine.heartbeats h
    where h.job <> 'webhook'
    order by coalesce(h.ended_at, h.at) desc, h.ended_at
    limit 1
  ), '{"code": "never_ran"}')
$$;

-- Since when messages are due that one of these plans may take, or that none of them may.
create function outbox_engine.due_since(p_able text[], p_is_theirs boolean, p_now timestamptz)
returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select min(f.due_at)
  from outbox_engine.first_rows() f
  where f.due_at <= p_now
    and p_is_theirs = exists (
      select from outbox_engine.route_members() m
      where m.id = f.route and outbox_engine.plan_name(m.provider, m.plan) = any (p_able))
$$;

-- Why plans that could send do not: the cap of the day, or, for two minutes and more, no reason that the
-- database knows. A plan at its limit is slow, and may be so on purpose.
create function outbox_engine.standstill_json(p_able text[], p_now timestamptz) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_day constant date := outbox_engine.cap_day(p_now);
  v_due_since constant timestamptz := outbox_engine.due_since(p_able, true, p_now);
begin
  if v_due_since is null then
    return null;
  elsif exists (
    select from outbox_engine.plans p
    where outbox_engine.plan_name(p.provider, p.plan) = any (p_able)
      and p.messages_per_day <= outbox_engine.messages_of_day(v_day)
  ) then
    return jsonb_build_object(
      'code', 'daily_cap', 'since', null, 'until', (v_day + 1)::timestamp at time zone 'UTC');
  elsif v_due_since <= p_now - interval '2 minutes'
    and not exists (
      select from outbox_engine.plan_requests r
      where r.kind = 'send' and r.second > p_now - interval '2 minutes')
    and not exists (
      select from outbox_engine.plans p
      where outbox_engine.plan_name(p.provider, p.plan) = any (p_able)
        and (outbox_engine.tokens_now(p, p_now) < 1 or outbox_engine.requests_left(p, p_now) = 0))
  then
    return jsonb_build_object('code', 'stalled', 'since', v_due_since);
  end if;
  return null;
end
$$;

-- Called by `outbox status`, and by whatever else asks whether messages go out. `p_project` is the host of
-- the caller's SUPABASE_URL, null to leave it out. With `p_every_seconds`, `outbox run --once` starts that
-- often. Returns jsonb with these keys:
--
-- - `verdict`: `sending`; `in_part`: some messages wait, or some plans do not send; `paused`; `not_sending`
--
-- - `works`: whether all that is due goes out
--
-- - `code`, `since`, `until`: what is wrong, since when, and until when where that is known. `never_ran`,
--   `stopped`, `no_scheduler`, `unbound`, `paused`, `trying`, `not_claiming`, `no_process`, `daily_cap`,
--   `stalled`, `held`, `stranded`
--
-- - `plans`: those that are expected to send, each with its `code`, its pause, and beside a pause the last
--   sign of a process, `sign_at`
--
-- - `held`: messages that are held because of the default sender or a setting
create function public.outbox_verdict(
  p_project text default null, p_every_seconds double precision default null
) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_every constant interval := make_interval(secs => p_every_seconds);
  v_hosts constant text[] := (select hosts from outbox_engine.installation);
  v_alive bigint;
  v_able text[];
  v_plans jsonb;
  v_bad jsonb;
  v_why jsonb;
  v_held jsonb;
  v_stranded_since timestamptz;
begin
  select count(*) filter (where s.is_alive),
    coalesce(array_agg(outbox_engine.plan_name(s.provider, s.plan)) filter (where s.code is null), '{}'),
    coalesce(jsonb_agg(
      jsonb_build_object('provider', s.provider, 'plan', s.plan, 'code', s.code,
        'since', case when s.code is not null then s.heard_at end)
      || case when s.code in ('paused', 'trying') then outbox_engine.pause_json(s.provider, s.plan,
        (s.pause).kind, (s.pause).reason, (s.pause).since, (s.pause).until, v_now)
        || jsonb_build_object('sign_at', s.sign_at) else '{}' end
      order by s.provider, s.plan), '[]')
  into v_alive, v_able, v_plans
  from outbox_engine.plan_states(v_every, v_now) s;
  v_bad := jsonb_path_query_first(
    v_plans, '$[*] ? (@.code == "paused" || @.code == "trying" || @.code == "not_claiming")');

  if v_alive = 0 then
    v_why := outbox_engine.silence_json();
  elsif v_hosts <> '{}' and p_project <> all (v_hosts) then
    v_why := '{"code": "unbound"}';
  elsif v_able = '{}' then
    v_why := v_bad;
  else
    v_why := outbox_engine.standstill_json(v_able, v_now);
  end if;
  if v_why is not null then
    return jsonb_build_object(
      'at', v_now, 'works', false,
      'verdict', case when v_why ->> 'code' = 'paused' then 'paused' else 'not_sending' end,
      'code', v_why ->> 'code', 'since', v_why ->> 'since', 'until', v_why ->> 'until', 'plans', v_plans);
  end if;

  v_held := jsonb_path_query_first(outbox_engine.held_json(),
    '$[*] ? (@.by_sender == true && @.sender == null && @.messages > 0)');
  v_stranded_since := outbox_engine.due_since(v_able, false, v_now - interval '2 minutes');
  v_bad := jsonb_path_query_first(v_plans, '$[*] ? (@.code != null)');
  return jsonb_build_object(
    'at', v_now, 'verdict', case when coalesce(v_held, v_bad) is null and v_stranded_since is null
      then 'sending' else 'in_part' end,
    'works', v_held is null and v_stranded_since is null,
    'code', coalesce(case when v_held is not null then 'held' end, v_bad ->> 'code',
      case when v_stranded_since is not null then 'stranded' end),
    'since', coalesce(v_held ->> 'since', v_bad ->> 'since', v_stranded_since::text),
    'until', case when v_held is null then v_bad ->> 'until' end,
    'plans', v_plans, 'held', v_held);
end
$$;

-- Called by commands, with the server's key.
revoke all on function public.outbox_verdict from public, anon, authenticated, service_role;
grant execute on function public.outbox_verdict to service_role;
