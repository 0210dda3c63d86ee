-- When a campaign has a message for a member, and when that message may go out. Nothing here writes.

-- The instants of a cron expression in a zone, in order, each once: after `p_after`, up to and including
-- `p_until`, at most `p_most`. A local time that a clock change skips becomes a later instant, which may come
-- after the next ones, or equal one of them.
create function outbox_engine.cron_instants(
  p_cron outbox_engine.cron, p_zone text, p_after timestamptz, p_until timestamptz, p_most integer
) returns setof timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  -- After a clock change, begin a day earlier: the clock may repeat local times, and a skipped one may become
  -- an instant after `p_after`.
  v_local timestamp := (p_after at time zone p_zone) - case
    when outbox_engine.utc_offset(p_after - interval '26 hours', p_zone)
      <> outbox_engine.utc_offset(p_after, p_zone)
    then interval '26 hours'
    else '0'
  end;
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

-- The times a campaign has for one member, in order: after `p_after`, up to and including `p_until`. `p_zone`
-- is the member's, or else the campaign's; for cron, the campaign's zone comes first. `p_most` bounds cron,
-- which has no last time.
create function outbox_engine.campaign_times(
  c public.outbox_campaigns, p_event_at timestamptz, p_zone text,
  p_after timestamptz, p_until timestamptz, p_most integer
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
      cross join lateral (
        select outbox_engine.add_offset(p_event_at, o, coalesce(p_zone, 'UTC')) as at
      ) t
      where t.at > p_after and t.at <= p_until
      order by 1;
  else
    return query
      select t
      from outbox_engine.cron_instants(
        outbox_engine.read_cron(c.cron_expression), coalesce(c.timezone, p_zone), p_after, p_until, p_most) t;
  end if;
end
$$;

-- Called by the expansion, once for all members with the same schedule: the `times` that are due, each once;
-- `handled_until`, up to which they are complete; and `next_at`, the next time after that. At most 300 cron
-- times are answered at once, such as after days of downtime; then `next_at` is null, and the next call goes
-- on at `handled_until`.
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
    -- The rule of `campaign_times`, without a query: members with events of their own need a call each.
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
  times := array(
    select t from outbox_engine.campaign_times(c, p_event_at, p_zone, p_after, p_until, 300) t order by t);
  if cardinality(times) = 300 then
    handled_until := times[300];
  else
    select min(t) into next_at
    from outbox_engine.campaign_times(c, p_event_at, p_zone, p_until, 'infinity', 1) t;
  end if;
end
$$;

-- Whether a campaign still has this time for a member.
create function outbox_engine.is_campaign_time(
  c public.outbox_campaigns, p_event_at timestamptz, p_zone text, p_at timestamptz
) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from outbox_engine.campaign_times(c, p_event_at, p_zone, p_at - interval '1 second', p_at, 1) t
    where t = p_at
  )
$$;

-- The local time in a cron expression that became this instant. It differs from what the clock shows where a
-- clock change skipped it.
create function outbox_engine.cron_local_time(p_expression text, p_at timestamptz, p_zone text)
returns timestamp
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_shown timestamp := p_at at time zone p_zone;
  v_skipped timestamp := (p_at at time zone 'UTC')
    + outbox_engine.utc_offset(p_at - interval '26 hours', p_zone);
begin
  if v_skipped < v_shown and outbox_engine.instant_of(v_skipped, p_zone) = p_at
    and outbox_engine.cron_next(
      outbox_engine.read_cron(p_expression), v_shown - interval '1 minute') is distinct from v_shown then
    return v_skipped;
  end if;
  return v_shown;
end
$$;

-- The key of an occurrence, for its column `stands_for`. For cron it is the local time, so that a member who
-- moves to another zone does not get the same time twice.
create function outbox_engine.occurrence_key(c public.outbox_campaigns, p_at timestamptz, p_zone text)
returns timestamp
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return case
    when c.schedule = 'cron'
    then outbox_engine.cron_local_time(c.cron_expression, p_at, coalesce(c.timezone, p_zone))
    else p_at at time zone 'UTC'
  end;
end
$$;

-- When a campaign's message expires: three days after it may go out, or at its event if that comes first and
-- the message announces it. `p_event_at` is null unless the campaign is a reminder.
create function outbox_engine.message_expiry(
  p_send_at timestamptz, p_occurs_at timestamptz, p_event_at timestamptz
) returns timestamptz
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return least(p_send_at + interval '3 days', case when p_occurs_at < p_event_at then p_event_at end);
end
$$;

