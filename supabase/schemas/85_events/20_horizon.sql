-- The horizon: up to which id every row of the history is committed, or never will be.
--
-- Ids are drawn before the commit, so a row may appear below others that were read before. Transaction ids
-- do not tell which may: a transaction can draw an id of the history before it has an id of its own. But
-- whoever writes to the history holds a lock on it, which it takes before it draws the id and keeps until its
-- end is visible to others. So the last drawn id is read first, then the transactions that hold this lock are
-- listed, and only then are rows read. Once none of those transactions holds the lock, the horizon is that
-- id.

-- The last id of the history that was drawn.
create function outbox_engine.last_history_id() returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
  return (select case when is_called then last_value else 0 end from public.outbox_events_id_seq);
end
$$;

-- The transactions that hold the lock of writers on the history. A prepared transaction has another name
-- here than it had before: '-1/' and its id.
create function outbox_engine.history_writers() returns text[]
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select l.virtualtransaction
    from pg_locks l
    where l.locktype = 'relation'
      and l.relation = 'public.outbox_events'::regclass
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and l.mode = 'RowExclusiveLock'
      and l.granted
  );
end
$$;

-- Those of these transactions that may write yet, when `p_writers` are the present ones. One that was
-- prepared since the mark is not recognized, so all prepared ones count.
create function outbox_engine.still_writing(p_marked_by text[], p_writers text[]) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array(
    select w from unnest(p_writers) w where w = any (p_marked_by) or starts_with(w, '-1/'))
$$;

-- Called by the follower, which holds its lock. Moves the mark where that is possible, and returns how far
-- the history is safe to read in a later statement. Volatile functions see each statement's own snapshot, but
-- not in a transaction that keeps its first one.
create function outbox_engine.move_horizon(p_now timestamptz) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  f outbox_engine.event_follow;
  -- First the id, then the writers.
  v_last constant bigint := outbox_engine.last_history_id();
  v_writers text[];
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'events are followed in read committed transactions only';
  end if;
  select * into f from outbox_engine.event_follow;
  if f.safe_to = v_last then
    return f.safe_to;
  elsif v_last < f.safe_to then
    -- The ids began again: the owner emptied the history and restarted them.
    update outbox_engine.event_lanes
    set history_after = least(history_after, v_last),
      history_until = case when history_until is not null then least(history_until, v_last) end;
    update outbox_engine.event_follow
    set followed_to = least(followed_to, v_last), safe_to = v_last, marked_to = null, marked_by = null,
      marked_at = null;
    return v_last;
  end if;
  v_writers := outbox_engine.history_writers();
  if v_writers = '{}' then
    f.safe_to := v_last;
    f.marked_to := null;
  elsif f.marked_to is not null
    and outbox_engine.still_writing(f.marked_by, v_writers) <> '{}' then
    return f.safe_to;
  else
    f.safe_to := greatest(f.safe_to, f.marked_to);
    f.marked_to := v_last;
  end if;
  update outbox_engine.event_follow
  set safe_to = f.safe_to, marked_to = f.marked_to,
    marked_by = case when f.marked_to is not null then v_writers end,
    marked_at = case when f.marked_to is not null then p_now end;
  return f.safe_to;
end
$$;

-- Since when events wait for a transaction that is still open. Null where they wait for none.
create function outbox_engine.events_wait_since(p_now timestamptz) returns timestamptz
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select f.marked_at
    from outbox_engine.event_follow f
    where f.marked_to is not null
      and f.marked_at < p_now - interval '1 minute'
      and outbox_engine.still_writing(f.marked_by, outbox_engine.history_writers()) <> '{}'
      and outbox_engine.has_event_endpoints()
  );
end
$$;
