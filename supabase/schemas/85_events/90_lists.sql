-- What commands and the dashboard show of events. Each query stays on an index, and counts are bounded.

-- How many deliveries an endpoint gave up, counted up to 10,001.
create function outbox_engine.failed_events(p_endpoint_id bigint) returns integer
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select count(*)::integer
  from (
    select from public.outbox_event_deliveries d
    where d.endpoint_id = p_endpoint_id and d.failed_at is not null
    limit 10001
  ) f
$$;

-- Called by `outbox events list` and `outbox status`: all endpoints by name, with `waiting` and `failed`
-- counted up to 10,001, and since when the oldest delivery waits that is due.
create function public.outbox_event_endpoints_status() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select coalesce(jsonb_agg(outbox_engine.shown_event_endpoint(e) || jsonb_build_object(
    'waiting', outbox_engine.waiting_events(array[e.id]),
    'failed', outbox_engine.failed_events(e.id),
    'oldest_waiting_at', (
      select min(d.created_at)
      from (
        select x.created_at
        from public.outbox_event_deliveries x
        where x.endpoint_id = e.id and x.next_at is not null
        order by x.next_at
        limit 100
      ) d),
    'probe_at', case when l.failures >= outbox_engine.failures_before_probes() then l.probe_at end
  ) order by e.name), '[]')
  from public.outbox_event_endpoints e
  left join outbox_engine.event_lanes l on l.endpoint_id = e.id
$$;

-- Called by `outbox events deliveries`. One page of deliveries, the newest first, before the delivery
-- `p_before` (null for the first page); those of one endpoint, with one status, or of one event. Null takes
-- any.
create function public.outbox_list_event_deliveries(
  p_name text default null, p_status text default null, p_event_id text default null,
  p_before bigint default null, p_most integer default 100
) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_endpoint_id constant bigint := (select id from public.outbox_event_endpoints where name = p_name);
  v_ids bigint[];
begin
  if p_event_id is not null then
    v_ids := array(
      select d.id
      from public.outbox_event_deliveries d
      where d.notice_id = substring(p_event_id from '^evt_n([0-9]{1,18})$')::bigint
      union all
      select d.id
      from public.outbox_events e
      join public.outbox_event_deliveries d on d.outbox_id = e.outbox_id and d.history_id = e.id
      where e.id = substring(p_event_id from '^evt_([0-9]{1,18})$')::bigint);
  elsif p_status in ('failed', 'gone') then
    v_ids := array(
      select d.id
      from public.outbox_event_endpoints e
      cross join lateral (
        select x.id
        from public.outbox_event_deliveries x
        where x.endpoint_id = e.id and x.failed_at is not null and x.id < coalesce(p_before, x.id + 1)
          and x.status = p_status
        order by x.id desc
        limit p_most
      ) d
      where p_name is null or e.id = v_endpoint_id);
  elsif p_name is not null then
    v_ids := array(
      select d.id
      from public.outbox_event_deliveries d
      where d.endpoint_id + 0 = v_endpoint_id and d.id < coalesce(p_before, 9223372036854775807)
        and (p_status is null or d.status = p_status)
      order by d.id desc
      limit p_most);
  else
    v_ids := array(
      select d.id
      from public.outbox_event_deliveries d
      where d.id < coalesce(p_before, 9223372036854775807) and (p_status is null or d.status = p_status)
      order by d.id desc
      limit p_most);
  end if;
  return (
    select coalesce(jsonb_agg(to_jsonb(x) order by x.id desc), '[]')
    from (
      select d.id, e.name as endpoint, d.event_id, d.type, d.outbox_id, d.status, d.attempts, d.next_at,
        d.last_status, d.last_error, d.created_at, d.delivered_at
      from public.outbox_event_deliveries d
      join public.outbox_event_endpoints e on e.id = d.endpoint_id
      where d.id = any (v_ids) and (p_name is null or e.name = p_name)
        and (p_status is null or d.status = p_status) and d.id < coalesce(p_before, 9223372036854775807)
      order by d.id desc
      limit p_most
    ) x);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_event_endpoints_status,
  public.outbox_list_event_deliveries
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_event_endpoints_status,
  public.outbox_list_event_deliveries
to service_role;
