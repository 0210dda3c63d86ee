-- What became of the requests to endpoints: arrived, to be repeated, given up; and endpoints that fail.

-- How long a delivery waits that failed so often, before jitter. Null: it is given up.
create function outbox_engine.event_retry_wait(p_attempts integer) returns interval
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select (array[
    '5 seconds', '5 minutes', '30 minutes', '2 hours', '5 hours', '10 hours', '14 hours', '20 hours',
    '24 hours'
  ]::interval[])[p_attempts]
$$;

-- A result as the events job reports it. `lease` is null where it does not say.
create type outbox_engine.event_result as (
  id bigint,
  lease bigint,
  status integer,
  error text,
  retry_after_seconds double precision
);

-- Whether a request with this HTTP status arrived. Null where there was no answer.
create function outbox_engine.has_arrived(p_status integer) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce(p_status between 200 and 299, false);
end
$$;

-- How long the server asks to be left alone, a day at most. Null where it does not.
create function outbox_engine.asked_wait(p_status integer, p_seconds double precision) returns interval
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return case
    when p_status in (429, 502, 503, 504) and p_seconds > 0
    then make_interval(secs => least(p_seconds, 86400))
  end;
end
$$;

-- Writes these results into their deliveries, which the caller has locked, so their ctids stay valid. One
-- that arrived counts whoever holds the lease by now. A failure under a lease that ended does not. Returns
-- which were written.
create function outbox_engine.write_event_results(p_results outbox_engine.event_result[], p_now timestamptz)
returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_written bigint[];
begin
  with results as materialized (
    select r.*, d.row_at, x.arrived, w.wait,
      not x.arrived and r.status is distinct from 410 and w.wait is not null as goes_on
    from unnest(p_results) r
    cross join lateral (
      select o.ctid as row_at, o.status, o.attempts
      from public.outbox_event_deliveries o where o.id = r.id limit 1
    ) d
    cross join lateral outbox_engine.has_arrived(r.status) x (arrived)
    cross join lateral outbox_engine.event_retry_wait(d.attempts + 1) w (wait)
    where d.status = 'pending'
      and (x.arrived or exists (
        select from outbox_engine.event_leases s
        where s.delivery_id = r.id and s.token = coalesce(r.lease, s.token)))
  ),
  written as (
    update public.outbox_event_deliveries d
    set
      attempts = d.attempts + 1,
      last_status = r.status,
      last_error = case when not r.arrived then left(coalesce(r.error, 'HTTP ' || r.status), 200) end,
      status = case
        when r.arrived then 'delivered'
        when r.status = 410 then 'gone'
        when r.goes_on then d.status
        else 'failed'
      end,
      delivered_at = case when r.arrived then p_now end,
      failed_at = case when not r.arrived and not r.goes_on then p_now end,
      next_at = case when r.goes_on
        then p_now + greatest(
          r.wait * (0.9 + random() * 0.2),
          outbox_engine.asked_wait(r.status, r.retry_after_seconds))
      end,
      payload = case when r.goes_on then d.payload end
    from results r
    where d.ctid = r.row_at
    returning d.id
  )
  select array_agg(id) into v_written from written;
  return coalesce(v_written, '{}');
end
$$;

