-- Retention of deliveries and notices of events.

-- Deletes deliveries that arrived three days ago or were given up 30 days ago, and those of endpoints or
-- messages that are gone, in the next `p_most` by id. The walk ends at the first one that is young enough.
-- Returns whether it goes on.
create function outbox_engine.prune_deliveries(p_now timestamptz, p_most integer) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_walk constant text := outbox_engine.walk_from('event deliveries', p_now, '6 hours');
  v_from bigint;
  v_last bigint;
  v_goes_on boolean;
begin
  if v_walk is null then
    return false;
  end if;
  v_from := coalesce(nullif(v_walk, '')::bigint, 0);
  select max(id), count(*) = p_most and max(created_at) < p_now - interval '3 days'
  into v_last, v_goes_on
  from (
    select id, created_at from public.outbox_event_deliveries where id > v_from order by id limit p_most
  ) stretch;
  delete from public.outbox_event_deliveries
  where id = any (array(
    select d.id
    from public.outbox_event_deliveries d
    where d.id > v_from and d.id <= v_last
      and (d.delivered_at < p_now - interval '3 days'
        or d.failed_at < p_now - interval '30 days'
        or d.outbox_id is not null and not exists (select from public.outbox o where o.id = d.outbox_id))
    order by d.id
    for update skip locked));
  perform outbox_engine.walk_to('event deliveries', case when v_goes_on then v_last::text end);
  return v_goes_on;
end
$$;

-- Deletes up to `p_most` deliveries of endpoints that were removed. Returns whether there may be more.
create function outbox_engine.prune_removed_endpoints(p_most integer) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_ids bigint[];
begin
  v_ids := array(
    select d.id
    from outbox_engine.event_lanes l
    join public.outbox_event_deliveries d on d.endpoint_id + 0 = l.endpoint_id
    where not exists (select from public.outbox_event_endpoints e where e.id = l.endpoint_id)
    limit p_most
    for update of d skip locked);
  delete from public.outbox_event_deliveries where id = any (v_ids);
  delete from outbox_engine.event_lanes l
  where not exists (select from public.outbox_event_endpoints e where e.id = l.endpoint_id)
    and not exists (select from public.outbox_event_deliveries d where d.endpoint_id + 0 = l.endpoint_id);
  return cardinality(v_ids) = p_most;
end
$$;

-- Called by upkeep. Deletes what is old, and gives up what waited for 30 days, or for as long as metadata is
-- kept: until `p_give_up_before`. What should be sent in more than two days is of a clock that was set back
-- since, and is due now. Returns whether another call has work to do.
create function outbox_engine.prune_events(p_now timestamptz, p_give_up_before timestamptz, p_most integer)
returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_give_up_before constant timestamptz := greatest(p_give_up_before, p_now - interval '30 days');
begin
  update public.outbox_event_deliveries
  set status = 'failed', failed_at = p_now, next_at = null, payload = null, last_error = 'waited too long'
  where id = any (array(
    select d.id
    from outbox_engine.event_lanes l
    cross join lateral (
      select x.id
      from public.outbox_event_deliveries x
      where x.endpoint_id = l.endpoint_id and x.next_at < v_give_up_before + interval '2 days'
        and x.created_at < v_give_up_before
      order by x.next_at
      limit p_most
      for update skip locked
    ) d
  ));
  update public.outbox_event_deliveries
  set next_at = p_now
  where id = any (array(
    select d.id
    from outbox_engine.event_lanes l
    cross join lateral (
      select x.id
      from public.outbox_event_deliveries x
      where x.endpoint_id = l.endpoint_id and x.next_at > p_now + interval '2 days'
      order by x.next_at
      limit p_most
      for update skip locked
    ) d
  ));
  delete from outbox_engine.notices
  where id = any (array(
    select id from outbox_engine.notices
    where at < p_now - interval '30 days' order by at limit p_most for update skip locked));
  delete from outbox_engine.event_secrets where ends_at <= p_now;
  return outbox_engine.prune_deliveries(p_now, p_most) or outbox_engine.prune_removed_endpoints(p_most);
end
$$;
