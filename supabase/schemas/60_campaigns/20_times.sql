-- When a campaign has something to say to a member, and when that may be said. Nothing here writes.

-- The wall-clock times of a cron expression in a zone after `p_after`, up to and including `p_until`, as
-- instants in order, each once. A time that a clock change skips becomes a later one, which may come after
-- its successors and may be one of them.
create function outbox_engine.cron_times(
  p_cron outbox_engine.cron, p_zone text, p_after timestamptz, p_until timestamptz, p_most integer
) returns setof timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  -- A clock that was just set shows times again that came before, or has left out some that count only now.
  v_local timestamp := (p_after at time zone p_zone) - case
    when outbox_engine.utc_offset(p_after - interval '26 hours', p_zone) <> outbox_engine.utc_offset(p_after, p_zone)
    then interval '26 hours' else '0' end;
  v_skipped timestamptz[] := '{}';
  v_at timestamptz;
  v_found integer := 0;
begin
  loop
    v_local := outbox_engine.cron_next(p_cron, v_local);
    v_at := coalesce(outbox_engine.instant_of(v_local, p_zone), 'infinity');
    if v_at at time zone p_zone <> v_local then
      v_skipped := v_skipped || v_at;
      continue;
    end if;
    while v_skipped[1] <= v_at and v_skipped[1] <= p_until and v_found < p_most loop
      if v_skipped[1] > p_after and v_skipped[1] < v_at then
        return next v_skipped[1];
        v_found := v_found + 1;
      end if;
      v_skipped := v_skipped[2:];
    end loop;
    exit when v_at > p_until or v_at = 'infinity' or v_found >= p_most;
    if v_at > p_after then
      return next v_at;
      v_found := v_found + 1;
    end if;
  end loop;
end
$$;

-- The times a campaign has for one member after `p_after`, up to and including `p_until`, in order. `p_zone`
-- is the member's, or else the campaign's; cron goes by the campaign's where that has one. `p_most` bounds
-- cron, which has no end.
create function outbox_engine.campaign_times(
  c public.outbox_campaigns, p_event_at timestamptz, p_zone text, p_after timestamptz, p_until timestamptz, p_most integer
) returns setof timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if c.schedule = 'once' then
    return query select c.starts_at where c.starts_at > p_after and c.starts_at <= p_until;
  elsif c.schedule = 'reminder' then
    return query
      select distinct t.at
      from unnest(c.offsets) o
      cross join lateral (select outbox_engine.add_offset(p_event_at, o, coalesce(p_zone, 'UTC')) as at) t
      where t.at > p_after and t.at <= p_until
      order by 1;
  else
    return query
      select t from outbox_engine.cron_times(
        outbox_engine.read_cron(c.cron_expression), coalesce(c.timezone, p_zone), p_after, p_until, p_most) t;
  end if;
end
$$;

