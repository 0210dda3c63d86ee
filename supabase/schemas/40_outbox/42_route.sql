-- The route of a message that waits already.

-- The route or detour of a message; where it is gone, the one that the message matches now.
create function outbox_engine.present_route(o public.outbox) returns smallint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_route constant smallint := (outbox_engine.detour_of(o.route)).route;
begin
  if v_route = 0 or exists (select from public.outbox_routes r where r.id = v_route) then
    return o.route;
  end if;
  return outbox_engine.route_for(o.channel, o.recipient, o.priority, o.campaign);
end
$$;

-- Runs before an update that puts a message back into the queue, or changes what routes match. While it was
-- away, its route may have been retired and deleted. A report that moves it has chosen its detour already. It
-- runs before the trigger that keeps the message above the queue bounds, because those are of its route. So
-- it reads `media_url`: what that makes of `channel` comes after.
create function outbox_engine.before_route_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if outbox_engine.has_routes() then
    new.route := outbox_engine.rerouted(new.route, outbox_engine.route_for(
      case when new.media_url is null then 'sms' else 'mms' end, new.recipient, new.priority, new.campaign));
  end if;
  return new;
end
$$;
create trigger outbox_5_route
  before update of recipient, priority, campaign, media_url, queue on public.outbox for each row
  when (new.queue is not null and (
    old.queue is null and new.route = old.route
    or (new.recipient, new.priority, new.campaign, new.media_url)
      is distinct from (old.recipient, old.priority, old.campaign, old.media_url)))
  execute function outbox_engine.before_route_change();
