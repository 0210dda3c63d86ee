-- Where the queues begin. PostgreSQL keeps the index entry of a row that was claimed until nobody who began
-- earlier reads any more, and a walk from an index's beginning passes all of them: beside one backup of an
-- hour, every claim would pass the hour's messages. So claims remember below which due time nothing is queued
-- and nothing can come any more, and begin there. How that can be known is in docs/decisions/0005-floors.md.

-- Milliseconds since 1970, of the latest moment at which somebody looked at what is under way. A sequence,
-- because it is written in place: every insert reads it, and of a row there would be a version for every look
-- while an old reader lives.
create sequence outbox_engine.queue_clock minvalue 0 start 0;

-- Every priority that a row was ever queued with. No key: whoever is the first to use one must not wait for
-- another who is, too.
create table outbox_engine.priorities (
  priority smallint not null
);
alter table outbox_engine.priorities enable row level security;

-- Made by the first look, and gone after a clock was set back: then the queues begin at their beginning.
create table outbox_engine.queue_bounds (
  only_row boolean primary key default true check (only_row),
  -- Whatever a transaction queues that has not ended yet is due at this time or later.
  safe_at timestamptz not null,
  -- A look that is waited for: when it was, and the first transaction that began after it.
  seen_at timestamptz not null,
  seen_xid xid8 not null,
  priorities smallint[] not null,
  -- By priority. Nothing is ready, or waits, that is due before.
  ready_from timestamptz[] not null,
  waiting_from timestamptz[] not null,
  -- Nothing is queued that expires before.
  expiring_from timestamptz not null
) with (fillfactor = 50);
alter table outbox_engine.queue_bounds enable row level security;

create function outbox_engine.queue_time() returns timestamptz
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select timestamptz 'epoch' + last_value * interval '1 millisecond' from outbox_engine.queue_clock
$$;

-- For every row that becomes queued, or is queued at another time or priority: when it is due in the order of
-- its queue. That is `p_due_at`, except while the clock is a little behind of what it was. One that is far
-- behind is noticed by the next claim.
create function outbox_engine.ordered_due_at(p_priority smallint, p_due_at timestamptz) returns timestamptz
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  -- First of all, so that whoever looks later finds this transaction to be under way.
  v_xid constant xid8 := pg_current_xact_id();
  v_seen_at timestamptz;
  v_is_known boolean;
begin
  select timestamptz 'epoch' + q.last_value * interval '1 millisecond',
    exists (select from outbox_engine.priorities p where p.priority = p_priority)
  into v_seen_at, v_is_known
  from outbox_engine.queue_clock q;
  if not v_is_known then
    insert into outbox_engine.priorities (priority) values (p_priority);
  end if;
  if p_due_at < v_seen_at and v_seen_at < outbox_engine.now() + interval '1 minute' then
    return v_seen_at;
  end if;
  return p_due_at;
end
$$;

-- Runs before a queued row is written that was not queued, or has another time or priority.
create function outbox_engine.before_requeue() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.due_at := outbox_engine.ordered_due_at(new.priority, new.due_at);
  return new;
end
$$;
create trigger outbox_6_requeue before update on public.outbox for each row
  when (new.queue is not null
    and (old.queue is null or new.due_at is distinct from old.due_at or new.priority is distinct from old.priority))
  execute function outbox_engine.before_requeue();

-- The floors as they are known, those of priorities that no look has seen yet included. What they say stays
-- true.
create function outbox_engine.current_queue_bounds() returns outbox_engine.queue_bounds
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select true, f.safe_at, f.seen_at, f.seen_xid,
    array_agg(p.priority order by p.priority),
    array_agg(coalesce(k.ready_from, '-infinity') order by p.priority),
    array_agg(coalesce(k.waiting_from, '-infinity') order by p.priority),
    coalesce(f.expiring_from, '-infinity')
  from (select distinct priority from outbox_engine.priorities) p
  left join outbox_engine.queue_bounds f on true
  left join lateral unnest(f.priorities, f.ready_from, f.waiting_from) k (priority, ready_from, waiting_from)
    on k.priority = p.priority
  group by f.only_row
$$;

-- Called by the claim, first thing. A clock that was set back would let rows be due below the floors.
create function outbox_engine.reset_queue_bounds_after_clock_step() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if outbox_engine.queue_time() > outbox_engine.now() + interval '1 minute'
    and pg_try_advisory_xact_lock(hashtext('outbox queue bounds')) then
    delete from outbox_engine.queue_bounds;
    perform setval('outbox_engine.queue_clock', floor(1000 * extract(epoch from outbox_engine.now()))::bigint);
  end if;
end
$$;

