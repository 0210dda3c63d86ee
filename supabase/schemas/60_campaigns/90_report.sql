-- Campaigns as operators see and control them: the list, starting and stopping. The report comes next.

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
-- counts as unknown. Each row is found by index, by itself: the connection keeps the plan, and another one
-- would read all occurrences for a thousand messages.
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
    cross join lateral (
      select o.outbox_id
      from public.outbox_campaign_occurrences o
      where o.outbox_id = x.id and o.campaign = x.campaign
      limit 1
    ) o
    left join lateral (
      select c.created_at
      from public.outbox_suppressions c
      where c.recipient = x.recipient and c.by_engine and c.created_at >= x.sent_at
      limit 1
    ) s on true
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
  perform outbox_engine.audit_change('switch_campaign', p_campaign, jsonb_build_object('status', p_status));
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

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_list_campaigns,
  public.outbox_switch_campaign
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_list_campaigns,
  public.outbox_switch_campaign
to service_role;
