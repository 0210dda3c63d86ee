-- The claim of deliveries, by the events job of any process.

-- How many requests failed in a row before an endpoint gets a few at a time only.
create function outbox_engine.failures_before_probes() returns integer
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 3
$$;

-- The enabled endpoints with their shares of a claim, each claim with another one first. One that fails gets
-- a single delivery at a time, and none before its next probe. A probe of more than a day ahead is of a clock
-- that was set back since. A disabled one that has yet to get events of before stands last: what is found
-- for it waits.
create function outbox_engine.lanes_of(p_claim outbox_engine.event_claim)
returns outbox_engine.event_lane[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(row(
    x.id, x.include_recipient, x.event_types, x.history_after, x.history_until, x.is_failing, case
      when x.is_disabled then 0
      when not x.is_failing then ceil(p_claim.most / x.endpoints::numeric)::integer
      when coalesce(not x.probe_at between p_claim.at and p_claim.at + interval '25 hours', true)
        and not exists (select from outbox_engine.event_leases s where s.endpoint_id = x.id) then 1
      else 0
    end, 0, '{}'
  )::outbox_engine.event_lane order by x.is_disabled, (x.place + p_claim.token) % greatest(x.endpoints, 1)
  ), '{}')
  from (
    select e.*, l.history_after, l.history_until, l.probe_at, d.is_disabled,
      d.is_disabled or l.failures >= outbox_engine.failures_before_probes() as is_failing,
      count(*) filter (where not d.is_disabled) over () as endpoints,
      row_number() over (order by e.id) as place
    from public.outbox_event_endpoints e
    join outbox_engine.event_lanes l on l.endpoint_id = e.id
    cross join lateral (select e.disabled_at is not null) d (is_disabled)
    where not d.is_disabled
      or l.history_until > (select f.followed_to from outbox_engine.event_follow f)
  ) x
$$;

-- Deliveries whose process did not say what became of them are due again. A lease has ten minutes at most, so
-- one with more is of a clock that was set back since. What another transaction holds keeps for the next
-- call.
create function outbox_engine.end_event_leases(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_ids bigint[];
begin
  v_ids := array(
    select s.delivery_id
    from outbox_engine.event_leases s
    where s.until <= p_now or s.until > p_now + interval '11 minutes'
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
-- the claim has left for those that do not fail. Returns the endpoints with what they got.
create function outbox_engine.lease_due_events(
  p_lanes outbox_engine.event_lane[], p_all boolean, p_claim outbox_engine.event_claim
) returns outbox_engine.event_lane[]
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_lanes outbox_engine.event_lane[] := '{}';
  l outbox_engine.event_lane;
  v_left integer := p_claim.most - outbox_engine.taken_events(p_lanes);
  v_ids bigint[];
begin
  foreach l in array p_lanes loop
    if v_left > 0 and not (p_all and l.is_failing) then
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
        l.taken := l.taken || v_ids;
        v_left := v_left - cardinality(v_ids);
      end if;
    end if;
    v_lanes := v_lanes || l;
  end loop;
  return v_lanes;
end
$$;

-- What a claim leased, as its process gets it. Each row is looked up by its id, because plans made while the
-- tables were small would read all of them.
create function outbox_engine.leased_events(
  p_lanes outbox_engine.event_lane[], p_claim outbox_engine.event_claim
) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'id', d.id, 'lease', p_claim.token, 'endpoint', e.name, 'endpoint_id', e.id, 'url', e.url,
      'secrets', e.secrets, 'event_id', d.event_id, 'type', d.type, 'payload', d.payload,
      'attempt', d.attempts + 1, 'created_at', d.created_at
    ) order by d.id), '[]')
    from unnest(p_lanes) l
    cross join lateral (
      select x.*, (
        select jsonb_agg(k.secret order by k.id desc)
        from outbox_engine.event_secrets k
        where k.endpoint_id = x.id and (k.ends_at is null or k.ends_at > p_claim.at)
      ) as secrets
      from public.outbox_event_endpoints x where x.id = l.endpoint_id limit 1
    ) e
    cross join lateral unnest(l.taken) i (id)
    cross join lateral (select x.* from public.outbox_event_deliveries x where x.id = i.id limit 1) d);
