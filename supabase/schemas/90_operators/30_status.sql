-- Status: the backlog, open requests, pauses and processes, for `outbox status`.

-- How many rows the planner expects of a query of one of our own functions.
create function outbox_engine.planned_rows(p_query text) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_plan json;
begin
  execute 'explain (format json) ' || p_query into v_plan;
  return (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
end
$$;

-- How many rows a query of one of our own functions finds. It counts up to `p_bound`; beyond that it takes
-- the planner's estimate, and `exact` is false.
create function outbox_engine.count_or_estimate(p_query text, p_bound integer) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_count bigint;
begin
  execute format('select count(*) from (%s limit %s) found', p_query, p_bound + 1)
  into v_count;
  return jsonb_build_object(
    'count', case
      when v_count <= p_bound then v_count else greatest(v_count, outbox_engine.planned_rows(p_query))
    end,
    'exact', v_count <= p_bound);
end
$$;

-- Since when the oldest due message has been waiting. Takes one step in the index for each queue in use,
-- however many messages wait.
create function outbox_engine.oldest_due(p_now timestamptz) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select least((select min(h.due_at) from outbox_engine.first_rows() h where h.queue = 'r'), w.due_at)
  from (select outbox_engine.first_waiting('-infinity') as due_at) x
  left join lateral (select x.due_at where x.due_at <= p_now) w on true
$$;

-- Messages that wait until they expire, because their text or sender is refused or because `outbox adopt`
-- remembers them.
create view outbox_engine.waiting_held as
select o.id
from (
  select outbox_id from outbox_engine.held_messages
  union all
  select outbox_id from outbox_engine.adopted_messages where outbox_id is not null and released_at is null
) h
join public.outbox o on o.id = h.outbox_id
where o.queue = 'w';

-- When the next scheduled message is due that is not held. Null where it comes after 2000 held ones of its
-- queue.
create function outbox_engine.next_scheduled(p_now timestamptz) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from outbox_engine.waiting_held) then
    return outbox_engine.first_waiting(p_now);
  end if;
  return (
    select min(w.due_at)
    from (select distinct route, priority from outbox_engine.priorities) p
    cross join lateral (
      select o.id, o.due_at
      from public.outbox o
      where o.queue = 'w' and o.route = p.route and o.priority = p.priority and o.due_at > p_now
        and o.due_at < timestamptz '2200-01-01 00:00+00'
      order by o.due_at
      limit 2000
    ) w
    where not exists (select from outbox_engine.waiting_held h where h.id = w.id)
  );
end
$$;

-- How many scheduled messages are due that no claim has made ready. Counts up to `p_bound` in the index of
-- each queue. Beyond that it takes the planner's estimate of a plain condition: that of the count itself
-- guesses how many queues there are.
create function outbox_engine.count_woken(p_now timestamptz, p_bound integer) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_count bigint;
begin
  select count(*) into v_count
  from (
    select
    from (select distinct route, priority from outbox_engine.priorities) p
    cross join lateral (
      select
      from public.outbox o
      where o.queue = 'w' and o.route = p.route and o.priority = p.priority and o.due_at <= p_now
      offset 0
    ) w
    limit p_bound + 1
  ) found;
  if v_count > p_bound then
    v_count := greatest(v_count, outbox_engine.planned_rows(
      format('select from public.outbox where queue = ''w'' and due_at <= %L', p_now)));
  end if;
  return jsonb_build_object('count', v_count, 'exact', v_count <= p_bound);
end
$$;

-- The backlog: how many messages are due, scheduled or held, the oldest due one and the next scheduled one.
create function outbox_engine.backlog_json(p_now timestamptz) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_oldest timestamptz := outbox_engine.oldest_due(p_now);
  v_ready jsonb := outbox_engine.count_or_estimate('select from public.outbox where queue = ''r''', 20000);
  v_woken jsonb := outbox_engine.count_woken(p_now, 20000);
  -- Without a condition on the time: the planner takes that for independent of the queue, and halves.
  v_waiting jsonb := outbox_engine.count_or_estimate('select from public.outbox where queue = ''w''', 20000);
  v_held jsonb := outbox_engine.count_or_estimate('select from outbox_engine.waiting_held', 20000);
