-- Campaigns as operators see and control them: the list, starting and stopping, and the report.

-- Why a message ended as it did, as a key for counting: without times, which differ between messages, and
-- short enough for an index.
create function outbox_engine.message_reason(p_error text, p_code integer) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select left(outbox_engine.without_times(coalesce(p_error, 'code ' || p_code, '')), 300)
$$;

-- A message that was deleted. `is_waiting`: it was never sent.
create type outbox_engine.removed_message as (
  id bigint,
  campaign text,
  recipient text,
  status text,
  status_code integer,
  error text,
  parts smallint,
  sent_at timestamptz,
  is_waiting boolean
);

-- Adds messages that were deleted to the totals of their campaigns. A message whose outcome was still open
-- counts as unknown. The settings make the planner find a thousand messages by index.
create function outbox_engine.count_removed(p_messages outbox_engine.removed_message[]) returns void
language sql set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
  with removed as materialized (
    select x.id, x.campaign, x.recipient, x.parts, x.sent_at,
      case when x.status in ('sending', 'sent', 'dispatched') then 'unknown' else x.status end as status,
      outbox_engine.message_reason(x.error, x.status_code) as reason,
      s.created_at as opted_out_at
    from unnest(p_messages) x
    join public.outbox_campaigns c on c.name = x.campaign
    left join public.outbox_suppressions s
      on s.recipient = x.recipient and s.by_engine and s.created_at >= x.sent_at
    where exists (
      select from public.outbox_campaign_occurrences o where o.campaign = x.campaign and o.outbox_id = x.id
    )
  ),
  -- One message for each recipient who opted out, unless an earlier message to the recipient remains: the
  -- report counts the recipient by that one.
  opted_out as materialized (
    select distinct on (p.campaign, p.recipient) p.id
    from removed p
    where p.opted_out_at is not null and not exists (
      select from outbox_engine.campaign_sends m
      join public.outbox x on x.id = m.outbox_id
      where m.recipient = p.recipient and m.campaign = p.campaign and x.sent_at <= p.opted_out_at
        and x.id <> all (array(select r.id from unnest(p_messages) r))
    )
    order by p.campaign, p.recipient, p.id
  )
  insert into outbox_engine.campaign_totals as t
    (campaign, sent_on, status, reason, country, messages, parts, opted_out)
  select p.campaign, coalesce((p.sent_at at time zone 'UTC')::date, 'infinity'), p.status, p.reason,
    coalesce(l.country, ''), count(*), coalesce(sum(p.parts), 0), count(o.id)
  from (select array_agg(id) as ids, array_agg(recipient) as recipients from removed) a
  cross join lateral outbox_engine.countries_of(a.recipients) l
  join removed p on p.id = a.ids[l.place]
  left join opted_out o on o.id = p.id
  group by 1, 2, 3, 4, 5
  order by 1, 2, 3, 4, 5
  on conflict (campaign, sent_on, status, reason, country) do update
  set messages = t.messages + excluded.messages, parts = t.parts + excluded.parts,
    opted_out = t.opted_out + excluded.opted_out
$$;

-- When the next of a campaign's messages in the outbox goes out. A paused campaign puts its messages off
-- until they expire; they count as if it went on now.
create function outbox_engine.next_waiting_at(p_campaign text, p_status text, p_now timestamptz)
returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select min(case
    when p_status = 'paused' and x.due_at >= x.expires_at then greatest(x.send_at, p_now)
    else x.due_at
  end)
  from public.outbox x
  where x.campaign = p_campaign and x.queue is not null
$$;

-- When the next message of a campaign goes out that is not in the outbox yet, as if it were started now.
-- Plans the messages of a few members, those with the earliest events or some of each zone, without caps,
-- budgets and opt-outs.
create function outbox_engine.next_planned_at(p_campaign text, p_now timestamptz) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select min(t.send_at)
  from outbox_engine.as_if_started(p_campaign, p_now) c
  cross join lateral (
    -- Unless the campaign goes by events, members of one zone share their times.
    select m as member, row_number() over (
      partition by m.handled_until is null, case when c.schedule <> 'reminder' then m.timezone end
      order by f.first_at, m.external_id
    ) as place
    from public.outbox_campaign_members m
    cross join lateral (
      select case
        when m.handled_until is not null then m.next_at
        when c.schedule = 'reminder' then (
          select min(m.event_at + o)
          from unnest(c.offsets) o
          where m.event_at + o > p_now - interval '2 hours'
        )
      end as first_at
    ) f
    where m.campaign = c.name and (m.timezone is not null or not outbox_engine.members_need_zone(c))
  ) m
  cross join lateral outbox_engine.upcoming_messages(
    c, m.member, p_now, 'infinity', case c.schedule when 'reminder' then 100 else 3 end) t
  where m.place <= case c.schedule when 'reminder' then 50 else 3 end and t.problem is null
