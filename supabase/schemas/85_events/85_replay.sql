-- Sending events again, also those whose deliveries are gone: the history has them.

-- The first row of the history, by id, that was recorded at `p_at` or later, but for rows of transactions
-- that lasted longer than five minutes. Found by halving, because no index has the time.
create function outbox_engine.history_from(p_at timestamptz) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_low bigint := 0;
  v_high bigint := (select coalesce(max(id), 0) + 1 from public.outbox_events);
  v_middle bigint;
  v_at timestamptz;
begin
  while v_low < v_high loop
    v_middle := v_low + (v_high - v_low) / 2;
    select e.at into v_at from public.outbox_events e where e.id >= v_middle order by e.id limit 1;
    if v_at < p_at - interval '5 minutes' then
      v_low := v_middle + 1;
    else
      v_high := v_middle;
    end if;
  end loop;
  return v_low;
end
$$;

-- An event that a replay may send: of a row of the history or of a notice, with the delivery that there is.
create type outbox_engine.replayed_event as (
  outbox_id bigint,
  history_id bigint,
  notice_id bigint,
  type text,
  message_status text,
  delivery_id bigint,
  status text
);

-- What these rows of the history tell this endpoint: what they told it, or else what they announce now. With
-- `p_by_id` also what a row announced before its message went on. Rows that the follower will come to are
-- left out while the endpoint is enabled.
create function outbox_engine.replayed_history(p_endpoint_id bigint, p_ids bigint[], p_by_id boolean)
returns setof outbox_engine.replayed_event
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
  select e.outbox_id, e.id, null::bigint, outbox_engine.event_type_of(s.status), s.status, d.id, d.status
  from unnest(p_ids) i (id)
  cross join lateral (select x.* from public.outbox_events x where x.id = i.id limit 1) e
  cross join lateral (select x.* from public.outbox x where x.id = e.outbox_id limit 1) o
  left join public.outbox_event_deliveries d
    on d.outbox_id = e.outbox_id and d.history_id = e.id and d.endpoint_id = p_endpoint_id
  cross join lateral (
    select coalesce(
      d.message_status,
      case when e.event = 'accepted' and e.status = 'sent' then 'sent' end,
      outbox_engine.announced_status(
        e.event, e.status, o.status, o.reported_rank, o.dispatch_id = e.dispatch_id),
      case
        when p_by_id and e.event not in ('accepted', 'changed', 'cancel_requested', 'cancel_too_late')
          and e.status <> 'sent' and outbox_engine.event_type_of(e.status) is not null then e.status
      end) as status
  ) s
  where s.status is not null
    and (
      e.id <= (select f.followed_to from outbox_engine.event_follow f)
      or exists (
        select from public.outbox_event_endpoints t where t.id = p_endpoint_id and t.disabled_at is not null)
    )
    and (p_by_id or d.id is not null or s.status = 'sent'
      or not outbox_engine.was_told(p_endpoint_id, e.outbox_id, e.id, s.status))
$$;

-- The same of notices.
create function outbox_engine.replayed_notices(p_endpoint_id bigint, p_ids bigint[])
returns setof outbox_engine.replayed_event
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select null::bigint, null::bigint, n.id, n.type, null, d.id, d.status
  from outbox_engine.notices n
  left join public.outbox_event_deliveries d on d.notice_id = n.id and d.endpoint_id = p_endpoint_id
  where n.id = any (p_ids) and coalesce(n.endpoint_id, p_endpoint_id) = p_endpoint_id
$$;

-- The events that a replay is asked for: these ids, or those recorded from `p_since` until `p_until`; of them
-- only those that were given up if `p_failed_only`. Refuses a time with more than 200,000 rows of history.
create function outbox_engine.events_to_replay(
  p_endpoint_id bigint, p_event_ids text[], p_since timestamptz, p_until timestamptz, p_failed_only boolean
) returns setof outbox_engine.replayed_event
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_rows bigint[];
  v_with_sent constant boolean := exists (
    select from public.outbox_event_endpoints e
    where e.id = p_endpoint_id and 'message.sent' = any (e.event_types));
begin
  if p_event_ids is not null then
    return query
    select r.* from outbox_engine.replayed_history(p_endpoint_id, array(
      select distinct substr(i, 5)::bigint from unnest(p_event_ids) i where i ~ '^evt_[0-9]{1,18}$'
    ), true) r
    union all
    select r.* from outbox_engine.replayed_notices(p_endpoint_id, array(
      select distinct substr(i, 6)::bigint from unnest(p_event_ids) i where i ~ '^evt_n[0-9]{1,18}$'
    )) r;
  elsif p_failed_only then
    return query
    select d.outbox_id, d.history_id, d.notice_id, d.type, d.message_status, d.id, d.status
    from public.outbox_event_deliveries d
    where d.endpoint_id = p_endpoint_id and d.failed_at >= p_since and d.created_at >= p_since
      and d.created_at < coalesce(p_until, 'infinity')
    order by d.id;
  else
    v_rows := array(
      select e.id
      from public.outbox_events e
      where e.id >= outbox_engine.history_from(p_since)
      order by e.id
      limit 200001);
    if cardinality(v_rows) > 200000 and p_until is null or (
      select e.at < p_until from public.outbox_events e where e.id = v_rows[200001]
    ) then
      perform outbox_engine.refuse(
        'a replay reads at most 200,000 rows of the history, and this time has more',
        'Ask for a shorter time.');
    end if;
    return query
    select distinct on (r.outbox_id, coalesce(r.delivery_id, 0), r.message_status) r.*
    from outbox_engine.replayed_history(p_endpoint_id, array(
      select e.id
      from public.outbox_events e
      where e.id between v_rows[1] and v_rows[cardinality(v_rows)]
        and e.at >= p_since and e.at < coalesce(p_until, 'infinity')
        and (e.event <> 'accepted' or v_with_sent)
    ), false) r
    order by r.outbox_id, coalesce(r.delivery_id, 0), r.message_status, r.history_id;
    return query
    select r.* from outbox_engine.replayed_notices(p_endpoint_id, array(
      select n.id from outbox_engine.notices n
      where n.at >= p_since and n.at < coalesce(p_until, 'infinity'))) r;
  end if;
