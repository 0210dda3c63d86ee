-- The claim of deliveries, by the events job of any process.

-- How many requests failed in a row before an endpoint gets a few at a time only.
create function outbox_engine.failures_before_probes() returns integer
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 3
$$;

-- The enabled endpoints, and how many deliveries each may get now: its share of `p_most`. One that fails gets
-- a single one at a time, and none before its next probe.
create function outbox_engine.event_lanes_now(p_most integer, p_now timestamptz)
returns outbox_engine.event_lane[]
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(row(
    e.id, e.include_recipient, e.event_types, l.history_after, case
      when l.failures < outbox_engine.failures_before_probes()
      then greatest(ceil(p_most / n.endpoints::numeric), 1)::integer
      when coalesce(l.probe_at <= p_now or l.probe_at > p_now + interval '25 hours', true)
        and not exists (select from outbox_engine.event_leases s where s.endpoint_id = e.id) then 1
      else 0
    end
  )::outbox_engine.event_lane order by coalesce(e.last_delivered_at, '-infinity'), e.id), '{}')
  from public.outbox_event_endpoints e
  join outbox_engine.event_lanes l on l.endpoint_id = e.id
  cross join (
    select count(*) as endpoints from public.outbox_event_endpoints where disabled_at is null
  ) n
  where e.disabled_at is null
$$;

-- Deliveries whose process did not say what became of them are due again. A lease that began more than a
-- minute from now is of a clock that was set back since.
create function outbox_engine.end_event_leases(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from outbox_engine.event_leases where until <= p_now or leased_at > p_now + interval '1 minute'
  ) then
    return;
  end if;
  with ended as (
    delete from outbox_engine.event_leases
    where delivery_id = any (array(
      select delivery_id
      from outbox_engine.event_leases
      where until <= p_now or leased_at > p_now + interval '1 minute'
      order by delivery_id
      limit 1000
      for update skip locked))
    returning delivery_id
  )
  update public.outbox_event_deliveries d
  set next_at = p_now
  from ended e
  where d.id = e.delivery_id and d.status = 'pending' and d.next_at is null;
end
$$;

-- Leases what is due to the caller: of each endpoint as much as it may get, of all at most `p_most`. Returns
-- the endpoints with what they may still get.
create function outbox_engine.lease_due_events(
  p_lanes outbox_engine.event_lane[], p_most integer, p_worker text, p_until timestamptz, p_now timestamptz
) returns outbox_engine.event_lane[]
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_lanes outbox_engine.event_lane[] := '{}';
  l outbox_engine.event_lane;
  v_left integer := p_most;
  v_ids bigint[];
begin
  foreach l in array p_lanes loop
    v_ids := array(
      select d.id
      from public.outbox_event_deliveries d
      where d.endpoint_id = l.endpoint_id and d.next_at <= p_now
      order by d.next_at
      limit least(l.free, v_left)
      for update skip locked
    );
    if v_ids <> '{}' then
      update public.outbox_event_deliveries set next_at = null where id = any (v_ids);
      insert into outbox_engine.event_leases (delivery_id, endpoint_id, worker, leased_at, until)
      select i, l.endpoint_id, p_worker, p_now, p_until from unnest(v_ids) i
      on conflict (delivery_id) do update
      set worker = excluded.worker, leased_at = excluded.leased_at, until = excluded.until;
      l.free := l.free - cardinality(v_ids);
      v_left := v_left - cardinality(v_ids);
    end if;
    v_lanes := v_lanes || l;
  end loop;
  return v_lanes;
end
$$;

-- What was leased to this worker in this call, as it gets it.
create function outbox_engine.leased_events(p_worker text, p_until timestamptz, p_now timestamptz)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', d.id, 'lease', s.token, 'endpoint', e.name, 'endpoint_id', e.id, 'url', e.url,
    'secrets', (
      select jsonb_agg(k.secret order by k.id desc)
      from outbox_engine.event_secrets k
      where k.endpoint_id = e.id and (k.ends_at is null or k.ends_at > p_now)),
    'event_id', d.event_id, 'type', d.type, 'payload', d.payload, 'attempt', d.attempts + 1,
    'created_at', d.created_at
  ) order by d.id), '[]')
  from outbox_engine.event_leases s
  join public.outbox_event_deliveries d on d.id = s.delivery_id
  join public.outbox_event_endpoints e on e.id = d.endpoint_id
  where s.until = p_until and s.worker = p_worker and s.leased_at = p_now
$$;

-- How many deliveries wait for these endpoints, counted up to 10,001.
create function outbox_engine.waiting_events(p_endpoint_ids bigint[]) returns integer
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select count(*)::integer
  from (
    select
    from public.outbox_event_deliveries d
    where d.endpoint_id = any (p_endpoint_ids) and d.next_at is not null
    limit 10001
  ) w
$$;

-- Called by the events job. Follows the history, then leases at most `p_most` deliveries to the caller for
-- `p_lease_seconds`: of each endpoint the oldest that are due, and of all endpoints alike. A process that is
-- busy with sending (`p_busy`) reads less of the history. `waiting` counts what is queued besides, up to
-- 10,001. `more` says that another call has work to do at once, and `waits_since` since when an open
-- transaction keeps events back. Without an enabled endpoint nothing happens.
create function public.outbox_claim_events(
  p_worker text, p_most integer, p_lease_seconds double precision, p_busy boolean
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_until constant timestamptz := v_now + make_interval(secs => p_lease_seconds);
  v_lanes outbox_engine.event_lane[];
  v_open outbox_engine.event_lane[];
  v_goes_on boolean := false;
  v_free integer;
  v_events jsonb;
begin
  if not outbox_engine.has_event_endpoints() then
    return jsonb_build_object(
      'deliveries', '[]'::jsonb, 'endpoints', 0, 'waiting', 0, 'more', false, 'waits_since', null);
  end if;
  perform outbox_engine.end_event_leases(v_now);
  v_lanes := outbox_engine.event_lanes_now(p_most, v_now);
  if outbox_engine.try_lock_events() then
    perform outbox_engine.follow_notices(v_lanes, v_now);
    v_open := outbox_engine.lease_due_events(v_lanes, p_most, p_worker, v_until, v_now);
    select sum(l.free) into v_free from unnest(v_open) l;
    if v_free > 0 or not exists (select from unnest(v_lanes) l where l.free > 0) then
      v_goes_on := outbox_engine.follow_history(
        v_open, least(greatest(v_free / cardinality(v_open), 1), 200),
        case when p_busy then 500 else 2000 end,
        outbox_engine.move_horizon(v_now), p_worker, v_until, v_now);
    else
      v_goes_on := true;
    end if;
  else
    v_open := outbox_engine.lease_due_events(v_lanes, p_most, p_worker, v_until, v_now);
  end if;
  v_events := outbox_engine.leased_events(p_worker, v_until, v_now);
  return jsonb_build_object(
    'deliveries', v_events,
    'endpoints', cardinality(v_lanes),
    'waiting', outbox_engine.waiting_events(array(select l.endpoint_id from unnest(v_lanes) l)),
    'more', v_goes_on or jsonb_array_length(v_events) >= p_most,
    'waits_since', outbox_engine.events_wait_since(v_now));
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_claim_events from public, anon, authenticated, service_role;
grant execute on function public.outbox_claim_events to service_role;
