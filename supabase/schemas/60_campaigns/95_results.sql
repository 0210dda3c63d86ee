-- Results: the report of a campaign. It is read a stretch of occurrences at a time, so that no call takes
-- long however many there are. What was counted so far travels between the calls as JSON, a few kilobytes.

-- The step of a timeline of at most about sixty steps over `p_span`, but not below `p_precision`. In seconds,
-- because days differ in length in some time zones.
create function outbox_engine.timeline_step(p_span interval, p_precision interval) returns interval
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select make_interval(secs => min(extract(epoch from s)))
  from unnest(
    '{1 minute,5 minutes,15 minutes,1 hour,6 hours,1 day,7 days,30 days,365 days}'::interval[]) s
  where s >= p_span / 60 and s >= p_precision or s = '365 days'
$$;

-- Counts messages by the time they were sent; steps without messages are included. `p_sent` has the counts by
-- time and status as `add_report_counts` keeps them.
create function outbox_engine.timeline_of_counts(
  p_sent jsonb, p_precision interval, out step_seconds numeric, out timeline jsonb
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with counts as materialized (
    select *
    from jsonb_to_recordset(p_sent) as s (at timestamptz, status text, is_final boolean, messages bigint)
  ),
  span as (
    select min(at) as first_at, outbox_engine.timeline_step(max(at) - min(at), p_precision) as step
    from counts
  ),
  steps as (
    select date_bin(s.step, c.at, date_trunc('day', s.first_at, 'UTC')) as at,
      sum(c.messages) as sent,
      coalesce(sum(c.messages) filter (where c.status = 'delivered'), 0) as delivered,
      coalesce(sum(c.messages) filter (where c.is_final and c.status <> 'delivered'), 0) as failed
    from counts c
    cross join span s
    group by 1
  ),
  all_steps as (
    select r.first_at + n * s.step as at, coalesce(t.sent, 0) as sent, coalesce(t.delivered, 0) as delivered,
      coalesce(t.failed, 0) as failed
    from span s
    cross join (select min(at) as first_at, max(at) as last_at from steps) r
    cross join generate_series(
      0, (extract(epoch from r.last_at - r.first_at) / extract(epoch from s.step))::integer) n
    left join steps t on t.at = r.first_at + n * s.step
  )
  select
    (select extract(epoch from s.step) from span s where s.first_at is not null),
    (select coalesce(jsonb_agg(to_jsonb(x) order by x.at), '[]') from all_steps x)
$$;

-- Adds up counts of two stretches. Of a report: `counts` by status, reason, country and whether it was sent,
-- `skipped` by reason, `sent` by time and status, in steps of `step` seconds, and the sums `read` (how many
-- occurrences), `missing` (of them, those whose message was deleted) and `opted_out`.
create function outbox_engine.add_report_counts(a jsonb, b jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  with times as materialized (
    select *
    from jsonb_to_recordset(a -> 'sent' || (b -> 'sent'))
      as s (at timestamptz, status text, is_final boolean, messages bigint)
  ),
  -- The timeline's step grows with the time it spans, so its rows do not grow with the campaign. From a day
  -- on it depends on the first day, which a later stretch may bring.
  step as materialized (
    select least(interval '1 day', outbox_engine.timeline_step(
      max(at) - min(at), make_interval(secs => greatest((a ->> 'step')::real, (b ->> 'step')::real)))) as step
    from times
  )
  select jsonb_build_object(
    'step', (select extract(epoch from step) from step),
    'read', (a ->> 'read')::bigint + (b ->> 'read')::bigint,
    'missing', (a ->> 'missing')::bigint + (b ->> 'missing')::bigint,
    'opted_out', (a ->> 'opted_out')::bigint + (b ->> 'opted_out')::bigint,
    'counts', (
      select coalesce(jsonb_agg(to_jsonb(x)), '[]')
      from (
        select status, reason, country, is_final, was_sent, sum(messages) as messages, sum(parts) as parts
        from jsonb_to_recordset(a -> 'counts' || (b -> 'counts')) as c (
          status text, reason text, country text, is_final boolean, was_sent boolean, messages bigint,
          parts bigint)
        group by 1, 2, 3, 4, 5
      ) x),
    'skipped', (
      select coalesce(jsonb_agg(to_jsonb(x)), '[]')
      from (
        select reason, sum(messages) as messages
        from jsonb_to_recordset(a -> 'skipped' || (b -> 'skipped')) as s (reason text, messages bigint)
        group by 1
      ) x),
    'sent', (
      select coalesce(jsonb_agg(to_jsonb(x)), '[]')
      from (
        select date_bin(s.step, t.at, timestamptz '1970-01-01 00:00+00') as at, t.status, t.is_final,
          sum(t.messages) as messages
        from times t
        cross join step s
        group by 1, 2, 3
      ) x))
$$;

-- The counts that a report begins with: messages that retention deleted. Their times are known to the day.
create function outbox_engine.deleted_report_counts(p_campaign text) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with totals as materialized (
    select status, reason, nullif(country, '') as country, isfinite(sent_on) as was_sent, messages, parts,
      opted_out, case when isfinite(sent_on) then sent_on::timestamp at time zone 'UTC' end as at
    from outbox_engine.campaign_totals
    where campaign = p_campaign
  )
  select jsonb_build_object(
    'step', case when exists (select from totals where was_sent) then 86400 else 60 end,
    'read', 0,
    'missing', 0,
    'opted_out', (select coalesce(sum(opted_out), 0) from totals),
    'skipped', '[]'::jsonb,
    'counts', (
      select coalesce(jsonb_agg(to_jsonb(x)), '[]')
      from (select status, reason, country, true as is_final, was_sent, messages, parts from totals) x),
    'sent', (
      select coalesce(jsonb_agg(to_jsonb(x)), '[]')
      from (
        select at, status, true as is_final, sum(messages) as messages
        from totals
        where was_sent
        group by 1, 2
      ) x))
$$;

-- How many of these messages were followed by the recipient's opt-out. A recipient counts once for a
-- campaign, by the first message that was.
create function outbox_engine.opted_out_after(p_campaign text, p_ids bigint[]) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off set plan_cache_mode = force_custom_plan
as $$
begin
  return (
    select count(*)
    from public.outbox x
    join public.outbox_suppressions s
      on s.recipient = x.recipient and s.by_engine and s.created_at >= x.sent_at
    where x.id = any (p_ids) and not exists (
      select from outbox_engine.campaign_sends m
      join public.outbox e on e.id = m.outbox_id
      where m.recipient = x.recipient and m.campaign = p_campaign and m.outbox_id < x.id
        and e.sent_at <= s.created_at
        and exists (
          select from public.outbox_campaign_occurrences o
          where o.outbox_id = m.outbox_id and o.campaign = p_campaign)
    ));
end
$$;

-- What became of these messages of a campaign, as counts for a report. Countries and reasons are looked up
-- for groups of messages: a number's country shows in its first eight digits. Planned at each call, because
-- a stretch may have ten messages or a hundred thousand.
create function outbox_engine.message_report_counts(p_campaign text, p_ids bigint[]) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off set plan_cache_mode = force_custom_plan
as $$
begin
  return (
    with messages as materialized (
      select status, case when status <> 'delivered' then error end as error,
        case when status <> 'delivered' then status_code end as code,
        case when sent_at is not null then left(recipient, 9) end as prefix,
        finalized_at is not null as is_final, parts,
        date_bin('1 minute', sent_at, timestamptz '1970-01-01 00:00+00') as at
      from public.outbox
      where id = any (p_ids)
    ),
    grouped as materialized (
      select row_number() over () as place, x.*
      from (
        select status, error, code, prefix, is_final, count(*) as messages, sum(parts) as parts
        from messages
        group by 1, 2, 3, 4, 5
      ) x
    )
    select jsonb_build_object(
      'step', 60,
      'read', 0,
      'missing', coalesce(cardinality(p_ids), 0) - (select count(*) from messages),
      'opted_out', outbox_engine.opted_out_after(p_campaign, p_ids),
      'skipped', '[]'::jsonb,
      'counts', (
        select coalesce(jsonb_agg(to_jsonb(x)), '[]')
        from (
          select g.status, l.country,
            case
              when g.status <> 'delivered' then outbox_engine.message_reason(g.error, g.code)
            end as reason,
            g.is_final, g.prefix is not null as was_sent, sum(g.messages) as messages,
            coalesce(sum(g.parts), 0) as parts
          from grouped g
          left join outbox_engine.countries_of(array(select prefix from grouped order by place)) l
            using (place)
          group by 1, 2, 3, 4, 5
        ) x),
      'sent', (
        select coalesce(jsonb_agg(to_jsonb(x)), '[]')
        from (
          select at, status, is_final, count(*) as messages
          from messages
          where at is not null
          group by 1, 2, 3
        ) x)));
end
$$;

-- The counts of the next `p_most` occurrences of a campaign after `p_after`. That is the key of one as a JSON
-- array, and null for the first stretch. `after` is where the next stretch begins, null at the end.
create function outbox_engine.report_stretch(
  p_campaign text, p_after jsonb, p_most integer, out counts jsonb, out after jsonb
)
language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = off set plan_cache_mode = force_custom_plan
as $$
declare
  v_ids bigint[];
  v_read integer;
  v_skipped jsonb;
begin
  with stretch as materialized (
    select external_id, stands_for, outbox_id, reason,
      row_number() over (order by external_id, stands_for) as place
    from public.outbox_campaign_occurrences
    where campaign = p_campaign
      and (external_id, stands_for)
        > (coalesce(p_after ->> 0, ''), coalesce((p_after ->> 1)::timestamp, '-infinity'))
    order by external_id, stands_for
    limit p_most
  ),
  skipped as (
    select outbox_engine.message_reason(x.reason, null) as reason, sum(x.messages) as messages
    from (select s.reason, count(*) as messages from stretch s where s.outbox_id is null group by 1) x
    group by 1
  )
  select array_agg(s.outbox_id order by s.outbox_id) filter (where s.outbox_id is not null), count(*),
    (select coalesce(jsonb_agg(to_jsonb(x)), '[]') from skipped x),
    (
      select jsonb_build_array(l.external_id, l.stands_for)
      from stretch l
      where l.place = p_most
    )
  into v_ids, v_read, v_skipped, after
  from stretch s;
  counts := outbox_engine.message_report_counts(p_campaign, v_ids)
    || jsonb_build_object('read', v_read, 'skipped', v_skipped);
end
$$;

-- The report of all counts. `p_status` is the campaign's.
create function outbox_engine.report_of_counts(p_campaign text, p_status text, p_counts jsonb) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with counts as materialized (
    select *
    from jsonb_to_recordset(p_counts -> 'counts') as c (
      status text, reason text, country text, is_final boolean, was_sent boolean, messages bigint,
      parts bigint)
  ),
  -- Messages by status.
  statuses as (
    select status, sum(messages) as messages from counts group by status
  ),
  -- Final statuses other than delivered, with the reason.
  undelivered as (
    select status, reason, sum(messages) as messages
    from counts
    where is_final and status <> 'delivered'
    group by 1, 2
  ),
  -- What each country received.
  countries as (
    select country, sum(messages) as messages, sum(parts) as parts from counts where was_sent group by 1
  )
  select jsonb_build_object(
    'campaign', p_campaign,
    'status', p_status,
    'sent', (select coalesce(sum(messages), 0) from counts where was_sent),
    'opted_out', p_counts -> 'opted_out',
    'forgotten', greatest(0, (p_counts ->> 'missing')::bigint - (
      select coalesce(sum(t.messages), 0)
      from outbox_engine.campaign_totals t
      where t.campaign = p_campaign)),
    'statuses', (select coalesce(jsonb_object_agg(x.status, x.messages), '{}') from statuses x),
    'undelivered', (
      select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.status, x.reason), '[]')
      from undelivered x),
    'skipped', (
      select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.reason), '[]')
      from jsonb_to_recordset(p_counts -> 'skipped') as x (reason text, messages bigint)),
    'countries', (
      select coalesce(jsonb_agg(to_jsonb(x) order by x.parts desc, x.country), '[]') from countries x),
    'step_seconds', t.step_seconds,
    'timeline', t.timeline)
  from outbox_engine.timeline_of_counts(
    p_counts -> 'sent', make_interval(secs => (p_counts ->> 'step')::double precision)) t
