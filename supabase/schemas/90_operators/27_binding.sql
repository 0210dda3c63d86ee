-- What operators do with the project that a database sends from.

-- Called by `outbox bind`: the database sends from the project with this host from now on; with `p_also` from
-- those it was bound to as well. A null host changes nothing. A move to another host gives a new installation
-- id, because the database that this one was copied from may go on with the old one. Whether this one was
-- restored into the new project is asked by the old id too, until an operator says. Returns `hosts` and
-- `moved`.
create function public.outbox_bind(p_host text, p_also boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_bound outbox_engine.installation;
  v_moves boolean;
begin
  if p_host is not null then
    perform outbox_engine.audit_change('bind', p_host, jsonb_build_object('also', p_also));
  end if;
  select * into v_bound from outbox_engine.installation for update;
  v_moves := coalesce(not p_also and v_bound.hosts <> '{}' and p_host <> all (v_bound.hosts), false);
  if v_moves then
    update outbox_engine.installation
    set id = default, earlier_ids = earlier_ids || id, asks_earlier = true;
  end if;
  update outbox_engine.installation
  set hosts = case when p_also then hosts || p_host else array[p_host] end
  where p_host is not null and not (p_also and p_host = any (hosts));
  return jsonb_build_object('hosts', (select hosts from outbox_engine.installation), 'moved', v_moves);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_bind
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_bind
to service_role;
