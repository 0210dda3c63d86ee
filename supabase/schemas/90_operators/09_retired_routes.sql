-- Retired routes: they serve the messages that they have, and go once these are gone. So do detours without
-- use.

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

-- Called by the upkeep job. Messages that wait on a route or detour whose route is gone get the one that they
-- match now, at most `p_most` of each queue. A report moved them there while the route was deleted. Messages
-- that another transaction holds keep for the next call.
create function outbox_engine.match_strays(p_most integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_gone smallint[];
  v_ids bigint[];
begin
  if not outbox_engine.has_routes() then
    return;
  end if;
  v_gone := array(
    select distinct p.route
    from outbox_engine.priorities p
    cross join lateral outbox_engine.detour_of(p.route) w
    where p.route <> 0 and w.route <> 0
      and not exists (select from public.outbox_routes r where r.id = w.route));
  if v_gone = '{}' then
    return;
  end if;
  v_ids := array(select o.id from public.outbox o where o.queue = 'r' and o.route = any (v_gone) limit p_most)
    || array(select o.id from public.outbox o where o.queue = 'w' and o.route = any (v_gone) limit p_most);
  update public.outbox o
  set route = outbox_engine.rerouted(o.route,
    outbox_engine.route_for(o.channel, o.recipient, o.priority, o.campaign))
  where o.id = any (array(
    select x.id
    from public.outbox x
    where x.id = any (v_ids) and x.queue is not null
    order by x.id
    for update skip locked
  ));
end
$$;

-- Called by the upkeep job. Deletes detours that were out of use for 30 days. One around plans is in use
-- while messages wait on it, or were sent from it in the last hour; one for a country while a plan has less
-- weight there. `make_detour` takes a detour into use again, so each insert that saw this one has ended by
-- then, and so has each request. A message that returns later is matched again.
create function outbox_engine.forget_unused_detours(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_detour outbox_engine.detours;
  v_is_used boolean;
begin
  for v_detour in
    select d.* from outbox_engine.detours d order by d.id for update skip locked
  loop
    v_is_used := exists (
        select from outbox_engine.plan_health h
        where v_detour.without = '{}' and h.country = v_detour.country and h.lost > 0)
      or exists (
        select from outbox_engine.route_sends r
        where v_detour.without <> '{}' and r.route = v_detour.id)
      or outbox_engine.count_waiting_on(v_detour.id, 1) > 0;
    if v_is_used and v_detour.unused_since is not null
      or not v_is_used and (v_detour.unused_since <= p_now) is not true then
      update outbox_engine.detours
      set unused_since = case when not v_is_used then p_now end
      where id = v_detour.id;
    elsif v_detour.unused_since < p_now - interval '30 days' then
      delete from outbox_engine.detours where id = v_detour.id;
    end if;
  end loop;
end
$$;