-- Disables an endpoint that answered that it is gone, or that failed for three days.
create function outbox_engine.disable_event_endpoint(
  p_endpoint_id bigint, p_reason text, p_error text, p_now timestamptz
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
begin
  update public.outbox_event_endpoints
  set disabled_at = p_now, disabled_reason = p_reason
  where id = p_endpoint_id and disabled_at is null
  returning name into v_name;
  if v_name is null then
    return null;
  end if;
  update outbox_engine.event_lanes set history_until = outbox_engine.last_history_id()
  where endpoint_id = p_endpoint_id;
  perform outbox_engine.alarm('event_endpoint.disabled', jsonb_build_object(
    'endpoint', v_name, 'reason', p_reason, 'error', p_error));
  return jsonb_build_object('endpoint', v_name, 'reason', p_reason);
end
$$;

-- What these results say about their endpoints: one success makes an endpoint well. While it fails, its next
-- probe is 5 seconds away at first and 5 minutes at most, or as long as it asks for. Returns those that it
-- disabled.
create function outbox_engine.judge_event_endpoints(p_results outbox_engine.event_result[], p_now timestamptz)
returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_disabled jsonb := '[]';
  v_one jsonb;
  e record;
begin
  for e in
    select d.endpoint_id, bool_or(outbox_engine.has_arrived(r.status)) as arrived,
      bool_or(r.status = 410) as is_gone,
      count(*) filter (where not outbox_engine.has_arrived(r.status))::integer as failures,
      max(outbox_engine.asked_wait(r.status, r.retry_after_seconds)) as asked,
      max(left(coalesce(r.error, 'HTTP ' || r.status), 200)) as error
    from unnest(p_results) r
    cross join lateral (
      select x.endpoint_id from public.outbox_event_deliveries x where x.id = r.id limit 1
    ) d
    group by d.endpoint_id
    order by d.endpoint_id
  loop
    if e.arrived then
      update outbox_engine.event_lanes set failures = 0, probe_at = null
      where endpoint_id = e.endpoint_id and failures > 0;
      update public.outbox_event_endpoints set last_delivered_at = p_now, failing_since = null
      where id = e.endpoint_id
        and (failing_since is not null or last_delivered_at is null
          or last_delivered_at not between p_now - interval '5 seconds' and p_now);
    else
      update outbox_engine.event_lanes l
      set failures = l.failures + e.failures, probe_at = p_now + greatest(
        e.asked,
        least(interval '5 seconds' * 2 ^ least(l.failures / 3, 10), interval '5 minutes'))
      where l.endpoint_id = e.endpoint_id;
      update public.outbox_event_endpoints set failing_since = p_now
      where id = e.endpoint_id and failing_since is null;
    end if;
    v_one := null;
    if e.is_gone then
      v_one := outbox_engine.disable_event_endpoint(e.endpoint_id, 'gone', e.error, p_now);
    elsif not e.arrived and exists (
      select from public.outbox_event_endpoints x
      where x.id = e.endpoint_id and x.failing_since <= p_now - interval '3 days'
    ) then
      v_one := outbox_engine.disable_event_endpoint(e.endpoint_id, 'failing', e.error, p_now);
    end if;
    if v_one is not null then
      v_disabled := v_disabled || v_one;
    end if;
  end loop;
  return v_disabled;
end
$$;

-- Called by the events job. `p_results` is an array of {"id", "lease", "status", "error",
-- "retry_after_seconds"}: the HTTP status, or null and the error where no answer came. Returns the endpoints
-- that are disabled since.
create function public.outbox_record_event_results(p_results jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
set jit = off
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_results outbox_engine.event_result[];
  v_written bigint[];
begin
  v_results := array(
    select distinct on (r.id) r
    from jsonb_populate_recordset(
      null::outbox_engine.event_result, outbox_engine.given_json(p_results)) r
    order by r.id, outbox_engine.has_arrived(r.status) desc);
  -- The leases first, as whoever ends them does, and each by id.
  perform from outbox_engine.event_leases s
  where s.delivery_id = any (array(select r.id from unnest(v_results) r))
  order by s.delivery_id
  for update;
  perform from public.outbox_event_deliveries d
  where d.id = any (array(select r.id from unnest(v_results) r))
  order by d.id
  for update;
  v_written := outbox_engine.write_event_results(v_results, v_now);
  v_results := array(select r from unnest(v_results) r where r.id = any (v_written));
  delete from outbox_engine.event_leases where delivery_id = any (v_written);
  return jsonb_build_object('disabled', outbox_engine.judge_event_endpoints(v_results, v_now));
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_record_event_results from public, anon, authenticated, service_role;
grant execute on function public.outbox_record_event_results to service_role;
