-- The campaigns job makes messages of campaigns: one for each occurrence, however many processes run it.

-- Expands one chunk of one campaign: each member that is due and not locked gets an occurrence for each time
-- that has come, and a message unless there is a problem. Of two processes that expand one time, the key of
-- the occurrence lets one win. Answers how many members were handled, and how many messages were made.
create function outbox_engine.expand_campaign(
  c public.outbox_campaigns, p_now timestamptz, p_most integer, out members bigint, out messages bigint
)
language plpgsql set search_path = pg_catalog, pg_temp set enable_nestloop = off set jit = off
as $$
declare
  v_until timestamptz := outbox_engine.expand_until(p_now);
begin
  -- The members of this chunk, locked.
  with chunk as materialized (
    select * from outbox_engine.due_members(c, v_until, p_now, p_most)
  ),
  -- The due times of each schedule. Most members share one, so times are computed once for all of them.
  schedules as materialized (
    select s.*, t.times, t.handled_until,
      case when t.handled_until < v_until then p_now else t.next_at end as next_at
    from (select distinct schedule, zone, event_at, after from chunk) s
    cross join lateral outbox_engine.due_times(c, s.event_at, s.zone, s.after, v_until) t
  ),
  -- One plan for each time of each schedule.
  plans as materialized (
    select s.schedule, t.at, p.send_at, p.expires_at, p.problem, p.is_missed,
      outbox_engine.occurrence_key(c, t.at, s.zone) as stands_for
    from schedules s
    cross join unnest(s.times) t (at)
    cross join lateral outbox_engine.plan_message(c, t.at, s.event_at, s.zone, p_now) p
  ),
  -- One occurrence for each time of each member.
  occurrences as materialized (
    select m.external_id, m.recipient, m.parameters, p.at, p.stands_for, p.send_at, p.expires_at,
      coalesce(
        outbox_engine.occurrence_problem(c, p.at, p.problem, p.is_missed, m.joined_at, p_now),
        outbox_engine.opted_out_error(s.reason)) as problem
    from chunk m
    join plans p using (schedule)
    left join public.outbox_suppressions s on s.recipient = m.recipient
  ),
  -- New occurrences, and those whose message was withdrawn unsent. Others are decided already.
  recorded as (
    insert into public.outbox_campaign_occurrences as o
      (campaign, external_id, occurs_at, stands_for, outbox_id, reason, created_at)
    select c.name, n.external_id, n.at, n.stands_for,
      case when n.problem is null then nextval('public.outbox_id_seq') end, n.problem, p_now
    from occurrences n
    -- The first condition is asked once for the chunk.
    where not exists (select from outbox_engine.erased_members e where e.campaign = c.name)
      or not outbox_engine.is_erased_occurrence(c.name, n.external_id, n.stands_for)
    order by n.external_id, n.stands_for
    on conflict (campaign, external_id, stands_for) do update
    set outbox_id = excluded.outbox_id, occurs_at = excluded.occurs_at, reason = excluded.reason,
      taken_back = false
    where o.taken_back and excluded.outbox_id is not null
    returning external_id, stands_for, outbox_id
  ),
  -- One message for each occurrence without a problem.
  made as (
    insert into public.outbox
      (id, recipient, template, parameters, sender, send_at, expires_at, priority, campaign)
    overriding system value
    select r.outbox_id, n.recipient, c.template, n.parameters, c.sender, n.send_at, n.expires_at, c.priority,
      c.name
    from recorded r
    join occurrences n using (external_id, stands_for)
    where r.outbox_id is not null
  ),
  -- The list of members makes the planner use the index, not read all members of the campaign.
  handled as (
    update public.outbox_campaign_members m
    set next_at = s.next_at, handled_until = s.handled_until
    from chunk d
    join schedules s using (schedule)
    where m.campaign = c.name and m.external_id = d.external_id
      and m.external_id = any (array(select external_id from chunk))
  )
  select count(*), (select count(*) from recorded where outbox_id is not null)
  into expand_campaign.members, expand_campaign.messages
  from chunk;
end
$$;

