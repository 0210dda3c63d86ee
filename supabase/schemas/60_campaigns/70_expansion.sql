-- Campaigns become outbox rows: each time of each member once, whoever and however many do it.

-- One chunk of one campaign. Members that are due and in no other process's hands get an occurrence for each
-- time that has come; the unique key decides which of two wins. Answers how many members were handled.
create function outbox_engine.expand_campaign(c public.outbox_campaigns, p_now timestamptz, p_most integer) returns integer
language plpgsql set search_path = pg_catalog, pg_temp set enable_nestloop = off set jit = off
as $$
declare
  v_until timestamptz := p_now + interval '1 minute';
  v_count integer;
  v_messages integer;
begin
  with taken as materialized (
    select m.external_id, m.recipient, m.event_at, m.parameters, coalesce(m.timezone, c.timezone) as zone,
      greatest(m.changed_at, c.activated_at) as came_at, m.handled_until,
      -- Cron has no times before it began. What is older than the limit can only be skipped, so it is not
      -- counted up. Its times are whole minutes, so members that came within one minute are of one kind.
      case when c.schedule = 'cron'
        then date_trunc('minute', greatest(m.handled_until, m.changed_at, c.activated_at, p_now - c.late_limit - interval '1 day'))
        else coalesce(m.handled_until, '-infinity') end as after
    from public.outbox_campaign_members m
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
    select k.*, h.times, h.handled_until, case when h.handled_until < v_until then p_now else h.next_at end as next_at
    from (select distinct kind, zone, event_at, after from due) k
    cross join lateral outbox_engine.due_times(c, k.event_at, k.zone, k.after, v_until) h
  ),
  planned as materialized (
    select k.*, t.at, p.send_at, p.expires_at, p.problem, outbox_engine.stands_for(c, t.at, k.zone) as stands_for
    from kinds k
    cross join unnest(k.times) t (at)
    cross join lateral outbox_engine.plan_message(c, t.at, k.event_at, k.zone, p_now) p
  ),
  times as materialized (
    select d.external_id, d.recipient, d.parameters, p.at, p.stands_for, p.send_at, p.expires_at,
      case when outbox_engine.is_too_late(c, p.at, d.came_at)
        then 'too late: it was past when the member came, moved or the campaign began'
        else coalesce(outbox_engine.unless_new(p.problem, d.came_at, p_now), 'the recipient opted out: ' || s.reason) end as problem
    from due d
    join planned p using (kind)
    left join public.outbox_suppressions s on s.recipient = d.recipient
  ),
  occurred as (
    insert into public.outbox_campaign_occurrences as o (campaign, external_id, occurs_at, stands_for, outbox_id, reason, created_at)
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
    update public.outbox_campaign_members m
    set next_at = k.next_at, handled_until = k.handled_until
    from due d
    join kinds k using (kind)
    -- By index: without the list, all members of the campaign would be read for each chunk.
    where m.campaign = c.name and m.external_id = any (array(select external_id from due)) and m.external_id = d.external_id
  )
  select count(*), (select count(*) from occurred where outbox_id is not null) into v_count, v_messages from due;
  if v_messages > 0 then
    insert into outbox_engine.campaign_changes (campaign, members, messages) values (c.name, 0, v_messages);
  end if;
  return v_count;
end
$$;

