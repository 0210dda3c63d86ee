-- Matching: the route of a message.

-- The routes that take messages, the most specific one first: one of a campaign before one of countries,
-- then one of priorities, then one of a channel. Among equals the lowest position counts.
create view outbox_engine.active_routes as
select r.id, r.name, r.channel, r.countries, coalesce(r.priority_from, -32768) as priority_from,
  coalesce(r.priority_below, 32768) as priority_below, r.campaign,
  row_number() over (
    order by r.campaign is null, r.countries is null, num_nonnulls(r.priority_from, r.priority_below) = 0,
      r.channel is null, r.position, r.id
  ) as place
from public.outbox_routes r
where r.retired_at is null;

-- The country of a recipient, if a route or detour asks for one; else null.
create function outbox_engine.country_for_route(p_recipient text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from public.outbox_routes r where r.countries is not null and r.retired_at is null)
    or exists (select from outbox_engine.detours d where d.without = '{}' and d.country is not null) then
    return (select c.country from outbox_engine.countries_of(array[p_recipient]) c);
  end if;
  return null;
end
$$;

-- The route for a message with these values, or its detour for the country of the number. 0 is the default
-- route, which takes what no other one matches.
create function outbox_engine.route_for(
  p_channel text, p_recipient text, p_priority smallint, p_campaign text
) returns smallint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_country text;
  v_route smallint;
begin
  if not outbox_engine.has_routes() then
    return 0;
  end if;
  v_country := outbox_engine.country_for_route(p_recipient);
  v_route := coalesce((
    select r.id
    from outbox_engine.active_routes r
    where (r.channel is null or r.channel = p_channel)
      and (r.countries is null or v_country = any (r.countries))
      and r.priority_from <= p_priority
      and r.priority_below > p_priority
      and (r.campaign is null or r.campaign = p_campaign)
    order by r.place
    limit 1
  ), 0);
  return coalesce((
    select d.id
    from outbox_engine.detours d
    where d.route = v_route and d.without = '{}' and d.country = v_country
  ), v_route);
end
$$;