-- Called by the expansion, once for all members of a kind: the times that have come, each once; up to when
-- that is all of them (more than can be worked off at once, as of a cron of minutes after days of downtime,
-- go on where the last one was); and where it is, the next time after `p_until`.
create function outbox_engine.due_times(
  c public.outbox_campaigns, p_event_at timestamptz, p_zone text, p_after timestamptz, p_until timestamptz,
  out times timestamptz[], out handled_until timestamptz, out next_at timestamptz
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_offset interval;
  v_at timestamptz;
begin
  times := '{}';
  handled_until := p_until;
  if c.schedule = 'reminder' then
    -- As `times_of` has it, but without a query: where each member has an event of its own, each is a kind of
    -- its own.
    foreach v_offset in array coalesce(c.offsets, '{}') loop
      v_at := outbox_engine.add_offset(p_event_at, v_offset, coalesce(p_zone, 'UTC'));
      if v_at > p_until then
        next_at := least(next_at, v_at);
      elsif v_at > p_after and v_at <> all (times) then
        times := times || v_at;
      end if;
    end loop;
    return;
  end if;
  times := array(select t from outbox_engine.campaign_times(c, p_event_at, p_zone, p_after, p_until, 300) t order by t);
  if cardinality(times) = 300 then
    handled_until := times[300];
  else
    select min(t) into next_at from outbox_engine.campaign_times(c, p_event_at, p_zone, p_until, 'infinity', 1) t;
  end if;
end
$$;

-- Whether a campaign still has this time for a member.
create function outbox_engine.is_campaign_time(c public.outbox_campaigns, p_event_at timestamptz, p_zone text, p_at timestamptz) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select exists (select from outbox_engine.campaign_times(c, p_event_at, p_zone, p_at - interval '1 second', p_at, 1) t where t = p_at)
$$;

-- The wall-clock time that a cron names and that became this instant: another than the clock shows where that
-- one was skipped.
create function outbox_engine.named_time(p_expression text, p_at timestamptz, p_zone text) returns timestamp
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_shown timestamp := p_at at time zone p_zone;
  v_skipped timestamp := (p_at at time zone 'UTC') + outbox_engine.utc_offset(p_at - interval '26 hours', p_zone);
begin
  if v_skipped < v_shown and outbox_engine.instant_of(v_skipped, p_zone) = p_at
    and outbox_engine.cron_next(outbox_engine.read_cron(p_expression), v_shown - interval '1 minute') is distinct from v_shown then
    return v_skipped;
  end if;
  return v_shown;
end
$$;

-- What the permanent proof knows a time by: cron's local time, so that it stays the same time when a member
-- moves to another zone.
create function outbox_engine.stands_for(c public.outbox_campaigns, p_at timestamptz, p_zone text) returns timestamp
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return case
    when c.schedule = 'cron' then outbox_engine.named_time(c.cron_expression, p_at, coalesce(c.timezone, p_zone))
    else p_at at time zone 'UTC'
  end;
end
$$;

-- The instant after which a message is worth nothing: its event, where it announces one, and in any case
-- three days.
create function outbox_engine.message_expiry(p_send_at timestamptz, p_stands_for timestamptz, p_event_at timestamptz) returns timestamptz
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return least(p_send_at + interval '3 days', case when p_stands_for < p_event_at then p_event_at end);
end
$$;

-- When a message that stands for `p_at` goes out, or why it does not: the first opening from now on, unless
-- that is at or after the event it announces, or later than the campaign's limit.
create function outbox_engine.plan_message(
  c public.outbox_campaigns, p_at timestamptz, p_event_at timestamptz, p_zone text, p_now timestamptz,
  out send_at timestamptz, out expires_at timestamptz, out problem text
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_own timestamptz;
begin
  send_at := (outbox_engine.window_opening(greatest(p_at, p_now), c.window_start, c.window_end, c.window_days, p_zone)).opens_at;
  expires_at := outbox_engine.message_expiry(send_at, p_at, case when c.schedule = 'reminder' then p_event_at end);
  if send_at is null then
    problem := 'its window never opens';
  elsif expires_at <= send_at then
    problem := format('its window opens at %s, after the event', send_at);
  elsif send_at > p_at + c.late_limit then
    problem := format('too late: at %s, more than late_limit %s after its time', send_at, c.late_limit);
  elsif c.late_policy = 'skip' then
    select o.opens_at into v_own from outbox_engine.window_opening(p_at, c.window_start, c.window_end, c.window_days, p_zone) o;
    if greatest(v_own, c.activated_at) + interval '1 minute' < p_now then
      problem := 'missed, and late_policy is skip';
    end if;
  end if;
end
$$;

-- Nobody is late for a member who came just now. Strict, so that it is not called where there is no problem.
create function outbox_engine.unless_new(p_problem text, p_came_at timestamptz, p_now timestamptz) returns text
language plpgsql immutable strict set search_path = pg_catalog, pg_temp
as $$
begin
  return case when p_problem <> 'missed, and late_policy is skip' or p_came_at + interval '1 minute' < p_now then p_problem end;
end
$$;

-- Whether a time was past when the member or the campaign came by it. Who joins a campaign that goes out once
-- may still be within its limit.
create function outbox_engine.is_too_late(c public.outbox_campaigns, p_at timestamptz, p_came_at timestamptz) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return p_at <= p_came_at - case c.schedule when 'once' then c.late_limit else '0' end;
end
$$;

-- The coming messages of one member in order, at most `p_most`: the time each stands for, when it would go
-- out if nothing came between, its expiry, and why it will not go (null where it will). For previews: a draft
-- is taken to begin now, and nothing is written. What already became a message, or was decided against, is
-- not among them.
create function outbox_engine.upcoming_messages(
  c public.outbox_campaigns, m public.outbox_campaign_members, p_now timestamptz, p_until timestamptz, p_most integer
) returns table (at timestamptz, send_at timestamptz, expires_at timestamptz, problem text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_zone text := coalesce(m.timezone, c.timezone);
  v_came_at timestamptz := greatest(m.changed_at, case when c.status = 'draft' then p_now else c.activated_at end);
  v_after timestamptz := case when c.schedule = 'cron' then greatest(m.handled_until, v_came_at, p_now - c.late_limit)
    else coalesce(m.handled_until, '-infinity') end;
  -- Times of a cron that were decided already, at most: they make room for later ones.
  v_decided bigint := case when c.schedule = 'cron' then (
    select count(*) from public.outbox_campaign_occurrences o
    where o.campaign = c.name and o.external_id = m.external_id and o.stands_for > (v_after at time zone 'UTC') - interval '1 day') end;
begin
  return query
    select t.at, p.send_at, p.expires_at,
      case when outbox_engine.is_too_late(c, t.at, v_came_at)
        then 'too late: it was past when the member came, moved or the campaign began'
        else outbox_engine.unless_new(p.problem, v_came_at, p_now) end
    from outbox_engine.campaign_times(c, m.event_at, v_zone, v_after, p_until, p_most + coalesce(v_decided, 0)::integer) t (at)
    cross join lateral outbox_engine.plan_message(c, t.at, m.event_at, v_zone, p_now) p
    where not exists (
      select from public.outbox_campaign_occurrences o
      where o.campaign = c.name and o.external_id = m.external_id
        and o.stands_for = outbox_engine.stands_for(c, t.at, v_zone) and not o.taken_back)
    order by t.at
    limit p_most;
end
$$;