end
$$;

-- Puts these events on their way to this endpoint again, with payloads made of what is known now.
create function outbox_engine.send_again(
  p_endpoint public.outbox_event_endpoints, p_events outbox_engine.replayed_event[], p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  -- Whoever deletes one of these messages comes before or after.
  perform from public.outbox o
  where o.id = any (array(select r.outbox_id from unnest(p_events) r))
  order by o.id
  for key share;
  -- By id, as results are recorded.
  perform from public.outbox_event_deliveries d
  where d.id = any (array(select r.delivery_id from unnest(p_events) r))
  order by d.id
  for update;
  insert into public.outbox_event_deliveries as d (
    endpoint_id, outbox_id, history_id, type, message_status, next_at, created_at, payload)
  select p_endpoint.id, r.outbox_id, r.history_id, r.type, r.message_status, p_now, p_now,
    outbox_engine.message_body(o, e, r.message_status, p_endpoint.include_recipient)
  from unnest(p_events) r
  cross join lateral (select x from public.outbox x where x.id = r.outbox_id limit 1) o (o)
  cross join lateral (select x from public.outbox_events x where x.id = r.history_id limit 1) e (e)
  where r.notice_id is null
  order by r.history_id
  on conflict (outbox_id, history_id, endpoint_id) where outbox_id is not null do update
  set status = 'pending', attempts = 0, next_at = p_now, payload = excluded.payload, failed_at = null
  where d.status <> 'pending';
  insert into public.outbox_event_deliveries as d (endpoint_id, notice_id, type, next_at, created_at, payload)
  select p_endpoint.id, n.id, n.type, p_now, p_now,
    outbox_engine.notice_body(n, p_endpoint.include_recipient)
  from unnest(p_events) r
  join outbox_engine.notices n on n.id = r.notice_id
  order by n.id
  on conflict (notice_id, endpoint_id) where notice_id is not null do update
  set status = 'pending', attempts = 0, next_at = p_now, payload = excluded.payload, failed_at = null
  where d.status <> 'pending';
end
$$;

-- Called by `outbox events replay`. Sends events to an endpoint again, under their old ids: those with
-- `p_event_ids`, or those recorded from `p_since` until `p_until` (null: now), or of these only those given
-- up. At most 10,000 at once, the oldest. `left_out` counts by reason what is not sent: `waiting` (it is on
-- its way), `not_wanted` (the endpoint does not get this type), `unknown` (there is no such event, or no
-- longer), `too_many`. With `p_dry_run` nothing changes.
create function public.outbox_replay_events(
  p_name text, p_event_ids text[] default null, p_since timestamptz default null,
  p_until timestamptz default null, p_failed_only boolean default false, p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
set jit = off
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  e constant public.outbox_event_endpoints := outbox_engine.event_endpoint(p_name, false);
  v_found outbox_engine.replayed_event[];
  v_free outbox_engine.replayed_event[];
  v_left_out jsonb;
begin
  if (p_event_ids is null) = (p_since is null) then
    perform outbox_engine.refuse('a replay needs either the ids of events or a time to begin at');
  end if;
  if cardinality(p_event_ids) > 10000 then
    perform outbox_engine.refuse('a replay takes at most 10,000 ids');
  end if;
  v_found := array(
    select r::outbox_engine.replayed_event
    from outbox_engine.events_to_replay(e.id, p_event_ids, p_since, p_until, p_failed_only) r);
  v_free := array(
    select r::outbox_engine.replayed_event
    from unnest(v_found) r
    where coalesce(r.status <> 'pending', true)
      and (r.delivery_id is not null or outbox_engine.wants_event(e.event_types, r.type))
    order by r.history_id, r.notice_id);
  select jsonb_object_agg(x.reason, x.count) into v_left_out
  from (
    select 'waiting', count(*) from unnest(v_found) r where r.status = 'pending'
    union all
    select 'not_wanted', count(*) from unnest(v_found) r
    where r.delivery_id is null and not outbox_engine.wants_event(e.event_types, r.type)
    union all
    select 'unknown', cardinality(array(select distinct unnest(p_event_ids))) - cardinality(v_found)
    union all
    select 'too_many', cardinality(v_free) - 10000
  ) x (reason, count)
  where x.count > 0;
  v_free := v_free[:10000];
  if not p_dry_run then
    perform outbox_engine.send_again(e, v_free, v_now);
  end if;
  if not p_dry_run then
    perform outbox_engine.audit_change('replay_events', p_name, jsonb_build_object(
      'events', cardinality(v_free)));
  end if;
  return jsonb_build_object(
    'count', cardinality(v_free), 'left_out', coalesce(v_left_out, '{}'), 'dry_run', p_dry_run);
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_replay_events from public, anon, authenticated, service_role;
grant execute on function public.outbox_replay_events to service_role;
