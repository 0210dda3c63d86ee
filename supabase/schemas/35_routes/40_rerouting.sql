-- Rerouting: messages that wait on a route when their match changes.

-- Whether a route or detour has a plan. The default route has one where nobody configured it.
create function outbox_engine.has_plan(p_route smallint, p_without text[]) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
      select from public.outbox_route_plans m
      where m.route = p_route and outbox_engine.plan_name(m.provider, m.plan) <> all (p_without))
    or p_route = 0 and not exists (select from public.outbox_route_plans m where m.route = 0);
end
$$;

-- Where a message goes that is on the route or detour `p_from` and matches `p_to`. On a detour around plans
-- that refused it, it stays while the route is the same; on another route it takes the detour without the
-- same plans, unless that has none left.
create function outbox_engine.rerouted(p_from smallint, p_to smallint) returns smallint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_detour outbox_engine.detours;
  v_target record;
begin
  if p_from = p_to then
    return p_to;
  end if;
  select * into v_detour from outbox_engine.detours where id = p_from;
  if not found or v_detour.without = '{}' then
    return p_to;
  end if;
  v_target := outbox_engine.detour_of(p_to);
  if v_detour.route = v_target.route then
    return p_from;
  elsif outbox_engine.has_plan(v_target.route, v_detour.without) then
    return outbox_engine.make_detour(v_target.route, v_detour.without, v_target.country);
  end if;
  return p_to;
end
$$;
