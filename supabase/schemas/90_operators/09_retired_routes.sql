-- Retired routes: they serve the messages that they have, and go once these are gone.

-- The ids that messages of a route have: its own and those of its detours.
create function outbox_engine.ids_of_route(p_route smallint) returns smallint[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p_route || array(select d.id from outbox_engine.detours d where d.route = p_route)
$$;

-- How many messages wait on a route, counted up to `p_most`.
create function outbox_engine.count_waiting_on(p_route smallint, p_most integer) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant smallint[] := outbox_engine.ids_of_route(p_route);
begin
  return (
    select count(*)
    from (
      (select from public.outbox o where o.queue = 'r' and o.route = any (v_ids) limit p_most)
      union all
      (select from public.outbox o where o.queue = 'w' and o.route = any (v_ids) limit p_most)
      limit p_most
    ) x
  );
end
$$;

-- Called by the upkeep job. Deletes routes that were retired an hour ago and on which nothing waits, with
-- their detours. By then inserts that saw the route before it was retired have ended. A message that is in a
-- request is matched again if it returns.
create function outbox_engine.forget_retired_routes(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_routes smallint[];
begin
  if not exists (
    select from public.outbox_routes r where r.retired_at not between p_now - interval '1 hour' and p_now
  ) then
    return;
  end if;
  v_routes := array(
    select r.id
    from public.outbox_routes r
    where r.retired_at not between p_now - interval '1 hour' and p_now
      and outbox_engine.count_waiting_on(r.id, 1) = 0
    for update skip locked
  );
  delete from outbox_engine.detours where route = any (v_routes);
  delete from public.outbox_route_plans where route = any (v_routes);
  delete from public.outbox_routes where id = any (v_routes);
end
$$;
