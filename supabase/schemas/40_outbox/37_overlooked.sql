-- Messages below the queue bounds, which no claim finds.

-- Called by the upkeep job every ten minutes. Finds rows that are queued below the bounds, because they were
-- written without the triggers (replication, a restore) or the clock was set back unnoticed, lets the next
-- claim see them, and raises an alarm. Returns how many priorities have such rows. Forgets unused priorities
-- as well.
create function public.outbox_find_overlooked() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_safe_at timestamptz;
  v_queued smallint[];
  v_overlooked smallint[];
begin
  perform pg_advisory_xact_lock(hashtext('outbox queue bounds'));
  perform outbox_engine.reset_queue_bounds_after_clock_step();
  perform outbox_engine.advance_queue_bounds(500);
  -- One statement: with two snapshots, a message of a new priority could be committed between them.
  select b.safe_at, array_agg(distinct h.priority),
    array_agg(distinct h.priority) filter (
      where h.priority is not null
        and (k.priority is null
          or h.due_at < case h.queue when 'r' then k.ready_from else k.waiting_from end))
  into v_safe_at, v_queued, v_overlooked
  from outbox_engine.current_queue_bounds() b
  left join outbox_engine.queue_heads() h on true
  left join unnest(b.priorities, b.ready_from, b.waiting_from) k (priority, ready_from, waiting_from)
    on k.priority = h.priority
  group by b.safe_at;

  if v_overlooked is not null then
    insert into outbox_engine.priorities (priority) select unnest(v_overlooked);
    delete from outbox_engine.queue_bounds;
    perform outbox_engine.alarm('queue.overlooked', jsonb_build_object('priorities', v_overlooked));
  else
    perform outbox_engine.forget_priorities(v_safe_at, v_queued);
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
