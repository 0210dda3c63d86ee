-- Campaigns as their operators see and steer them: the list, one switch, and what became of the messages.

-- Called by `outbox campaign list`.
create function public.outbox_campaigns() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'name', c.name, 'status', c.status, 'schedule', c.schedule, 'template', c.template, 'next_at', n.next_at,
    'members', (select count(*) from public.campaign_members m where m.campaign = c.name),
    'waiting', (select count(*) from public.outbox o where o.campaign = c.name and o.queue is not null),
    'spent_parts', (select coalesce(sum(s.parts), 0) from outbox_engine.campaign_spend s where s.campaign = c.name)
  ) order by c.name), '[]')
  from public.campaigns c
  left join lateral (
    select min(m.next_at) as next_at from public.campaign_members m where m.campaign = c.name and c.status = 'active'
  ) n on true
$$;

-- Called by `outbox campaign start`, `pause` and `stop`. Triggers refuse what cannot start, in words. Stopping cancels what waits,
-- at most `p_most` messages a call: the caller asks again while any are `waiting`. What is `sending` is in a request already.
create function public.outbox_switch_campaign(p_campaign text, p_status text, p_most integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_was text;
  v_ids bigint[];
begin
  select status into v_was from public.campaigns where name = p_campaign for no key update;
  if not found then
    perform outbox_engine.refuse(format('campaign %L does not exist', p_campaign));
  elsif p_status = 'paused' and v_was not in ('active', 'paused') then
    perform outbox_engine.refuse(format('campaign %L is not active: its status is %s', p_campaign, v_was));
  end if;
  if v_was <> p_status then
    update public.campaigns set status = p_status where name = p_campaign;
  end if;
  if p_status = 'ended' then
    select array_agg(id) into v_ids
    from (
      select id from public.outbox where campaign = p_campaign and queue is not null order by id limit p_most for update
    ) x;
    perform outbox_engine.withdraw(v_ids, 'the campaign was ended');
  end if;
  return jsonb_build_object(
    'was', v_was, 'status', p_status, 'cancelled', coalesce(cardinality(v_ids), 0),
    'waiting', (select count(*) from public.outbox where campaign = p_campaign and queue is not null),
    'sending', (
      select count(*)
      from outbox_engine.dispatches d
      join outbox_engine.dispatch_members m on m.dispatch_id = d.id
      join public.outbox o on o.id = m.outbox_id and o.campaign = p_campaign and o.status = 'sending'
      where d.state in ('claimed', 'parked', 'doubtful')));
end
$$;

-- Every time of a campaign's members that came up, and the message it became, if it became one.
create function outbox_engine.campaign_messages(p_campaign text)
returns table (
  outbox_id bigint, reason text, recipient text, status text, error text, parts smallint, sent_at timestamptz, finalized_at timestamptz
)
language sql stable set search_path = ''
as $$
  select o.outbox_id, regexp_replace(o.reason, '( at)? \d{4,}-\d\d-\d\d \d\d:\S+', '', 'g'), x.recipient, x.status,
    regexp_replace(coalesce(x.error, 'code ' || x.status_code), '( at)? \d{4,}-\d\d-\d\d \d\d:\S+', '', 'g'), x.parts, x.sent_at,
    x.finalized_at
  from public.campaign_occurrences o
  left join public.outbox x on x.id = o.outbox_id
  where o.campaign = p_campaign
$$;

-- Called by `outbox campaign report`: counts of one campaign. `sent` were accepted by the provider; `skipped` times became no
-- message; `forgotten` messages are older than retention; `opted_out` recipients did so after a message of this campaign.
-- `timeline` counts messages by the time they were sent, in about sixty steps at most.
create function public.outbox_campaign_report(p_campaign text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_status text;
begin
  select status into v_status from public.campaigns where name = p_campaign;
  if not found and not exists (select from public.campaign_occurrences where campaign = p_campaign) then
    perform outbox_engine.refuse(format('campaign %L does not exist', p_campaign));
  end if;
  return (
    with messages as materialized (
      select * from outbox_engine.campaign_messages(p_campaign)
    ),
    statuses as (
      select status, count(*) as messages from messages where status is not null group by status
    ),
    undelivered as (
      select status, coalesce(error, '') as reason, count(*) as messages
      from messages
      where finalized_at is not null and status <> 'delivered'
      group by 1, 2
    ),
    skipped as (
      select reason, count(*) as messages from messages where outbox_id is null group by reason
    ),
    countries as (
      select outbox_engine.country_of(recipient) as country, count(*) as messages, sum(parts) as parts
      from messages
      where sent_at is not null
      group by 1
    ),
    span as (
      select min(sent_at) as began, (
        select min(s) from unnest(array['1 minute', '5 minutes', '15 minutes', '1 hour', '6 hours', '1 day', '7 days', '30 days']::interval[]) s
        where s >= (max(sent_at) - min(sent_at)) / 60
      ) as step
      from messages
    ),
    timeline as (
      select date_bin(coalesce(s.step, '365 days'), m.sent_at, date_trunc('day', s.began, 'UTC')) as at, count(*) as sent,
        count(*) filter (where m.status = 'delivered') as delivered,
        count(*) filter (where m.finalized_at is not null and m.status <> 'delivered') as failed
      from messages m
      cross join span s
      where m.sent_at is not null
      group by 1
    )
    select jsonb_build_object(
      'campaign', p_campaign,
      'status', coalesce(v_status, 'deleted'),
      'sent', (select count(*) from messages where sent_at is not null),
      'opted_out', (
        select count(distinct s.recipient)
        from public.suppressions s
        join messages m on m.recipient = s.recipient and s.created_at >= m.sent_at),
      'forgotten', (select count(*) from messages where outbox_id is not null and status is null),
      'statuses', (select coalesce(jsonb_object_agg(x.status, x.messages), '{}') from statuses x),
      'undelivered', (select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.status, x.reason), '[]') from undelivered x),
      'skipped', (select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.reason), '[]') from skipped x),
      'countries', (select coalesce(jsonb_agg(to_jsonb(x) order by x.parts desc, x.country), '[]') from countries x),
      'step_seconds', (select extract(epoch from s.step) from span s),
      'timeline', (select coalesce(jsonb_agg(to_jsonb(x) order by x.at), '[]') from timeline x)));
end
$$;

notify pgrst, 'reload schema';
