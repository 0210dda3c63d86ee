-- Messages below the queue bounds, which no claim finds.

-- Called by the upkeep job every ten minutes. Finds rows that are queued below the bounds, because they were
-- written without the triggers (replication, a restore) or the clock was set back unnoticed, lets the next
-- claim see them, and raises an alarm. Returns how many queues, of a route and a priority, have such rows.
-- Forgets unused queues as well.
create function public.outbox_find_overlooked() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_safe_at timestamptz;
  v_routes smallint[];
  v_priorities smallint[];
  v_overlooked_routes smallint[];
  v_overlooked smallint[];
begin
  perform pg_advisory_xact_lock(hashtext('outbox queue bounds'));
  perform outbox_engine.reset_queue_bounds_after_clock_step();
  perform outbox_engine.advance_queue_bounds(500);
  -- One statement: with two snapshots, a message of a new queue could be committed between them.
  select h.safe_at, array_agg(h.route), array_agg(h.priority),
    array_agg(h.route order by h.priority, h.route) filter (where h.is_overlooked),
    array_agg(h.priority order by h.priority, h.route) filter (where h.is_overlooked)
  into v_safe_at, v_routes, v_priorities, v_overlooked_routes, v_overlooked
  from (
    select b.safe_at, f.route, f.priority,
      bool_or(f.priority is not null
        and (k.priority is null
          or f.due_at < case f.queue when 'r' then k.ready_from else k.waiting_from end)) as is_overlooked
    from outbox_engine.current_queue_bounds() b
    left join outbox_engine.first_rows() f on true
    left join unnest(b.routes, b.priorities, b.ready_from, b.waiting_from)
      k (route, priority, ready_from, waiting_from)
      on k.route = f.route and k.priority = f.priority
    group by b.safe_at, f.route, f.priority
  ) h
  group by h.safe_at;

  if v_overlooked is not null then
    insert into outbox_engine.priorities (route, priority)
    select * from unnest(v_overlooked_routes, v_overlooked);
    delete from outbox_engine.queue_bounds;
    perform outbox_engine.alarm('queue.overlooked', jsonb_build_object(
      'priorities', v_overlooked, 'routes', v_overlooked_routes));
  else
    perform outbox_engine.forget_queues(v_safe_at, v_routes, v_priorities);
  end if;
  return coalesce(cardinality(v_overlooked), 0);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_find_overlooked
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_find_overlooked
to service_role;