-- Called after a campaign was edited, paused or ended, a chunk of its waiting messages at a time. Withdraws
-- messages of times the campaign no longer has. The others get its new template, sender and priority, and are
-- due at once, so that the claim decides by the new settings.
create function outbox_engine.recheck_messages(c public.outbox_campaigns, p_now timestamptz, p_most integer)
returns void
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
    -- Waits for a claim: it may put off messages until they expire, which has to be undone here.
    for update
  ) x;

  if c.status = 'ended' then
    perform outbox_engine.withdraw_messages(v_ids, outbox_engine.withdrawal_error('ended'));
  elsif c.status = 'active' then
    select array_agg(o.outbox_id) into v_withdrawn
    from public.outbox_campaign_occurrences o
    join public.outbox_campaign_members m on m.campaign = o.campaign and m.external_id = o.external_id
    where o.outbox_id = any (v_ids)
      and not coalesce(
        outbox_engine.is_campaign_time(c, m.event_at, coalesce(m.timezone, c.timezone), o.occurs_at), false);
    perform outbox_engine.withdraw_messages(v_withdrawn, outbox_engine.withdrawal_error('rescheduled'));
    update public.outbox x
    set template = c.template, sender = c.sender, priority = c.priority,
      due_at = greatest(o.occurs_at, p_now)
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

-- Called after a campaign's times changed, a chunk of its members at a time: each is due again.
create function outbox_engine.replan_members(c public.outbox_campaigns, p_now timestamptz, p_most integer)
returns void
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
  -- `handled_until` may be a minute ahead of the clock. Times that the edit moved into that minute count too.
  update public.outbox_campaign_members
  set next_at = p_now, handled_until = least(handled_until, c.activated_at)
  where campaign = c.name and external_id = any (v_ids);
  update public.outbox_campaigns
  set replan_after = case when cardinality(v_ids) = p_most then v_ids[p_most] end
  where name = c.name;
end
$$;

-- Makes members due again whose message came back unsent. Members that another transaction is changing wait
-- for a later call.
create function outbox_engine.replan_returns(p_now timestamptz, p_most integer) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with returned as materialized (
    select m.campaign, m.external_id
    from outbox_engine.campaign_returns r
    join public.outbox_campaign_members m on m.campaign = r.campaign and m.external_id = r.external_id
    limit p_most
    for no key update of m skip locked
  ),
  replanned as (
    update public.outbox_campaign_members m
    set next_at = p_now, handled_until = null
    from returned r
    where m.campaign = r.campaign and m.external_id = r.external_id
  )
  delete from outbox_engine.campaign_returns r
  where (r.campaign, r.external_id) in (select campaign, external_id from returned)
    or not exists (
      select from public.outbox_campaign_members m
      where m.campaign = r.campaign and m.external_id = r.external_id
    )
$$;

-- Expands a chunk of a campaign. One that fails must not stop the others: it raises an alarm, at most once an
-- hour, and is tried again at the next call.
create function outbox_engine.expand_or_alarm(c public.outbox_campaigns, p_now timestamptz, p_most integer)
returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_expanded record;
  v_problem text;
begin
  select * into v_expanded from outbox_engine.expand_campaign(c, p_now, p_most);
  if v_expanded.messages > 0 then
    insert into outbox_engine.campaign_changes (campaign, members, messages)
    values (c.name, 0, v_expanded.messages);
  end if;
  return v_expanded.members;
exception
  when transaction_rollback then
    raise;
  when others then
    get stacked diagnostics v_problem = message_text;
    v_problem := outbox_engine.without_numbers(v_problem);
    perform outbox_engine.alarm_at_most(
      'campaign.stuck', jsonb_build_object('campaign', c.name, 'problem', v_problem),
      jsonb_build_object('campaign', c.name), interval '1 hour', p_now);
    return 0;
end
$$;