-- After an edit, a pause or an end, a stretch at a time: what waits for a time the campaign no longer has is
-- withdrawn, the rest takes its new template, sender and priority and is asked to come up, where the claim
-- decides.
create function outbox_engine.recheck_rows(c public.outbox_campaigns, p_now timestamptz, p_most integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
  v_withdrawn bigint[];
begin
  select array_agg(id) into v_ids
  from (
    select id from public.outbox
    where campaign = c.name and queue is not null and id > c.recheck_after
    order by id
    limit p_most
    -- Whoever is just claiming some is waited for: what it puts off would else sleep until it expires.
    for update
  ) x;

  if c.status = 'ended' then
    perform outbox_engine.withdraw_messages(v_ids, 'the campaign was ended');
  elsif c.status = 'active' then
    select array_agg(o.outbox_id) into v_withdrawn
    from public.outbox_campaign_occurrences o
    join public.outbox_campaign_members m on m.campaign = o.campaign and m.external_id = o.external_id
    where o.outbox_id = any (v_ids)
      and not coalesce(outbox_engine.is_campaign_time(c, m.event_at, coalesce(m.timezone, c.timezone), o.occurs_at), false);
    perform outbox_engine.withdraw_messages(v_withdrawn, 'the campaign was given another schedule');
    update public.outbox x
    set template = c.template, sender = c.sender, priority = c.priority, due_at = greatest(o.occurs_at, p_now)
    from public.outbox_campaign_occurrences o
    where x.id = any (v_ids) and x.queue is not null and o.outbox_id = x.id
      and ((x.template, x.sender, x.priority) is distinct from (c.template, c.sender, c.priority)
        or (x.queue = 'w' and x.due_at > greatest(o.occurs_at, p_now)));
  end if;
  update public.outbox_campaigns
  set recheck_after = case when cardinality(v_ids) = p_most then v_ids[p_most] end
  where name = c.name;
end
$$;

-- After a change of its times the members of a campaign are due again, a stretch at a time.
create function outbox_engine.replan_members(c public.outbox_campaigns, p_now timestamptz, p_most integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids text[];
begin
  select array_agg(external_id order by external_id) into v_ids
  from (
    select external_id from public.outbox_campaign_members
    where campaign = c.name and external_id > c.replan_after
    order by external_id
    limit p_most
  ) x;
  -- What is handled is up to a minute ahead of the clock; a time that the change brought into that minute was
  -- never looked at.
  update public.outbox_campaign_members
  set next_at = p_now, handled_until = least(handled_until, c.activated_at)
  where campaign = c.name and external_id = any (v_ids);
  update public.outbox_campaigns
  set replan_after = case when cardinality(v_ids) = p_most then v_ids[p_most] end
  where name = c.name;
end
$$;

-- Members whose message came back unsent are due again, but for those whom somebody is just changing: they
-- wait for a later call.
create function outbox_engine.replan_returns(p_now timestamptz, p_most integer) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with back as materialized (
    select m.campaign, m.external_id
    from outbox_engine.campaign_returns r
    join public.outbox_campaign_members m on m.campaign = r.campaign and m.external_id = r.external_id
    limit p_most
    for no key update of m skip locked
  ),
  due as (
    update public.outbox_campaign_members m
    set next_at = p_now, handled_until = null
    from back b
    where m.campaign = b.campaign and m.external_id = b.external_id
  )
  delete from outbox_engine.campaign_returns r
  where (r.campaign, r.external_id) in (select campaign, external_id from back)
    or not exists (select from public.outbox_campaign_members m where m.campaign = r.campaign and m.external_id = r.external_id)
$$;

-- A campaign that cannot be expanded must not keep the others waiting. It is tried again at every call, and
-- told of once an hour.
create function outbox_engine.expand_or_alert(c public.outbox_campaigns, p_now timestamptz, p_most integer) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text;
begin
  return outbox_engine.expand_campaign(c, p_now, p_most);
exception
  when transaction_rollback then
    raise;
  when others then
    get stacked diagnostics v_problem = message_text;
    if not exists (
      select from outbox_engine.alarms
      where kind = 'campaign.stuck' and detail ->> 'campaign' = c.name and at > p_now - interval '1 hour'
    ) then
      perform outbox_engine.alarm('campaign.stuck', jsonb_build_object('campaign', c.name, 'problem', v_problem));
    end if;
    return 0;
end
$$;

-- Brings the counts of campaigns, and when each is next due, up to date. A campaign that somebody else holds
-- has it done at a later call: nobody waits for a number.
create function outbox_engine.count_campaigns() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with planned as materialized (
    select c.name, n.next_at
    from public.outbox_campaigns c
    cross join lateral (
      select min(m.next_at) as next_at from public.outbox_campaign_members m where m.campaign = c.name and c.status = 'active'
    ) n
    where c.next_at is distinct from n.next_at or exists (select from outbox_engine.campaign_changes x where x.campaign = c.name)
  ),
  free as materialized (
    select name from public.outbox_campaigns where name in (select name from planned) order by name for no key update skip locked
  ),
  changes as (
    delete from outbox_engine.campaign_changes x
    where x.campaign in (select name from free) or not exists (select from public.outbox_campaigns c where c.name = x.campaign)
    returning *
  ),
  sums as (
    select campaign, sum(members) as members, sum(messages) as messages from changes group by campaign
  )
  update public.outbox_campaigns c
  set member_count = c.member_count + coalesce(s.members, 0), message_count = c.message_count + coalesce(s.messages, 0),
    next_at = p.next_at
  from free f
  join planned p using (name)
  left join sums s on s.campaign = f.name
  where c.name = f.name
$$;

-- Called by the campaigns job until `more` is false: at most one chunk of members, so that nobody else waits
-- for long. Each campaign that is due gets one in every round, the most urgent first, and of these the one
-- that is due longest.
create function public.outbox_expand_campaigns(p_most integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_campaign public.outbox_campaigns;
  v_count integer;
begin
  perform outbox_engine.record_heartbeat('campaigns', '', '', '');
  perform outbox_engine.replan_returns(v_now, p_most);
  for v_campaign in
    select * from public.outbox_campaigns
    where recheck_after is not null or replan_after is not null
    order by name
    for no key update skip locked
  loop
    if v_campaign.replan_after is not null then
      perform outbox_engine.replan_members(v_campaign, v_now, 5 * p_most);
    end if;
    if v_campaign.recheck_after is not null then
      perform outbox_engine.recheck_rows(v_campaign, v_now, p_most);
    end if;
    return jsonb_build_object('campaign', v_campaign.name, 'members', 0, 'more', true);
  end loop;

  for v_campaign in
    select c.*
    from public.outbox_campaigns c
    cross join lateral (select min(m.next_at) as since from public.outbox_campaign_members m where m.campaign = c.name) due
    left join outbox_engine.campaign_turns t on t.campaign = c.name
    where c.status = 'active' and due.since <= v_now + interval '1 minute'
    order by coalesce(t.round = (select max(round) from outbox_engine.campaign_turns), false), c.priority, due.since, c.name
    for share of c skip locked
  loop
    v_count := outbox_engine.expand_or_alert(v_campaign, v_now, p_most);
    if v_count > 0 then
      -- A new round begins with whoever is served twice. Whoever is just serving the same campaign notes it,
      -- and is not waited for.
      if pg_try_advisory_xact_lock(hashtext('outbox campaign turn'), hashtext(v_campaign.name)) then
        insert into outbox_engine.campaign_turns as t (campaign, round)
        select v_campaign.name, coalesce(max(x.round), 1) from outbox_engine.campaign_turns x
        on conflict (campaign) do update set round = greatest(t.round + 1, excluded.round);
      end if;
      return jsonb_build_object('campaign', v_campaign.name, 'members', v_count, 'more', true);
    end if;
  end loop;
  perform outbox_engine.count_campaigns();
  return jsonb_build_object('campaign', null, 'members', 0, 'more', false);
end
$$;

-- Campaigns whose members come up within a minute, are to be looked at again, or whose counts changed.
create function outbox_engine.campaigns_due(p_now timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (select from outbox_engine.campaign_changes)
    or exists (select from outbox_engine.campaign_returns)
    or exists (select from public.outbox_campaigns c where c.recheck_after is not null or c.replan_after is not null)
    or exists (
      select from public.outbox_campaigns c
      where c.status = 'active' and exists (
        select from public.outbox_campaign_members m where m.campaign = c.name and m.next_at <= p_now + interval '1 minute'));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_expand_campaigns
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_expand_campaigns
to service_role;
