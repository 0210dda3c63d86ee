-- Lists of messages, without their texts.

-- A message as lists show it.
create function outbox_engine.listed_message(o public.outbox) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', o.id, 'recipient', o.recipient, 'status', o.status, 'status_code', o.status_code,
    'error', o.error, 'country', outbox_engine.country_of(o.recipient), 'campaign', o.campaign,
    'template', o.template, 'priority', o.priority,
    'route', case when o.route <> 0 then outbox_engine.route_name(o.route) end,
    'plan', (
      select d.provider || ':' || d.plan from outbox_engine.dispatches d where d.id = o.dispatch_id
    ),
    'channel', o.channel, 'parts', o.parts, 'attempts', o.attempts, 'created_at', o.created_at,
    'send_at', o.send_at, 'due_at', o.due_at, 'sent_at', o.sent_at, 'finalized_at', o.finalized_at,
    'secret', o.secret, 'idempotency_key', o.idempotency_key, 'batch_id', o.batch_id)
$$;

-- Called by the dashboard. A page of the messages of a filter, the newest first, before the id `p_before`
-- (null for the first page). A call reads a bounded stretch: a page may hold fewer than `p_most` messages and
-- yet go on at `before`, which is null at the end. `read_to` is when the message at `before` was inserted.
create function public.outbox_list_messages(p_filter jsonb, p_before bigint, p_most integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  f constant outbox_engine.message_filter := outbox_engine.read_filter(p_filter);
  v_most constant integer := least(greatest(p_most, 1), 1000);
  v_ids bigint[];
  v_before bigint;
begin
  -- One more than the page shows, so that the last page is known.
  select w.ids, w.before into v_ids, v_before
  from outbox_engine.find_messages(f, p_before, v_most + 1, 60000) w;
  if cardinality(v_ids) > v_most then
    v_ids := v_ids[:v_most];
    v_before := v_ids[v_most];
  end if;
  return jsonb_build_object(
    'messages', (
      select coalesce(jsonb_agg(outbox_engine.listed_message(o) order by o.id desc), '[]')
      from public.outbox o
      where o.id = any (v_ids)
    ),
    'before', v_before,
    'read_to', case when v_before is not null then (
      select o.created_at from public.outbox o where o.id >= v_before order by o.id limit 1
    ) end);
end
$$;

-- Called by the dashboard. How many messages a filter has, counted up to `p_most`. `is_more`: there may be
-- more: the count ended there, or had read as much as one call reads.
create function public.outbox_count_messages(p_filter jsonb, p_most integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  f constant outbox_engine.message_filter := outbox_engine.read_filter(p_filter);
begin
  return (
    select jsonb_build_object('count', c.count, 'is_more', c.is_more)
    from outbox_engine.count_matches(f, least(greatest(p_most, 1), 100000)) c
  );
end
$$;

-- Called by the dashboard. The messages inserted since each of these times, by status, among the newest
-- `p_most`. `is_more`: there are older ones, which were not counted.
create function public.outbox_latest_statuses(p_since timestamptz[], p_most integer) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off
as $$
  with newest as materialized (
    select o.status, o.created_at
    from public.outbox o
    where o.id >= outbox_engine.first_id_since(
      (select min(s) from unnest(p_since) s) - interval '1 hour')
    order by o.id desc
    limit least(greatest(p_most, 1), 100000)
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'since', s.since,
    'statuses', (
      select coalesce(jsonb_object_agg(x.status, x.messages), '{}')
      from (select n.status, count(*) as messages from newest n where n.created_at >= s.since group by 1) x
    ),
    'is_more', (select count(*) >= p_most and min(n.created_at) >= s.since from newest n)
  ) order by s.place), '[]')
  from unnest(p_since) with ordinality s (since, place)
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_list_messages,
  public.outbox_count_messages,
  public.outbox_latest_statuses
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_list_messages,
  public.outbox_count_messages,
  public.outbox_latest_statuses
to service_role;