end
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

-- Makes deliveries of what the history announces, for a claim that leased what was due. Where no endpoint may
-- get more because all of them fail, what the follower finds waits. `goes_on` says that there may be more to
-- read, and `lanes` are the endpoints with what they got.
create function outbox_engine.follow(
  p_lanes outbox_engine.event_lane[], p_rows integer, p_claim outbox_engine.event_claim,
  out goes_on boolean, out lanes outbox_engine.event_lane[]
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_most integer;
  v_all_fail boolean;
begin
  lanes := outbox_engine.lanes_left(p_lanes, p_claim.most);
  select max(l.free), bool_and(l.is_failing) into v_most, v_all_fail from unnest(lanes) l;
  if v_most = 0 and not v_all_fail then
    goes_on := true;
  else
    select f.goes_on, f.lanes into goes_on, lanes
    from outbox_engine.follow_history(
      lanes, case when v_all_fail then 200 else v_most end, p_rows,
      outbox_engine.move_horizon(p_claim.at), p_claim) f;
  end if;
end
$$;

-- Called by the events job. Follows the history, and leases at most `p_most` deliveries to the caller for
-- `p_lease_seconds`, 600 at most: of each endpoint the oldest that are due, and of all endpoints alike. A
-- process that is busy with sending (`p_busy`) reads less of the history. `waiting` counts what is queued
-- besides, up to 10,001. `more` says that another call has work to do at once, and `waits_since` since when
-- an open transaction keeps events back. Without an enabled endpoint nothing happens,
-- but that the history is followed up to where the last one was disabled.
create function public.outbox_claim_events(
  p_worker text, p_most integer, p_lease_seconds double precision, p_busy boolean
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
set jit = off
as $$
declare
  v_claim outbox_engine.event_claim;
  v_lanes outbox_engine.event_lane[];
  v_goes_on boolean := false;
begin
  if not outbox_engine.has_event_endpoints() and not outbox_engine.has_unfinished_endpoints() then
    return jsonb_build_object(
      'deliveries', '[]'::jsonb, 'endpoints', 0, 'waiting', 0, 'more', false, 'waits_since', null);
  end if;
  v_claim.token := nextval('outbox_engine.event_claims');
  v_claim.worker := p_worker;
  v_claim.most := p_most;
  v_claim.at := outbox_engine.now();
  v_claim.until := v_claim.at + make_interval(secs => least(p_lease_seconds, 600));

  perform outbox_engine.end_event_leases(v_claim.at);
  v_lanes := outbox_engine.lanes_of(v_claim);
  if outbox_engine.try_lock_events() then
    perform outbox_engine.follow_notices(v_lanes, v_claim.at);
    v_lanes := outbox_engine.lease_due_events(v_lanes, false, v_claim);
    select f.goes_on, f.lanes into v_goes_on, v_lanes
    from outbox_engine.follow(v_lanes, case when p_busy then 500 else 2000 end, v_claim) f;
  end if;
  v_lanes := outbox_engine.lease_due_events(v_lanes, true, v_claim);
  return jsonb_build_object(
    'deliveries', outbox_engine.leased_events(v_lanes, v_claim),
    'endpoints', cardinality(v_lanes),
    'waiting', outbox_engine.waiting_events(array(select l.endpoint_id from unnest(v_lanes) l)),
    'more', v_goes_on or outbox_engine.taken_events(v_lanes) >= p_most,
    'waits_since', outbox_engine.events_wait_since(v_claim.at));
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_claim_events from public, anon, authenticated, service_role;
grant execute on function public.outbox_claim_events to service_role;
