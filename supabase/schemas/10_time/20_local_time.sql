-- Local time: what a wall clock shows somewhere, and the instant that is. Pure functions.

-- Whether an instant lies where nobody's appointments do. Near the ends of its calendar PostgreSQL gives up
-- adding days, and one member there would stop a whole campaign.
create function outbox_engine.is_outside_calendar(p_at timestamptz) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_at < timestamptz '1970-01-01 00:00+00' or p_at >= timestamptz '2200-01-01 00:00+00'
$$;

-- How far the wall clock of a zone is ahead of UTC at an instant.
create function outbox_engine.utc_offset(p_at timestamptz, p_zone text) returns interval
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select (p_at at time zone p_zone) - (p_at at time zone 'UTC')
$$;

-- The same anywhere, by trial. A zone's offset is below a day, so a day before and a day after lie on either
-- side of whatever change there is. Where two changes fall within those two days, the offset in between is
-- tried as well.
create function outbox_engine.instant_near_change(p_local timestamp, p_zone text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_as_utc timestamptz := p_local at time zone 'UTC';
  v_candidate timestamptz;
begin
  select min(c.at) into v_candidate
  from (
    select v_as_utc - outbox_engine.utc_offset(v_as_utc + h * interval '4 hours', p_zone) as at
    from generate_series(-6, 6) h
  ) c
  where c.at at time zone p_zone = p_local;
  if v_candidate is not null then
    return v_candidate;
  end if;
  -- In a gap: the offset that held before it. It is the one whose result the change has carried past the time
  -- asked for.
  select min(c.at) into v_candidate
  from (
    select v_as_utc - outbox_engine.utc_offset(v_as_utc + h * interval '4 hours', p_zone) as at
    from generate_series(-6, 6) h
  ) c
  where c.at at time zone p_zone > p_local;
  return coalesce(v_candidate, v_as_utc - outbox_engine.utc_offset(v_as_utc - interval '24 hours', p_zone));
end
$$;

-- The instant at which a zone's wall clock shows this time: the first of two; in a gap, as long after the
-- gap's start as the time is. Called several times for each member of a campaign. PostgreSQL's answer is
-- taken where the clock shows that time then, and ran on for a day before: so it is the first.
create function outbox_engine.instant_of(p_local timestamp, p_zone text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_at timestamptz := p_local at time zone p_zone;
begin
  if v_at at time zone p_zone = p_local
    and (v_at - interval '24 hours') at time zone p_zone = p_local - interval '24 hours' then
    return v_at;
  end if;
  return outbox_engine.instant_near_change(p_local, p_zone);
end
$$;

-- An instant moved by an offset: months, weeks and days on the wall clock of the zone, hours and less in real
-- time. The day of a month that is too short becomes its last. Without a zone only the latter kind is
-- possible.
create function outbox_engine.add_offset(p_at timestamptz, p_offset interval, p_zone text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_days interval := date_trunc('day', p_offset);
begin
  -- Intervals are compared as if a month had 30 days, so each kind is compared alone.
  if extract(day from p_offset) = 0 and date_trunc('month', p_offset) = '0' then
    return p_at + p_offset;
  end if;
  return outbox_engine.instant_of((p_at at time zone p_zone) + v_days, p_zone) + (p_offset - v_days);
end
$$;

-- The first opening of a daily window that is not over at an instant: when it opens (the instant itself,
-- where it is open already) and the first instant after it. The end is exclusive. A window whose end is not
-- after its start crosses midnight and belongs to the day it opens, and so do its `p_days` (ISO, 1 Monday to
-- 7 Sunday; null is every day). A window without times is the whole day, and days that follow one another are
-- one, for a week at most. Nulls where it never opens. Without any window, open for ever. A clock change may
-- take a window away, and where it opens once a week, the next is two weeks after the last.
create function outbox_engine.window_opening(
  p_from timestamptz, p_start time, p_end time, p_days smallint[], p_zone text,
  out opens_at timestamptz, out closes_at timestamptz
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_start time := coalesce(p_start, '00:00');
  v_end time := coalesce(p_end, '24:00');
  v_local timestamp := p_from at time zone p_zone;
  v_offset interval := v_local - (p_from at time zone 'UTC');
  v_steady boolean;
  v_day date;
  v_last date;
begin
  if p_start is null and p_days is null then
    opens_at := p_from;
    closes_at := 'infinity';
    return;
  end if;
  -- Where no clock changes between the opening of yesterday's window and the end of tomorrow's, it is a
  -- matter of arithmetic.
  v_steady := (p_from - interval '48 hours') at time zone p_zone = v_local - interval '48 hours'
    and (p_from + interval '72 hours') at time zone p_zone = v_local + interval '72 hours';
  v_day := v_local::date - 1;
  for v_tries in 0 .. 16 loop
    if p_days is null or extract(isodow from v_day) = any (p_days) then
      v_last := v_day;
      while p_start is null and v_last < v_day + 7 and extract(isodow from v_last + 1) = any (p_days) loop
        v_last := v_last + 1;
      end loop;
      if v_steady and v_last <= v_local::date + 1 then
        opens_at := (v_day + v_start - v_offset) at time zone 'UTC';
        closes_at := (v_last + (v_end <= v_start)::integer + v_end - v_offset) at time zone 'UTC';
      else
        opens_at := outbox_engine.instant_of(v_day + v_start, p_zone);
        closes_at := outbox_engine.instant_of(v_last + (v_end <= v_start)::integer + v_end, p_zone);
      end if;
      if closes_at > p_from and closes_at > opens_at then
        opens_at := greatest(opens_at, p_from);
        return;
      end if;
    end if;
    v_day := v_day + 1;
  end loop;
  opens_at := null;
  closes_at := null;
end
$$;

-- The first instant of the local day an instant lies in, for caps and budgets by the day.
create function outbox_engine.day_start(p_at timestamptz, p_zone text) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.instant_of(date_trunc('day', p_at at time zone p_zone), p_zone)
$$;

-- The first instant of the local ISO week (Monday) an instant lies in.
create function outbox_engine.week_start(p_at timestamptz, p_zone text) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.instant_of(date_trunc('week', p_at at time zone p_zone), p_zone)
$$;
