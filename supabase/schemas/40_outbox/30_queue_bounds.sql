-- Queue bounds: due times below which nothing is queued and nothing can be queued any more. Claims start
-- their index scans there. PostgreSQL keeps the index entries of claimed rows while an older transaction
-- still reads, so beside a backup of an hour a scan from the start of an index would pass every message of
-- that hour. docs/decisions/0005-queue-bounds.md explains why the bounds are safe.

-- The queue clock: the time of the latest advance, in milliseconds since 1970. It is a sequence because every
-- insert reads it: a sequence is updated in place, while a row would leave a dead version at each advance.
create sequence outbox_engine.queue_clock minvalue 0 start 0;

-- The queues: the priorities that queued rows of each route may have. Claims search these only. A queue may
-- have several rows, so that two transactions that are the first to use it do not wait for each other.
-- Inserts rely on a row until the queue clock reaches `known_until`, then add another. `forget_queues`
-- deletes rows.
create table outbox_engine.priorities (
  id bigint generated always as identity,
  priority smallint not null,
  known_until timestamptz not null default outbox_engine.now() + interval '10 minutes',
  route smallint not null default 0,
  primary key (priority, known_until, id)
);
alter table outbox_engine.priorities enable row level security;

-- One row, made by the first advance. It is deleted after the clock was set back; claims then start at the
-- beginning of their indexes.
create table outbox_engine.queue_bounds (
  only_row boolean primary key default true check (only_row),
  -- Transactions that are still open queue rows at this time or later only.
  safe_at timestamptz not null,
  -- The time of an earlier advance, and a transaction id above all those in use at that time. Once they have
  -- ended, `seen_at` becomes the new `safe_at`.
  seen_at timestamptz not null,
  seen_xid xid8 not null,
  -- For each queue, the most urgent first: no ready (waiting) row is due before this time.
  priorities smallint[] not null,
  ready_from timestamptz[] not null,
  waiting_from timestamptz[] not null,
  -- No queued row expires before this time.
  expiring_from timestamptz not null,
  -- The routes of these queues. Null where release 0.1.0 wrote the row: it knew the default route only.
  routes smallint[]
) with (fillfactor = 50);
alter table outbox_engine.queue_bounds enable row level security;

-- Queued messages that may have expired, from the bound on.
create view outbox_engine.expiring_messages as
select id, expires_at, cancel_requested_at
from public.outbox
where queue is not null
  and expires_at >= coalesce((select expiring_from from outbox_engine.queue_bounds), '-infinity');

-- A time as the queue clock counts it.
create function outbox_engine.milliseconds(p_at timestamptz) returns bigint
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select floor(extract(epoch from p_at) * 1000)::bigint
$$;

-- The queue clock as a timestamp. Each insert asks for it, and a query of the sequence would take ten times
-- as long as this function, which is null before the first advance.
create function outbox_engine.queue_time() returns timestamptz
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
  return timestamptz 'epoch'
    + coalesce(pg_sequence_last_value('outbox_engine.queue_clock'), 0) * interval '1 millisecond';
end
$$;

-- Called for each row that enters the queue or moves in it. Returns `p_due_at`, or the queue clock where
-- that is later: then the row cannot end up below bounds that other transactions compute meanwhile. Where
-- the queue clock is more than a minute ahead, the clock was set back. Then the queue clock is set back
-- too, so that the next claim drops the bounds, even if the clock has been set forward again by then.
create function outbox_engine.queued_due_at(
  p_route smallint, p_priority smallint, p_due_at timestamptz
) returns timestamptz
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  -- Before the clock is read: an advance then finds this transaction among the open ones.
  v_xid constant xid8 := pg_current_xact_id();
  -- The rule of `queue_time`, written out: this spares each insert the call.
  v_queue_time constant timestamptz := timestamptz 'epoch'
    + coalesce(pg_sequence_last_value('outbox_engine.queue_clock'), 0) * interval '1 millisecond';
