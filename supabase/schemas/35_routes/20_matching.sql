-- Matching: the route of a message.

-- The routes that take messages. The most specific one has the lowest `level`: one of a campaign goes before
-- one of countries, then one of priorities, then one of a channel. Of two that both name a campaign, the next
-- condition counts, and so on; at last the lower position.
create view outbox_engine.active_routes as
select r.id, r.channel, r.countries, coalesce(r.priority_from, -32768) as priority_from,
  coalesce(r.priority_below, 32768) as priority_below, r.campaign, r.position,
  case when r.campaign is null then 8 else 0 end
    + case when r.countries is null then 4 else 0 end
    + case when num_nonnulls(r.priority_from, r.priority_below) = 0 then 2 else 0 end
    + case when r.channel is null then 1 else 0 end as level
from public.outbox_routes r
where r.retired_at is null;

-- The route for a message with these values, or its detour for the country of the number, if that is in use.
-- 0 is the default route, which takes what no other one matches. The country is looked up only if a route or
-- detour that the message may take asks for one.
create function outbox_engine.route_for(
  p_channel text, p_recipient text, p_priority smallint, p_campaign text
) returns smallint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_rule record;
  v_route smallint := 0;
  -- Empty for a number whose country is not known.
  v_country text;
begin
  for v_rule in
    select r.id, r.countries
    from outbox_engine.active_routes r
    where (r.channel is null or r.channel = p_channel)
      and r.priority_from <= p_priority
      and r.priority_below > p_priority
      and (r.campaign is null or r.campaign = p_campaign)
    order by r.level, r.position, r.id
  loop
    if v_rule.countries is not null and v_country is null then
      v_country := coalesce(outbox_engine.country_of(p_recipient), '');
    end if;
    if v_rule.countries is null or v_country = any (v_rule.countries) then
      v_route := v_rule.id;
      exit;
    end if;
  end loop;
  for v_rule in
    select d.id, d.country
    from outbox_engine.detours d
    where d.route = v_route and d.without = '{}' and d.country is not null and d.unused_since is null
  loop
    if v_country is null then
      v_country := coalesce(outbox_engine.country_of(p_recipient), '');
    end if;
    if v_rule.country = v_country then
      return v_rule.id;
    end if;
  end loop;
  return v_route;
end
$$;
