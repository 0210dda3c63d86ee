-- What `outbox_set_route` says of the default route beside its plans: it has no row in `outbox_routes`,
-- because it matches whatever no other route does.

-- One row, if the default route was configured.
create table outbox_engine.default_route (
  only_row boolean primary key default true check (only_row),
  after_network_failure boolean not null
);
alter table outbox_engine.default_route enable row level security;

-- Whether a text of this route or detour that failed in the network may be sent once more by another plan.
create function outbox_engine.is_after_network_failure(p_route smallint) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_route constant smallint := (outbox_engine.detour_of(p_route)).route;
begin
  return coalesce(
    case
      when v_route = 0 then (select d.after_network_failure from outbox_engine.default_route d)
      else (select r.after_network_failure from public.outbox_routes r where r.id = v_route)
    end, false);
end
$$;
