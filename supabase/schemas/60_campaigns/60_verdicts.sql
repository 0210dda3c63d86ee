-- What stops or postpones a message of a campaign: the campaign's status, its window, lateness, and limits.
-- The same rules for the claim and for previews, which have no rows yet: so they take messages, not ids.

-- A message of a campaign, as `judge_times` needs it. `place` is the order in which messages go out.
create type outbox_engine.campaign_message as (
  place bigint,
  campaign text,
  -- Null where the campaign is gone.
  campaign_status text,
  -- The campaign was edited, and the campaigns job has not checked this message since.
  is_unchecked boolean,
  is_member boolean,
  -- The time the message stands for is no longer one of the member's.
  lost_time boolean,
  member_changed boolean,
  zone text,
  -- When it would go.
  at timestamptz,
  occurs_at timestamptz,
  send_at timestamptz,
  expires_at timestamptz
);

-- Returns one verdict for each message. `status` is final where it never goes, with the reason. Else
-- `due_at` says until when it waits, with the reason; null where it may go at its `at`. `opens_at` is when
-- the window allows it, `expires_at` the latest instant of delivery.
create function outbox_engine.judge_times(p_messages outbox_engine.campaign_message[])
returns table (
  place bigint, status text, error text, due_at timestamptz, opens_at timestamptz, expires_at timestamptz
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with messages as materialized (
    select m.*, c.late_policy, c.late_limit, c.window_start, c.window_end, c.window_days
    from unnest(p_messages) m
    left join public.outbox_campaigns c on c.name = m.campaign
  ),
  windows as materialized (
    select w.campaign, w.zone, w.at, o.opens_at, o.closes_at
    from (select distinct campaign, zone, at, window_start, window_end, window_days from messages) w
    cross join lateral outbox_engine.window_opening(
      w.at, w.window_start, w.window_end, w.window_days, w.zone) f
    -- A window that closes within 30 seconds may have closed by the provider's clock.
    cross join lateral outbox_engine.window_opening(
      case when f.closes_at < w.at + interval '30 seconds' then f.closes_at else w.at end,
      w.window_start, w.window_end, w.window_days, w.zone) o
  )
  select m.place,
    case
      when x.withdrawn is not null then 'cancelled'
      when x.waits is not null then null
      when not x.is_open or x.is_late then 'expired'
    end,
    case
      when x.withdrawn is not null then x.withdrawn
      when x.waits is not null then 'held: ' || x.waits
      when w.opens_at is null then 'its window never opens'
      when not x.is_open
      then format(
        'its window opens at %s, after its expiry or later than late_limit %s', w.opens_at, m.late_limit)
      when x.is_late then format('later than late_limit %s, and late_policy is skip', m.late_limit)
    end,
    case
      when x.withdrawn is not null or x.waits is null then null
      when m.campaign_status = 'paused' then m.expires_at
      when m.is_unchecked then m.at + interval '5 seconds'
      else w.opens_at
    end,
    w.opens_at,
    least(m.expires_at, w.closes_at)
  from messages m
  join windows w on (w.campaign, w.zone, w.at) = (m.campaign, m.zone, m.at)
  cross join lateral (
    select coalesce(w.opens_at <= m.at, false) as is_open,
      w.opens_at < m.expires_at and w.opens_at <= m.occurs_at + m.late_limit as is_reachable,
      m.late_policy = 'skip' and greatest(m.send_at, m.occurs_at) + m.late_limit < w.opens_at as is_late,
      case
        when m.campaign_status is null or m.campaign_status in ('ended', 'draft')
        then outbox_engine.withdrawal_error('ended')
        when not m.is_member then outbox_engine.withdrawal_error('removed')
        when m.lost_time and m.member_changed then outbox_engine.withdrawal_error('moved')
        when m.lost_time then outbox_engine.withdrawal_error('rescheduled')
      end as withdrawn
  ) v
  cross join lateral (
    select v.*, case
      when m.campaign_status = 'paused' then 'the campaign is paused'
      when m.is_unchecked then 'the campaign was just changed'
      when not v.is_open and v.is_reachable then 'outside its window'
    end as waits
  ) x
$$;

-- Messages with the parts that were `counted` for an earlier attempt, and when, if that attempt was never
-- accepted: the message still has the batch that it had when they were counted. They are given back.
create view outbox_engine.messages_with_counts as
select m.id, m.recipient, m.campaign, m.priority, m.queue, m.due_at, m.send_at, m.expires_at, m.batch_id,
  m.was_in_request, s.parts as counted, s.at as counted_at
from outbox_engine.messages m
left join outbox_engine.campaign_sends s
  on s.outbox_id = m.id and s.batch_id is not distinct from m.batch_id;

-- A message of a campaign, as `judge_limits` needs it; `counted` as above, and on which day of the campaign.
create type outbox_engine.limited_message as (
  place bigint,
  campaign text,
  outbox_id bigint,
  recipient text,
  zone text,
  at timestamptz,
  parts integer,
  counted integer,
  counted_day date
);

-- The same with what its recipient was sent before.
create type outbox_engine.counted_message as (
  place bigint,
  campaign text,
  recipient text,
  at timestamptz,
  day_start timestamptz,
  week_start timestamptz,
  spend_day date,
  sent_today bigint,
  sent_this_week bigint,
  parts integer,
  counted integer,
  counted_day date
);

-- Parts a campaign has spent, on one day or in all.
create function outbox_engine.parts_spent(p_campaign text, p_day date default null) returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(sum(s.parts), 0)::bigint
  from outbox_engine.campaign_spend s
  where s.campaign = p_campaign and (p_day is null or s.day = p_day)
$$;

-- Goes through the messages one by one, because each counts for those after it.
create function outbox_engine.limits_reached(p_messages outbox_engine.counted_message[])
returns table (place bigint, problem text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  r record;
  v_at constant timestamptz[] := array(
    select m.at from unnest(p_messages) with ordinality m order by ordinality);
  -- By message: the last one before it that goes to the same recipient.
  v_previous bigint[] := array_fill(null::bigint, array[cardinality(p_messages)]);
  v_stopped boolean[] := array_fill(false, array[cardinality(p_messages)]);
  v_other bigint;
  v_today bigint;
  v_week bigint;
  -- Parts by campaign, and by campaign and day.
  v_spent bigint[] := '{}';
  v_spent_today bigint[] := '{}';
begin
  for r in
    select m.*, c.daily_cap, c.weekly_cap, c.budget_parts, c.daily_budget_parts,
      m.parts - coalesce(m.counted, 0) as more,
      m.parts - case when m.counted_day = m.spend_day then m.counted else 0 end as more_today,
      lag(m.i) over (partition by m.recipient collate "C" order by m.i) as previous,
      dense_rank() over (order by m.campaign collate "C") as budget,
      dense_rank() over (order by m.campaign collate "C", m.spend_day) as day_budget
    from unnest(p_messages) with ordinality m (
      place, campaign, recipient, at, day_start, week_start, spend_day, sent_today, sent_this_week, parts,
      counted, counted_day, i)
    left join public.outbox_campaigns c on c.name = m.campaign
    order by m.i
  loop
    v_other := case when v_stopped[r.previous] then v_previous[r.previous] else r.previous end;
    v_previous[r.i] := v_other;
    v_today := r.sent_today;
    v_week := r.sent_this_week;
    if num_nonnulls(r.daily_cap, r.weekly_cap) > 0 then
      while v_at[v_other] >= r.week_start
        and (v_today >= r.daily_cap or v_week >= r.weekly_cap) is not true
      loop
        v_week := v_week + 1;
        v_today := v_today + (v_at[v_other] >= r.day_start)::integer;
        v_other := v_previous[v_other];
      end loop;
    end if;
    if v_spent[r.budget] is null and r.budget_parts is not null then
      v_spent[r.budget] := outbox_engine.parts_spent(r.campaign);
    end if;
    if v_spent_today[r.day_budget] is null and r.daily_budget_parts is not null then
      v_spent_today[r.day_budget] := outbox_engine.parts_spent(r.campaign, r.spend_day);
    end if;
    problem := case
      when v_today >= r.daily_cap then format('daily_cap %s reached for this recipient', r.daily_cap)
      when v_week >= r.weekly_cap then format('weekly_cap %s reached for this recipient', r.weekly_cap)
      when v_spent[r.budget] + r.more > r.budget_parts
      then format('budget_parts %s of the campaign reached', r.budget_parts)
      when v_spent_today[r.day_budget] + r.more_today > r.daily_budget_parts
      then format('daily_budget_parts %s of the campaign reached', r.daily_budget_parts)
    end;
    if problem is not null then
      place := r.place;
      v_stopped[r.i] := true;
      return next;
    else
      v_spent[r.budget] := v_spent[r.budget] + r.more;
      v_spent_today[r.day_budget] := v_spent_today[r.day_budget] + r.more_today;
    end if;
  end loop;
end
$$;

-- Returns only the messages that a cap or a budget stops, and which. Messages go out in the order of `place`;
-- one that is stopped takes nothing from those after it.
create function outbox_engine.judge_limits(p_messages outbox_engine.limited_message[])
returns table (place bigint, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with messages as materialized (
    select m.*, coalesce(c.timezone, 'UTC') as campaign_zone,
      num_nonnulls(c.daily_cap, c.weekly_cap) > 0 as has_cap,
      num_nonnulls(c.budget_parts, c.daily_budget_parts) > 0 as has_budget
    from unnest(p_messages) m
    join public.outbox_campaigns c on c.name = m.campaign
  ),
  -- Only what has limits, or counts for a recipient who has some, is looked at one by one.
  limited as materialized (
    select * from messages
    where has_budget or recipient in (select x.recipient from messages x where x.has_cap)
  ),
  days as materialized (
    select d.zone, d.at, outbox_engine.day_start(d.at, d.zone) as day_start,
      outbox_engine.week_start(d.at, d.zone) as week_start
    from (select distinct l.zone, l.at from limited l) d
  ),
  counted as materialized (
    select array_agg(
      row(l.place, l.campaign, l.recipient, l.at, d.day_start, d.week_start,
        (l.at at time zone l.campaign_zone)::date, h.sent_today, h.sent_this_week, l.parts, l.counted,
        l.counted_day)::outbox_engine.counted_message
      order by l.place) as messages
    from limited l
    join days d on d.zone = l.zone and d.at = l.at
    cross join lateral (
      select count(*) filter (where s.at >= d.day_start) as sent_today, count(*) as sent_this_week
      from outbox_engine.campaign_sends s
      join public.outbox o on o.id = s.outbox_id and (o.sent_at is not null or o.status = 'sending')
      where l.has_cap and s.recipient = l.recipient and s.at >= d.week_start
        and o.id is distinct from l.outbox_id
    ) h
  )
  select r.place, r.problem
  from counted c
  cross join lateral outbox_engine.limits_reached(c.messages) r
  where c.messages is not null
$$;

-- A reason without the times that it names, so that messages with the same reason are counted together.
create function outbox_engine.without_times(p_reason text) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select regexp_replace(p_reason, '( at)? \d{4,}-\d\d-\d\d \d\d:\S+', '', 'g')
$$;