begin
  return jsonb_build_object(
    'due', (v_ready ->> 'count')::bigint + (v_woken ->> 'count')::bigint,
    'due_exact', (v_ready ->> 'exact')::boolean and (v_woken ->> 'exact')::boolean,
    'oldest_due_at', v_oldest,
    'oldest_due_seconds', greatest(0, extract(epoch from p_now - v_oldest)),
    'scheduled', jsonb_build_object(
      'count', greatest(0, (v_waiting ->> 'count')::bigint - (v_woken ->> 'count')::bigint
        - (v_held ->> 'count')::bigint),
      'exact', (v_waiting ->> 'exact')::boolean and (v_held ->> 'exact')::boolean),
    'next_due_at', outbox_engine.next_scheduled(p_now),
    'held', v_held
  );
end
$$;

-- Requests to the provider: open ones (`silent`: their worker no longer answers), ambiguous ones (`waiting`
-- at a provider that cannot prove absence, the last of them `waiting_until`), and ones that were not found
-- and are still watched; duplicate sends; missing and unmatched reports; callbacks that could not be used.
create function outbox_engine.requests_json(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'in_flight', (
      select jsonb_build_object(
        'requests', count(*),
        'messages', coalesce(sum(recipients), 0),
        'silent', count(*) filter (where silent_at <= p_now)
      )
      from outbox_engine.claimed_dispatches
    ),
    'ambiguous', (
      select jsonb_build_object(
        'requests', coalesce(sum(a.requests), 0),
        'messages', coalesce(sum(a.messages), 0),
        'oldest_at', min(a.oldest_at),
        'waiting', coalesce(sum(a.requests) filter (where not p.proves_absence), 0),
        'waiting_until', max(a.latest_at + p.gives_up_after) filter (where not p.proves_absence)
      )
      from (
        select provider, count(*) as requests, sum(recipients) as messages, min(claimed_at) as oldest_at,
          max(claimed_at) as latest_at
        from outbox_engine.dispatches
        where lookup_at is not null and state = 'ambiguous'
        group by provider
      ) a
      cross join lateral outbox_engine.provider_of(a.provider) p
    ),
    'watched', (
      select count(*)
      from outbox_engine.dispatches
      where lookup_at is not null and state = 'not_found'
    ),
    'duplicate_sends', (
      select jsonb_build_object(
        'confirmed', count(*) filter (where confirmed_at is not null),
        'suspected', count(*) filter (where confirmed_at is null),
        'latest_at', max(found_at)
      )
      from outbox_engine.duplicate_sends
    ),
    -- Only batches that were reconciled and lacked reports then. Before that the engine does not count
    -- reports.
    'batches_without_all_reports', (
      select count(*)
      from (
        select from outbox_engine.dispatches
        where reconcile_at is not null and reconciliations > 0
        limit 100000
      ) x
    ),
    -- Without those on messages that an adoption remembers: they have no row, so their reports match none.
    'unmatched_reports', (
      select count(*)
      from (
        select from outbox_engine.waiting_reports w
        where not exists (select from outbox_engine.adopted_messages a where a.batch_id = w.batch_id)
        limit 100000
      ) x
    ),
    'kept_callbacks', (
      select count(*) from (select from outbox_engine.kept_callbacks limit 100000) x
    )
  )
$$;

