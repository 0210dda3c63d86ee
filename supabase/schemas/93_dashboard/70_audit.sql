-- The list of audit entries.

-- Called by the dashboard. A page of entries, the newest first, before the id `p_before` (null for the first
-- page). Filter keys: actor, via, action, target (a part of it), since, until (exclusive). `before` is null
-- at the end.
create function public.outbox_list_audit(p_filter jsonb, p_before bigint, p_most integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_filter constant jsonb := coalesce(outbox_engine.given_json(p_filter), '{}');
  v_most constant integer := least(greatest(p_most, 1), 1000);
  v_wrong text;
  v_entries jsonb;
begin
  select min(key) into v_wrong
  from jsonb_object_keys(v_filter) key
  where key not in ('actor', 'via', 'action', 'target', 'since', 'until');
  if v_wrong is not null then
    perform outbox_engine.refuse(
      format('%s is not a key of a filter', v_wrong), 'Use actor, via, action, target, since or until.');
  end if;
  select coalesce(jsonb_agg(to_jsonb(x) order by x.id desc), '[]')
  into v_entries
  from (
    select a.id, a.at, a.actor, a.via, a.action, a.target, a.detail
    from outbox_engine.audit a
    where a.id < coalesce(p_before, 9223372036854775807)
      and coalesce(a.actor = v_filter ->> 'actor', true)
      and coalesce(a.via = v_filter ->> 'via', true)
      and coalesce(a.action = v_filter ->> 'action', true)
      and (not v_filter ? 'target' or coalesce(position(v_filter ->> 'target' in a.target) > 0, false))
      and coalesce(a.at >= (v_filter ->> 'since')::timestamptz, true)
      and coalesce(a.at < (v_filter ->> 'until')::timestamptz, true)
    order by a.id desc
    limit v_most + 1
  ) x;
  return jsonb_build_object(
    'entries', case
      when jsonb_array_length(v_entries) > v_most then v_entries - v_most
      else v_entries
    end,
    'before', v_entries -> (v_most - 1) -> 'id')
    || case when jsonb_array_length(v_entries) <= v_most then '{"before": null}'::jsonb else '{}' end;
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_list_audit from public, anon, authenticated, service_role;
grant execute on function public.outbox_list_audit to service_role;
