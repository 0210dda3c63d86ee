-- The calls about bulk actions.

-- Called by the dashboard before an operator agrees. What the action would do to at most `p_most` messages of
-- the filter before the id `p_before`. Nothing changes. `before` is where the next call goes on, null at the
-- end.
create function public.outbox_preview_bulk(
  p_action text, p_filter jsonb, p_options jsonb, p_before bigint default null, p_most integer default 500
) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_options constant jsonb := coalesce(outbox_engine.given_json(p_options), '{}');
  v_found record;
begin
  perform outbox_engine.check_bulk(p_action, v_options);
  select * into v_found
  from outbox_engine.find_messages(
    outbox_engine.read_filter(p_filter), p_before, least(greatest(p_most, 1), 1000), 60000);
  return jsonb_build_object(
    'counts', outbox_engine.counts_json(outbox_engine.add_outcomes(
      '{}', outbox_engine.act_on_messages(p_action, v_options, v_found.ids, true))),
    'before', v_found.before,
    'share', outbox_engine.share_read(
      (select max(id) + 1 from public.outbox), v_found.before));
end
$$;

-- Called by the dashboard when an operator has agreed. Stores the action for the messages that are there now;
-- `outbox_continue_bulk` does it.
create function public.outbox_start_bulk(p_action text, p_filter jsonb, p_options jsonb) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_filter constant jsonb := coalesce(outbox_engine.given_json(p_filter), '{}');
  v_options constant jsonb := coalesce(outbox_engine.given_json(p_options), '{}');
  v_caller constant record := outbox_engine.caller();
  v_before constant bigint := coalesce((select max(id) from public.outbox), 0) + 1;
  b outbox_engine.bulk_actions;
begin
  perform outbox_engine.check_bulk(p_action, v_options);
  perform outbox_engine.read_filter(v_filter);
  insert into outbox_engine.bulk_actions (
    action, filter, options, actor, via, started_at, worked_at, first_before, next_before
  )
  values (
    p_action, v_filter, v_options, v_caller.actor, v_caller.via, v_now, v_now, v_before, v_before
  )
  returning * into b;
  perform outbox_engine.audit_change('start_bulk', b.id::text, jsonb_build_object(
    'action', p_action, 'options', v_options, 'filter', outbox_engine.ended_filter(v_filter)));
  return outbox_engine.bulk_json(b);
end
$$;

-- Called by the dashboard that drives the action, until its state is not `running`. Acts on the next `p_most`
-- messages, and stores how far it is in the same transaction. While another call works on it, this one
-- returns the action as it is. Null if there is none.
create function public.outbox_continue_bulk(p_id bigint, p_most integer) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  b outbox_engine.bulk_actions;
begin
  select * into b from outbox_engine.bulk_actions where id = p_id and ended_at is null for update skip locked;
  if found then
    b := outbox_engine.work_on_bulk(b, least(greatest(p_most, 1), 1000));
    return outbox_engine.bulk_json(b);
  end if;
  return (select outbox_engine.bulk_json(x) from outbox_engine.bulk_actions x where x.id = p_id);
end
$$;

-- Called by the dashboard. Stops the action behind the stretch that is being worked on. What it did stays
-- done. Null if there is none.
create function public.outbox_stop_bulk(p_id bigint) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  b outbox_engine.bulk_actions;
begin
  update outbox_engine.bulk_actions
  set is_stopped = true, ended_at = outbox_engine.now(), filter = outbox_engine.ended_filter(filter)
  where id = p_id and ended_at is null
  returning * into b;
  if found then
    perform outbox_engine.audit_change('stop_bulk', p_id::text);
    return outbox_engine.bulk_json(b);
  end if;
  return (select outbox_engine.bulk_json(x) from outbox_engine.bulk_actions x where x.id = p_id);
end
$$;

-- Called by the dashboard. The actions before the id `p_before` (null for all), the newest first.
create function public.outbox_list_bulk(p_before bigint, p_most integer) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(outbox_engine.bulk_json(b) order by b.id desc), '[]')
  from (
    select *
    from outbox_engine.bulk_actions
    where id < coalesce(p_before, 9223372036854775807)
    order by id desc
    limit least(greatest(p_most, 1), 1000)
  ) b
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_preview_bulk,
  public.outbox_start_bulk,
  public.outbox_continue_bulk,
  public.outbox_stop_bulk,
  public.outbox_list_bulk
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_preview_bulk,
  public.outbox_start_bulk,
  public.outbox_continue_bulk,
  public.outbox_stop_bulk,
  public.outbox_list_bulk
to service_role;
