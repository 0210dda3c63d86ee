-- Local time: the instant at which the wall clock of a zone shows a time. No function here reads a table.

-- Called by the checks of campaigns and members. Whether an instant is outside the years 1970 to 2199.
-- PostgreSQL cannot add days near the ends of its calendar, and one member there would stop a whole campaign.
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

-- Called by `instant_of` near clock changes. The result is the same as there, found by trial. An offset is
-- below a day, so the offsets of a day before and a day after are those before and after any change. Times in
-- between are tried as well, because two changes may lie within these two days.
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
  -- The time is in a gap, so no offset fits. The offset before the gap gives a result whose wall clock is
  -- later than the time that was asked for.
  select min(c.at) into v_candidate
  from (
    select v_as_utc - outbox_engine.utc_offset(v_as_utc + h * interval '4 hours', p_zone) as at
    from generate_series(-6, 6) h
  ) c
  where c.at at time zone p_zone > p_local;
  return coalesce(v_candidate, v_as_utc - outbox_engine.utc_offset(v_as_utc - interval '24 hours', p_zone));
end
$$;

-- Called several times for each member of a campaign. The instant at which the wall clock of a zone shows
-- this time. Where it shows the time twice, the first instant. In a gap, the instant that is as long after
-- the start of the gap as the time is. PostgreSQL's own answer is taken where the clock did not change in the
-- day before: then it is the first instant.
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

-- Called for reminders. An instant moved by an offset: months, weeks and days on the wall clock of the zone,
-- hours and less in real time. A day that the month does not have becomes its last day. Without a zone, the
-- offset must not have months, weeks or days.
create function outbox_engine.add_offset(p_at timestamptz, p_offset interval, p_zone text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_days interval := date_trunc('day', p_offset);
begin
  -- Intervals compare as if a month had 30 days, so months and days are compared separately.
  if extract(day from p_offset) = 0 and date_trunc('month', p_offset) = '0' then
    return p_at + p_offset;
  end if;
  return outbox_engine.instant_of((p_at at time zone p_zone) + v_days, p_zone) + (p_offset - v_days);
end
$$;

-- Called for campaigns with a window. The first daily window that ends after `p_from`: when it opens, or
-- `p_from` where it is open already, and the first instant after it. A window whose end is not after its
-- start crosses midnight, and belongs to the day on which it opens. `p_days` are ISO days (1 is Monday), null
-- is every day. A window without times is the whole day, and consecutive days are one window, for a week at
-- most. Both results are null where the window never opens. Without times and days it is open for ever. A
-- clock change may remove a window. One that opens weekly then opens two weeks after the last, so 17 days are
-- tried.
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
  -- Where the clock does not change between yesterday's opening and the end of tomorrow's window, one offset
  -- serves for all instants.
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

-- Called for caps and budgets by the day. The first instant of the local day of an instant.
create function outbox_engine.day_start(p_at timestamptz, p_zone text) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.instant_of(date_trunc('day', p_at at time zone p_zone), p_zone)
$$;

-- Called for caps by the week. The first instant of the local ISO week (from Monday) of an instant.
create function outbox_engine.week_start(p_at timestamptz, p_zone text) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.instant_of(date_trunc('week', p_at at time zone p_zone), p_zone)
$$;
