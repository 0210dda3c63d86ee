-- Which members of a campaign are due.

-- The instant after which a member's times are yet to be handled. Cron has no first time, so it begins with
-- the campaign and the member, and one day before `late_limit`: older times could only be skipped. Its times
-- are whole minutes, so members that came within one minute get the same instant.
create function outbox_engine.unhandled_since(
  c public.outbox_campaigns, p_changed_at timestamptz, p_handled_until timestamptz, p_now timestamptz
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if c.schedule = 'cron' then
    return date_trunc('minute', greatest(
      p_handled_until, p_changed_at, c.activated_at, p_now - c.late_limit - interval '1 day'));
  end if;
  return coalesce(p_handled_until, '-infinity');
end
$$;

-- Members whose next time comes up to this instant are due: messages are made a minute ahead.
create function outbox_engine.expand_until(p_now timestamptz) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return p_now + interval '1 minute';
end
$$;

-- The members of a chunk, locked, with what their times depend on. Members with the same zone, event and
-- last handled time share their times; those have one number in `schedule`.
create function outbox_engine.due_members(
  c public.outbox_campaigns, p_until timestamptz, p_now timestamptz, p_most integer
) returns table (
  external_id text, recipient text, event_at timestamptz, parameters jsonb, zone text, joined_at timestamptz,
  after timestamptz, schedule bigint
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with due as materialized (
    select m.external_id, m.recipient, m.event_at, m.parameters, coalesce(m.timezone, c.timezone) as zone,
      greatest(m.changed_at, c.activated_at) as joined_at,
      outbox_engine.unhandled_since(c, m.changed_at, m.handled_until, p_now) as after
    from public.outbox_campaign_members m
    where m.campaign = c.name and m.next_at <= p_until
    order by m.next_at
    limit p_most
    for no key update skip locked
  )
  select d.*, dense_rank() over (order by d.zone, d.event_at, d.after) from due d;
end
$$;