begin
  if not exists (
    select from outbox_engine.priorities p
    where p.priority = p_priority and p.known_until > v_queue_time and p.route = p_route
  ) then
    insert into outbox_engine.priorities (route, priority) values (p_route, p_priority);
  end if;
  if p_due_at >= v_queue_time then
    return p_due_at;
  elsif v_queue_time < outbox_engine.now() + interval '1 minute' then
    return v_queue_time;
  end if;
  perform setval('outbox_engine.queue_clock', outbox_engine.milliseconds(outbox_engine.now()));
  return p_due_at;
end
$$;

-- Runs when an update queues a row, or changes the time, priority or route of a queued row. `send_at` is
-- changed by apps and by hand only: the message then goes out at the new time.
create function outbox_engine.before_requeue() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if new.send_at <> old.send_at then
    new.due_at := new.send_at;
    new.queue := case when new.send_at > outbox_engine.now() then 'w' else 'r' end;
    new.status := case new.queue when 'w' then 'scheduled' else 'pending' end;
  end if;
  new.due_at := outbox_engine.queued_due_at(new.route, new.priority, new.due_at);
  return new;
end
$$;
create trigger outbox_6_requeue before update on public.outbox for each row
  when (new.queue is not null
    and (old.queue is null
      or (new.due_at, new.priority, new.send_at, new.route)
        is distinct from (old.due_at, old.priority, old.send_at, old.route)))
  execute function outbox_engine.before_requeue();

-- Called by the claim. The bounds as the last advance left them, with '-infinity' for queues it did not see.
-- Bounds stay valid however old they are.
create function outbox_engine.current_queue_bounds() returns outbox_engine.queue_bounds
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select true, b.safe_at, b.seen_at, b.seen_xid,
    array_agg(p.priority order by p.priority, p.route),
    array_agg(coalesce(k.ready_from, '-infinity') order by p.priority, p.route),
    array_agg(coalesce(k.waiting_from, '-infinity') order by p.priority, p.route),
    coalesce(b.expiring_from, '-infinity'),
    array_agg(p.route order by p.priority, p.route)
  from (select distinct priority, route from outbox_engine.priorities) p
  left join outbox_engine.queue_bounds b on true
  left join lateral unnest(b.priorities, b.ready_from, b.waiting_from, b.routes)
    k (priority, ready_from, waiting_from, route)
    on k.priority = p.priority and coalesce(k.route, 0) = p.route
  group by b.only_row
$$;

-- Called by `advance_queue_bounds`, which holds the lock on the bounds. One statement, because the same
-- snapshot must say which transactions are open and which rows are queued.
create function outbox_engine.move_queue_bounds(
  b outbox_engine.queue_bounds, p_seen_at timestamptz, p_seen_xid xid8
) returns void
language sql set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
  -- When the transactions that an earlier advance saw have ended, the time of that advance is safe, and this
  -- one is the next to be waited for. In a restored copy of the database transaction ids may start again from
  -- less.
  with horizon as materialized (
    select case when e.ended or e.is_copy then p_seen_xid else b.seen_xid end as seen_xid,
      case when e.ended or e.is_copy then p_seen_at else b.seen_at end as seen_at,
      case when e.ended then greatest(b.seen_at, b.safe_at) else b.safe_at end as safe_at
    from pg_current_snapshot() s
    cross join lateral (
      select pg_snapshot_xmin(s) >= b.seen_xid as ended, pg_snapshot_xmax(s) < b.seen_xid as is_copy
    ) e
  ),
  -- The first waiting row of each queue, or the safe time where there is none below it.
  waiting as materialized (
    select k.route, k.priority, k.ready_from, coalesce(w.due_at, h.safe_at) as waiting_from
    from horizon h
    cross join unnest(b.routes, b.priorities, b.ready_from, b.waiting_from)
      k (route, priority, ready_from, waiting_from)
    left join lateral (
      select o.due_at from public.outbox o
      where o.queue = 'w' and o.route = k.route and o.priority = k.priority
        and o.due_at >= k.waiting_from and o.due_at < h.safe_at
      order by o.due_at
      limit 1
    ) w on true
  ),
  -- The same for ready rows, never above the waiting rows: a waiting row keeps its due time when it is made
  -- ready, and another transaction may be doing that now.
  ready as materialized (
    select w.route, w.priority, w.waiting_from, coalesce(r.due_at, w.waiting_from) as ready_from
    from waiting w
    left join lateral (
      select o.due_at from public.outbox o
      where o.queue = 'r' and o.route = w.route and o.priority = w.priority
        and o.due_at >= w.ready_from and o.due_at < w.waiting_from
      order by o.due_at
      limit 1
    ) r on true
  )
  update outbox_engine.queue_bounds
  set safe_at = h.safe_at, seen_at = h.seen_at, seen_xid = h.seen_xid,
    routes = r.routes, priorities = r.priorities, ready_from = r.ready_from, waiting_from = r.waiting_from,
    expiring_from = coalesce((
      select o.expires_at from public.outbox o
      where o.queue is not null and o.expires_at >= b.expiring_from and o.expires_at < h.safe_at
      order by o.expires_at
      limit 1
    ), h.safe_at)
  from horizon h
  cross join (
    select array_agg(route order by priority, route) as routes,
      array_agg(priority order by priority, route) as priorities,
      array_agg(ready_from order by priority, route) as ready_from,
      array_agg(waiting_from order by priority, route) as waiting_from
    from ready
  ) r