-- Called by the expansion, once for all members with the same schedule, and by previews. Plans the message
-- for the time `p_at`: it goes out at the first opening of the window from now on. `problem` says why it does
-- not; `is_missed` is true where `late_policy` skips it, unless the member is new (`occurrence_problem`).
create function outbox_engine.plan_message(
  c public.outbox_campaigns, p_at timestamptz, p_event_at timestamptz, p_zone text, p_now timestamptz,
  out send_at timestamptz, out expires_at timestamptz, out problem text, out is_missed boolean
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_on_time timestamptz;
begin
  is_missed := false;
  send_at := (outbox_engine.window_opening(
    greatest(p_at, p_now), c.window_start, c.window_end, c.window_days, p_zone)).opens_at;
  expires_at := outbox_engine.message_expiry(
    send_at, p_at, case when c.schedule = 'reminder' then p_event_at end);
  if send_at is null then
    problem := 'its window never opens';
  elsif expires_at <= send_at then
    problem := format('its window opens at %s, after the event', send_at);
  elsif send_at > p_at + c.late_limit then
    problem := format('too late: at %s, more than late_limit %s after its time', send_at, c.late_limit);
  elsif c.late_policy = 'skip' then
    select o.opens_at into v_on_time
    from outbox_engine.window_opening(p_at, c.window_start, c.window_end, c.window_days, p_zone) o;
    is_missed := coalesce(greatest(v_on_time, c.activated_at) + interval '1 minute' < p_now, false);
  end if;
end
$$;

-- Why one member gets no message for a time, or null. `p_problem` and `p_is_missed` are the plan's.
-- `p_joined_at` is when the member was added or moved, or the campaign was started, whichever came last.
-- Times before it are not sent, except that a new member of a campaign that sends once may be within its
-- `late_limit`. For a member who joined just now, no time is missed.
create function outbox_engine.occurrence_problem(
  c public.outbox_campaigns, p_at timestamptz, p_problem text, p_is_missed boolean,
  p_joined_at timestamptz, p_now timestamptz
) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_at <= p_joined_at - (case c.schedule when 'once' then c.late_limit else '0' end) then
    return 'too late: it was past when the member came, moved or the campaign began';
  elsif p_is_missed and p_joined_at + interval '1 minute' < p_now then
    return 'missed, and late_policy is skip';
  end if;
  return p_problem;
end
$$;

-- Called by previews: the next messages of one member in order, at most `p_most`, with the time of each, when
-- it goes out, when it expires, and why it does not go out (null if it does). A draft is taken to start now.
-- Leaves out times that made a message already, or were decided against.
create function outbox_engine.upcoming_messages(
  c public.outbox_campaigns, m public.outbox_campaign_members,
  p_now timestamptz, p_until timestamptz, p_most integer
) returns table (at timestamptz, send_at timestamptz, expires_at timestamptz, problem text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_zone text := coalesce(m.timezone, c.timezone);
  -- Times of a member with this id who was erased are decided too.
  v_ids constant text[] := array[m.external_id, outbox_engine.erased_member(c.name, m.external_id)];
  v_joined_at timestamptz := greatest(
    m.changed_at, case when c.status = 'draft' then p_now else c.activated_at end);
  v_after timestamptz := case
    when c.schedule = 'cron' then greatest(m.handled_until, v_joined_at, p_now - c.late_limit)
    else coalesce(m.handled_until, '-infinity')
  end;
  -- Cron times that may be decided already, so that as many later ones are looked at.
  v_decided bigint := case
    when c.schedule = 'cron' then (
      select count(*)
      from public.outbox_campaign_occurrences o
      where o.campaign = c.name and o.external_id = any (v_ids)
        and o.stands_for > (v_after at time zone 'UTC') - interval '1 day')
    else 0
  end;
begin
  return query
    select t.at, p.send_at, p.expires_at,
      outbox_engine.occurrence_problem(c, t.at, p.problem, p.is_missed, v_joined_at, p_now)
    from outbox_engine.campaign_times(
      c, m.event_at, v_zone, v_after, p_until, p_most + v_decided::integer) t (at)
    cross join lateral outbox_engine.plan_message(c, t.at, m.event_at, v_zone, p_now) p
    where not exists (
      select from public.outbox_campaign_occurrences o
      where o.campaign = c.name and o.external_id = any (v_ids)
        and o.stands_for = outbox_engine.occurrence_key(c, t.at, v_zone) and not o.taken_back
    )
    order by t.at
    limit p_most;
end
$$;
