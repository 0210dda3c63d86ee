-- The clock for due times, leases and expiry.

-- Tests move the time here. No role has rights on this table, so no API request can.
create table outbox_engine.clock (
  only_row boolean primary key default true check (only_row),
  frozen_at timestamptz,
  shift interval not null default '0'
);
alter table outbox_engine.clock enable row level security;

-- The current time. The engine calls no other clock for due times, leases and expiry.
create function outbox_engine.now() returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(c.frozen_at, clock_timestamp()) + c.shift
  from outbox_engine.clock c
$$;
