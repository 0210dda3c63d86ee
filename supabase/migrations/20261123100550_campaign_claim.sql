-- What the claim asks about rows that a campaign made: whether it may still send, whether the window is open, whether the
-- recipient has had enough and the money lasts.

-- What was claimed for campaigns, for caps and budgets. A row counts again only after an attempt that was accepted.
create table outbox_engine.campaign_sends (
  outbox_id bigint primary key,
  campaign text not null,
  recipient text not null,
  parts integer not null,
  at timestamptz not null,
  batch_id text
);
alter table outbox_engine.campaign_sends enable row level security;
create index campaign_sends_recipient on outbox_engine.campaign_sends (recipient, at);

create table outbox_engine.campaign_spend (
  campaign text not null,
  day date not null,
  parts bigint not null,
  primary key (campaign, day)
);
alter table outbox_engine.campaign_spend enable row level security;

-- Called by the claim for the rows it picked and would send. Answers, for those that a campaign made: null and the latest
-- instant of delivery when it may go; null and `due_at` when it waits; a final status and the reason when it never goes.
-- Without such rows it costs nothing.
create function outbox_engine.hold_back(p_ids bigint[], p_parts smallint[], p_now timestamptz)
returns table (outbox_id bigint, status text, error text, due_at timestamptz, expires_at timestamptz)
language plpgsql set search_path = ''
as $$
begin
  if p_ids is null then
    return;
  end if;
  -- Claims of several plans take turns here, so that none of them spends what another is just spending.
  perform pg_advisory_xact_lock(hashtext('outbox campaign claims'));

  return query
  with picked as materialized (
    select o.id, o.recipient, o.campaign, o.priority, o.due_at, o.send_at, o.expires_at, oc.occurs_at,
      -- Parts of an attempt that was never accepted were counted when it was claimed.
      case when mine.outbox_id is null or mine.batch_id is distinct from o.batch_id then p.parts else 0 end as parts,
      c.status as campaign_status, c.late_policy, c.late_limit, c.window_start, c.window_end, c.window_days, c.daily_cap, c.weekly_cap,
      c.budget_parts, c.daily_budget_parts, coalesce(c.timezone, 'UTC') as campaign_zone, m.external_id,
      coalesce(m.timezone, c.timezone, 'UTC') as zone,
      -- Only who changed since can have lost the time.
      m.changed_at > oc.created_at and c.schedule = 'reminder'
        and not coalesce(outbox_engine.is_time_of(c, m.event_at, coalesce(m.timezone, c.timezone), oc.occurs_at), false) as moved
    from unnest(p_ids, p_parts) p (id, parts)
    join public.outbox o on o.id = p.id
    left join outbox_engine.campaign_sends mine on mine.outbox_id = o.id
    left join public.campaigns c on c.name = o.campaign
    left join public.campaign_occurrences oc on oc.outbox_id = o.id
    left join public.campaign_members m on m.campaign = oc.campaign and m.external_id = oc.external_id
  ),
  windows as materialized (
    select w.campaign, w.zone, o.opens_at, o.closes_at, outbox_engine.day_start(p_now, w.zone) as day_start,
      outbox_engine.week_start(p_now, w.zone) as week_start
    from (select distinct campaign, zone, window_start, window_end, window_days from picked) w
    cross join lateral outbox_engine.opening(p_now, w.window_start, w.window_end, w.window_days, w.zone) o
  ),
  judged as materialized (
    select p.*, w.opens_at, w.closes_at, w.day_start, w.week_start,
      coalesce(p.campaign_status = 'active' and p.external_id is not null and w.opens_at <= p_now, false) as open,
      coalesce(p.late_policy = 'skip' and greatest(p.send_at, p.occurs_at) + p.late_limit < p_now, false) as missed,
      case
        when p.campaign_status is null or p.campaign_status in ('ended', 'draft') then 'the campaign was ended'
        when p.external_id is null then 'the member was removed from the campaign'
        when p.moved then 'the member was moved to another time'
      end as gone
    from picked p
    join windows w using (campaign, zone)
  ),
  ranked as (
    select j.*,
      row_number() over (partition by j.recipient, j.open and not j.missed and j.gone is null order by j.priority, j.due_at, j.id) - 1 as earlier,
      h.today, h.this_week, b.spent, b.spent_today
    from judged j
    left join lateral (
      select count(*) filter (where s.at >= j.day_start) as today, count(*) as this_week
      from outbox_engine.campaign_sends s
      join public.outbox x on x.id = s.outbox_id and (x.sent_at is not null or x.status = 'sending')
      where j.open and num_nonnulls(j.daily_cap, j.weekly_cap) > 0 and s.recipient = j.recipient and s.at >= j.week_start and x.id <> j.id
    ) h on true
    left join (
      select s.campaign, sum(s.parts) as spent, sum(s.parts) filter (where s.day = (p_now at time zone k.zone)::date) as spent_today
      from (select distinct campaign, campaign_zone as zone from picked) k
      join outbox_engine.campaign_spend s using (campaign)
      group by s.campaign
    ) b on b.campaign = j.campaign
  ),
  -- What a cap holds back takes no money from what comes after it.
  counted as (
    select r.*,
      sum(r.parts) filter (where coalesce(r.today + r.earlier < r.daily_cap, true) and coalesce(r.this_week + r.earlier < r.weekly_cap, true))
        over (partition by r.campaign, r.open order by r.priority, r.due_at, r.id) as running
    from ranked r
  )
  select c.id,
    case
      when c.gone is not null then 'cancelled'
      when c.campaign_status = 'paused' then null
      when not c.open and c.opens_at < c.expires_at and c.opens_at <= c.occurs_at + c.late_limit then null
      when not c.open or c.missed then 'expired'
      when c.today + c.earlier >= c.daily_cap or c.this_week + c.earlier >= c.weekly_cap
        or coalesce(c.spent, 0) + c.running > c.budget_parts or coalesce(c.spent_today, 0) + c.running > c.daily_budget_parts
      then 'suppressed'
    end,
    case
      when c.gone is not null then c.gone
      when c.campaign_status = 'paused' then 'held: the campaign is paused'
      when not c.open and c.opens_at < c.expires_at and c.opens_at <= c.occurs_at + c.late_limit then 'held: outside its window'
      when not c.open then format('its window opens at %s, after its expiry or later than late_limit %s', c.opens_at, c.late_limit)
      when c.missed then format('later than late_limit %s, and late_policy is skip', c.late_limit)
      when c.today + c.earlier >= c.daily_cap then format('daily_cap %s reached for this recipient', c.daily_cap)
      when c.this_week + c.earlier >= c.weekly_cap then format('weekly_cap %s reached for this recipient', c.weekly_cap)
      when coalesce(c.spent, 0) + c.running > c.budget_parts then format('budget_parts %s of the campaign reached', c.budget_parts)
      when coalesce(c.spent_today, 0) + c.running > c.daily_budget_parts
      then format('daily_budget_parts %s of the campaign reached', c.daily_budget_parts)
    end,
    case when c.gone is null and not c.open then case when c.campaign_status = 'paused' then c.expires_at else c.opens_at end end,
    least(c.expires_at, c.closes_at)
  from counted c;
end
$$;

notify pgrst, 'reload schema';
