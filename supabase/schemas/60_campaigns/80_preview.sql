-- Look before you send: the coming messages of a campaign as the expansion and the claim would decide about
-- them if nothing changed from now on, and what they cost. Nothing here writes.

-- A campaign as it would be if it were started or resumed now; an ended one stays ended. Refuses a name
-- nobody knows.
create function outbox_engine.as_if_started(p_campaign text, p_now timestamptz) returns public.outbox_campaigns
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  c public.outbox_campaigns := outbox_engine.get_campaign(p_campaign);
begin
  if c.status = 'draft' then
    c.activated_at := p_now;
  end if;
  if c.status <> 'ended' then
    c.status := 'active';
  end if;
  return c;
end
$$;

-- The countries the running processes may send to; null is all. A row may be claimed by any of them, so what
-- one allows is allowed.
create function outbox_engine.countries_allowed() returns text[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case when bool_and(t.allowed_countries is not null) then array_agg(a.country) end
  from outbox_engine.reported_countries() t
  left join lateral unnest(t.allowed_countries) a (country) on true
$$;

-- What a campaign still has to say to these members: what waits already, then each member's next times, at
-- most `p_times`; after the one that `is_last`, more may come. Members that will hear nothing have one line
-- that says why.
create function outbox_engine.upcoming_rows(c public.outbox_campaigns, p_members text[], p_times integer, p_now timestamptz)
returns table (
  external_id text, recipient text, parameters jsonb, zone text, at timestamptz, send_at timestamptz, problem text, is_last boolean
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with members as materialized (
    select m as member, m.external_id, m.recipient, m.parameters, coalesce(m.timezone, c.timezone) as zone,
      case
        when c.status = 'ended' then 'the campaign was ended'
        when c.schedule = 'reminder' and m.event_at is null then 'it has no event_at'
        when coalesce(m.timezone, c.timezone) is null and outbox_engine.zone_needed_by(c) is not null
        then format('it has no timezone, and the campaign has none either; %s needs one', outbox_engine.zone_needed_by(c))
      end as missing
    from public.outbox_campaign_members m
    where m.campaign = c.name and m.external_id = any (p_members)
  )
  select m.external_id, x.recipient, x.parameters, m.zone, o.occurs_at, w.opens_at,
    case
      when w.opens_at is null then 'its window never opens'
      when x.expires_at <= p_now then 'expired before it could be sent'
      when w.opens_at > p_now and (w.opens_at >= x.expires_at or w.opens_at > o.occurs_at + c.late_limit)
      then format('its window opens at %s, after its expiry or later than late_limit %s', w.opens_at, c.late_limit)
      when c.late_policy = 'skip' and greatest(x.send_at, o.occurs_at) + c.late_limit < w.opens_at
      then format('later than late_limit %s, and late_policy is skip', c.late_limit)
    end,
    false
  from members m
  join public.outbox_campaign_occurrences o on o.campaign = c.name and o.external_id = m.external_id and not o.taken_back
  join public.outbox x on x.id = o.outbox_id and x.queue is not null and c.status <> 'ended'
  cross join lateral outbox_engine.window_opening(
    greatest(o.occurs_at, p_now), c.window_start, c.window_end, c.window_days, coalesce(m.zone, 'UTC')) w
  union all
  select m.external_id, m.recipient, m.parameters, m.zone, t.at, t.send_at, t.problem,
    row_number() over (partition by m.external_id order by t.at) = p_times
  from members m
  cross join lateral outbox_engine.upcoming_messages(c, m.member, p_now, 'infinity', p_times) t
  where m.missing is null
  union all
  select m.external_id, m.recipient, m.parameters, m.zone, null, null, m.missing, false
  from members m
  where m.missing is not null
$$;

-- The same with text, parts and country, and everything the claim would find wrong with one message alone. Of
-- the first `p_most`, none that may come after one of which nobody asked.
create function outbox_engine.upcoming_texts(c public.outbox_campaigns, p_members text[], p_times integer, p_most integer, p_now timestamptz)
returns table (
  external_id text, recipient text, zone text, at timestamptz, send_at timestamptz, body text, parts smallint, country text, problem text
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with form as materialized (
    select f.defaults, f.plain,
      regexp_split_to_array(f.body, '\{\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\}\}') as pieces,
      array(select m[1] from regexp_matches(f.body, '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}', 'g') m) as names
    from public.outbox_templates f
    where f.name = c.template
  ),
  listed as materialized (
    select * from outbox_engine.upcoming_rows(c, p_members, p_times, p_now)
  ),
  edge as materialized (
    select e.send_at, e.at from listed e where e.is_last and e.send_at is not null order by e.send_at, e.at limit 1
  ),
  filled as materialized (
    select t.*, outbox_engine.fill_template(f.pieces, f.names, outbox_engine.template_values(f.defaults, t.parameters), f.plain) as made,
      outbox_engine.country_of(t.recipient) as country, (select outbox_engine.countries_allowed()) as allowed
    from (
      select l.*
      from listed l
      left join edge e on true
      where p_most is null or e.at is null or l.send_at is null or (l.send_at, l.at) <= (e.send_at, e.at)
      order by l.send_at, l.at, l.external_id
      limit p_most
    ) t
    cross join form f
  ),
  written as materialized (
    select *, case when char_length(made) between 1 and 2000 then made end as text from filled
  )
  select w.external_id, w.recipient, w.zone, w.at, w.send_at, w.text, outbox_engine.parts_of(w.text), w.country,
    coalesce(w.problem, case
      when s.reason is not null then 'the recipient opted out: ' || s.reason
      when w.text is null then outbox_engine.template_row_problem(c.template, w.parameters)
      when w.allowed is not null and (w.country = any (w.allowed)) is not true
      then format('country %s is not in ALLOWED_COUNTRIES', coalesce(w.country, 'unknown'))
    end)
  from written w
  left join public.outbox_suppressions s on s.recipient = w.recipient
$$;

-- Members among whom the first `p_most` messages are. A few thousand are looked at whole; of more, those with
-- the earliest events, or the first of each zone where all share their times.
create function outbox_engine.first_members(c public.outbox_campaigns, p_most integer) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with ranked as (
    select m.external_id,
      case when c.schedule = 'reminder'
        then row_number() over (order by case when m.handled_until is null
          then m.event_at + (select min(o) from unnest(c.offsets) o) else m.next_at end, m.external_id)
        else row_number() over (partition by m.timezone, m.handled_until is null order by m.external_id)
      end as place,
      count(*) over () as members
    from public.outbox_campaign_members m
    where m.campaign = c.name
  )
  select coalesce(array_agg(external_id), '{}')
  from ranked
  where members <= 2000 or place <= case c.schedule when 'reminder' then greatest(2000, p_most) else p_most end
$$;

-- Caps and budgets, which depend on what goes out before: by order of going out, beside what was sent
-- already. The rows of other campaigns that wait for the same people are not foreseen.
create function outbox_engine.with_limits(c public.outbox_campaigns, p_members text[], p_times integer, p_most integer, p_now timestamptz)
returns table (
  external_id text, recipient text, zone text, at timestamptz, send_at timestamptz, body text, parts smallint, country text, problem text
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with texts as materialized (
    select t.*, row_number() over (partition by t.problem is null order by t.send_at, t.at, t.external_id)::integer as place
    from outbox_engine.upcoming_texts(c, p_members, p_times, p_most, p_now) t
  ),
  dated as materialized (
    select t.*, d.day, d.week, d.spend_day, h.today, h.this_week, w.counted, w.counted_day
    from texts t
    cross join lateral (
      select outbox_engine.day_start(t.send_at, coalesce(t.zone, 'UTC')) as day,
        outbox_engine.week_start(t.send_at, coalesce(t.zone, 'UTC')) as week,
        (t.send_at at time zone coalesce(c.timezone, 'UTC'))::date as spend_day
    ) d
    cross join lateral (
      select count(*) filter (where s.at >= d.day) as today, count(*) as this_week
      from outbox_engine.campaign_sends s
      join public.outbox x on x.id = s.outbox_id and (x.sent_at is not null or x.status = 'sending')
      where num_nonnulls(c.daily_cap, c.weekly_cap) > 0 and s.recipient = t.recipient and s.at >= d.week
    ) h
    -- What waits again after an attempt that was never accepted, and had counted.
    left join lateral (
      select s.parts as counted, (s.at at time zone coalesce(c.timezone, 'UTC'))::date as counted_day
      from public.outbox_campaign_occurrences o
      join public.outbox x on x.id = o.outbox_id and x.queue is not null
      join outbox_engine.campaign_sends s on s.outbox_id = x.id and s.batch_id is not distinct from x.batch_id
      where o.campaign = c.name and o.external_id = t.external_id and o.occurs_at = t.at
    ) w on true
    where t.problem is null
  ),
  reached as materialized (
    select l.place, l.problem
    from (
      select array_agg(c.name order by place) as campaigns, array_agg(recipient order by place) as recipients,
        array_agg(send_at order by place) as at, array_agg(day order by place) as days, array_agg(week order by place) as weeks,
        array_agg(spend_day order by place) as spend_days, array_agg(today order by place) as today,
        array_agg(this_week order by place) as this_week, array_agg(parts::integer order by place) as parts,
        array_agg(counted order by place) as counted, array_agg(counted_day order by place) as counted_days
      from dated
      where num_nonnulls(c.daily_cap, c.weekly_cap, c.budget_parts, c.daily_budget_parts) > 0
      having count(*) > 0
    ) a
    cross join lateral outbox_engine.limits_reached(
      a.campaigns, a.recipients, a.at, a.days, a.weeks, a.spend_days, a.today, a.this_week, a.parts, a.counted, a.counted_days) l
  )
  select t.external_id, t.recipient, t.zone, t.at, t.send_at, t.body, t.parts, t.country, coalesce(t.problem, r.problem)
  from texts t
  left join reached r on t.problem is null and r.place = t.place
$$;

-- The first `max_rows` messages that are to come, by the time they go out: `external_id, recipient, send_at,
-- local_time` (what the recipient's wall clock shows then, null where nobody gave a zone), `body, parts,
-- country, problem` (null, or why it will not go). Called by operators and apps. Cron has no end: as many
-- times of each member are looked at as the first messages may be.
create function public.outbox_preview_campaign(campaign text, max_rows integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_campaign public.outbox_campaigns := outbox_engine.as_if_started(outbox_preview_campaign.campaign, v_now);
  v_most integer := least(greatest(coalesce(max_rows, 100), 0), 10000);
  v_members text[] := outbox_engine.first_members(v_campaign, v_most);
  v_times integer := case when v_campaign.schedule = 'cron' then ceil(v_most::numeric / greatest(cardinality(v_members), 1)) else 100 end;
  v_shown jsonb;
begin
  loop
    select coalesce(jsonb_agg(jsonb_build_object(
      'external_id', t.external_id, 'recipient', t.recipient, 'send_at', t.send_at,
      'local_time', t.send_at at time zone t.zone,
      'body', t.body, 'parts', t.parts, 'country', t.country, 'problem', t.problem
    ) order by t.send_at, t.at, t.external_id), '[]') into v_shown
    from outbox_engine.with_limits(v_campaign, v_members, v_times, v_most, v_now) t;
    exit when v_campaign.schedule <> 'cron' or jsonb_array_length(v_shown) >= v_most or v_times >= v_most;
    v_times := 2 * v_times;
  end loop;
  return v_shown;
end
$$;

-- Called by `outbox campaign preview` and `start`, a stretch of members at a time, until `next` is null: what
-- is to come by country, and by problem; members in a zone without summer time whose name people say for a
-- clock with one; the campaign's `status` and `schedule`; the template's warning, and, where not all its
-- texts do, the characters for which texts leave GSM-7, each with whether `plain` would replace it and the
-- first member whose value it is; and `countries_told`, the lists of countries that processes go by, null for
-- all. Of a cron campaign, one time of each member. Caps and budgets are named, not applied: which messages
-- they stop depends on what else goes out.
create function public.outbox_campaign_costs(p_campaign text, p_after text, p_most integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_campaign public.outbox_campaigns := outbox_engine.as_if_started(p_campaign, v_now);
  v_members text[] := array(
    select m.external_id
    from public.outbox_campaign_members m
    where m.campaign = v_campaign.name and m.external_id > p_after
    order by m.external_id
    limit p_most);
  v_template public.outbox_templates := (select t from public.outbox_templates t where t.name = v_campaign.template);
  v_all_odd boolean := outbox_engine.template_alphabet_warning(v_template) is not null;
begin
  return (
    with texts as materialized (
      select t.external_id, t.body, t.country, t.parts, regexp_replace(t.problem, '( at)? \d{4,}-\d\d-\d\d \d\d:\S+', '', 'g') as problem
      from outbox_engine.upcoming_texts(
        v_campaign, v_members, case v_campaign.schedule when 'cron' then 1 else 100 end, null, v_now) t
    ),
    countries as (
      select country, count(*) as messages, sum(parts) as parts from texts where problem is null group by country
    ),
    problems as (
      select problem, count(*) as messages from texts where problem is not null group by problem
    ),
    odd as (
      select substring(t.body from outbox_engine.beyond_gsm7()) as character,
        outbox_engine.plain_text(t.body) !~ outbox_engine.beyond_gsm7() as replaceable, count(*) as messages, min(t.external_id) as external_id
      from texts t
      where not v_all_odd and t.problem is null and t.body ~ outbox_engine.beyond_gsm7()
      group by 1, 2
    ),
    abbreviated as (
      select z.zone, outbox_engine.zone_meant_by(z.zone) as place, count(*) as members
      from (
        select coalesce(m.timezone, v_campaign.timezone) as zone
        from public.outbox_campaign_members m
        where m.campaign = v_campaign.name and m.external_id = any (v_members)
      ) z
      where outbox_engine.zone_meant_by(z.zone) is not null
      group by z.zone
    )
    select jsonb_build_object(
      'status', (select c.status from public.outbox_campaigns c where c.name = v_campaign.name),
      'schedule', v_campaign.schedule,
      'members', cardinality(v_members),
      'countries_told', (
        select coalesce(jsonb_agg(t.allowed_countries order by t.allowed_countries), '[]') from outbox_engine.reported_countries() t),
      'countries', (select coalesce(jsonb_agg(to_jsonb(x) order by x.parts desc, x.country), '[]') from countries x),
      'problems', (select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.problem), '[]') from problems x),
      'template', v_campaign.template,
      'warning', v_template.warning,
      'beyond_gsm7', (select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.character), '[]') from odd x),
      'abbreviated_zones', (select coalesce(jsonb_agg(to_jsonb(x) order by x.zone), '[]') from abbreviated x),
      'next', case when cardinality(v_members) = p_most then v_members[p_most] end));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_preview_campaign,
  public.outbox_campaign_costs
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_preview_campaign,
  public.outbox_campaign_costs
to service_role;