-- Brings the counts and `next_at` of campaigns up to date. A campaign that another transaction has locked
-- waits for a later call.
create function outbox_engine.count_campaigns() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with outdated as materialized (
    select c.name, n.next_at
    from public.outbox_campaigns c
    cross join lateral (
      select min(m.next_at) as next_at
      from public.outbox_campaign_members m
      where m.campaign = c.name and c.status = 'active'
    ) n
    where c.next_at is distinct from n.next_at
      or exists (select from outbox_engine.campaign_changes x where x.campaign = c.name)
  ),
  locked as materialized (
    select name from public.outbox_campaigns
    where name in (select name from outdated)
    order by name
    for no key update skip locked
  ),
  changes as (
    delete from outbox_engine.campaign_changes x
    where x.campaign in (select name from locked)
      or not exists (select from public.outbox_campaigns c where c.name = x.campaign)
    returning *
  ),
  sums as (
    select campaign, sum(members) as members, sum(messages) as messages from changes group by campaign
  )
  update public.outbox_campaigns c
  set member_count = c.member_count + coalesce(s.members, 0),
    message_count = c.message_count + coalesce(s.messages, 0),
    next_at = o.next_at
  from locked l
  join outdated o using (name)
  left join sums s on s.campaign = l.name
  where c.name = l.name
$$;

-- Brings a chunk of one edited campaign up to date, and answers its name; null where there is none.
create function outbox_engine.continue_edit(p_now timestamptz, p_most integer) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  c public.outbox_campaigns;
begin
  select * into c
  from public.outbox_campaigns
  where recheck_after is not null or replan_after is not null
  order by name
  limit 1
  for no key update skip locked;
  if c.replan_after is not null then
    perform outbox_engine.replan_members(c, p_now, 5 * p_most);
  end if;
  if c.recheck_after is not null then
    perform outbox_engine.recheck_messages(c, p_now, p_most);
  end if;
  return c.name;
end
$$;

-- Notes that a campaign had its turn. A new round begins with the first campaign that is served twice. Where
-- another process is serving the same campaign, that one notes it.
create function outbox_engine.note_turn(p_campaign text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if pg_try_advisory_xact_lock(hashtext('outbox campaign turn'), hashtext(p_campaign)) then
    insert into outbox_engine.campaign_turns as t (campaign, round)
    select p_campaign, coalesce(max(x.round), 1) from outbox_engine.campaign_turns x
    on conflict (campaign) do update set round = greatest(t.round + 1, excluded.round);
  end if;
end
$$;

-- Called by the campaigns job until `more` is false. Each call handles at most one chunk, so that its locks
-- are short. In each round, each campaign that is due gets one chunk: the most urgent first, and of equally
-- urgent ones the one that is due longest.
create function public.outbox_expand_campaigns(p_most integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_edited text;
  v_campaign public.outbox_campaigns;
  v_count integer;
begin
  perform outbox_engine.record_heartbeat('campaigns', '', '', '');
  perform outbox_engine.replan_returns(v_now, p_most);
  v_edited := outbox_engine.continue_edit(v_now, p_most);
  if v_edited is not null then
    return jsonb_build_object('campaign', v_edited, 'members', 0, 'more', true);
  end if;

  for v_campaign in
    select c.*
    from public.outbox_campaigns c
    cross join lateral (
      select min(m.next_at) as since from public.outbox_campaign_members m where m.campaign = c.name
    ) due
    left join outbox_engine.campaign_turns t on t.campaign = c.name
    where c.status = 'active' and due.since <= outbox_engine.expand_until(v_now)
    order by
      coalesce(t.round = (select max(round) from outbox_engine.campaign_turns), false),
      c.priority, due.since, c.name
    for share of c skip locked
  loop
    v_count := outbox_engine.expand_or_alarm(v_campaign, v_now, p_most);
    if v_count > 0 then
      perform outbox_engine.note_turn(v_campaign.name);
      return jsonb_build_object('campaign', v_campaign.name, 'members', v_count, 'more', true);
    end if;
  end loop;
  perform outbox_engine.count_campaigns();
  return jsonb_build_object('campaign', null, 'members', 0, 'more', false);
end
$$;

-- Called by the claim, to wake the campaigns job: whether `outbox_expand_campaigns` has anything to do.
create function outbox_engine.campaigns_due(p_now timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (select from outbox_engine.campaign_changes)
    or exists (select from outbox_engine.campaign_returns)
    or exists (
      select from public.outbox_campaigns c where c.recheck_after is not null or c.replan_after is not null)
    or exists (
      select from public.outbox_campaigns c
      where c.status = 'active' and exists (
        select from public.outbox_campaign_members m
        where m.campaign = c.name and m.next_at <= outbox_engine.expand_until(p_now)
      ));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_expand_campaigns
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_expand_campaigns
to service_role;
