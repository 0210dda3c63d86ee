-- Time zones, by the names of the tz database.

-- The zones that may be named. `at time zone` also takes abbreviations and any made-up name with a number
-- behind it, as fixed offsets; those are refused, because a typing error would become a guess.
create table outbox_engine.zones (
  name text primary key
);
alter table outbox_engine.zones enable row level security;

-- A zone as it is kept. PostgreSQL takes these four names of the tz database for abbreviations, which stay on
-- winter's time all summer; the tz database makes them links to these places.
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

-- The place somebody may mean who names a zone that has no summer time, where people say its name for a clock
-- that has.
create function outbox_engine.zone_meant_by(p_name text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_name = 'EST' then 'America/New_York'
    when p_name = 'MST' then 'America/Denver'
    when p_name in ('GMT', 'GMT0', 'GMT+0', 'GMT-0', 'Greenwich') then 'Europe/London'
  end
$$;

-- Called by the checks of campaigns and members. Zones that a newer tz database brought are learned when
-- first named; the server's own list takes a tenth of a second to read, so it is asked only then.
create function outbox_engine.is_zone(p_name text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from outbox_engine.zones where name = p_name) then
    return true;
  end if;
  if p_name !~ '^[A-Z][A-Za-z0-9_+/-]+$' or p_name in ('Factory') then
    return false;
  end if;
  insert into outbox_engine.zones (name)
  select name from pg_catalog.pg_timezone_names where name = p_name
  on conflict do nothing;
  return exists (select from outbox_engine.zones where name = p_name);
end
$$;

-- What is wrong with the name of a zone, and what may have been meant; null where nothing is, also without a
-- name.
create function outbox_engine.zone_problem(p_name text) returns text
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_name is null or outbox_engine.is_zone(p_name) then null
    else format('timezone %L is not in the tz database; its names are such as %s', left(p_name, 64), coalesce(
      (select min(name) from outbox_engine.zones
      where right(lower(name), char_length(p_name) + 1) = '/' || lower(replace(p_name, ' ', '_')) and p_name <> ''),
      'America/New_York'))
  end
$$;

-- Called by `seed`. Zones that the server learned since are added.
create function outbox_engine.seed_zones() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.zones (name)
  select name from pg_catalog.pg_timezone_names
  where name !~ '^(posix|right)/' and name not in ('Factory', 'localtime', 'posixrules')
  on conflict do nothing
$$;
