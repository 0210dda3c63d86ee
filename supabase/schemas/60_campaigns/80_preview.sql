-- Previews: the coming messages of a campaign as the expansion and the claim would judge them if nothing
-- changed from now on, and what they cost. Nothing here writes.

-- A campaign as it would be if it were started or resumed now; an ended one stays ended. Refuses an unknown
-- name.
create function outbox_engine.as_if_started(p_campaign text, p_now timestamptz)
returns public.outbox_campaigns
language plpgsql stable
set search_path = pg_catalog, pg_temp
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

-- The countries that the running processes may send to; null is all. Any of them may claim a row, so what one
-- allows is allowed.
create function outbox_engine.countries_allowed() returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case when bool_and(t.allowed_countries is not null) then array_agg(a.country) end
  from outbox_engine.reported_countries() t
  left join lateral unnest(t.allowed_countries) a (country) on true
$$;

-- Members of a campaign with their zone, and why they get no message at all, or null.
create function outbox_engine.members_to_preview(c public.outbox_campaigns, p_members text[])
returns table (member public.outbox_campaign_members, zone text, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select m, coalesce(m.timezone, c.timezone),
    case
      when c.status = 'ended' then outbox_engine.withdrawal_error('ended')
      when c.schedule = 'reminder' and m.event_at is null then 'it has no event_at'
      when m.timezone is null then z.problem
    end
  from public.outbox_campaign_members m
  cross join (select outbox_engine.missing_zone_problem(c) as problem) z
  where m.campaign = c.name and m.external_id = any (p_members)
$$;

-- Rows of these members that are queued already. `late_problem` is what `judge_times` will say at the claim.
create function outbox_engine.queued_rows(c public.outbox_campaigns, p_members text[], p_now timestamptz)
returns table (
  external_id text, outbox_id bigint, recipient text, parameters jsonb, zone text, at timestamptz,
  send_at timestamptz, expires_at timestamptz, late_problem text
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with queued as materialized (
    select oc.external_id, o.id, o.recipient, o.parameters, o.send_at, o.expires_at, oc.occurs_at,
      coalesce(m.timezone, c.timezone) as zone, row_number() over () as place
    from public.outbox_campaign_members m
    join public.outbox_campaign_occurrences oc
      on oc.campaign = c.name and oc.external_id = m.external_id and not oc.taken_back
    join public.outbox o on o.id = oc.outbox_id and o.queue is not null
    where m.campaign = c.name and m.external_id = any (p_members) and c.status <> 'ended'
  ),
  timed as materialized (
    select t.*
    from (
      select array_agg(
        row(q.place, c.name, c.status, false, true, false, false, coalesce(q.zone, 'UTC'),
          greatest(q.occurs_at, p_now), q.occurs_at, q.send_at, q.expires_at)::outbox_engine.campaign_message
      ) as messages
      from queued q
    ) a
    cross join lateral outbox_engine.judge_times(a.messages) t
  )
  select q.external_id, q.id, q.recipient, q.parameters, q.zone, q.occurs_at, t.opens_at, q.expires_at,
    case when t.status is not null then t.error end
  from queued q
  join timed t on t.place = q.place
$$;

-- What a campaign still has to say to these members: queued rows, then each member's next times, at most
-- `p_times`; after the one that `is_last`, more may come. Members that will get no message have one line that
-- says why. `problem` is why no message will be made, `late_problem` why one that was made comes too late.
create function outbox_engine.upcoming_rows(
  c public.outbox_campaigns, p_members text[], p_times integer, p_now timestamptz
) returns table (
  external_id text, outbox_id bigint, recipient text, parameters jsonb, zone text, at timestamptz,
  send_at timestamptz, expires_at timestamptz, problem text, late_problem text, is_last boolean
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with members as materialized (
    select * from outbox_engine.members_to_preview(c, p_members)
  )
  select q.external_id, q.outbox_id, q.recipient, q.parameters, q.zone, q.at, q.send_at, q.expires_at, null,
    q.late_problem, false
  from outbox_engine.queued_rows(c, p_members, p_now) q
  union all
  select (m.member).external_id, null, (m.member).recipient, (m.member).parameters, m.zone, t.at, t.send_at,
    t.expires_at, t.problem, null,
    row_number() over (partition by (m.member).external_id order by t.at) = p_times
  from members m
  cross join lateral outbox_engine.upcoming_messages(c, m.member, p_now, 'infinity', p_times) t
  where m.problem is null
  union all
  select (m.member).external_id, null, (m.member).recipient, (m.member).parameters, m.zone, null, null, null,
    m.problem, null, false
  from members m
  where m.problem is not null
$$;

-- The same with text, parts and country, and everything the claim would find wrong with one message alone.
-- With `p_most` only the first so many, and none after the last known time of a member that may have more.
create function outbox_engine.upcoming_texts(
  c public.outbox_campaigns, p_members text[], p_times integer, p_most integer, p_now timestamptz
) returns table (
  external_id text, outbox_id bigint, recipient text, zone text, at timestamptz, send_at timestamptz,
  body text,
  parts smallint, country text, problem text
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  -- Queued messages and next times of these members, and the members that get none.
  with listed as materialized (
    select * from outbox_engine.upcoming_rows(c, p_members, p_times, p_now)
  ),
  -- Times after this one are incomplete: a member whose last known time it is may have more.
  edge as materialized (
    select e.send_at, e.at
    from listed e
    where e.is_last and e.send_at is not null
    order by e.send_at, e.at
    limit 1
  ),
  -- The first `p_most` times, of the complete ones.
  first_rows as materialized (
    select l.*
    from listed l
    left join edge e on true
    where p_most is null or e.at is null or l.send_at is null or (l.send_at, l.at) <= (e.send_at, e.at)
    order by l.send_at, l.at, l.external_id
    limit p_most
  ),
  -- Each row with its text and a number, by which the judgements below are joined.
  rendered as materialized (
    select r.*, row_number() over () as place,
      outbox_engine.fill_template(
        f.pieces, f.placeholders, outbox_engine.template_values(f.defaults, r.parameters), f.plain) as text
    from first_rows r
    cross join outbox_engine.template_forms(array[c.template]) f
  ),
  -- The same rows as arrays: the rules that the claim uses take messages, not ids.
  arrays as materialized (
    select array_agg(r.recipient order by r.place) as recipients,
      array_agg(
        row(r.place, r.recipient, case when r.text is null then c.template end, r.parameters, false,
          r.expires_at)::outbox_engine.outgoing_message
      ) as messages
    from rendered r
  ),
  -- Messages that the claim would end, and why.
  stopped as materialized (
    select j.*
    from arrays a
    cross join lateral outbox_engine.judge_messages(
      a.messages, outbox_engine.countries_allowed(), p_now) j
  ),
  -- The country of each recipient.
  located as materialized (
    select l.* from arrays a cross join lateral outbox_engine.countries_of(a.recipients) l
  )
  select r.external_id, r.outbox_id, r.recipient, r.zone, r.at, r.send_at, r.text,
    outbox_engine.parts_of(r.text), l.country, coalesce(r.problem, s.error, r.late_problem)
  from rendered r
  left join stopped s on s.place = r.place
  left join located l on l.place = r.place
$$;

-- Members among whom the first `p_most` messages are. Up to 2,000 are looked at whole; of more, those with
-- the earliest events, or the first of each zone where all share their times.
create function outbox_engine.first_members(c public.outbox_campaigns, p_most integer) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
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
  where members <= 2000
    or place <= case c.schedule when 'reminder' then greatest(2000, p_most) else p_most end
$$;

-- The same with caps and budgets, which depend on what goes out before: in the order of going out, beside
-- what was sent already. Rows of other campaigns that wait for the same people are not foreseen.
create function outbox_engine.upcoming_within_limits(
  c public.outbox_campaigns, p_members text[], p_times integer, p_most integer, p_now timestamptz
) returns table (
  external_id text, recipient text, zone text, at timestamptz, send_at timestamptz, body text, parts smallint,
  country text, problem text
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with texts as materialized (
    select t.*, row_number() over (order by t.send_at, t.at, t.external_id) as place
    from outbox_engine.upcoming_texts(c, p_members, p_times, p_most, p_now) t
  ),
  stopped as materialized (
    select l.*
    from (
      select array_agg(
        row(t.place, c.name, t.outbox_id, t.recipient, coalesce(t.zone, 'UTC'), t.send_at, t.parts, o.counted,
          (o.counted_at at time zone coalesce(c.timezone, 'UTC'))::date)::outbox_engine.limited_message
        order by t.place) as messages
      from texts t
      left join outbox_engine.messages_with_counts o on o.id = t.outbox_id
      where t.problem is null
    ) a
    cross join lateral outbox_engine.judge_limits(a.messages) l
  )
  select t.external_id, t.recipient, t.zone, t.at, t.send_at, t.body, t.parts, t.country,
  coalesce(t.problem, s.problem)
  from texts t
  left join stopped s on s.place = t.place
$$;

-- Called by apps and operators. Returns the first `max_rows` coming messages, by the time they go out:
-- `external_id, recipient, send_at, local_time` (what the recipient's wall clock shows then, null without a
-- zone), `body, parts, country, problem` (null, or why it will not go). A cron schedule has no end: as many
-- times of each member are looked at as the first messages may need.
create function public.outbox_preview_campaign(campaign text, max_rows integer) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_campaign public.outbox_campaigns := outbox_engine.as_if_started(outbox_preview_campaign.campaign, v_now);
  v_most integer := least(greatest(coalesce(max_rows, 100), 0), 10000);
  v_members text[] := outbox_engine.first_members(v_campaign, v_most);
  v_times integer := case when v_campaign.schedule = 'cron'
    then ceil(v_most::numeric / greatest(cardinality(v_members), 1)) else 100 end;
  v_shown jsonb;
begin
  loop
    select coalesce(jsonb_agg(jsonb_build_object(
      'external_id', t.external_id, 'recipient', t.recipient, 'send_at', t.send_at,
      'local_time', t.send_at at time zone t.zone,
      'body', t.body, 'parts', t.parts, 'country', t.country, 'problem', t.problem
    ) order by t.send_at, t.at, t.external_id), '[]') into v_shown
    from outbox_engine.upcoming_within_limits(v_campaign, v_members, v_times, v_most, v_now) t;
    exit when v_campaign.schedule <> 'cron' or jsonb_array_length(v_shown) >= v_most or v_times >= v_most;
    v_times := 2 * v_times;
  end loop;
  return v_shown;
end
$$;

revoke all on function
  public.outbox_preview_campaign
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_preview_campaign
to service_role;
