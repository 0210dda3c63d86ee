-- Matches: where the messages of a filter may be, by the figures of their blocks.

-- Ids to read for a filter, from `first_id` to `last_id`. `messages` is how many of them match, null where
-- only the messages tell.
create type outbox_engine.id_range as (first_id bigint, last_id bigint, messages bigint);

-- A block by its figures: how many rows of them an index gave, how many messages match, and between which
-- ids.
create type outbox_engine.matching_block as (
  block integer, figures bigint, messages bigint, first_id bigint, last_id bigint
);

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

-- Where a walk through the messages of a filter begins (exclusive), by its ids and times.
create function outbox_engine.first_before(f outbox_engine.message_filter, p_before bigint) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select least(
    p_before, f.below_id, coalesce((select max(id) from public.outbox), 0) + 1,
    case when f.until is not null then outbox_engine.first_id_since(f.until + interval '1 hour') end)
$$;

-- Whether figures tell anything of what a filter asks for.
create function outbox_engine.has_figures(f outbox_engine.message_filter) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select num_nonnulls(f.statuses, f.codes, f.countries, f.campaign, f.plan) > 0
$$;

-- Whether they tell all of it but times and ids. They do not tell the statuses before a request apart, and a
-- claim gives a message its plan without a row in the history.
create function outbox_engine.has_figures_alone(f outbox_engine.message_filter) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select num_nonnulls(
      f.recipients, f.last_digits, f.template, f.priority_from, f.priority_to, f.idempotency_key, f.batch_id,
      f.dispatch_id, f.metadata, f.id) = 0
    and (f.statuses is null or not f.statuses && w.waiting or f.statuses @> w.waiting)
    and (f.plan is null or f.statuses is not null and not f.statuses && w.waiting)
  from (select array['scheduled', 'pending', 'sending'] as waiting) w
$$;

-- A query for the blocks from $2 to $3 whose figures may have what the filter $1 asks for, the newest first,
-- in the order of an index. `messages` may be 0.
create function outbox_engine.query_of_blocks(f outbox_engine.message_filter) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_conditions constant text := concat_ws(' and ',
    'true',
    case when f.statuses is not null then 'b.status = any (array('
      || 'select outbox_engine.counted_status(s) from unnest(($1).statuses) s))' end,
    case when f.codes is not null then 'b.status_code = any (($1).codes)' end,
    case when f.countries is not null then 'b.country = any (($1).countries)' end,
    case when f.campaign is not null then 'b.campaign = ($1).campaign' end,
    -- A claim gives a message its plan without a row in the history.
    case when f.plan is not null then '(b.plan = ($1).plan or b.status = ''waiting'')' end);
  v_parts text[] := '{true}';
begin
  -- A part in the order of its index for each value of a column whose values few figures have.
  if f.campaign is not null then
    v_parts := array[format('x.campaign = %L', f.campaign)];
  elsif 'delivered' <> all (f.statuses) then
    v_parts := array(
      select distinct format('x.status = %L', outbox_engine.counted_status(s)) from unnest(f.statuses) s);
  elsif f.codes is not null then
    v_parts := array(select distinct format('x.status_code = %L', c) from unnest(f.codes) c);
  end if;
  return format(
    'select b.block, count(*) as figures,'
      || ' coalesce(sum(case when b.is_total then b.messages else -b.messages end) filter (where %1$s), 0),'
      || ' min(b.first_id) filter (where %1$s), max(b.last_id) filter (where %1$s)'
      || ' from (%2$s) b group by b.block order by b.block desc',
    v_conditions,
    (
      select string_agg(
        'select * from outbox_engine.block_figures x where x.block between $2 and $3 and ' || part,
        ' union all ')
      from unnest(v_parts) part
    ));
end
$$;

