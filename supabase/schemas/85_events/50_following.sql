-- Following: what the history announces becomes deliveries. One process at a time does it.

-- An endpoint as a claim sees it. It may get `share` deliveries of the claim, of which `free` are left, and
-- got those in `taken`.
create type outbox_engine.event_lane as (
  endpoint_id bigint,
  include_recipient boolean,
  event_types text[],
  history_after bigint,
  history_until bigint,
  is_failing boolean,
  share integer,
  free integer,
  taken bigint[]
);

-- A claim of deliveries: who leases how many at most, when and until when.
create type outbox_engine.event_claim as (
  token bigint,
  worker text,
  most integer,
  at timestamptz,
  until timestamptz
);

-- How many deliveries these endpoints got.
create function outbox_engine.taken_events(p_lanes outbox_engine.event_lane[]) returns integer
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return (select coalesce(sum(cardinality(l.taken)), 0) from unnest(p_lanes) l);
end
$$;

-- These endpoints with what each may still get of a claim of `p_most`. Together not more than the claim has
-- left: the first ones get it.
create function outbox_engine.lanes_left(p_lanes outbox_engine.event_lane[], p_most integer)
returns outbox_engine.event_lane[]
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_lanes outbox_engine.event_lane[] := '{}';
  l outbox_engine.event_lane;
  v_left integer := p_most - outbox_engine.taken_events(p_lanes);
begin
  foreach l in array p_lanes loop
    l.free := greatest(least(v_left, l.share - cardinality(l.taken)), 0);
    v_left := v_left - l.free;
    v_lanes := v_lanes || l;
  end loop;
  return v_lanes;
end
$$;

-- Whether this endpoint gets events of this type.
create function outbox_engine.wants_event(p_event_types text[], p_type text) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return case when p_event_types is null then p_type <> 'message.sent' else p_type = any (p_event_types) end
    or p_type = 'webhook.test';
end
$$;

-- Taken by the follower, which makes deliveries, until its transaction ends. Whoever removes messages takes
-- it shared, so that no delivery of a removed message comes later.
create function outbox_engine.try_lock_events() returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return pg_try_advisory_xact_lock(hashtext('outbox events'), 0);
end
$$;

create function outbox_engine.lock_events_shared() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(hashtext('outbox events'), 0);
end
$$;

-- The events that the next `p_rows` rows of the history announce, up to `p_to`, and `read_to`: the last of
-- these rows. One row without an event where they announce none.
create function outbox_engine.announced_in(p_after bigint, p_to bigint, p_rows integer, p_with_sent boolean)
returns table (history public.outbox_events, message public.outbox, message_status text, read_to bigint)
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
  with stretch as materialized (
    select e
    from public.outbox_events e
    where e.id > p_after and e.id <= p_to
    order by e.id
    limit p_rows
  ),
  bounds as (
    select case when count(*) = p_rows then max((s.e).id) else p_to end as read_to from stretch s
  ),
  announced as (
    select s.e, m.o, coalesce(
      case when (s.e).event = 'accepted' and (s.e).status = 'sent' and p_with_sent then 'sent' end,
      outbox_engine.announced_status(
        (s.e).event, (s.e).status, (m.o).status, (m.o).reported_rank, (m.o).dispatch_id = (s.e).dispatch_id)
    ) as status
    from stretch s
    cross join lateral (select o from public.outbox o where o.id = (s.e).outbox_id limit 1) m
    where (s.e).event <> 'accepted' or p_with_sent
  )
  select a.e, a.o, a.status, b.read_to
  from bounds b
  left join announced a on a.status is not null
  order by (a.e).id
$$;

