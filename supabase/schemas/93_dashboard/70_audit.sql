-- The list of audit entries.

-- Called by the dashboard. A page of entries, the newest first, before the id `p_before` (null for the first
-- page). Filter keys: actor, via, action, target (a part of it), since, until (exclusive). A call reads at
-- most 20,000 entries: a page may hold fewer than `p_most` and yet go on at `before`, which is null at the
-- end. `read_to` is then the time of the last one that was read.
create function public.outbox_list_audit(p_filter jsonb, p_before bigint, p_most integer) returns jsonb
language plpgsql stable security definer
-- In the order of the ids, as far as entries are needed.
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off
set enable_sort = off
as $$
declare
  v_filter constant jsonb := coalesce(outbox_engine.given_json(p_filter), '{}');
  v_since constant timestamptz := v_filter ->> 'since';
  v_until constant timestamptz := v_filter ->> 'until';
  v_most constant integer := least(greatest(p_most, 1), 1000);
  v_wrong text;
  -- Ids follow the times, but for transactions that stayed open for more than an hour.
  v_lowest constant bigint := coalesce((
    select a.id from outbox_engine.audit a where a.at < v_since - interval '1 hour' order by a.at desc limit 1
  ), 0);
  v_before constant bigint := least(p_before, 9223372036854775807, (
    select a.id from outbox_engine.audit a where a.at > v_until + interval '1 hour' order by a.at limit 1
  ));
  v_found outbox_engine.audit[];
  v_last outbox_engine.audit;
begin
  select min(key) into v_wrong
  from jsonb_object_keys(v_filter) key
  where key not in ('actor', 'via', 'action', 'target', 'since', 'until');
  if v_wrong is not null then
    perform outbox_engine.refuse(
      format('%s is not a key of a filter', v_wrong), 'Use actor, via, action, target, since or until.');
  end if;
  v_found := array(
    select a.entry
    from (
      select x.id, x as entry
      from outbox_engine.audit x
      where x.id < v_before and x.id > v_lowest
      order by x.id desc
      limit 20000
    ) a
    where coalesce((a.entry).actor = v_filter ->> 'actor', true)
      and coalesce((a.entry).via = v_filter ->> 'via', true)
      and coalesce((a.entry).action = v_filter ->> 'action', true)
      and (
        not v_filter ? 'target' or coalesce(position(v_filter ->> 'target' in (a.entry).target) > 0, false))
      and coalesce((a.entry).at >= v_since, true)
      and coalesce((a.entry).at < v_until, true)
    order by a.id desc
    limit v_most + 1);
  if cardinality(v_found) > v_most then
    v_last := v_found[v_most];
  else
    select * into v_last
    from outbox_engine.audit x
    where x.id < v_before and x.id > v_lowest
    order by x.id desc
    limit 1 offset 19999;
  end if;
  return jsonb_build_object(
    'entries', (
      select coalesce(jsonb_agg(to_jsonb(e) order by e.id desc), '[]') from unnest(v_found[:v_most]) e
    ),
    'before', v_last.id,
    'read_to', v_last.at);
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_list_audit from public, anon, authenticated, service_role;
grant execute on function public.outbox_list_audit to service_role;
