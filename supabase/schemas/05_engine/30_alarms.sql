-- Alarms: what operators should know. The upkeep job logs them as errors.

create table outbox_engine.alarms (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  kind text not null,
  detail jsonb not null,
  -- Until then the process that took the alarm has time to log it.
  offered_until timestamptz,
  -- When a process said that it logged the alarm.
  acknowledged_at timestamptz
);
alter table outbox_engine.alarms enable row level security;

create index alarms_waiting on outbox_engine.alarms (id) where acknowledged_at is null;

-- Alarms that no process has logged, and since when a process may take them. They are offered for a
-- minute: a later time is of a clock that was set back since.
create view outbox_engine.unlogged_alarms as
select id,
  case
    when offered_until <= outbox_engine.now() + interval '1 minute' then offered_until
    else '-infinity'
  end as free_at
from outbox_engine.alarms
where acknowledged_at is null;

-- Called for alarms about an error of the database. Its words without the digits of phone numbers. Words that
-- come from a process are masked there, by a finer rule.
create function outbox_engine.without_numbers(p_words text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select regexp_replace(p_words, '\+[0-9]([ ().-]{0,2}[0-9]){6,}|[0-9]{7,}', '•••', 'g')
$$;

-- Called by engine functions. Raises an alarm.
create function outbox_engine.alarm(p_kind text, p_detail jsonb) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.alarms (at, kind, detail) values (outbox_engine.now(), p_kind, p_detail)
$$;

-- Called by engine functions where a condition lasts. Raises an alarm, unless one of this kind whose detail
-- contains `p_same` was raised in the last `p_every`. An alarm of more than a minute ahead is of a clock that
-- was set back since, and does not count.
create function outbox_engine.alarm_at_most(
  p_kind text, p_detail jsonb, p_same jsonb, p_every interval, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from outbox_engine.alarms
    where kind = p_kind
      and detail @> p_same
      and at > p_now - p_every
      and at <= p_now + interval '1 minute'
  ) then
    perform outbox_engine.alarm(p_kind, p_detail);
  end if;
end
$$;

-- Called by engine functions where several processes report parts of one count. Adds to an alarm of this kind
-- of the last 30 seconds, unless a process has taken that one to log it. Then raises another one.
create function outbox_engine.alarm_with_count(p_kind text, p_count integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
begin
  update outbox_engine.alarms
  set detail = jsonb_build_object('count', (detail ->> 'count')::bigint + p_count)
  where offered_until is null
    and acknowledged_at is null
    and id = (
      select id
      from outbox_engine.alarms
      where acknowledged_at is null
        and kind = p_kind
        and at > v_now - interval '30 seconds'
        and at <= v_now + interval '1 minute'
      order by id desc
      limit 1
    );
  if not found then
    perform outbox_engine.alarm(p_kind, jsonb_build_object('count', p_count));
  end if;
end
$$;

-- Called by the upkeep job. Returns alarms that were not logged yet, oldest first, and keeps them from
-- other processes for a minute. Where the process dies before it acknowledges them, another one gets them.
create function public.outbox_take_alarms(p_limit smallint) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with taken as (
    update outbox_engine.alarms
    set offered_until = outbox_engine.now() + interval '1 minute'
    where id = any (array(
      select id from outbox_engine.unlogged_alarms
      where free_at <= outbox_engine.now()
      order by id
      limit p_limit
      for update skip locked
    ))
    returning id, at, kind, detail
  )
  select coalesce(jsonb_agg(to_jsonb(taken) order by id), '[]') from taken
$$;

-- Called by the upkeep job after it logged these alarms.
create function public.outbox_acknowledge_alarms(p_ids text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.alarms
  set acknowledged_at = outbox_engine.now()
  where id = any (p_ids::bigint[]) and acknowledged_at is null
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_take_alarms,
  public.outbox_acknowledge_alarms
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_take_alarms,
  public.outbox_acknowledge_alarms
to service_role;
