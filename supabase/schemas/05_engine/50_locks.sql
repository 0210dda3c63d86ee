-- Locks by name, for what row locks cannot do cheaply or without deadlocks. The order in which the engine
-- locks stands in docs/decisions/0008-lock-order.md.
--
-- They are advisory locks of the transaction: a shared one writes nothing, where `for share` would write a
-- multixact for each pair of transactions that use one row at a time. A transaction needs one entry of the
-- lock table for each name, however many rows it writes.

-- Called by inserts that use a campaign or a template: holds off edits of it until the transaction ends, and
-- waits for an edit that is under way. Read the row in a later statement, which sees what that edit wrote.
create function outbox_engine.lock_for_use(p_kind text, p_name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(hashtext('outbox ' || p_kind), hashtext(p_name));
end
$$;

-- Whether a transaction that keeps this one from the lock waits for this one itself, directly or through
-- others.
create function outbox_engine.is_lock_cycle(p_kind text, p_name text, p_shared boolean) returns boolean
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  with recursive blocking as (
    select l.pid
    from pg_locks l
    where l.locktype = 'advisory' and l.objsubid = 2
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and l.classid::bigint = hashtext('outbox ' || p_kind)::bigint & 4294967295
      and l.objid::bigint = hashtext(p_name)::bigint & 4294967295
      and l.pid <> pg_backend_pid()
      and case when p_shared then l.mode = 'ExclusiveLock' else l.granted end
    union
    select w.pid
    from blocking b
    cross join unnest(pg_blocking_pids(b.pid)) w (pid)
  )
  select exists (select from blocking where pid = pg_backend_pid())
$$;

-- Called by edits of campaigns and templates, which hold the row already: takes the lock that `lock_for_use`
-- takes (`p_shared`), or the one that waits for all who hold that and keeps others from it. Refuses with
-- `p_refusal` after five seconds, or as soon as waiting longer would be a deadlock. It waits a tenth of a
-- second at a time: that is shorter than `deadlock_timeout`, and between two waits others get the lock.
create function outbox_engine.lock_for_edit(
  p_kind text, p_name text, p_shared boolean, p_refusal text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
begin
  for v_attempt in 1 .. 50 loop
    begin
      if p_shared then
        perform outbox_engine.lock_for_use(p_kind, p_name);
      else
        perform pg_advisory_xact_lock(hashtext('outbox ' || p_kind), hashtext(p_name));
      end if;
      return;
    exception when lock_not_available then
      exit when outbox_engine.is_lock_cycle(p_kind, p_name, p_shared);
    end;
  end loop;
  perform outbox_engine.refuse(p_refusal, 'Try again in a moment.');
end
$$;