-- From which block on none is counted, and which of those from `p_lowest` to `p_block` changed since they
-- were counted, the newest first. None is taken for counted where more changed than is read here.
create function outbox_engine.uncounted_blocks(
  p_block integer, p_lowest integer, out counted_below integer, out changed integer[]
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  w outbox_engine.figures_follow;
  v_later integer[];
  v_events bigint;
begin
  select * into w from outbox_engine.figures_follow;
  counted_below := case when w.followed_to is not null then outbox_engine.block_of(w.counted_to) else 0 end;
  if counted_below <= p_lowest then
    return;
  end if;
  select count(*), array_agg(distinct outbox_engine.block_of(e.outbox_id)) into v_events, v_later
  from (
    select x.outbox_id from public.outbox_events x where x.id > w.followed_to order by x.id limit 20000
  ) e;
  if v_events = 20000 then
    counted_below := 0;
    return;
  end if;
  changed := array(
    select x.block
    from (select c.block from outbox_engine.changed_blocks c union select unnest(v_later)) x
    where x.block between p_lowest and least(p_block, counted_below - 1)
    order by x.block desc);
end
$$;

-- The blocks from an id down to `p_lowest`, one range each, up to `p_stretch` ids in all. `before` is
-- where they end. Leaves out ids that no message has, such as many inserts that were undone leave.
create function outbox_engine.plain_ranges(
  p_before bigint, p_lowest bigint, p_stretch integer,
  out ranges outbox_engine.id_range[], out before bigint, out planned bigint
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_id bigint;
  v_from bigint;
begin
  ranges := '{}';
  before := p_before;
  planned := 0;
  while before > p_lowest and planned < p_stretch loop
    v_id := (select max(o.id) from public.outbox o where o.id < before and o.id >= p_lowest);
    v_from := greatest(
      outbox_engine.block_of(v_id)::bigint << 13, p_lowest, v_id - (p_stretch - planned) + 1);
    if v_id is not null then
      ranges := ranges || row(v_from, v_id, null)::outbox_engine.id_range;
      planned := planned + v_id - v_from + 1;
    end if;
    before := v_from;
  end loop;
end
$$;

-- The ranges of counted blocks before an id that may hold what a filter asks for, the newest first, with
-- those that changed since. From `p_whole_from` to `p_whole_before` all messages are within the times of the
-- filter.
create function outbox_engine.matching_ranges(
  f outbox_engine.message_filter, p_before bigint, p_lowest bigint, p_changed integer[], p_whole_from bigint,
  p_whole_before bigint, p_most integer, p_stretch bigint,
  out ranges outbox_engine.id_range[], out before bigint
)
language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off
-- Blocks come from an index in its order, as far as they are needed.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashagg = off set enable_sort = off
as $$
declare
  v_tells_all constant boolean := outbox_engine.has_figures_alone(f);
  v_blocks refcursor;
  b outbox_engine.matching_block;
  r outbox_engine.id_range;
  v_at integer;
  v_next integer := 1;
  v_planned bigint := 0;
  v_known bigint := 0;
  v_figures bigint := 0;
begin
  ranges := '{}';
  open v_blocks for execute outbox_engine.query_of_blocks(f)
    using f, outbox_engine.block_of(p_lowest), outbox_engine.block_of(p_before - 1);
  fetch v_blocks into b;
  loop
    v_at := greatest(b.block, p_changed[v_next]);
    before := (v_at + 1)::bigint << 13;
    exit when v_at is null or v_planned >= p_stretch or v_known >= p_most or v_figures > 50000
      or cardinality(ranges) >= 200;
    r := row(v_at::bigint << 13, before - 1, null);
    if v_at = p_changed[v_next] then
      v_next := v_next + 1;
    elsif b.messages > 0 then
      if v_tells_all and r.first_id >= p_whole_from and before <= p_whole_before then
        r.messages := b.messages;
      end if;
      r.first_id := coalesce(b.first_id, r.first_id);
      r.last_id := coalesce(b.last_id, r.last_id);
    else
      r.last_id := null;
    end if;
    if v_at = b.block then
      v_figures := v_figures + b.figures;
      fetch v_blocks into b;
    end if;
    r.first_id := greatest(r.first_id, p_lowest);
    r.last_id := case when r.last_id >= p_before then p_before - 1 else r.last_id end;
    if r.first_id <= r.last_id then
      ranges := ranges || r;
      v_known := v_known + coalesce(r.messages, 0);
      v_planned := v_planned + case when r.messages is null then r.last_id - r.first_id + 1 else 0 end;
    end if;
  end loop;
  close v_blocks;
end
$$;

-- The ids to read for a filter before an id, the newest first: about `p_stretch` ids, and fewer where
-- `p_most` matches are known. `before` is where the next call goes on, null at the end. `p_by_figures`
-- leaves out what figures exclude.
create function outbox_engine.ranges_to_read(
  f outbox_engine.message_filter, p_before bigint, p_most integer, p_stretch integer, p_by_figures boolean,
  out ranges outbox_engine.id_range[], out before bigint
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_lowest bigint := coalesce((select min(id) from public.outbox), 1);
  v_whole_from bigint := 0;
  v_whole_before bigint := p_before;
  v_counted_before bigint := 0;
  v_changed integer[];
  v_planned bigint;
  v_more record;
begin
  if f.since is not null then
    v_lowest := greatest(v_lowest, outbox_engine.first_id_since(f.since - interval '1 hour'));
    v_whole_from := outbox_engine.first_id_since(f.since + interval '1 hour');
  end if;
  if f.until is not null then
    v_whole_before := least(p_before, outbox_engine.first_id_since(f.until - interval '1 hour'));
  end if;
  if p_by_figures then
    select u.counted_below::bigint << 13, u.changed into v_counted_before, v_changed
    from outbox_engine.uncounted_blocks(
      outbox_engine.block_of(p_before - 1), outbox_engine.block_of(v_lowest)) u;
  end if;
  select p.ranges, p.before, p.planned into ranges, before, v_planned
  from outbox_engine.plain_ranges(p_before, greatest(v_counted_before, v_lowest), p_stretch) p;
  if before > v_lowest and before <= v_counted_before and v_planned < p_stretch then
    select * into v_more
    from outbox_engine.matching_ranges(
      f, before, v_lowest, v_changed, v_whole_from, v_whole_before, p_most, p_stretch - v_planned);
    ranges := ranges || v_more.ranges;
    before := v_more.before;
  end if;
  if before <= v_lowest then
    before := null;
  end if;
end
$$;
