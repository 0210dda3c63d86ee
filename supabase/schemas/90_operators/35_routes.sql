-- What operators do with routes.

-- Writes the plans of a route, in their order. The caller holds `lock_routes`.
create function outbox_engine.write_route_plans(p_route smallint, p_plans outbox_engine.route_plan[])
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  delete from public.outbox_route_plans where route = p_route;
  insert into public.outbox_route_plans (route, provider, plan, weight, position)
  select p_route, p.provider, p.plan, p.weight, p.place from unnest(p_plans) p;
end
$$;

-- Called behind a change of a route's plans. Their weights in single countries hold on this route too.
create function outbox_engine.keep_country_weights(p_route smallint) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_country text;
begin
  for v_country in
    select distinct h.country
    from outbox_engine.plan_health h
    join outbox_engine.route_members() m on m.id = p_route and m.provider = h.provider and m.plan = h.plan
    where h.country <> '' and h.lost > 0
    order by h.country
  loop
    perform outbox_engine.make_detour(p_route, '{}', v_country);
  end loop;
end
$$;

-- One operator changes routes at a time.
create function outbox_engine.lock_routes() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock(hashtext('outbox routes'), 0);
end
$$;

-- Writes the row of a route: a new one at the end, or in place of the one by this name, which is in use again
-- if it was retired. Returns its id. The caller holds `lock_routes`.
create function outbox_engine.write_route(
  p_rule outbox_engine.route_rule, p_after_network_failure boolean, p_position smallint
) returns smallint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_id smallint;
begin
  update public.outbox_routes
  set
    position = coalesce(p_position, position), channel = p_rule.channel, countries = p_rule.countries,
    priority_from = p_rule.priority_from, priority_below = p_rule.priority_below, campaign = p_rule.campaign,
    after_network_failure = p_after_network_failure, retired_at = null
  where name = p_rule.name
  returning id into v_id;
  if not found then
    insert into public.outbox_routes (
      name, position, channel, countries, priority_from, priority_below, campaign, after_network_failure)
    values (
      p_rule.name, coalesce(p_position, (select max(r.position) + 1 from public.outbox_routes r), 1),
      p_rule.channel, p_rule.countries, p_rule.priority_from, p_rule.priority_below, p_rule.campaign,
      p_after_network_failure)
    returning id into v_id;
  end if;
  return v_id;
end
$$;

-- A route as operators see it. `serves` is false where no process sends for any of its plans; messages that
-- wait are counted up to 10,000. A default route that nobody configured has no plans here: it has all.
create function outbox_engine.route_object(p_route smallint) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  r public.outbox_routes;
  v_plans jsonb;
begin
  select * into r from public.outbox_routes where id = p_route;
  v_plans := (
    select coalesce(
      jsonb_agg(
        jsonb_build_object('provider', m.provider, 'plan', m.plan, 'weight', m.weight, 'is_live', exists (
          select from outbox_engine.live_plans() l where (l.provider, l.plan) = (m.provider, m.plan)))
        order by m.position),
      '[]')
    from public.outbox_route_plans m
    where m.route = p_route);
  return jsonb_build_object(
    'name', coalesce(r.name, 'default'), 'position', r.position, 'channel', r.channel,
    'countries', r.countries, 'priority_from', r.priority_from, 'priority_below', r.priority_below,
    'campaign', r.campaign, 'after_network_failure', outbox_engine.is_after_network_failure(p_route),
    'retired_at', r.retired_at, 'plans', v_plans,
    'serves', case
      when v_plans = '[]' then exists (select from outbox_engine.live_plans())
      else v_plans @> '[{"is_live": true}]'
    end,
    'waiting', outbox_engine.count_waiting_on(p_route, 10000));
end
$$;