$$;

-- Called by `outbox campaign report` until `report` is there: counts the next `p_most` occurrences of a
-- campaign. The first call has no `p_state`, and each further one the `state` of the one before, as a text:
-- Supabase's lightweight server passes JSON objects on as strings. `read` says
-- how many occurrences were counted so far. In the report, `sent` messages were accepted by the provider,
-- `skipped` occurrences made no message, and `opted_out` recipients opted out after a message of this
-- campaign. Messages that retention deleted are counted by the day they were sent; `forgotten` ones are not
-- counted, because the campaign had been deleted before. A message that retention deletes between two calls
-- may not be counted.
create function public.outbox_read_campaign_report(p_campaign text, p_state text, p_most integer)
returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_status text;
  v_stretch record;
  v_state constant jsonb := p_state;
  v_counts jsonb := v_state -> 'counts';
begin
  select status into v_status from public.outbox_campaigns where name = p_campaign;
  if not found
    and not exists (select from public.outbox_campaign_occurrences where campaign = p_campaign) then
    perform outbox_engine.refuse(format('campaign %L does not exist', p_campaign));
  end if;
  v_stretch := outbox_engine.report_stretch(p_campaign, v_state -> 'after', p_most);
  v_counts := outbox_engine.add_report_counts(
    coalesce(v_counts, outbox_engine.deleted_report_counts(p_campaign)), v_stretch.counts);
  return jsonb_build_object(
    'read', v_counts -> 'read',
    'state', jsonb_build_object('after', v_stretch.after, 'counts', v_counts),
    'report', case when v_stretch.after is null
      then outbox_engine.report_of_counts(p_campaign, coalesce(v_status, 'deleted'), v_counts) end);
end
$$;

-- The whole report in one call: a million occurrences take some seconds. Called by commands of release 0.1.0.
create function public.outbox_campaign_report(p_campaign text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_answer jsonb;
begin
  loop
    v_answer := public.outbox_read_campaign_report(p_campaign, v_answer ->> 'state', 100000);
    exit when jsonb_typeof(v_answer -> 'report') = 'object';
  end loop;
  return v_answer -> 'report';
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_read_campaign_report,
  public.outbox_campaign_report
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_read_campaign_report,
  public.outbox_campaign_report
to service_role;
