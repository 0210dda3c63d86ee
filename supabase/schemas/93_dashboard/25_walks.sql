-- Walks: finds the messages of a filter from the newest to the oldest, with bounded work for each call.

-- The messages that a filter names by something that few messages share: an id, a key, a request, a batch.
-- Null where it names none.
create function outbox_engine.named_messages(f outbox_engine.message_filter) returns bigint[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if f.id is not null then
    return array[f.id];
  elsif f.idempotency_key is not null then
    return array(select o.id from public.outbox o where o.idempotency_key = f.idempotency_key);
  elsif f.dispatch_id is not null then
    return array(
      select m.outbox_id from outbox_engine.dispatch_members m where m.dispatch_id = f.dispatch_id);
  elsif f.batch_id is not null then
    return array(
      select m.outbox_id
      from outbox_engine.dispatches d
      join outbox_engine.dispatch_members m on m.dispatch_id = d.id
      where d.batch_id = f.batch_id
      limit 10000);
  end if;
  return null;
end
$$;

-- The newest messages of each of these numbers before an id, and the id from which on they are all there are;
-- null where they are all.
create function outbox_engine.messages_to(
  p_recipients text[], p_before bigint, p_most integer, out ids bigint[], out complete_from bigint
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with newest as materialized (
    select r.recipient, n.id
    from unnest(p_recipients) r (recipient)
    cross join lateral (
      select o.id
      from public.outbox o
      where o.recipient = r.recipient and o.id < p_before
      order by o.id desc
      limit p_most
    ) n
  )
  select
    array(select id from newest),
    (select max(c.lowest) from (
      select min(id) as lowest from newest group by recipient having count(*) = p_most
    ) c)
$$;

-- The messages with this metadata, if they are at most 2000, otherwise null. A search in the index that finds
-- many more returns some of them only, which is all that is asked here.
create function outbox_engine.messages_with(p_metadata jsonb) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = off set gin_fuzzy_search_limit = 10000
as $$
declare
  v_ids constant bigint[] := array(
    select o.id
    from public.outbox o
    where o.metadata @> p_metadata and o.metadata is not null
    limit 2001
  );
begin
  return case when cardinality(v_ids) <= 2000 then v_ids end;
end
$$;

-- The newest block up to `p_block` that may hold matches, null if there is none. Blocks that changed since
-- they were counted may hold any.
create function outbox_engine.next_block(f outbox_engine.message_filter, p_block integer) returns integer
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select greatest(
    (
      select b.block
      from outbox_engine.block_figures b
      where b.block <= p_block
        and (f.statuses is null or b.status = any (array(
          select outbox_engine.counted_status(s) from unnest(f.statuses) s)))
        and (f.codes is null or b.status_code = any (f.codes))
        and (f.countries is null or b.country = any (f.countries))
        and (f.campaign is null or b.campaign = f.campaign)
        -- A claim gives a message its plan without a row in the history.
        and (f.plan is null or b.plan = f.plan or b.status = 'waiting')
      order by b.block desc
      limit 1
    ),
    (select max(c.block) from outbox_engine.changed_blocks c where c.block <= p_block),
    (
      select max(outbox_engine.block_of(e.outbox_id))
      from (
        select x.outbox_id
        from outbox_engine.figures_follow w
        cross join lateral (
          select y.outbox_id from public.outbox_events y where y.id > w.followed_to order by y.id limit 20000
        ) x
      ) e
      where outbox_engine.block_of(e.outbox_id) <= p_block
    ),
    -- Not counted yet.
    case when p_block >= coalesce((
      select outbox_engine.block_of(w.counted_to)
      from outbox_engine.figures_follow w
      where w.followed_to is not null
    ), 0) then p_block end)
$$;

-- The first id of which the messages from there on were inserted at `p_at` or later, but for transactions
-- that stayed open for more than an hour. Ids follow the time of the insert, so it halves the range.
create function outbox_engine.first_id_since(p_at timestamptz) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_low bigint := coalesce((select min(id) from public.outbox), 1);
  v_high bigint := coalesce((select max(id) from public.outbox), 0) + 1;
  v_middle bigint;
begin
  while v_low < v_high loop
    v_middle := (v_low + v_high) / 2;
    if coalesce((
      select o.created_at from public.outbox o where o.id >= v_middle order by o.id limit 1
    ) < p_at, false) then
      v_low := v_middle + 1;
    else
      v_high := v_middle;
    end if;
  end loop;
  return v_low;
end
$$;

-- At most `p_most` messages of a filter before an id, the newest first, among about `p_stretch` rows.
-- `before` is where the next call goes on, null at the end.
create function outbox_engine.walk_messages(
  f outbox_engine.message_filter, p_before bigint, p_most integer, p_stretch integer,
  out ids bigint[], out before bigint
)
language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off
as $$
declare
  v_query constant text := 'select array(select o.id from public.outbox o where o.id < $2 and o.id >= $3 and '
    || outbox_engine.filter_conditions(f) || ' order by o.id desc limit $4)';
  v_skips constant boolean := num_nonnulls(f.statuses, f.codes, f.countries, f.campaign, f.plan) > 0;
  v_lowest bigint := coalesce((select min(id) from public.outbox), 1);
  v_block integer;
  v_from bigint;
  v_read integer := 0;
  v_found bigint[];
begin
  ids := '{}';
  before := p_before;
  if f.since is not null then
    v_lowest := greatest(v_lowest, outbox_engine.first_id_since(f.since - interval '1 hour'));
  end if;
  while before > v_lowest and v_read < p_stretch and cardinality(ids) < p_most loop
    v_block := outbox_engine.block_of(before - 1);
    if v_skips then
      v_block := outbox_engine.next_block(f, v_block);
      if v_block is null then
        before := null;
        return;
      end if;
      before := least(before, (v_block + 1)::bigint << 13);
    end if;
    v_from := greatest(v_block::bigint << 13, v_lowest);
    execute v_query into v_found using f, before, v_from, p_most - cardinality(ids);
    ids := ids || v_found;
    v_read := v_read + (before - v_from)::integer;
    before := case when cardinality(ids) = p_most then ids[p_most] else v_from end;
  end loop;
  if before <= v_lowest then
    before := null;
  end if;
end
$$;

-- At most `p_most` messages of a filter before an id, the newest first. `before` is where the next call goes
-- on, null at the end.
create function outbox_engine.find_messages(
  f outbox_engine.message_filter, p_before bigint, p_most integer, p_stretch integer,
  out ids bigint[], out before bigint
)
language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off
as $$
declare
  v_before bigint := least(p_before, f.below_id, coalesce((select max(id) from public.outbox), 0) + 1);
  v_ids bigint[] := outbox_engine.named_messages(f);
  v_complete_from bigint;
begin
  if f.until is not null then
    v_before := least(v_before, outbox_engine.first_id_since(f.until + interval '1 hour'));
  end if;
  if v_ids is null and f.recipients is not null then
    select m.ids, m.complete_from into v_ids, v_complete_from
    from outbox_engine.messages_to(f.recipients, v_before, greatest(p_most, 1000)) m;
  elsif v_ids is null then
    select w.ids, w.before into ids, before
    from outbox_engine.walk_messages(
      f, v_before, p_most, case when f.metadata is null then p_stretch else 8192 end) w;
    if f.metadata is null or cardinality(ids) = p_most or before is null then
      return;
    end if;
    -- Few of the newest messages have it, so the index may know them all.
    v_ids := outbox_engine.messages_with(f.metadata);
    if v_ids is null then
      select w.ids, w.before into ids, before
      from outbox_engine.walk_messages(f, v_before, p_most, p_stretch) w;
      return;
    end if;
  end if;
  execute 'select array(select o.id from public.outbox o'
    || ' where o.id = any ($2) and o.id < $3 and o.id >= $4 and ' || outbox_engine.filter_conditions(f)
    || ' order by o.id desc limit $5)'
  into ids
  using f, v_ids, v_before, coalesce(v_complete_from, 0), p_most;
  before := case when cardinality(ids) = p_most then ids[p_most] else v_complete_from end;
end
$$;
