-- Campaigns become outbox rows: each time of each member once, whoever and however many do it.

-- The times a campaign has for one member after `p_after`, up to and including `p_until`. Cron zones are the campaign's, else
-- the member's; `p_most` bounds cron, which has no end.
create function outbox_engine.times_of(
  c public.campaigns, p_event_at timestamptz, p_zone text, p_after timestamptz, p_until timestamptz, p_most integer
) returns setof timestamptz
language plpgsql stable set search_path = ''
as $$
declare
  v_cron outbox_engine.cron;
  v_zone text := coalesce(c.timezone, p_zone);
  v_local timestamp;
  v_at timestamptz;
begin
  if c.schedule = 'once' then
    return query select c.starts_at where c.starts_at > p_after and c.starts_at <= p_until;
  elsif c.schedule = 'reminder' then
    return query
      select distinct t.at
      from unnest(c.offsets) o
      cross join lateral (select outbox_engine.moved_by(p_event_at, o, coalesce(p_zone, 'UTC')) as at) t
      where t.at > p_after and t.at <= p_until
      order by 1;
  else
    v_cron := outbox_engine.read_cron(c.cron_expression);
    -- A wall clock that was set back shows times again that came before; an hour and more earlier none is missed.
    v_local := (p_after at time zone v_zone) - interval '3 hours';
    for v_tries in 1 .. p_most + 400 loop
      v_local := outbox_engine.cron_next(v_cron, v_local);
      exit when v_local is null;
      v_at := outbox_engine.instant_of(v_local, v_zone);
      exit when v_at > p_until;
      if v_at > p_after then
        return next v_at;
        p_most := p_most - 1;
        exit when p_most <= 0;
      end if;
    end loop;
  end if;
end
$$;

-- When a message that stands for `p_at` goes out, or why it does not: the first opening from now on, unless that is at or after
-- the event it announces, or later than the campaign's limit.
create function outbox_engine.plan_message(
  c public.campaigns, p_at timestamptz, p_event_at timestamptz, p_zone text, p_now timestamptz,
  out send_at timestamptz, out expires_at timestamptz, out problem text
)
language plpgsql stable set search_path = ''
as $$
declare
  v_own timestamptz;
begin
  select o.opens_at into send_at
  from outbox_engine.opening(greatest(p_at, p_now), c.window_start, c.window_end, c.window_days, p_zone) o;
  expires_at := send_at + interval '3 days';
  if c.schedule = 'reminder' and p_at < p_event_at then
    expires_at := least(expires_at, p_event_at);
  end if;
  if send_at is null then
    problem := 'its window never opens';
  elsif expires_at <= send_at then
    problem := format('its window opens at %s, after the event', send_at);
  elsif send_at > p_at + c.late_limit then
    problem := format('too late: at %s, more than late_limit %s after its time', send_at, c.late_limit);
  elsif c.late_policy = 'skip' then
    select o.opens_at into v_own from outbox_engine.opening(p_at, c.window_start, c.window_end, c.window_days, p_zone) o;
    if v_own + interval '1 minute' < p_now then
      problem := 'missed, and late_policy is skip';
    end if;
  end if;
end
$$;

-- One chunk of one campaign. Members that are due and in no other process's hands get an occurrence for each time that has
-- come; the unique key decides which of two wins. Answers how many members were handled.
create function outbox_engine.expand_campaign(c public.campaigns, p_now timestamptz, p_most integer) returns integer
language plpgsql set search_path = '' set enable_nestloop = off set jit = off
as $$
declare
  v_until timestamptz := p_now + interval '1 minute';
  v_count integer;
