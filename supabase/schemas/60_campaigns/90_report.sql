-- Campaigns as their operators see and steer them: the list, one switch, and what became of the messages.

-- Why a message ended as it did, for counting: without times, which differ from one to the next, and no
-- longer than an index takes.
create function outbox_engine.message_reason(p_error text, p_code integer) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select left(regexp_replace(coalesce(p_error, 'code ' || p_code, ''), '( at)? \d{4,}-\d\d-\d\d \d\d:\S+', '', 'g'), 300)
$$;

-- Called before messages are pruned, which the caller holds. The settings: a thousand messages are found by
-- index.
create function outbox_engine.count_pruned(p_outbox_ids bigint[]) returns void
language sql set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
  with pruned as materialized (
    select x.id, x.campaign, x.recipient, x.status, outbox_engine.message_reason(x.error, x.status_code) as reason, x.parts, x.sent_at,
      s.created_at as opted_out_at
    from public.outbox x
    join public.outbox_campaigns c on c.name = x.campaign
    left join public.outbox_suppressions s on s.recipient = x.recipient and s.by_engine and s.created_at >= x.sent_at
    where x.id = any (p_outbox_ids)
      and exists (select from public.outbox_campaign_occurrences o where o.campaign = x.campaign and o.outbox_id = x.id)
  ),
  -- Whoever is still to be seen by a message that stays is counted by that one.
  opted_out as materialized (
    select distinct on (p.campaign, p.recipient) p.id
    from pruned p
    where p.opted_out_at is not null and not exists (
      select from outbox_engine.campaign_sends m
      join public.outbox x on x.id = m.outbox_id
      where m.recipient = p.recipient and m.campaign = p.campaign and x.sent_at <= p.opted_out_at
        and x.id <> all (p_outbox_ids))
    order by p.campaign, p.recipient, p.id
  )
  insert into outbox_engine.campaign_totals as t (campaign, sent_on, status, reason, country, messages, parts, opted_out)
  select p.campaign, coalesce((p.sent_at at time zone 'UTC')::date, 'infinity'), p.status, p.reason,
    coalesce(outbox_engine.country_of(p.recipient), ''), count(*), coalesce(sum(p.parts), 0), count(o.id)
  from pruned p
  left join opted_out o on o.id = p.id
  group by 1, 2, 3, 4, 5
  order by 1, 2, 3, 4, 5
  on conflict (campaign, sent_on, status, reason, country) do update
  set messages = t.messages + excluded.messages, parts = t.parts + excluded.parts, opted_out = t.opted_out + excluded.opted_out
$$;

-- When a campaign's next message goes out; of a draft or a paused one, if it were started now. Null where
-- none will. Of what has no row in the outbox yet, some members whose turn is first are planned as a preview
-- does it, without caps, budgets and opt-outs.
create function outbox_engine.next_message(p_campaign text, p_status text, p_now timestamptz) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select least(
    (
      -- What a pause holds is put off until it expires.
      select min(case when p_status = 'paused' and x.due_at >= x.expires_at then greatest(x.send_at, p_now) else x.due_at end)
      from public.outbox x
      where x.campaign = p_campaign and x.queue is not null
    ), (
      select min(t.send_at)
      from outbox_engine.as_if_started(p_campaign, p_now) c
      cross join lateral (
        -- Members of one zone share the times of a campaign that is not about their events.
        select m as member, row_number() over (
          partition by m.handled_until is null, case when c.schedule <> 'reminder' then m.timezone end order by s.soon, m.external_id) as place
        from public.outbox_campaign_members m
        cross join lateral (
          select case
            when m.handled_until is not null then m.next_at
            when c.schedule = 'reminder' then (select min(m.event_at + o) from unnest(c.offsets) o where m.event_at + o > p_now - interval '2 hours')
          end as soon
        ) s
        where m.campaign = c.name and (m.timezone is not null or c.timezone is not null or outbox_engine.zone_needed_by(c) is null)
      ) m
      cross join lateral outbox_engine.upcoming_messages(
        c, m.member, p_now, 'infinity', case c.schedule when 'reminder' then 100 else 3 end) t
      where m.place <= case c.schedule when 'reminder' then 50 else 3 end and t.problem is null
    ))
  where p_status <> 'ended'
$$;

-- Called by `outbox campaign list`. `waiting` are rows in the outbox, which are made about a minute before
-- they are due.
create function public.outbox_list_campaigns() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'name', c.name, 'status', c.status, 'schedule', c.schedule, 'template', c.template,
    'next_at', outbox_engine.next_message(c.name, c.status, outbox_engine.now()),
    'members', (select count(*) from public.outbox_campaign_members m where m.campaign = c.name),
    'waiting', (select count(*) from public.outbox o where o.campaign = c.name and o.queue is not null),
    'spent_parts', (select coalesce(sum(s.parts), 0) from outbox_engine.campaign_spend s where s.campaign = c.name)
  ) order by c.name), '[]')
  from public.outbox_campaigns c
$$;

-- Called by `outbox campaign start`, `pause` and `stop`. Triggers refuse what cannot start, in words.
-- Stopping cancels what waits, at most `p_most` messages a call: the caller asks again while any are
-- `waiting`. What is `sending` is in a request already.
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
      select id from public.outbox where campaign = p_campaign and queue is not null order by id limit p_most for update
    ) x;
    perform outbox_engine.withdraw_messages(v_ids, 'the campaign was ended');
  end if;
  return jsonb_build_object(
    'was', v_was, 'status', p_status, 'cancelled', coalesce(cardinality(v_ids), 0),
    'waiting', (select count(*) from public.outbox where campaign = p_campaign and queue is not null),
    'sending', (
      select count(*)
      from outbox_engine.dispatches d
      join outbox_engine.dispatch_members m on m.dispatch_id = d.id
      join public.outbox o on o.id = m.outbox_id and o.campaign = p_campaign and o.status = 'sending'
      where d.state in ('claimed', 'awaiting_half', 'ambiguous')));