-- Called by `outbox routes set`. Writes a route as a whole: a new one, or in place of the one by this name.
-- `default` is the route of what no other one matches. `p_plans` is an array of objects with `provider`,
-- `plan` and `weight`, in their order. Messages that wait keep their routes until `outbox_match_again`.
-- Returns the route. Raises an error that says what to change for a route that can match nothing, that
-- another one hides, or whose plans cannot carry it.
create function public.outbox_set_route(
  p_name text, p_plans jsonb, p_channel text default null, p_countries text[] default null,
  p_priority_from smallint default null, p_priority_below smallint default null,
  p_campaign text default null, p_after_network_failure boolean default false,
  p_position smallint default null, p_allow_absent boolean default false
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_plans constant outbox_engine.route_plan[] := outbox_engine.read_route_plans(p_plans);
  v_rule constant outbox_engine.route_rule := row(p_name, p_channel,
    outbox_engine.read_countries(p_countries), p_priority_from, p_priority_below, p_campaign);
  v_id smallint := 0;
begin
  perform outbox_engine.audit_change('set_route', p_name, jsonb_build_object(
    'plans', outbox_engine.given_json(p_plans)));
  perform outbox_engine.lock_routes();
  perform outbox_engine.check_route_rule(v_rule);
  perform outbox_engine.check_route_plans(v_plans, p_channel, p_allow_absent);
  perform outbox_engine.check_routes_allowed(p_name);
  if p_name = 'default' then
    if p_position is not null then
      perform outbox_engine.refuse('the default route has no position', 'It is always the last one.');
    end if;
    insert into outbox_engine.default_route (after_network_failure)
    values (p_after_network_failure)
    on conflict (only_row) do update set after_network_failure = excluded.after_network_failure;
    if not outbox_engine.has_routes() then
      -- From now on claims read which plans the default route has.
      perform nextval('outbox_engine.route_ids');
    end if;
  else
    v_id := outbox_engine.write_route(v_rule, p_after_network_failure, p_position);
  end if;
  perform outbox_engine.write_route_plans(v_id, v_plans);
  perform outbox_engine.keep_country_weights(v_id);
  perform pg_notify('outbox', '');
  return outbox_engine.route_object(v_id);
end
$$;

-- Called by `outbox routes remove`. The route takes no new message. It serves those that it has until they
-- are gone, or until `outbox_match_again` gives them others; then the upkeep job deletes it. `default` has
-- all configured plans again. Returns the route.
create function public.outbox_remove_route(p_name text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_id smallint := 0;
begin
  perform outbox_engine.audit_change('remove_route', p_name);
  perform outbox_engine.lock_routes();
  if p_name = 'default' then
    delete from public.outbox_route_plans where route = 0;
    delete from outbox_engine.default_route;
    perform outbox_engine.keep_country_weights(v_id);
  else
    update public.outbox_routes
    set retired_at = coalesce(retired_at, outbox_engine.now())
    where name = p_name
    returning id into v_id;
    if not found then
      perform outbox_engine.refuse(format('there is no route %L', p_name), '`outbox routes` shows them.');
    end if;
  end if;
  perform pg_notify('outbox', '');
  return outbox_engine.route_object(v_id);
end
$$;

-- Called by `outbox routes`. All routes: in the order in which a message is compared with them, then the
-- default one, then retired ones.
create function public.outbox_list_routes() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select jsonb_agg(outbox_engine.route_object(x.id::smallint) order by x.level, x.position, x.id)
  from (
    select r.id, r.level, r.position from outbox_engine.active_routes r
    union all
    select 0, 20, 0
    union all
    select r.id, 30, 0 from public.outbox_routes r where r.retired_at is not null
  ) x (id, level, position)
$$;

-- Called by `outbox routes set` and `remove` until `next` is null. Matches those of the next `p_most`
-- messages after the id `p_after` that wait, and gives them their routes. A message on a detour around plans
-- that refused it moves only where its route changes, and keeps them left out. One that another transaction
-- holds is `skipped`: a claim has it, and it is matched if it returns. Returns `next`, `last` (the id of the
-- newest message), `looked_at`, `changed` and `skipped`.
create function public.outbox_match_again(p_after bigint, p_most integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_waiting bigint[];
  v_locked bigint[];
  v_to bigint;
  v_looked_at integer;
  v_changed integer;
begin
  select array_agg(x.id) filter (where x.queue is not null), max(x.id), count(*)
  into v_waiting, v_to, v_looked_at
  from (select o.id, o.queue from public.outbox o where o.id > p_after order by o.id limit p_most) x;
  v_locked := array(
    select o.id
    from public.outbox o
    where o.id = any (v_waiting) and o.queue is not null
    order by o.id
    for update skip locked
  );
  update public.outbox o
  set route = m.route
  from (
    select x.id, outbox_engine.rerouted(x.route,
      outbox_engine.route_for(x.channel, x.recipient, x.priority, x.campaign)) as route
    from public.outbox x
    where x.id = any (v_locked)
  ) m
  where o.id = m.id and o.route <> m.route;
  get diagnostics v_changed = row_count;
  if v_changed > 0 then
    perform pg_notify('outbox', '');
  end if;
  return jsonb_build_object(
    'next', case when v_looked_at = p_most then v_to end,
    'last', (select max(o.id) from public.outbox o),
    'looked_at', v_looked_at, 'changed', v_changed,
    'skipped', coalesce(cardinality(v_waiting), 0) - cardinality(v_locked));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_list_routes,
  public.outbox_match_again,
  public.outbox_remove_route,
  public.outbox_set_route
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_list_routes,
  public.outbox_match_again,
  public.outbox_remove_route,
  public.outbox_set_route
to service_role;