$$;

-- Called by `outbox campaign list`. `next_at` is when the next message goes out; of a draft or a paused
-- campaign, if it were started now. `waiting` counts messages in the outbox, which are made about a minute
-- before they are due.
create function public.outbox_list_campaigns() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'name', c.name, 'status', c.status, 'schedule', c.schedule, 'template', c.template,
    'next_at', case when c.status <> 'ended' then least(
      outbox_engine.next_waiting_at(c.name, c.status, outbox_engine.now()),
      outbox_engine.next_planned_at(c.name, outbox_engine.now())
    ) end,
    'members', (select count(*) from public.outbox_campaign_members m where m.campaign = c.name),
    'waiting', (select count(*) from public.outbox o where o.campaign = c.name and o.queue is not null),
    'spent_parts', outbox_engine.parts_spent(c.name)
  ) order by c.name), '[]')
  from public.outbox_campaigns c
$$;

-- Called by `outbox campaign start`, `pause` and `stop`. The triggers of campaigns refuse an invalid start.
-- Stopping cancels at most `p_most` waiting messages: the caller repeats it while any are `waiting`. Messages
-- that are `sending` are part of a request already.
create function public.outbox_switch_campaign(p_campaign text, p_status text, p_most integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_was text;
  v_ids bigint[];
begin
  select status into v_was from public.outbox_campaigns where name = p_campaign for no key update;
  if not found then
    perform outbox_engine.refuse(format('campaign %L does not exist', p_campaign));
  elsif p_status = 'paused' and v_was not in ('active', 'paused') then
    perform outbox_engine.refuse(format('campaign %L is not active: its status is %s', p_campaign, v_was));
  end if;
  if v_was <> p_status then
    update public.outbox_campaigns set status = p_status where name = p_campaign;
  end if;
  if p_status = 'ended' then
    select array_agg(id) into v_ids
    from (
      select id from public.outbox
      where campaign = p_campaign and queue is not null
      order by id
      limit p_most
      for update
    ) x;
    perform outbox_engine.withdraw_messages(v_ids, outbox_engine.withdrawal_error('ended'));
  end if;
  return jsonb_build_object(
    'was', v_was, 'status', p_status, 'cancelled', coalesce(cardinality(v_ids), 0),
    'waiting', (select count(*) from public.outbox where campaign = p_campaign and queue is not null),
    'sending', (
      select count(*)
      from outbox_engine.dispatches d
      join outbox_engine.dispatch_members m on m.dispatch_id = d.id
      join public.outbox o on o.id = m.outbox_id and o.campaign = p_campaign and o.status = 'sending'
      where outbox_engine.is_open(d.state)));
end
$$;

-- Each occurrence of a campaign: why it made no message (`skipped`), or what became of its message. `status`
-- is null where retention deleted the message, `country` where it was not sent.
create function outbox_engine.campaign_outcomes(p_campaign text)
returns table (
  outbox_id bigint, skipped text, recipient text, country text, status text, reason text, parts smallint,
  sent_at timestamptz, is_final boolean
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with outcomes as materialized (
    select row_number() over () as place, o.outbox_id, o.reason as skipped, x.recipient, x.status, x.error,
      x.status_code, x.parts, x.sent_at, x.finalized_at
    from public.outbox_campaign_occurrences o
    left join public.outbox x on x.id = o.outbox_id
    where o.campaign = p_campaign
  )
  select o.outbox_id,
    case when o.outbox_id is null then outbox_engine.message_reason(o.skipped, null) end,
    o.recipient, case when o.sent_at is not null then l.country end, o.status,
    case when o.status <> 'delivered' then outbox_engine.message_reason(o.error, o.status_code) end,
    o.parts, o.sent_at, o.finalized_at is not null
  from outcomes o
  left join outbox_engine.countries_of(array(select recipient from outcomes order by place)) l using (place)
$$;

-- Counts messages by the time they were sent, in at most about sixty steps of at least `p_precision`; steps
-- without messages are included. The arrays go together: when, with which status, whether that is final, and
-- how many messages.
create function outbox_engine.report_timeline(
  p_sent_at timestamptz[], p_statuses text[], p_finals boolean[], p_messages bigint[], p_precision interval,
  out step_seconds numeric, out timeline jsonb
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with counts as materialized (
    select * from unnest(p_sent_at, p_statuses, p_finals, p_messages) u (sent_at, status, is_final, messages)
  ),
  span as (
    select min(sent_at) as first_at, make_interval(secs => (
      select min(extract(epoch from s))
      from unnest(
        '{1 minute,5 minutes,15 minutes,1 hour,6 hours,1 day,7 days,30 days,365 days}'::interval[]) s
      where s >= (max(sent_at) - min(sent_at)) / 60 and s >= p_precision or s = '365 days'
    )) as step
    from counts
  ),
  steps as (
    select date_bin(s.step, c.sent_at, date_trunc('day', s.first_at, 'UTC')) as at,
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
    (select extract(epoch from s.step) from span s),
    (select coalesce(jsonb_agg(to_jsonb(x) order by x.at), '[]') from all_steps x)
$$;

-- How many messages of a campaign retention deleted, and how many of their recipients opted out.
create function outbox_engine.deleted_messages(p_campaign text, out messages numeric, out opted_out numeric)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(sum(t.messages), 0), coalesce(sum(t.opted_out), 0)
  from outbox_engine.campaign_totals t
  where t.campaign = p_campaign
$$;

-- The report as JSON (`outbox_campaign_report`). `p_status` is the campaign's.
create function outbox_engine.campaign_report(p_campaign text, p_status text) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Read once, for several counts.
  with outcomes as materialized (
    select * from outbox_engine.campaign_outcomes(p_campaign)
  ),
  -- Messages that are still there, and totals of those that are not, whose time is known to the day.
  counts as materialized (
    select status, reason, sent_at, is_final, 1 as messages, parts, interval '0' as precision, country
    from outcomes
    where status is not null
    union all
    select status, reason, case when isfinite(sent_on) then sent_on::timestamp at time zone 'UTC' end, true,
      messages, parts, interval '1 day', nullif(country, '')
    from outbox_engine.campaign_totals
    where campaign = p_campaign
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
  -- Why occurrences made no message.
  skipped as (
    select skipped as reason, count(*) as messages from outcomes where outbox_id is null group by 1
  ),
  -- What each country received.
  countries as (
    select country, sum(messages) as messages, sum(parts) as parts
    from counts
    where sent_at is not null
    group by 1
  ),
  -- For the timeline: far fewer rows than messages, since those of one request share the time.
  sent as (
    select sent_at, status, is_final, sum(messages)::bigint as messages, max(precision) as precision
    from counts
    where sent_at is not null
    group by 1, 2, 3
  )
  select jsonb_build_object(
    'campaign', p_campaign,
    'status', p_status,
    'sent', (select coalesce(sum(messages), 0) from sent),
    'opted_out', t.opted_out + (
      select count(distinct s.recipient)
      from public.outbox_suppressions s
      join outcomes m on m.recipient = s.recipient and s.created_at >= m.sent_at
      where s.by_engine),
    'forgotten', greatest(0, -t.messages + (
      select count(*) from outcomes where outbox_id is not null and status is null)),
    'statuses', (select coalesce(jsonb_object_agg(x.status, x.messages), '{}') from statuses x),
    'undelivered', (
      select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.status, x.reason), '[]')
      from undelivered x),
    'skipped', (
      select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.reason), '[]') from skipped x),
    'countries', (
      select coalesce(jsonb_agg(to_jsonb(x) order by x.parts desc, x.country), '[]') from countries x),
    'step_seconds', l.step_seconds,
    'timeline', l.timeline)
  from outbox_engine.deleted_messages(p_campaign) t
  cross join (
    select array_agg(sent_at) as sent_at, array_agg(status) as statuses, array_agg(is_final) as finals,
      array_agg(messages) as messages, max(precision) as precision
    from sent
  ) a
  cross join lateral outbox_engine.report_timeline(
    a.sent_at, a.statuses, a.finals, a.messages, a.precision) l
$$;

-- Called by `outbox campaign report`: counts of one campaign. `sent` messages were accepted by the provider.
-- `skipped` occurrences made no message. `opted_out` recipients opted out after a message of this campaign.
-- Messages that retention deleted are counted by the day they were sent; `forgotten` ones are not counted,
-- because the campaign had been deleted before.
create function public.outbox_campaign_report(p_campaign text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_status text;
begin
  select status into v_status from public.outbox_campaigns where name = p_campaign;
  if not found
    and not exists (select from public.outbox_campaign_occurrences where campaign = p_campaign) then
    perform outbox_engine.refuse(format('campaign %L does not exist', p_campaign));
  end if;
  return outbox_engine.campaign_report(p_campaign, coalesce(v_status, 'deleted'));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_list_campaigns,
  public.outbox_switch_campaign,
  public.outbox_campaign_report
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_list_campaigns,
  public.outbox_switch_campaign,
  public.outbox_campaign_report
to service_role;