$$;

-- Called by the claim after it took `p_rows`, and by the upkeep job. Advances the bounds at most once a
-- second, or after 500 rows: each advance leaves a dead version of the row, which long readers pin. Not above
-- read committed: with an older snapshot, rows that were queued meanwhile would be missed.
create function outbox_engine.advance_queue_bounds(p_rows integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_own_xid bigint;
  v_newest_xid bigint;
  v_now timestamptz := outbox_engine.now();
begin
  if (p_rows < 500 and outbox_engine.queue_time() between v_now - interval '1 second' and v_now)
    or current_setting('transaction_isolation') <> 'read committed'
    or not exists (select from outbox_engine.priorities)
    or not pg_try_advisory_xact_lock(hashtext('outbox queue bounds')) then
    return;
  end if;
  insert into outbox_engine.queue_bounds
    (safe_at, seen_at, seen_xid, priorities, ready_from, waiting_from, expiring_from)
  values ('-infinity', '-infinity', '0', '{}', '{}', '{}', '-infinity')
  on conflict do nothing;
  v_own_xid := pg_current_xact_id()::text::bigint;
  perform setval('outbox_engine.queue_clock', greatest(q.last_value, outbox_engine.milliseconds(v_now)))
  from outbox_engine.queue_clock q;

  -- The exception clause makes this block a subtransaction. It is given an id of its own when it locks a row,
  -- and that id is above all ids in use at this moment. A snapshot does not tell such an id: its xmax is
  -- above the transactions that have ended, and open ones may have higher ids.
  begin
    perform from outbox_engine.queue_bounds for update;
    select b.xmax::text::bigint into v_newest_xid from outbox_engine.queue_bounds b;
    perform outbox_engine.move_queue_bounds(
      outbox_engine.current_queue_bounds(), outbox_engine.queue_time(),
      -- A row holds the lower 32 bits of an id.
      (v_own_xid + ((v_newest_xid - v_own_xid) & 4294967295))::text::xid8);
  exception when others then
    raise;
  end;
end
$$;

-- Whether queues of several routes are known.
create function outbox_engine.has_several_routes(p_bounds outbox_engine.queue_bounds) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return p_bounds.routes[1] <> any (p_bounds.routes);
end
$$;

-- Called by the claim. The next row to send, of a priority below `p_priority_below`: of the routes in
-- `p_shares` that may send a message, or of all routes where that is null. Sorting is off here and wherever a
-- queue is read in its order: where the planner believes the queue to be short, it would otherwise read any
-- index that holds the queue from end to end, and sort. The rows of several routes are sorted all the same,
-- and what is off counts as so expensive that the plan would be compiled, hence jit is off.
create function outbox_engine.next_ready(
  p_bounds outbox_engine.queue_bounds, p_priority_below integer default 32768,
  p_shares outbox_engine.route_share[] default null
) returns table (id bigint, priority smallint)
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_sort = off set jit = off
as $$
declare
  v_routes smallint[];
  v_first bigint;
begin
  if p_shares is not null then
    v_routes := array(select s.route from unnest(p_shares) s where coalesce(s.most, 1) > 0);
  end if;
  select r.id, k.priority, k.nth
  into id, priority, v_first
  from unnest(p_bounds.routes, p_bounds.priorities, p_bounds.ready_from) with ordinality
    k (route, priority, ready_from, nth)
  cross join lateral (
    select o.id from public.outbox o
    where o.queue = 'r' and o.route = k.route and o.priority = k.priority and o.due_at >= k.ready_from
    order by o.due_at, o.id
    limit 1
  ) r
  where k.priority < p_priority_below and (v_routes is null or k.route = any (v_routes))
  limit 1;
  -- The queues of the same priority stand next to each other.
  if p_bounds.priorities[v_first + 1] = priority then
    select r.id
    into id
    from unnest(p_bounds.routes, p_bounds.priorities, p_bounds.ready_from) k (route, priority, ready_from)
    cross join lateral (
      select o.id, o.due_at from public.outbox o
      where o.queue = 'r' and o.route = k.route and o.priority = k.priority and o.due_at >= k.ready_from
      order by o.due_at, o.id
      limit 1
    ) r
    where k.priority = next_ready.priority and (v_routes is null or k.route = any (v_routes))
    order by r.due_at, r.id
    limit 1;
  end if;
  if id is not null then
    return next;
  end if;
end
$$;

-- Called by `outbox status`. The first time after `p_after` at which a waiting row is due, over all queues.
-- Rows of release 0.1.0 may be due outside the calendar, which no client can read.
create function outbox_engine.first_waiting(p_after timestamptz) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
  select min(w.due_at)
  from (select distinct route, priority from outbox_engine.priorities) p
  cross join lateral (
    select o.due_at from public.outbox o
    where o.queue = 'w' and o.route = p.route and o.priority = p.priority and o.due_at > p_after
      and o.due_at < timestamptz '2200-01-01 00:00+00'
    order by o.due_at
    limit 1
  ) w
$$;

-- Called by `outbox_find_overlooked`. The first ready and the first waiting row of each queue. It steps
-- through the indexes from their beginning, without the bounds.
create function outbox_engine.first_rows()
returns table (queue "char", route smallint, priority smallint, due_at timestamptz)
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_sort = off
as $$
  with recursive ready as (
    (select route, priority, due_at from public.outbox where queue = 'r'
      order by route, priority, due_at limit 1)
    union all
    select n.route, n.priority, n.due_at
    from ready h
    cross join lateral (
      select o.route, o.priority, o.due_at from public.outbox o
      where o.queue = 'r' and (o.route, o.priority) > (h.route, h.priority)
      order by o.route, o.priority, o.due_at
      limit 1
    ) n
  ),
  waiting as (
    (select route, priority, due_at from public.outbox where queue = 'w'
      order by route, priority, due_at limit 1)
    union all
    select n.route, n.priority, n.due_at
    from waiting h
    cross join lateral (
      select o.route, o.priority, o.due_at from public.outbox o
      where o.queue = 'w' and (o.route, o.priority) > (h.route, h.priority)
      order by o.route, o.priority, o.due_at
      limit 1
    ) n
  )
  select 'r', h.route, h.priority, h.due_at from ready h
  union all
  select 'w', h.route, h.priority, h.due_at from waiting h
$$;

-- Called by `outbox_find_overlooked` with the queues that have messages. Deletes those that have none and can
-- have none any more. An insert that relied on a row read the queue clock before `known_until`. Once the safe
-- time has reached `known_until`, that insert has ended, and its message can be seen here. A queue in use
-- keeps one row.
create function outbox_engine.forget_queues(
  p_safe_at timestamptz, p_routes smallint[], p_priorities smallint[]
) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  delete from outbox_engine.priorities p
  where p.known_until <= p_safe_at
    and (not exists (
        select from unnest(p_routes, p_priorities) q (route, priority)
        where q.route = p.route and q.priority = p.priority
      )
      or exists (
        select from outbox_engine.priorities n
        where n.priority = p.priority and n.route = p.route
          and (n.known_until, n.id) > (p.known_until, p.id)
      ))
$$;
