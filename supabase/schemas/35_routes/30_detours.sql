-- Detours, and the plans of a route or detour as they are configured.

-- The route of a route or detour, and what a detour leaves out; no row where there is none by this id.
create function outbox_engine.detour_of(
  p_id smallint, out route smallint, out without text[], out country text
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select d.route, d.without, d.country from outbox_engine.detours d where d.id = p_id
  union all
  select p_id, '{}', null
  where not exists (select from outbox_engine.detours d where d.id = p_id)
$$;

-- The detour of a route without these plans, for this country; made if there is none. The route itself where
-- nothing is left out. One that was out of use is in use again. The upkeep job may delete it just then, so it
-- is looked for once more.
create function outbox_engine.make_detour(p_route smallint, p_without text[], p_country text)
returns smallint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_without constant text[] := array(select distinct w from unnest(p_without) w order by w);
  v_detour outbox_engine.detours;
begin
  if v_without = '{}' and p_country is null then
    return p_route;
  end if;
  loop
    select d.*
    into v_detour
    from outbox_engine.detours d
    where d.route = p_route and d.without = v_without and d.country is not distinct from p_country;
    if not found then
      insert into outbox_engine.detours (route, without, country)
      values (p_route, v_without, p_country)
      on conflict do nothing;
    elsif v_detour.unused_since is null then
      return v_detour.id;
    else
      update outbox_engine.detours set unused_since = null where id = v_detour.id;
    end if;
  end loop;
end
$$;
