-- The database's clock is set back: messages that wait, and the queue bounds.

-- Called after the clock was set back by `p_by` or more. Messages that the engine itself delays, such as
-- after a temporary failure, do not wait that much longer. Those that an app scheduled keep their time.
-- Looks at the next 10,000 of each queue, so that a claim stays short.
create function outbox_engine.shorten_delays(p_by interval, p_now timestamptz) returns void
language sql set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
  update public.outbox
  set due_at = greatest(due_at - p_by, p_now)
  where id = any (array(
    select d.id from public.outbox d
    where d.id = any (array(
        select w.id
        from (select distinct route, priority from outbox_engine.priorities) p
        cross join lateral (
          select o.id, o.status from public.outbox o
          where o.queue = 'w' and o.route = p.route and o.priority = p.priority and o.due_at > p_now
          order by o.due_at
          limit 10000
        ) w
        where w.status = 'pending'
      ))
      and d.queue = 'w' and d.status = 'pending'
    for update skip locked
  ))
$$;

-- Called at the start of each claim. After the clock was set back, new rows are due below the bounds, so
-- the bounds are dropped. Where the queue clock is behind the bounds, a message that was queued meanwhile has
-- set it back, or a claim that did so was rolled back, which does not undo the setting of a sequence.
create function outbox_engine.reset_queue_bounds_after_clock_step() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_was timestamptz;
  v_now timestamptz;
begin
  if (outbox_engine.queue_time() > outbox_engine.now() + interval '1 minute'
      or exists (select from outbox_engine.queue_bounds b where b.seen_at > outbox_engine.queue_time()))
    and pg_try_advisory_xact_lock(hashtext('outbox queue bounds')) then
    delete from outbox_engine.queue_bounds returning seen_at into v_was;
    v_was := greatest(v_was, outbox_engine.queue_time());
    v_now := outbox_engine.now();
    perform setval('outbox_engine.queue_clock', outbox_engine.milliseconds(v_now));
    if v_was > v_now then
      perform outbox_engine.shorten_delays(v_was - v_now, v_now);
    end if;
  end if;
end
$$;