end
$$;

-- Every time of a campaign's members that came up, and the message it became, if it became one: `status` is
-- null where that is gone.
create function outbox_engine.campaign_messages(p_campaign text)
returns table (
  outbox_id bigint, skipped text, recipient text, status text, reason text, parts smallint, sent_at timestamptz, is_final boolean
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select o.outbox_id, case when o.outbox_id is null then outbox_engine.message_reason(o.reason, null) end, x.recipient, x.status,
    case when x.status <> 'delivered' then outbox_engine.message_reason(x.error, x.status_code) end, x.parts, x.sent_at,
    x.finalized_at is not null
  from public.outbox_campaign_occurrences o
  left join public.outbox x on x.id = o.outbox_id
  where o.campaign = p_campaign
$$;

-- Called by `outbox campaign report`: counts of one campaign. `sent` were accepted by the provider; `skipped`
-- times became no message; `opted_out` recipients replied so, or the provider said so, after a message of
-- this campaign. Messages older than retention are counted as the day they were sent knows them; `forgotten`
-- ones are not, since the campaign was deleted before. `timeline` counts messages by the time they were sent,
-- in about sixty steps at most, those without any included.
create function public.outbox_campaign_report(p_campaign text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_status text;
begin
  select status into v_status from public.outbox_campaigns where name = p_campaign;
  if not found and not exists (select from public.outbox_campaign_occurrences where campaign = p_campaign) then
    perform outbox_engine.refuse(format('campaign %L does not exist', p_campaign));
  end if;
  return (
    with times as materialized (
      select * from outbox_engine.campaign_messages(p_campaign)
    ),
    counted as materialized (
      select status, reason, outbox_engine.country_of(case when sent_at is not null then recipient end) as country, sent_at, is_final,
        1 as messages, parts, interval '0' as precision
      from times
      where status is not null
      union all
      select status, reason, nullif(country, ''), case when isfinite(sent_on) then sent_on::timestamp at time zone 'UTC' end, true,
        messages, parts, interval '1 day'
      from outbox_engine.campaign_totals
      where campaign = p_campaign
    ),
    statuses as (
      select status, sum(messages) as messages from counted group by status
    ),
    undelivered as (
      select status, reason, sum(messages) as messages from counted where is_final and status <> 'delivered' group by 1, 2
    ),
    skipped as (
      select skipped as reason, count(*) as messages from times where outbox_id is null group by 1
    ),
    countries as (
      select country, sum(messages) as messages, sum(parts) as parts from counted where sent_at is not null group by 1
    ),
    span as (
      select min(sent_at) as began, make_interval(secs => (
        select min(extract(epoch from s))
        from unnest('{1 minute,5 minutes,15 minutes,1 hour,6 hours,1 day,7 days,30 days,365 days}'::interval[]) s
        where s >= (max(sent_at) - min(sent_at)) / 60 and s >= max(precision) or s = '365 days'
      )) as step
      from counted
      where sent_at is not null
    ),
    steps as (
      select date_bin(s.step, c.sent_at, date_trunc('day', s.began, 'UTC')) as at, sum(c.messages) as sent,
        coalesce(sum(c.messages) filter (where c.status = 'delivered'), 0) as delivered,
        coalesce(sum(c.messages) filter (where c.is_final and c.status <> 'delivered'), 0) as failed
      from counted c
      cross join span s
      where c.sent_at is not null
      group by 1
    ),
    timeline as (
      select a.first + n * s.step as at, coalesce(t.sent, 0) as sent, coalesce(t.delivered, 0) as delivered, coalesce(t.failed, 0) as failed
      from span s
      cross join (select min(at) as first, max(at) as last from steps) a
      cross join generate_series(0, (extract(epoch from a.last - a.first) / extract(epoch from s.step))::integer) n
      left join steps t on t.at = a.first + n * s.step
    )
    select jsonb_build_object(
      'campaign', p_campaign,
      'status', coalesce(v_status, 'deleted'),
      'sent', (select coalesce(sum(messages), 0) from counted where sent_at is not null),
      'opted_out', (
        select count(distinct s.recipient)
        from public.outbox_suppressions s
        join times m on m.recipient = s.recipient and s.created_at >= m.sent_at
        where s.by_engine
      ) + (select coalesce(sum(t.opted_out), 0) from outbox_engine.campaign_totals t where t.campaign = p_campaign),
      'forgotten', greatest(0, (select count(*) from times where outbox_id is not null and status is null)
        - (select coalesce(sum(t.messages), 0) from outbox_engine.campaign_totals t where t.campaign = p_campaign)),
      'statuses', (select coalesce(jsonb_object_agg(x.status, x.messages), '{}') from statuses x),
      'undelivered', (select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.status, x.reason), '[]') from undelivered x),
      'skipped', (select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.reason), '[]') from skipped x),
      'countries', (select coalesce(jsonb_agg(to_jsonb(x) order by x.parts desc, x.country), '[]') from countries x),
      'step_seconds', (select extract(epoch from s.step) from span s),
      'timeline', (select coalesce(jsonb_agg(to_jsonb(x) order by x.at), '[]') from timeline x)));
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
