-- The list of suppressions, with search.

-- Called by the dashboard. A page in the order of the numbers, after the number `p_after` ('' for the first
-- page). Filter keys: number (how it begins, with +, or else how it ends), reason (a part of it), replied. A
-- call reads at most 50,000 rows: a page may hold fewer than `p_most` and yet go on at `after`, which is null
-- at the end.
create function public.outbox_list_suppressions(p_filter jsonb, p_after text, p_most integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_filter constant jsonb := coalesce(outbox_engine.given_json(p_filter), '{}');
  v_number constant text := v_filter ->> 'number';
  v_begins constant boolean := coalesce(starts_with(v_number, '+'), false);
  v_most constant integer := least(greatest(p_most, 1), 1000);
  v_found record;
  v_wrong text;
begin
  select min(key) into v_wrong
  from jsonb_object_keys(v_filter) key
  where key not in ('number', 'reason', 'replied');
  if v_wrong is not null then
    perform outbox_engine.refuse(
      format('%s is not a key of a filter', v_wrong), 'Use number, reason or replied.');
  elsif v_number !~ '^\+?[0-9]*$' then
    perform outbox_engine.refuse('number has other characters than digits', 'Give how it begins or ends.');
  end if;
  with stretch as materialized (
    select s.recipient, s.reason, s.by_engine, s.created_at
    from public.outbox_suppressions s
    where s.recipient > p_after
      and (not v_begins or s.recipient >= v_number and s.recipient <= v_number || repeat('9', 16))
    order by s.recipient
    limit 50000
  ),
  matching as materialized (
    select *
    from stretch s
    where (v_number is null or v_begins or right(s.recipient, length(v_number)) = v_number)
      and (not v_filter ? 'reason' or position(lower(v_filter ->> 'reason') in lower(s.reason)) > 0)
      and coalesce(s.by_engine = (v_filter ->> 'replied')::boolean, true)
    order by s.recipient
    limit v_most
  )
  select
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'recipient', m.recipient, 'reason', m.reason, 'replied', m.by_engine, 'created_at', m.created_at
      ) order by m.recipient), '[]')
      from matching m
    ) as suppressions,
    case
      when (select count(*) from matching) = v_most then (select max(recipient) from matching)
      when (select count(*) from stretch) = 50000 then (select max(recipient) from stretch)
    end as after
  into v_found;
  return jsonb_build_object('suppressions', v_found.suppressions, 'after', v_found.after);
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_list_suppressions from public, anon, authenticated, service_role;
grant execute on function public.outbox_list_suppressions to service_role;
