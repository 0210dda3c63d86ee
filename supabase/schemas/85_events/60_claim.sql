-- The claim of deliveries, by the events job of any process.

-- How many requests failed in a row before an endpoint gets a few at a time only.
create function outbox_engine.failures_before_probes() returns integer
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 3
$$;

-- The enabled endpoints with their shares of a claim, each claim with another one first. One that fails gets
-- a single delivery at a time, and none before its next probe. A probe of more than a day ahead is of a clock
-- that was set back since.
create function outbox_engine.lanes_of(p_claim outbox_engine.event_claim)
returns outbox_engine.event_lane[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(row(
    x.id, x.include_recipient, x.event_types, x.history_after, x.is_failing, case
      when not x.is_failing then ceil(p_claim.most / x.endpoints::numeric)::integer
      when coalesce(not x.probe_at between p_claim.at and p_claim.at + interval '25 hours', true)
        and not exists (select from outbox_engine.event_leases s where s.endpoint_id = x.id) then 1
      else 0
    end, 0
  )::outbox_engine.event_lane order by (x.place + p_claim.token) % x.endpoints), '{}')
  from (
    select e.*, l.history_after, l.probe_at,
      l.failures >= outbox_engine.failures_before_probes() as is_failing,
      count(*) over () as endpoints, row_number() over (order by e.id) as place
    from public.outbox_event_endpoints e
    join outbox_engine.event_lanes l on l.endpoint_id = e.id
    where e.disabled_at is null
  ) x
$$;

-- Deliveries whose process did not say what became of them are due again. A lease that began more than a
-- minute from now is of a clock that was set back since. What another transaction holds keeps for the next
-- call.
create function outbox_engine.end_event_leases(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
begin
  v_ids := array(
    select s.delivery_id
    from outbox_engine.event_leases s
    where s.until <= p_now or s.leased_at > p_now + interval '1 minute'
    limit 1000
    for update skip locked);
  if v_ids = '{}' then
    return;
  end if;
  -- The lease of a delivery that is gone ends too.
  v_ids := array(
    select i
    from unnest(v_ids) i
    where not exists (select from public.outbox_event_deliveries d where d.id = i)
    union all
    select l.id
    from (
      select d.id from public.outbox_event_deliveries d where d.id = any (v_ids) for update skip locked
    ) l);
  delete from outbox_engine.event_leases where delivery_id = any (v_ids);
  update public.outbox_event_deliveries
  set next_at = p_now
  where id = any (v_ids) and status = 'pending' and next_at is null;
end
$$;

-- Leases what is due to the claim, of each endpoint the oldest: at most its share, or with `p_all` as much as
-- the claim has left for those that do not fail.
create function outbox_engine.lease_due_events(
  p_lanes outbox_engine.event_lane[], p_all boolean, p_claim outbox_engine.event_claim
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  l outbox_engine.event_lane;
  v_left integer := p_claim.most
    - (select count(*) from outbox_engine.event_leases where token = p_claim.token);
  v_ids bigint[];
begin
  foreach l in array p_lanes loop
    continue when p_all and l.is_failing or v_left <= 0;
    v_ids := array(
      select d.id
      from public.outbox_event_deliveries d
      where d.endpoint_id = l.endpoint_id and d.next_at <= p_claim.at
      order by d.next_at
      limit case when p_all then v_left else least(l.share, v_left) end
      for update skip locked
    );
    if v_ids <> '{}' then
      update public.outbox_event_deliveries set next_at = null where id = any (v_ids);
      insert into outbox_engine.event_leases (delivery_id, token, endpoint_id, worker, leased_at, until)
      select i, p_claim.token, l.endpoint_id, p_claim.worker, p_claim.at, p_claim.until
      from unnest(v_ids) i;
      v_left := v_left - cardinality(v_ids);
    end if;
  end loop;
end
$$;

-- What a claim leased, as its process gets it.
create function outbox_engine.leased_events(p_claim outbox_engine.event_claim) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', d.id, 'lease', s.token, 'endpoint', e.name, 'endpoint_id', e.id, 'url', e.url,
    'secrets', (
      select jsonb_agg(k.secret order by k.id desc)
      from outbox_engine.event_secrets k
      where k.endpoint_id = e.id and (k.ends_at is null or k.ends_at > p_claim.at)),
    'event_id', d.event_id, 'type', d.type, 'payload', d.payload, 'attempt', d.attempts + 1,
    'created_at', d.created_at
  ) order by d.id), '[]')
  from outbox_engine.event_leases s
  join public.outbox_event_deliveries d on d.id = s.delivery_id
  join public.outbox_event_endpoints e on e.id = d.endpoint_id
  where s.token = p_claim.token
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

-- Makes deliveries of what the history and the notices announce, for a claim that leased what was due. Where
-- no endpoint may get more, what the follower finds waits; but not where one has as much as it can get.
-- Returns whether there may be more to read.
create function outbox_engine.follow(
  p_lanes outbox_engine.event_lane[], p_rows integer, p_claim outbox_engine.event_claim
) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_most constant integer := (select max(l.free) from unnest(p_lanes) l);
  v_has_share constant boolean := exists (select from unnest(p_lanes) l where l.share > 0);
begin
  if v_most = 0 and v_has_share then
    return true;
  end if;
  return outbox_engine.follow_history(
    p_lanes, case when v_has_share then v_most else 200 end, p_rows,
    outbox_engine.move_horizon(p_claim.at), p_claim);
end
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
  v_claim outbox_engine.event_claim;
  v_lanes outbox_engine.event_lane[];
  v_goes_on boolean := false;
  v_events jsonb;
begin
  if not outbox_engine.has_event_endpoints() then
    return jsonb_build_object(
      'deliveries', '[]'::jsonb, 'endpoints', 0, 'waiting', 0, 'more', false, 'waits_since', null);
  end if;
  v_claim.token := nextval('outbox_engine.event_claims');
  v_claim.worker := p_worker;
  v_claim.most := p_most;
  v_claim.at := outbox_engine.now();
  v_claim.until := v_claim.at + make_interval(secs => p_lease_seconds);

  perform outbox_engine.end_event_leases(v_claim.at);
  v_lanes := outbox_engine.lanes_of(v_claim);
  if outbox_engine.try_lock_events() then
    perform outbox_engine.follow_notices(v_lanes, v_claim.at);
    perform outbox_engine.lease_due_events(v_lanes, false, v_claim);
    v_goes_on := outbox_engine.follow(
      outbox_engine.lanes_left(v_lanes, v_claim), case when p_busy then 500 else 2000 end, v_claim);
  else
    perform outbox_engine.lease_due_events(v_lanes, false, v_claim);
  end if;
  perform outbox_engine.lease_due_events(v_lanes, true, v_claim);
  v_events := outbox_engine.leased_events(v_claim);
  return jsonb_build_object(
    'deliveries', v_events,
    'endpoints', cardinality(v_lanes),
    'waiting', outbox_engine.waiting_events(array(select l.endpoint_id from unnest(v_lanes) l)),
    'more', v_goes_on or jsonb_array_length(v_events) >= p_most,
    'waits_since', outbox_engine.events_wait_since(v_claim.at));
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_claim_events from public, anon, authenticated, service_role;
grant execute on function public.outbox_claim_events to service_role;
