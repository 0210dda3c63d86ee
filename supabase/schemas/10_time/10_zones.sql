-- Time zones, by the names of the tz database.

-- The zones that campaigns and members may name. `at time zone` accepts more: abbreviations, and any letters
-- with a number behind them, as fixed offsets. The engine refuses those, because a typing error would go
-- unnoticed.
create table outbox_engine.zones (
  name text primary key
);
alter table outbox_engine.zones enable row level security;

-- The zone that is stored for this name. PostgreSQL takes four names of the tz database for abbreviations,
-- without summer time. The tz database makes them links to these places.
create function outbox_engine.canonical_zone(p_name text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_name in ('CET', 'MET') then 'Europe/Brussels'
    when p_name = 'EET' then 'Europe/Athens'
    when p_name = 'WET' then 'Europe/Lisbon'
    else p_name
  end
$$;

-- For zones without summer time that people confuse with a place that has it: that place. Null for others.
create function outbox_engine.zone_meant_by(p_name text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_name = 'EST' then 'America/New_York'
    when p_name = 'MST' then 'America/Denver'
    when p_name in ('GMT', 'GMT0', 'GMT+0', 'GMT-0', 'Greenwich') then 'Europe/London'
  end
$$;

-- Called by the checks of campaigns and members. Also adds zones that a newer tz database brought, when they
-- are first named: reading the server's list takes a tenth of a second, so it is read for unknown names only.
create function outbox_engine.is_zone(p_name text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from outbox_engine.zones where name = p_name) then
    return true;
  end if;
  if p_name !~ '^[A-Z][A-Za-z0-9_+/-]+$' or p_name = 'Factory' then
    return false;
  end if;
  insert into outbox_engine.zones (name)
  select name from pg_catalog.pg_timezone_names where name = p_name
  on conflict do nothing;
  return exists (select from outbox_engine.zones where name = p_name);
end
$$;

-- Called by the checks of campaigns and members. What is wrong with the name of a zone, with a suggestion;
-- null for a valid name and for null.
create function outbox_engine.zone_problem(p_name text) returns text
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select case when p_name is not null and not outbox_engine.is_zone(p_name) then
    format('timezone %L is not in the tz database; its names are such as %s', left(p_name, 64), coalesce((
      select min(name) from outbox_engine.zones
      where p_name <> ''
        and right(lower(name), char_length(p_name) + 1) = '/' || lower(replace(p_name, ' ', '_'))
    ), 'America/New_York'))
  end
$$;

-- Called by `seed`. Adds all zones of the server.
create function outbox_engine.seed_zones() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.zones (name)
  select name from pg_catalog.pg_timezone_names
  where name !~ '^(posix|right)/' and name not in ('Factory', 'localtime', 'posixrules')
  on conflict do nothing
$$;
