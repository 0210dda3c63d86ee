-- Clocks that differ from the others: the database's, the provider's, or a process's.

create table outbox_engine.clocks_off (
  clock text not null check (clock in ('database', 'provider', 'worker')),
  -- The plan with its provider, or the process. Empty for the database.
  name text not null default '',
  -- How far it is ahead. Negative: behind.
  seconds double precision not null,
  since timestamptz not null,
  -- The latest measurement, and what it was when an alarm was raised.
  at timestamptz not null,
  alarmed_seconds double precision not null,
  primary key (clock, name)
);
alter table outbox_engine.clocks_off enable row level security;

-- A clock is off by `p_seconds`, or right again (null). Raises an alarm once, and again when the difference
-- has changed by a quarter.
create function outbox_engine.record_clock(p_clock text, p_name text, p_seconds double precision) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_alarmed double precision := (
    select alarmed_seconds from outbox_engine.clocks_off where clock = p_clock and name = p_name);
begin
  if p_seconds is null then
    if v_alarmed is not null then
      delete from outbox_engine.clocks_off where clock = p_clock and name = p_name;
    end if;
    return;
  end if;
  if (abs(p_seconds - v_alarmed) > greatest(30, abs(v_alarmed) / 4)) is not false then
    v_alarmed := p_seconds;
    perform outbox_engine.alarm('clock.off', jsonb_build_object(
      'clock', p_clock, 'name', p_name, 'seconds', round(p_seconds)));
  end if;
  insert into outbox_engine.clocks_off as c (clock, name, seconds, since, at, alarmed_seconds)
  values (p_clock, p_name, p_seconds, v_now, v_now, v_alarmed)
  on conflict (clock, name) do update
  set
    seconds = excluded.seconds,
    since = least(c.since, excluded.since),
    at = excluded.at,
    alarmed_seconds = excluded.alarmed_seconds;
end
$$;

-- Called by the dispatch job after it first compared the clocks, when one differs from the others, now and
-- then while it does, and when it is right again: the clocks and how many seconds each is ahead, null where
-- it is right. The name is that of the process, or of the provider and the plan; the database has none.
create function public.outbox_record_clocks(p_clocks text[], p_names text[], p_seconds double precision[])
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.record_clock(x.clock, x.name, x.seconds)
  from (
    select * from unnest(p_clocks, p_names, p_seconds) u (clock, name, seconds) order by 1, 2
  ) x;
end
$$;

-- Called by `outbox status`. Clocks that are off by the measurements of the last quarter of an hour.
create function outbox_engine.clocks_json(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_agg(
      jsonb_build_object('clock', clock, 'name', name, 'seconds', seconds, 'since', since)
      order by clock, name),
    '[]')
  from outbox_engine.clocks_off
  where at > p_now - interval '15 minutes'
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_record_clocks
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_record_clocks
to service_role;
