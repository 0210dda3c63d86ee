-- The clock that due times, leases and expiries go by.

-- Tests move time here. Nobody has a grant on it, so nothing that comes in through the API can.
create table outbox_engine.clock (
  only_row boolean primary key default true check (only_row),
  frozen_at timestamptz,
  shift interval not null default '0'
);
alter table outbox_engine.clock enable row level security;

-- The one clock that due times, leases and expiries go by.
create function outbox_engine.now() returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(c.frozen_at, clock_timestamp()) + c.shift
  from outbox_engine.clock c
$$;