-- The contents that are held, the oldest first and at most twenty lines. Texts of one sender that are held
-- because of it make one line. `messages` counts up to 100,000; `example`
-- is the id of one.
create function outbox_engine.held_json() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with holds as (
    select r.provider, r.plan, r.sender, r.by_sender, count(*) as texts, min(r.held_since) as since,
      min(r.probe_at) as probe_at, max(r.error) as reason, sum(m.messages) as messages,
      min(m.example) as example
    from outbox_engine.refused_contents r
    cross join lateral (
      select count(*) as messages, min(x.outbox_id) as example
      from (
        select h.outbox_id
        from outbox_engine.held_messages h
        where (h.provider, h.plan, h.content) = (r.provider, r.plan, r.content)
        limit 100000
      ) x
    ) m
    where r.held_since is not null and not r.is_sender
    group by r.provider, r.plan, r.sender, r.by_sender, case when not r.by_sender then r.content end
    order by min(r.held_since), min(r.content::text)
    limit 20
  )
  select coalesce(jsonb_agg(to_jsonb(h) order by h.since), '[]') from holds h
$$;

-- The last heartbeat of each job within a day, the processes that claimed in the last ten minutes and have
-- not ended, and alarms. The dispatch job runs while it may not claim, too.
create function outbox_engine.processes_json(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'jobs', (
      select coalesce(jsonb_agg(to_jsonb(t) order by t.job, t.provider, t.plan), '[]')
      from (
        select x.job, h.provider, h.plan, max(h.at) as at,
          greatest(0, extract(epoch from p_now - max(h.at))) as seconds_ago
        from outbox_engine.heartbeats h
        cross join lateral (select case h.job when 'waiting' then 'dispatch' else h.job end as job) x
        group by x.job, h.provider, h.plan
      ) t
    ),
    'processes', (
      select coalesce(jsonb_agg(to_jsonb(w) order by w.at desc, w.worker, w.provider, w.plan), '[]')
      from (
        select worker, provider, plan, since, at, schema_version,
          greatest(0, extract(epoch from p_now - at)) as seconds_ago
        from outbox_engine.heartbeats
        where worker <> '' and at > p_now - interval '10 minutes' and ended_at is null
        order by at desc
        limit 100
      ) w
    ),
    'alarms_waiting', (
      select count(*)
      from (
        select from outbox_engine.unlogged_alarms limit 100000
      ) x
    ),
    'alarms', (
      select coalesce(jsonb_agg(to_jsonb(a) order by a.id desc), '[]')
      from (
        select id, at, kind, detail, acknowledged_at
        from outbox_engine.alarms
        order by id desc
        limit 10
      ) a
    )
  )
$$;

-- Called by `outbox status`. Reads partial indexes and small tables only, so it takes milliseconds with
-- millions of messages.
create function public.outbox_status() returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
begin
  return jsonb_build_object(
    'at', v_now,
    'backlog', outbox_engine.backlog_json(v_now),
    'requests', outbox_engine.requests_json(v_now),
    'pauses', outbox_engine.pauses_json(v_now),
    'held', outbox_engine.held_json(),
    'unclear_replies', (
      select jsonb_build_object('count', count(*), 'oldest_at', min(x.recorded_at))
      from (
        select i.recorded_at from public.outbox_inbound i where i.unclear order by i.recorded_at limit 100000
      ) x
    ),
    'event_endpoints', public.outbox_event_endpoints_status(),
    'events_wait_since', outbox_engine.events_wait_since(v_now),
    'hosts', (select hosts from outbox_engine.installation),
    'clocks', outbox_engine.clocks_json(v_now),
    'plans', (
      select coalesce(
        jsonb_agg(
          jsonb_build_object(
            'provider', p.provider,
            'plan', p.plan,
            'messages_per_second', p.messages_per_second,
            'requests_per_minute', p.requests_per_minute,
            'requests_left', outbox_engine.requests_left(p, v_now),
            'messages_per_day', p.messages_per_day,
            'messages_today', outbox_engine.messages_of(p, outbox_engine.cap_day(v_now))
          )
          order by p.provider, p.plan
        ),
        '[]'
      )
      from outbox_engine.plans p
    )
  ) || outbox_engine.processes_json(v_now);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_status
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_status
to service_role;
