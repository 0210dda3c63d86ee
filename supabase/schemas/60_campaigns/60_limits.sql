-- What the claim asks about rows that a campaign made: whether it may still send, whether the window is open,
-- whether the recipient has had enough and the money lasts.

-- What caps and budgets say to messages of campaigns in the order they go out, for the claim and for
-- previews: the place, and which limit is reached, of those that are stopped. What is stopped takes nothing
-- from what comes after it. `p_today` and `p_this_week` were sent to the recipient before; `p_counted` parts
-- were spent on the message itself on `p_counted_days` and are given back.
create function outbox_engine.limits_reached(
  p_campaigns text[], p_recipients text[], p_at timestamptz[], p_day timestamptz[], p_week timestamptz[], p_spend_day date[],
  p_today bigint[], p_this_week bigint[], p_parts integer[], p_counted integer[], p_counted_days date[]
) returns table (place bigint, problem text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  r record;
  -- By place: the last message before this one that goes to the same recipient.
  v_before bigint[] := array_fill(null::bigint, array[cardinality(p_at)]);
  v_stopped boolean[] := array_fill(false, array[cardinality(p_at)]);
  v_other bigint;
  v_today bigint;
  v_week bigint;
  -- By campaign, and by campaign and day.
  v_spent bigint[] := '{}';
  v_spent_today bigint[] := '{}';
begin
  for r in
    select u.*, c.daily_cap, c.weekly_cap, c.budget_parts, c.daily_budget_parts,
      u.parts - coalesce(u.counted, 0) as more,
      u.parts - case when u.counted_day = u.spend_day then u.counted else 0 end as more_today,
      lag(u.i) over (partition by u.recipient collate "C" order by u.i) as previous,
      dense_rank() over (order by u.campaign collate "C") as purse,
      dense_rank() over (order by u.campaign collate "C", u.spend_day) as day_purse
    from unnest(
      p_campaigns, p_recipients, p_at, p_day, p_week, p_spend_day, p_today, p_this_week, p_parts, p_counted, p_counted_days)
      with ordinality u (campaign, recipient, at, day, week, spend_day, today, this_week, parts, counted, counted_day, i)
    left join public.outbox_campaigns c on c.name = u.campaign
    order by u.i
  loop
    v_other := case when v_stopped[r.previous] then v_before[r.previous] else r.previous end;
    v_before[r.i] := v_other;
    v_today := r.today;
    v_week := r.this_week;
    if num_nonnulls(r.daily_cap, r.weekly_cap) > 0 then
      while p_at[v_other] >= r.week and (v_today >= r.daily_cap or v_week >= r.weekly_cap) is not true loop
        v_week := v_week + 1;
        v_today := v_today + (p_at[v_other] >= r.day)::integer;
        v_other := v_before[v_other];
      end loop;
    end if;
    if v_spent[r.purse] is null and r.budget_parts is not null then
      v_spent[r.purse] := (select coalesce(sum(s.parts), 0) from outbox_engine.campaign_spend s where s.campaign = r.campaign);
    end if;
    if v_spent_today[r.day_purse] is null and r.daily_budget_parts is not null then
      v_spent_today[r.day_purse] := (
        select coalesce(sum(s.parts), 0)
        from outbox_engine.campaign_spend s
        where s.campaign = r.campaign and s.day = r.spend_day);
    end if;
    problem := case
      when v_today >= r.daily_cap then format('daily_cap %s reached for this recipient', r.daily_cap)
      when v_week >= r.weekly_cap then format('weekly_cap %s reached for this recipient', r.weekly_cap)
      when v_spent[r.purse] + r.more > r.budget_parts then format('budget_parts %s of the campaign reached', r.budget_parts)
      when v_spent_today[r.day_purse] + r.more_today > r.daily_budget_parts
      then format('daily_budget_parts %s of the campaign reached', r.daily_budget_parts)
    end;
    if problem is not null then
      place := r.i;
      v_stopped[r.i] := true;
      return next;
    else
      v_spent[r.purse] := v_spent[r.purse] + r.more;
      v_spent_today[r.day_purse] := v_spent_today[r.day_purse] + r.more_today;
    end if;
  end loop;
end
$$;

-- Which of these messages are not what their member and campaign are by now, and what they would be. An
-- expiry that an operator gave stays.
create function outbox_engine.rows_behind_campaign(p_ids bigint[]) returns table (
  id bigint, recipient text, parameters jsonb, template text, sender text, priority smallint, expires_at timestamptz
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select o.id, m.recipient, m.parameters, c.template, c.sender, c.priority, e.expires_at
  from public.outbox o
  join public.outbox_campaign_occurrences oc on oc.outbox_id = o.id
  join public.outbox_campaign_members m on m.campaign = oc.campaign and m.external_id = oc.external_id
  join public.outbox_campaigns c on c.name = oc.campaign
  cross join lateral (
    select case
      when c.schedule = 'reminder' and m.changed_at > oc.created_at
        and not exists (
          select from public.outbox_events t where t.outbox_id = o.id and t.event = 'retried' and t.at >= m.changed_at)
      then outbox_engine.message_expiry(o.send_at, oc.occurs_at, m.event_at)
      else o.expires_at
    end as expires_at
  ) e
  where o.id = any (p_ids) and oc.outbox_id = any (p_ids)
    and (o.recipient, o.parameters, o.template, o.sender, o.priority, o.expires_at)
      is distinct from (m.recipient, m.parameters, c.template, c.sender, c.priority, e.expires_at)
$$;

-- Called by the claim for rows of campaigns that were in a request before: they become what their member and
-- campaign are by now. An edit reaches what waits, and these may not have waited when it came.
create function outbox_engine.refresh_from_campaign(p_ids bigint[]) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update public.outbox o
  set recipient = n.recipient, parameters = n.parameters, template = n.template, sender = n.sender, priority = n.priority,
    expires_at = n.expires_at
  from outbox_engine.rows_behind_campaign(p_ids) n
  where o.id = any (p_ids) and o.id = n.id
$$;

-- Called by the claim for the rows it picked and would send. Answers, for those that a campaign made: null
-- and the latest instant of delivery when it may go; null and `due_at` when it waits; a final status and the
-- reason when it never goes; and the parts, with their day, that an attempt which was never accepted had
-- counted. Without such rows it costs nothing.
create function outbox_engine.judge_campaign_rows(p_ids bigint[], p_parts smallint[], p_now timestamptz)
returns table (
  outbox_id bigint, status text, error text, due_at timestamptz, expires_at timestamptz, counted integer, counted_day date
)
language plpgsql set search_path = pg_catalog, pg_temp
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
      p.parts, mine.parts as counted, (mine.at at time zone coalesce(c.timezone, 'UTC'))::date as counted_day,
      c.status as campaign_status, c.recheck_after < o.id as unsettled, c.late_policy, c.late_limit, c.window_start, c.window_end, c.window_days, c.daily_cap, c.weekly_cap,
      c.budget_parts, c.daily_budget_parts, coalesce(c.timezone, 'UTC') as campaign_zone, m.external_id,
      coalesce(m.timezone, c.timezone, 'UTC') as zone,
      -- Only what changed since can have lost the time; and of an edited campaign, only what did not wait
      -- when it was looked through.
      (m.changed_at > oc.created_at and c.schedule = 'reminder'
          or c.activated_at > oc.created_at and num_nonnulls(o.dispatch_id, o.batch_id, o.error) > 0)
        and not coalesce(outbox_engine.is_campaign_time(c, m.event_at, coalesce(m.timezone, c.timezone), oc.occurs_at), false) as lost_time,
      m.changed_at > oc.created_at as moved
    from unnest(p_ids, p_parts) p (id, parts)
    join public.outbox o on o.id = p.id
    left join outbox_engine.campaign_sends mine on mine.outbox_id = o.id and mine.batch_id is not distinct from o.batch_id
    left join public.outbox_campaigns c on c.name = o.campaign
    left join public.outbox_campaign_occurrences oc on oc.outbox_id = o.id
    left join public.outbox_campaign_members m on m.campaign = oc.campaign and m.external_id = oc.external_id
  ),
  windows as materialized (
    select w.campaign, w.zone, o.opens_at, o.closes_at, outbox_engine.day_start(p_now, w.zone) as day_start,
      outbox_engine.week_start(p_now, w.zone) as week_start
    from (select distinct campaign, zone, window_start, window_end, window_days from picked) w
    cross join lateral outbox_engine.window_opening(p_now, w.window_start, w.window_end, w.window_days, w.zone) f
    -- One that is about to close may have closed by the provider's clock.
    cross join lateral outbox_engine.window_opening(
      case when f.closes_at < p_now + interval '30 seconds' then f.closes_at else p_now end,
      w.window_start, w.window_end, w.window_days, w.zone) o
  ),
  judged as materialized (
    select p.*, w.opens_at, w.closes_at, w.day_start, w.week_start, num_nonnulls(p.daily_cap, p.weekly_cap) > 0 as capped,
      coalesce(
        p.campaign_status = 'active' and p.unsettled is not true and p.external_id is not null and w.opens_at <= p_now, false) as open,
      coalesce(p.late_policy = 'skip' and greatest(p.send_at, p.occurs_at) + p.late_limit < p_now, false) as missed,
      case
        when p.campaign_status is null or p.campaign_status in ('ended', 'draft') then 'the campaign was ended'
        when p.external_id is null then 'the member was removed from the campaign'
        when p.lost_time and p.moved then 'the member was moved to another time'
        when p.lost_time then 'the campaign was given another schedule'
      end as gone
    from picked p
    join windows w using (campaign, zone)
  ),
  -- Only what has limits, or counts for somebody who has some, is looked at one by one.
  counted as materialized (
    select j.id, j.campaign, j.recipient, j.day_start, j.week_start, j.campaign_zone, j.parts, j.counted, j.counted_day,
      h.today, h.this_week,
      row_number() over (order by j.priority, j.due_at, j.id) as place
    from judged j
    cross join lateral (
      select count(*) filter (where s.at >= j.day_start) as today, count(*) as this_week
      from outbox_engine.campaign_sends s
      join public.outbox x on x.id = s.outbox_id and (x.sent_at is not null or x.status = 'sending')
      where j.capped and s.recipient = j.recipient and s.at >= j.week_start and x.id <> j.id
    ) h
    where j.open and not j.missed and j.gone is null
      and (num_nonnulls(j.budget_parts, j.daily_budget_parts) > 0 or j.recipient in (select recipient from judged where capped))
  ),
  reached as materialized (
    select k.id, l.problem
    from (
      select array_agg(campaign order by place) as campaigns, array_agg(recipient order by place) as recipients,
        array_agg(p_now order by place) as at, array_agg(day_start order by place) as days,
        array_agg(week_start order by place) as weeks,
        array_agg((p_now at time zone campaign_zone)::date order by place) as spend_days,
        array_agg(today order by place) as today, array_agg(this_week order by place) as this_week,
        array_agg(parts::integer order by place) as parts, array_agg(k.counted order by place) as counted,
        array_agg(k.counted_day order by place) as counted_days
      from counted k
      having count(*) > 0
    ) a
    cross join lateral outbox_engine.limits_reached(
      a.campaigns, a.recipients, a.at, a.days, a.weeks, a.spend_days, a.today, a.this_week, a.parts, a.counted, a.counted_days) l
    join counted k using (place)
  )
  select id,
    case
      when c.gone is not null then 'cancelled'
      when c.campaign_status = 'paused' or c.unsettled then null
      when not c.open and c.opens_at < c.expires_at and c.opens_at <= c.occurs_at + c.late_limit then null
      when not c.open or c.missed then 'expired'
      when r.problem is not null then 'suppressed'
    end,
    case
      when c.gone is not null then c.gone
      when c.campaign_status = 'paused' then 'held: the campaign is paused'
      when c.unsettled then 'held: the campaign was just changed'
      when not c.open and c.opens_at < c.expires_at and c.opens_at <= c.occurs_at + c.late_limit then 'held: outside its window'
      when not c.open then format('its window opens at %s, after its expiry or later than late_limit %s', c.opens_at, c.late_limit)
      when c.missed then format('later than late_limit %s, and late_policy is skip', c.late_limit)
      else r.problem
    end,
    case
      when c.gone is not null or c.open then null
      when c.campaign_status = 'paused' then c.expires_at
      when c.unsettled then p_now + interval '5 seconds'
      else c.opens_at
    end,
    least(c.expires_at, c.closes_at), c.counted, c.counted_day
  from judged c
  left join reached r using (id);
end
$$;
