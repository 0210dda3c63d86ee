-- Retention of deliveries and notices, for upkeep (90_operators).

-- Called by upkeep. Deletes deliveries that arrived three days ago or were given up 30 days ago, and those of
-- endpoints that are gone; gives up those that waited for 30 days, or for as long as metadata is kept. Looks
-- at the oldest `p_most` of each endpoint: they are about as old as they are first. Returns whether another
-- call has work to do.
create function outbox_engine.prune_events(p_now timestamptz, p_give_up_before timestamptz, p_most integer)
returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_give_up_before constant timestamptz := greatest(p_give_up_before, p_now - interval '30 days');
  v_gone bigint[];
  v_goes_on boolean := false;
  v_endpoint bigint := 0;
begin
  loop
    v_endpoint := (
      select d.endpoint_id from public.outbox_event_deliveries d
      where d.endpoint_id > v_endpoint order by d.endpoint_id limit 1);
    exit when v_endpoint is null;
    v_gone := array(
      select d.id
      from (
        select x.id, x.status, x.delivered_at, x.failed_at
        from public.outbox_event_deliveries x
        where x.endpoint_id = v_endpoint
        order by x.id
        limit p_most
      ) d
      where d.delivered_at < p_now - interval '3 days'
        or d.failed_at < p_now - interval '30 days'
        or not exists (select from public.outbox_event_endpoints e where e.id = v_endpoint)
      order by d.id
    );
    delete from public.outbox_event_deliveries
    where id = any (array(
      select id from public.outbox_event_deliveries
      where id = any (v_gone) order by id for update skip locked));
    v_goes_on := v_goes_on or cardinality(v_gone) = p_most;
    update public.outbox_event_deliveries
    set status = 'failed', failed_at = p_now, next_at = null, payload = null,
      last_error = coalesce(last_error, 'waited too long')
    where id = any (array(
      select d.id
      from public.outbox_event_deliveries d
      where d.endpoint_id = v_endpoint and d.next_at is not null and d.created_at < v_give_up_before
      order by d.next_at
      limit p_most
      for update skip locked));
  end loop;
  delete from outbox_engine.event_lanes l
  where not exists (select from public.outbox_event_endpoints e where e.id = l.endpoint_id);
  delete from outbox_engine.notices
  where id = any (array(
    select id from outbox_engine.notices
    where at < p_now - interval '30 days' order by at limit p_most for update skip locked));
  return v_goes_on;
end
$$;

-- Removes what is on its way about these numbers besides messages. Returns how many notices there were.
create function outbox_engine.erase_notices(p_recipients text[]) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
begin
  perform outbox_engine.lock_events_shared();
  v_ids := array(select id from outbox_engine.notices where recipient = any (p_recipients) order by id);
  delete from public.outbox_event_deliveries where notice_id = any (v_ids);
  delete from outbox_engine.notices where id = any (v_ids);
  return cardinality(v_ids);
end
$$;
