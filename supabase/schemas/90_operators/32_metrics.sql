-- Metrics: what the database knows of the outbox, for `GET /metrics` of each process.

-- How many requests to the provider are open, and how many messages are in them.
create function outbox_engine.request_metrics(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'requests', jsonb_build_object(
      'in_flight', c.requests - c.silent, 'silent', c.silent, 'ambiguous', a.requests, 'watched', w.requests),
    'sending', c.messages,
    'ambiguous', a.messages
  )
  from (
    select count(*) as requests, count(*) filter (where silent_at <= p_now) as silent,
      coalesce(sum(recipients), 0) as messages
    from outbox_engine.claimed_dispatches
  ) c
  cross join (
    select count(*) as requests, coalesce(sum(recipients), 0) as messages
    from outbox_engine.dispatches
    where lookup_at is not null and state = 'ambiguous'
  ) a
  cross join (
    select count(*) as requests
    from outbox_engine.dispatches
    where lookup_at is not null and state = 'not_found'
  ) w
$$;

-- How many seconds the oldest due message has waited: urgent ones, and the others. 0 where none is due.
create function outbox_engine.oldest_due_metrics(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'urgent', coalesce(extract(epoch from p_now - min(due_at) filter (where priority < 100)), 0),
    'normal', coalesce(extract(epoch from p_now - min(due_at) filter (where priority >= 100)), 0)
  )
  from outbox_engine.first_rows()
  where due_at <= p_now
$$;

-- Each pause of each plan, and one line without a kind for each plan that is not paused.
create function outbox_engine.pause_metrics(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_agg(distinct jsonb_build_object('plan', coalesce(p.plan, x.plan), 'kind', x.kind)), '[]')
  from outbox_engine.plans p
  full join (
    select s.provider, s.plan, s.kind
    from outbox_engine.plan_pauses s
    where outbox_engine.stops_plan(s, p_now) and not s.replaced
  ) x on (x.provider, x.plan) = (p.provider, p.plan)
$$;

-- Called by each process that is scraped, at most every ten seconds. Takes milliseconds with millions of
-- messages: counts end at 5,000, and the planner's estimate takes their place.
create function public.outbox_metrics() returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_most constant integer := 5000;
  v_requests constant jsonb := outbox_engine.request_metrics(v_now);
  v_ready constant jsonb := outbox_engine.count_or_estimate(
    'select from public.outbox where queue = ''r''', v_most);
  -- As `backlog_json` counts them.
  v_waiting constant jsonb := outbox_engine.count_or_estimate(
    'select from public.outbox where queue = ''w''', v_most);
  v_woken constant bigint := least(
    (outbox_engine.count_woken(v_now, v_most) ->> 'count')::bigint, (v_waiting ->> 'count')::bigint);
begin
  return jsonb_build_object(
    'queue', jsonb_build_object(
      'due', (v_ready ->> 'count')::bigint + v_woken,
      'scheduled', (v_waiting ->> 'count')::bigint - v_woken,
      'sending', v_requests -> 'sending',
      'ambiguous', v_requests -> 'ambiguous'),
    'oldest_due_seconds', outbox_engine.oldest_due_metrics(v_now),
    'pauses', outbox_engine.pause_metrics(v_now),
    'requests', v_requests -> 'requests',
    'duplicate_sends', (
      select count(*) from outbox_engine.duplicate_sends where confirmed_at is not null
    ),
    'reports_missing_batches', (
      select count(*)
      from (
        select from outbox_engine.dispatches
        where reconcile_at is not null and reconciliations > 0
        limit v_most
      ) x
    ),
    'alarms_pending', (select count(*) from (select from outbox_engine.unlogged_alarms limit v_most) x),
    'ticks', (
      select coalesce(jsonb_agg(to_jsonb(t)), '[]')
      from (
        select x.job, h.plan, extract(epoch from max(h.at)) as at
        from outbox_engine.heartbeats h
        -- The dispatch job runs while it may not claim, too.
        cross join lateral (select case h.job when 'waiting' then 'dispatch' else h.job end as job) x
        group by x.job, h.plan
      ) t
    )
  );
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_metrics from public, anon, authenticated, service_role;
grant execute on function public.outbox_metrics to service_role;
