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

-- Whether the statement runs for a second: a list that people wait for then shows what was found.
create function outbox_engine.is_late() returns boolean
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select clock_timestamp() > statement_timestamp() + interval '1 second'
$$;

-- At most `p_most` messages of a filter before an id, the newest first, among about `p_stretch` rows.
-- `before` is where the next call goes on, null at the end.
create function outbox_engine.walk_messages(
  f outbox_engine.message_filter, p_before bigint, p_most integer, p_stretch integer,
  out ids bigint[], out before bigint
)
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
declare
  v_query constant text := 'select array(select o.id from public.outbox o'
    || ' where o.id >= $2 and o.id <= $3 and ' || outbox_engine.filter_conditions(f)
    || ' order by o.id desc limit $4)';
  v_plan record;
  r outbox_engine.id_range;
  v_read bigint := 0;
  v_found bigint[];
begin
  ids := '{}';
  before := p_before;
  select * into v_plan
  from outbox_engine.ranges_to_read(f, p_before, p_most, p_stretch, outbox_engine.has_figures(f));
  foreach r in array v_plan.ranges loop
    if v_read >= 2 * p_stretch or outbox_engine.is_late() then
      return;
    end if;
    execute v_query into v_found
    using f, r.first_id, r.last_id, least(p_most - cardinality(ids), r.messages);
    ids := ids || v_found;
    v_read := v_read + r.last_id - r.first_id + 1;
    before := case when cardinality(ids) = p_most then ids[p_most] else r.first_id end;
    if cardinality(ids) = p_most then
      return;
    end if;
  end loop;
  before := v_plan.before;
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
  v_before constant bigint := outbox_engine.first_before(f, p_before);
  v_ids bigint[] := outbox_engine.named_messages(f);
  v_complete_from bigint;
begin
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

-- How many messages a filter has, counted up to `p_most`. `is_more`: there are more, or may be, because the
-- count read as much as one call reads.
create function outbox_engine.count_matches(
  f outbox_engine.message_filter, p_most integer, out count bigint, out is_more boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
declare
  v_query constant text := 'select count(*) from (select from public.outbox o'
    || ' where o.id >= $2 and o.id <= $3 and ' || outbox_engine.filter_conditions(f) || ' limit $4) x';
  v_plan record;
  r outbox_engine.id_range;
  v_found bigint;
begin
  if num_nonnulls(f.id, f.idempotency_key, f.dispatch_id, f.batch_id, f.recipients, f.metadata) > 0 then
    select cardinality(m.ids), m.before is not null into count, is_more
    from outbox_engine.find_messages(f, null, p_most + 1, 60000) m;
  else
    select * into v_plan
    from outbox_engine.ranges_to_read(
      f, outbox_engine.first_before(f, null), p_most + 1, 60000,
      outbox_engine.has_figures(f) or outbox_engine.has_figures_alone(f));
    count := 0;
    is_more := v_plan.before is not null;
    foreach r in array v_plan.ranges loop
      if count > p_most or outbox_engine.is_late() then
        is_more := true;
        exit;
      end if;
      v_found := r.messages;
      if v_found is null then
        execute v_query into v_found using f, r.first_id, r.last_id, p_most + 1 - count;
      end if;
      count := count + v_found;
    end loop;
  end if;
  is_more := is_more or count > p_most;
  count := least(count, p_most);
end
$$;
