-- Matching: the route of a message.

-- The route, or the detour of a country, for a message with these values.
create function outbox_engine.route_for(
  p_channel text, p_recipient text, p_priority smallint, p_campaign text
) returns smallint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not outbox_engine.has_routes() then
    return 0;
  end if;
  return 0; -- Filled in by the next commit of the branch.
end
$$;