begin
  with taken as materialized (
    select m.external_id, m.recipient, m.event_at, m.parameters, coalesce(m.timezone, c.timezone) as zone,
      greatest(m.changed_at, c.activated_at) as came_at, m.handled_until,
      -- Cron has no times before it began. What is older than the limit can only be skipped, so it is not counted up.
      -- Its times are whole minutes, so members that came within one minute are of one kind.
      case when c.schedule = 'cron'
        then date_trunc('minute', greatest(m.handled_until, m.changed_at, c.activated_at, p_now - c.late_limit - interval '1 day'))
        else coalesce(m.handled_until, '-infinity') end as after
    from public.campaign_members m
    where m.campaign = c.name and m.next_at <= v_until
    order by m.next_at
    limit p_most
    for no key update skip locked
  ),
  -- Most members share their zone and time, so times are computed once for each kind of member.
  due as materialized (
    select t.*, dense_rank() over (order by zone, event_at, after) as kind from taken t
  ),
  kinds as materialized (
    select k.*, (select min(t) from outbox_engine.times_of(c, k.event_at, k.zone, v_until, 'infinity', 1) t) as next_at
    from (select distinct kind, zone, event_at, after from due) k
  ),
  planned as materialized (
    select k.*, t.at, p.send_at, p.expires_at, p.problem,
      t.at at time zone case when c.schedule = 'cron' then coalesce(c.timezone, k.zone) else 'UTC' end as stands_for
    from kinds k
    cross join lateral outbox_engine.times_of(c, k.event_at, k.zone, k.after, v_until, 1500) t (at)
    cross join lateral outbox_engine.plan_message(c, t.at, k.event_at, k.zone, p_now) p
  ),
  times as materialized (
    select d.external_id, d.recipient, d.parameters, p.at, p.stands_for, p.send_at, p.expires_at,
      case when p.at <= d.came_at - case c.schedule when 'once' then c.late_limit else '0' end
        then 'too late: it was past when the member came, moved or the campaign began'
        else coalesce(p.problem, 'the recipient opted out: ' || s.reason) end as problem
    from due d
    join planned p using (kind)
    left join public.suppressions s on s.recipient = d.recipient
  ),
  occurred as (
    insert into public.campaign_occurrences as o (campaign, external_id, occurs_at, stands_for, outbox_id, reason, created_at)
    select c.name, t.external_id, t.at, t.stands_for,
      case when t.problem is null then nextval('public.outbox_id_seq') end, t.problem, p_now
    from times t
    order by t.external_id, t.stands_for
    on conflict (campaign, external_id, stands_for) do update
    set outbox_id = excluded.outbox_id, occurs_at = excluded.occurs_at, reason = excluded.reason, taken_back = false
    where o.taken_back and excluded.outbox_id is not null
    returning external_id, stands_for, outbox_id
  ),
  made as (
    insert into public.outbox (id, recipient, template, parameters, sender, send_at, expires_at, priority, campaign)
    overriding system value
    select o.outbox_id, t.recipient, c.template, t.parameters, c.sender, t.send_at, t.expires_at, c.priority, c.name
    from occurred o
    join times t using (external_id, stands_for)
    where o.outbox_id is not null
  ),
  moved_on as (
    update public.campaign_members m
    set next_at = k.next_at, handled_until = v_until
    from due d
    join kinds k using (kind)
    where m.campaign = c.name and m.external_id = d.external_id
  )
  select count(*) into v_count from due;
  return v_count;
end
$$;

-- After an edit, a pause or an end: members are looked at again, and what waits is asked to come up, where the claim decides.
create function outbox_engine.recheck_campaign(c public.campaigns, p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
begin
  if c.status = 'ended' then
    perform outbox_engine.withdraw(array_agg(id), 'the campaign was ended')
    from (select id from public.outbox where campaign = c.name and queue is not null order by id limit 5000 for update skip locked) x
    having count(*) > 0;
  else
    update public.outbox
    set due_at = greatest(send_at, p_now)
    where campaign = c.name and queue = 'w' and due_at > greatest(send_at, p_now) and c.status = 'active';
    update public.campaign_members set next_at = p_now where campaign = c.name and next_at is distinct from p_now and c.status = 'active';
  end if;
  update public.campaigns
  set recheck = c.status = 'ended' and exists (select from public.outbox where campaign = c.name and queue is not null)
  where name = c.name;
end
$$;

-- Called by the campaigns job until `more` is false: at most one chunk of members, so that nobody else waits for long.
create function public.outbox_expand_campaigns(p_most integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_campaign public.campaigns;
  v_count integer;
begin
  for v_campaign in select * from public.campaigns where recheck order by name for update skip locked loop
    perform outbox_engine.recheck_campaign(v_campaign, v_now);
  end loop;
  for v_campaign in
    select * from public.campaigns c
    where c.status = 'active' and exists (
      select from public.campaign_members m where m.campaign = c.name and m.next_at <= v_now + interval '1 minute')
    order by c.priority, c.name
    for share skip locked
  loop
    v_count := outbox_engine.expand_campaign(v_campaign, v_now, p_most);
    if v_count > 0 then
      return jsonb_build_object('campaign', v_campaign.name, 'members', v_count, 'more', true);
    end if;
  end loop;
  return jsonb_build_object('campaign', null, 'members', 0, 'more', false);
end
$$;

notify pgrst, 'reload schema';