-- Whether this endpoint was told this status of the message, and the message has not gone on since. A row
-- that was accepted is news each time.
create function outbox_engine.was_told(
  p_endpoint_id bigint, p_outbox_id bigint, p_history_id bigint, p_status text
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return exists (
    select
    from public.outbox_event_deliveries d
    where d.outbox_id = p_outbox_id and d.endpoint_id = p_endpoint_id and d.message_status = p_status
      and (p_status <> 'sent' or d.history_id = p_history_id)
      and not outbox_engine.went_on(p_outbox_id, d.history_id, p_history_id));
end
$$;

-- Makes deliveries of what the next rows of the history announce, for at most `p_most` events. Those that an
-- endpoint may get at once are leased to the claim. The same status of a message is not told twice, unless it
-- went on in between. `events` counts them, and `lanes` are the endpoints with what they got.
create function outbox_engine.follow_stretch(
  p_lanes outbox_engine.event_lane[], p_most integer, p_rows integer, p_safe_to bigint,
  p_claim outbox_engine.event_claim, out events integer, out lanes outbox_engine.event_lane[]
)
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_from constant bigint := (select followed_to from outbox_engine.event_follow);
  v_last bigint;
  v_read_to bigint;
begin
  with announced as materialized (
    select a.*, (a.history).id as history_id, (a.message).id as outbox_id
    from outbox_engine.announced_in(v_from, p_safe_to, p_rows, exists (
      select from unnest(p_lanes) l where 'message.sent' = any (l.event_types))) a
  ),
  -- A message seldom has two such rows in one stretch.
  news as materialized (
    select a.*, lag(a.history_id) over (
      partition by a.outbox_id, a.message_status order by a.history_id) as before
    from announced a
    where a.message_status is not null
  ),
  found as materialized (
    select n.*, outbox_engine.event_type_of(n.message_status) as type
    from news n
    where n.before is null or n.message_status = 'sent'
      or outbox_engine.went_on(n.outbox_id, n.before, n.history_id)
    order by n.history_id
    limit p_most
  ),
  wanted as (
    select f.*, l.endpoint_id, l.include_recipient, l.free,
      row_number() over (partition by l.endpoint_id order by f.history_id) as place
    from found f
    join unnest(p_lanes) l on f.history_id > l.history_after
      and (l.history_until is null or f.history_id <= l.history_until)
      and outbox_engine.wants_event(l.event_types, f.type)
      and not outbox_engine.was_told(l.endpoint_id, f.outbox_id, f.history_id, f.message_status)
  ),
  made as (
    insert into public.outbox_event_deliveries (
      endpoint_id, outbox_id, history_id, type, message_status, next_at, created_at, payload)
    select w.endpoint_id, w.outbox_id, w.history_id, w.type, w.message_status,
      case when w.place > w.free then p_claim.at end, p_claim.at,
      outbox_engine.message_body(w.message, w.history, w.message_status, w.include_recipient)
    from wanted w
    order by w.history_id, w.endpoint_id
    on conflict do nothing
    returning id, endpoint_id, next_at
  ),
  leased as (
    insert into outbox_engine.event_leases (delivery_id, token, endpoint_id, worker, leased_at, until)
    select m.id, p_claim.token, m.endpoint_id, p_claim.worker, p_claim.at, p_claim.until
    from made m
    where m.next_at is null
  )
  select (select count(*) from found), (select max(f.history_id) from found f),
    (select max(a.read_to) from announced a), array(
      select row(
        l.endpoint_id, l.include_recipient, l.event_types, l.history_after, l.history_until, l.is_failing,
        l.share, l.free,
        l.taken || array(select m.id from made m where m.endpoint_id = l.endpoint_id and m.next_at is null)
      )::outbox_engine.event_lane
      from unnest(p_lanes) with ordinality l
      order by l.ordinality
    )
  into events, v_last, v_read_to, lanes;
  update outbox_engine.event_follow
  set followed_to = case when events = p_most then v_last else v_read_to end;
end
$$;

-- Follows the history as far as it is safe, for at most `p_most` events and `p_rows` rows. `goes_on` says
-- that there may be more to read, and `lanes` are the endpoints with what they got.
create function outbox_engine.follow_history(
  p_lanes outbox_engine.event_lane[], p_most integer, p_rows integer, p_safe_to bigint,
  p_claim outbox_engine.event_claim, out goes_on boolean, out lanes outbox_engine.event_lane[]
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_events integer := p_most;
  v_rows integer := p_rows;
  -- Most messages have two rows, of which one announces something.
  v_stretch integer := greatest(3 * p_most, 60);
  v_found integer;
begin
  lanes := p_lanes;
  goes_on := false;
  while (select followed_to < p_safe_to from outbox_engine.event_follow) loop
    if v_events <= 0 or v_rows <= 0 then
      goes_on := true;
      return;
    end if;
    select f.events, f.lanes into v_found, lanes
    from outbox_engine.follow_stretch(
      outbox_engine.lanes_left(lanes, p_claim.most), v_events, least(v_stretch, v_rows), p_safe_to,
      p_claim) f;
    v_events := v_events - v_found;
    v_rows := v_rows - v_stretch;
    v_stretch := 4 * v_stretch;
  end loop;
end
$$;

-- Makes deliveries of new notices, to be sent as soon as their endpoint may get some. An endpoint for which
-- one is made after it was disabled gets it once it is enabled. A test goes before all that wait.
create function outbox_engine.follow_notices(p_lanes outbox_engine.event_lane[], p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from outbox_engine.notices where is_new) then
    return;
  end if;
  with taken as (
    update outbox_engine.notices
    set is_new = false
    where id = any (array(
      select id from outbox_engine.notices where is_new order by id limit 200 for update skip locked))
    returning *
  )
  insert into public.outbox_event_deliveries (endpoint_id, notice_id, type, next_at, created_at, payload)
  select l.endpoint_id, n.id, n.type,
    case when n.type = 'webhook.test' then p_now - interval '30 days' else p_now end, p_now,
    outbox_engine.notice_body(n::outbox_engine.notices, l.include_recipient)
  from taken n
  join unnest(p_lanes) l on coalesce(n.endpoint_id, l.endpoint_id) = l.endpoint_id
    and l.history_until is null
    and outbox_engine.wants_event(l.event_types, n.type)
  join outbox_engine.event_lanes x on x.endpoint_id = l.endpoint_id and x.notices_after < n.id
  order by n.id, l.endpoint_id
  on conflict do nothing;
end
$$;