-- Called by the claim after it took `p_rows`. A look, where it pays: a floor is a version of its row as well,
-- which an old reader keeps.
create function outbox_engine.advance_queue_bounds(p_rows integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
declare
  f outbox_engine.queue_bounds;
  v_now timestamptz := outbox_engine.now();
  v_seen_at timestamptz;
begin
  -- Where a transaction sees one moment all along, what was queued since would be taken for what is to come.
  if (p_rows < 500 and outbox_engine.queue_time() between v_now - interval '1 second' and v_now) or current_setting('transaction_isolation') <> 'read committed'
    or not pg_try_advisory_xact_lock(hashtext('outbox queue bounds')) then
    return;
  end if;
  f := outbox_engine.current_queue_bounds();
  perform setval('outbox_engine.queue_clock',
    greatest(floor(1000 * extract(epoch from v_now))::bigint, (select last_value from outbox_engine.queue_clock)));
  v_seen_at := outbox_engine.queue_time();

  -- One statement, for it has to be one moment that says who is under way and what is queued.
  with moment as materialized (
    -- Once all have ended that were under way at the look before, its time is the safe one, and the next to
    -- be is this one's. In a copy of the database transactions may count from less.
    select case when e.ended or e.is_copy then pg_snapshot_xmax(s) else f.seen_xid end as seen_xid,
      case when e.ended or e.is_copy then v_seen_at else f.seen_at end as seen_at,
      coalesce(case when e.ended then greatest(f.seen_at, f.safe_at) else f.safe_at end, '-infinity') as safe_at
    from pg_current_snapshot() s
    cross join lateral (
      select coalesce(pg_snapshot_xmin(s) >= f.seen_xid, true) as ended, pg_snapshot_xmax(s) < f.seen_xid as is_copy
    ) e
  ),
  waiting as materialized (
    select k.priority, k.ready_from, coalesce(w.due_at, m.safe_at) as waiting_from
    from moment m
    cross join unnest(f.priorities, f.ready_from, f.waiting_from) k (priority, ready_from, waiting_from)
    left join lateral (
      select o.due_at from public.outbox o
      where o.queue = 'w' and o.priority = k.priority and o.due_at >= k.waiting_from and o.due_at < m.safe_at
      order by o.due_at
      limit 1
    ) w on true
  ),
  -- What waits may be made ready by somebody at this moment, and is due when it was.
  ready as materialized (
    select w.priority, w.waiting_from, coalesce(r.due_at, w.waiting_from) as ready_from
    from waiting w
    left join lateral (
      select o.due_at from public.outbox o
      where o.queue = 'r' and o.priority = w.priority and o.due_at >= w.ready_from and o.due_at < w.waiting_from
      order by o.due_at
      limit 1
    ) r on true
  )
  insert into outbox_engine.queue_bounds as x
    (safe_at, seen_at, seen_xid, priorities, ready_from, waiting_from, expiring_from)
  select m.safe_at, m.seen_at, m.seen_xid, r.priorities, r.ready_from, r.waiting_from,
    coalesce((
      select o.expires_at from public.outbox o
      where o.queue is not null and o.expires_at >= f.expiring_from and o.expires_at < m.safe_at
      order by o.expires_at
      limit 1
    ), m.safe_at)
  from moment m
  cross join (
    select array_agg(priority order by priority) as priorities, array_agg(ready_from order by priority) as ready_from,
      array_agg(waiting_from order by priority) as waiting_from
    from ready
  ) r
  on conflict (only_row) do update
  set safe_at = excluded.safe_at, seen_at = excluded.seen_at, seen_xid = excluded.seen_xid, priorities = excluded.priorities,
    ready_from = excluded.ready_from, waiting_from = excluded.waiting_from, expiring_from = excluded.expiring_from
  where x is distinct from excluded;
end
$$;

-- The row that is next to go, of those more urgent than `p_priority_below`. Here and wherever a queue is
-- walked in its order, sorting is off: a planner who believes the queue to be short would take any index that
-- holds it and walk over all of that.
create function outbox_engine.first_ready(p_bounds outbox_engine.queue_bounds, p_priority_below integer default 32768)
returns table (id bigint, priority smallint)
language sql stable set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
  select r.id, f.priority
  from unnest(p_bounds.priorities, p_bounds.ready_from) f (priority, ready_from)
  cross join lateral (
    select o.id from public.outbox o
    where o.queue = 'r' and o.priority = f.priority and o.due_at >= f.ready_from
    order by o.due_at, o.id
    limit 1
  ) r
  where f.priority < p_priority_below
  limit 1
$$;

-- Called by the upkeep job now and then, which costs a walk from the beginning: what is queued below the
-- floors after all, because a clock was set back unseen or somebody wrote rows past the triggers, is found
-- again and told.
create function public.outbox_find_overlooked() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  f outbox_engine.queue_bounds;
  v_priorities smallint[];
begin
  perform pg_advisory_xact_lock(hashtext('outbox queue bounds'));
  f := outbox_engine.current_queue_bounds();
  with recursive queued as (
    select q.queue, (select min(o.priority) from public.outbox o where o.queue = q.queue) as priority
    from unnest(array['r', 'w']::"char"[]) q (queue)
    union all
    select q.queue, (select min(o.priority) from public.outbox o where o.queue = q.queue and o.priority > q.priority)
    from queued q
    where q.priority is not null
  )
  select array_agg(distinct q.priority) into v_priorities
  from queued q
  left join unnest(f.priorities, f.ready_from, f.waiting_from) k (priority, ready_from, waiting_from) on k.priority = q.priority
  cross join lateral (
    select min(o.due_at) as due_at from public.outbox o where o.queue = q.queue and o.priority = q.priority
  ) o
  where q.priority is not null
    and (k.priority is null or o.due_at < case q.queue when 'r' then k.ready_from else k.waiting_from end);

  if v_priorities is not null then
    insert into outbox_engine.priorities (priority) select unnest(v_priorities);
    delete from outbox_engine.queue_bounds;
    perform outbox_engine.alarm('queue.overlooked', jsonb_build_object('priorities', v_priorities));
  end if;
  return coalesce(cardinality(v_priorities), 0);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_find_overlooked
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_find_overlooked
to service_role;
