-- Bulk actions whose filter names a person who is erased.

-- Called by `outbox person erase`, before anything else. Takes these numbers out of the filters of running
-- actions. One that was about no other number stops.
create function public.outbox_erase_bulk_filters(p_recipients text[]) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_actions bigint[];
begin
  with named as materialized (
    select b.id, (b.filter -> 'recipients') - p_recipients as others
    from outbox_engine.bulk_actions b
    where b.ended_at is null and (
      b.filter -> 'recipients' ?| p_recipients
      or exists (
        select
        from unnest(p_recipients) r
        where right(r, length(b.filter ->> 'last_digits')) = b.filter ->> 'last_digits'))
    order by b.id
    for update
  ),
  erased as (
    update outbox_engine.bulk_actions b
    set filter = case
        when n.others <> '[]' and not b.filter ? 'last_digits'
          then jsonb_set(b.filter, '{recipients}', n.others)
        else outbox_engine.ended_filter(b.filter)
      end,
      is_stopped = n.others = '[]' or b.filter ? 'last_digits',
      ended_at = case when n.others = '[]' or b.filter ? 'last_digits' then outbox_engine.now() end
    from named n
    where b.id = n.id
    returning b.id
  )
  select array_agg(id order by id) into v_actions from erased;
  if v_actions is not null then
    perform outbox_engine.audit_change('erase_bulk_filters', array_to_string(v_actions[:20], ', '));
  end if;
  return jsonb_build_object('bulk_actions', coalesce(cardinality(v_actions), 0));
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_erase_bulk_filters from public, anon, authenticated, service_role;
grant execute on function public.outbox_erase_bulk_filters to service_role;
