-- Counting: keeps the figures of blocks, and the sums over them, close behind the messages.

-- Counts a block again, and corrects the sums by the difference. The caller holds the lock of figures.
create function outbox_engine.recount_block(p_block integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp set jit = off
as $$
declare
  v_hours timestamptz[];
  v_is_empty boolean;
begin
  with live as materialized (
    select array_agg(row(
      o.id, o.recipient, o.dispatch_id, o.campaign, o.send_at, o.status, o.status_code, o.parts, o.sent_at,
      o.finalized_at
    )::outbox_engine.message_of_figures) as messages
    from public.outbox o
    where o.id >= p_block::bigint << 13 and o.id < (p_block + 1)::bigint << 13
  ),
  fresh as materialized (
    select x.hour, x.country, x.plan, x.campaign, x.status, x.status_code, x.delay,
      sum(x.messages) as messages, sum(x.parts) as parts, min(x.first_id) as first_id,
      max(x.last_id) as last_id
    from (
      select f.hour, f.country, f.plan, f.campaign, f.status, f.status_code, f.delay, f.messages, f.parts,
        f.first_id, f.last_id
      from live cross join lateral outbox_engine.figures_of(live.messages) f
      union all
      select hour, country, plan, campaign, status, status_code, delay, messages, parts, null, null
      from outbox_engine.block_figures
      where block = p_block and not is_total
    ) x
    group by 1, 2, 3, 4, 5, 6, 7
  ),
  stored as (
    delete from outbox_engine.block_figures where block = p_block and is_total
    returning hour, country, plan, status, status_code, delay, messages, parts
  ),
  kept as (
    insert into outbox_engine.block_figures (
      block, is_total, hour, country, plan, campaign, status, status_code, delay, messages, parts, first_id,
      last_id
    )
    select p_block, true, hour, country, plan, campaign, status, status_code, delay, messages, parts,
      first_id, last_id
    from fresh
  ),
  difference as (
    select hour, country, plan, status, status_code, delay, sum(messages) as messages, sum(parts) as parts
    from (
      select hour, country, plan, status, status_code, delay, messages, parts from fresh
      union all
      select hour, country, plan, status, status_code, delay, -messages, -parts from stored
    ) x
    group by 1, 2, 3, 4, 5, 6
    having sum(messages) <> 0 or sum(parts) <> 0
  ),
  summed as (
    insert into outbox_engine.hourly_figures as h (
      hour, country, plan, status, status_code, delay, messages, parts
    )
    select hour, country, plan, status, status_code, delay, messages, parts from difference
    on conflict (hour, country, plan, status, status_code, delay) do update
    set messages = h.messages + excluded.messages, parts = h.parts + excluded.parts
    returning hour
  )
  select array(select distinct hour from summed), (select messages is null from live)
  into v_hours, v_is_empty;
  delete from outbox_engine.hourly_figures where hour = any (v_hours) and messages <= 0;
  -- All its messages are deleted. The newest block may get others.
  if v_is_empty and p_block < (select outbox_engine.block_of(max(id)) from public.outbox) then
    delete from outbox_engine.block_figures where block = p_block;
  end if;
end
$$;

-- Moves the mark of figures as `move_horizon` moves that of events, and returns how far the history is safe
-- to read. Null before the first mark was passed.
create function outbox_engine.move_figures_horizon() returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  f outbox_engine.figures_follow;
  v_now constant timestamptz := outbox_engine.now();
  -- First the id, then the writers.
  v_last constant bigint := outbox_engine.last_history_id();
  v_writers constant text[] := outbox_engine.history_writers();
begin
  select * into f from outbox_engine.figures_follow;
  if v_last < f.safe_to then
    -- The ids began again: the owner emptied the history and restarted them.
    f.safe_to := v_last;
    f.safe_at := v_now;
    f.followed_to := least(f.followed_to, v_last);
    f.marked_to := null;
  elsif v_writers = '{}' then
    f.safe_to := v_last;
    f.safe_at := v_now;
    f.marked_to := null;
  elsif f.marked_to is null or outbox_engine.still_writing(f.marked_by, v_writers) = '{}' then
    f.safe_to := greatest(f.safe_to, f.marked_to);
    f.safe_at := case when f.marked_to is not null then f.marked_at else f.safe_at end;
    f.marked_to := v_last;
    f.marked_at := v_now;
  else
    return f.safe_to;
  end if;
  update outbox_engine.figures_follow
  set safe_to = f.safe_to, safe_at = f.safe_at, followed_to = f.followed_to, marked_to = f.marked_to,
    marked_at = f.marked_at, marked_by = case when f.marked_to is not null then v_writers end;
  return f.safe_to;
end
$$;

-- Moves the mark of inserted messages, and returns up to which id all are committed or never will be. Ids are
-- drawn long before the commit of a big insert, which writes no row of the history. Whoever inserts holds its
-- lock before it draws the first id.
create function outbox_engine.move_messages_horizon() returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  f outbox_engine.figures_follow;
  -- First the id, then the writers.
  v_drawn constant bigint := (
    select case when is_called then last_value else 0 end from public.outbox_id_seq);
  v_writers constant text[] := array(
    select l.virtualtransaction
    from pg_locks l
    where l.locktype = 'relation'
      and l.relation = 'public.outbox'::regclass
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and l.mode = 'RowExclusiveLock'
      and l.granted
      and l.pid is distinct from pg_backend_pid());
begin
  select * into f from outbox_engine.figures_follow;
  if v_drawn < f.counted_to or v_writers = '{}' then
    f.counted_to := v_drawn;
    f.drawn_to := null;
  elsif f.drawn_to is null or outbox_engine.still_writing(f.drawn_by, v_writers) = '{}' then
    f.counted_to := greatest(f.counted_to, f.drawn_to);
    f.drawn_to := v_drawn;
  else
    return f.counted_to;
  end if;
  update outbox_engine.figures_follow
  set counted_to = f.counted_to, drawn_to = f.drawn_to,
    drawn_by = case when f.drawn_to is not null then v_writers end;
  return f.counted_to;
end
$$;

-- Notes the blocks of messages that changed, and of new ones. Reads at most 50,000 rows of the history, and
-- returns whether more are there.
create function outbox_engine.note_changed_blocks() returns boolean
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  v_safe constant bigint := outbox_engine.move_figures_horizon();
  f outbox_engine.figures_follow;
  v_last bigint;
  v_newest bigint;
  v_counted_to bigint;
begin
  select * into f from outbox_engine.figures_follow;
  if v_safe is null then
    return false;
  end if;
  -- All blocks are counted for the first time, so what happened before needs no following.
  f.followed_to := coalesce(f.followed_to, v_safe);
  with stretch as materialized (
    select id, outbox_id
    from public.outbox_events
    where id > f.followed_to and id <= v_safe
    order by id
    limit 50000
  ),
  noted as (
    insert into outbox_engine.changed_blocks (block)
    select distinct outbox_engine.block_of(outbox_id) from stretch
  )
  select case when count(*) = 50000 then max(id) else v_safe end into v_last from stretch;
  -- New messages, and again those below which messages may have been missing until now.
  v_counted_to := outbox_engine.move_messages_horizon();
  v_newest := coalesce((select max(id) from public.outbox), 0);
  insert into outbox_engine.changed_blocks (block)
  select b
  from generate_series(
    outbox_engine.block_of(least(f.noted_to, v_newest)), outbox_engine.block_of(v_newest)) b
  where v_newest > f.noted_to
  union
  select b
  from generate_series(
    outbox_engine.block_of(f.counted_to), outbox_engine.block_of(least(v_counted_to, v_newest))) b
  where v_counted_to > f.counted_to;
  update outbox_engine.figures_follow set followed_to = v_last, noted_to = v_newest;
  return v_last < v_safe;
end
$$;

-- Counts at most `p_most` blocks again, the newest first, but begins none after a second. Returns whether
-- more are waiting. One transaction at a time does so; another one leaves it to that.
create function outbox_engine.tend_figures(p_most integer) returns boolean
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  v_more boolean;
  v_began constant timestamptz := clock_timestamp();
  v_block integer;
  v_noted bigint[];
begin
  if not pg_try_advisory_xact_lock(hashtext('outbox figures')) then
    return false;
  end if;
  insert into outbox_engine.figures_follow default values on conflict do nothing;
  v_more := outbox_engine.note_changed_blocks();
  for v_block in
    select block from outbox_engine.changed_blocks group by block order by block desc limit p_most
  loop
    -- Read before the block is counted, so that a later note stays for the next call.
    v_noted := array(select id from outbox_engine.changed_blocks where block = v_block);
    perform outbox_engine.recount_block(v_block);
    delete from outbox_engine.changed_blocks where id = any (v_noted);
    exit when clock_timestamp() > v_began + interval '1 second';
  end loop;
  v_more := v_more or exists (select from outbox_engine.changed_blocks);
  if not v_more then
    update outbox_engine.figures_follow set complete_at = safe_at where followed_to is not null;
  end if;
  return v_more;
end
$$;
