-- What a member of a campaign must be, and what happens to waiting messages when a member is changed or
-- removed.

-- Says what is wrong with a member, or returns null. `c` is null where the campaign does not exist. A new
-- number is also compared with `trunk_zero_pattern`; members from before that rule can still be changed.
create function outbox_engine.member_problem(m public.outbox_campaign_members, c public.outbox_campaigns)
returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
  if c.name is null then
    return format('campaign %L does not exist', m.campaign);
  elsif btrim(coalesce(m.external_id, '')) = '' then
    return format('a member of campaign %L has no external_id', m.campaign);
  elsif char_length(m.external_id) > 200 then
    return format('external_id %L has %s characters, 200 are allowed',
      left(m.external_id, 20) || '…', char_length(m.external_id));
  elsif (m.recipient ~ outbox_engine.e164_pattern()) is not true then
    return outbox_engine.recipient_problem(m.recipient);
  elsif m.timezone is not null and not outbox_engine.is_zone(m.timezone) then
    return outbox_engine.zone_problem(m.timezone);
  elsif m.timezone is null and outbox_engine.members_need_zone(c) then
    return outbox_engine.missing_zone_problem(c);
  elsif outbox_engine.is_outside_calendar(m.event_at) then
    return 'event_at must be an instant between 1970 and 2200';
  end if;
  return null;
end
$$;

-- Called before a member is inserted, and before its number, zone, event or parameters change. Refuses an
-- invalid one. Members of an import were checked a chunk at a time, and are not checked again.
create function outbox_engine.check_member(
  m public.outbox_campaign_members, p_is_new boolean, p_loses_zone boolean, p_new_parameters boolean
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_campaign public.outbox_campaigns;
  v_problem text;
begin
  if exists (
    select from outbox_engine.campaign_imports where committing = pg_catalog.pg_current_xact_id()
  ) then
    return;
  end if;
  -- An edit of the campaign checks its members and cannot see this one yet, so it waits (`lock_for_edit`).
  -- The row lock keeps the campaign from being deleted; it holds off neither a pause nor an end.
  if p_is_new or p_loses_zone then
    perform outbox_engine.lock_for_use('campaign', m.campaign);
    select * into v_campaign from public.outbox_campaigns where name = m.campaign for key share;
  else
    select * into v_campaign from public.outbox_campaigns where name = m.campaign;
  end if;
  v_problem := outbox_engine.member_problem(m, v_campaign);
  if v_problem is null and p_new_parameters then
    v_problem := outbox_engine.text_problem(
      outbox_engine.template_for_use(v_campaign.template), m.parameters, true);
  end if;
  if v_problem is not null then
    perform outbox_engine.refuse(
      format('member %L of campaign %L: %s', left(m.external_id, 200), m.campaign, v_problem),
      case
        when v_problem = outbox_engine.recipient_problem(m.recipient)
          then outbox_engine.recipient_hint(m.recipient)
      end);
  end if;
end
$$;

-- Runs before an app or an import writes a member. A new one, and one that is moved to another event or zone,
-- is due at once for the campaigns job, which finds its times.
create function outbox_engine.before_member_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_is_new constant boolean := tg_op = 'INSERT';
begin
  new.parameters := jsonb_strip_nulls(coalesce(new.parameters, '{}'));
  new.timezone := outbox_engine.canonical_zone(new.timezone);
  if rtrim(new.recipient, '0123456789') <> '+' then
    new.recipient := outbox_engine.read_recipient(new.recipient);
  end if;
  if not v_is_new then
    if (new.campaign, new.external_id) is distinct from (old.campaign, old.external_id) then
      perform outbox_engine.refuse(
        format('member %L keeps its campaign and its external_id', old.external_id),
        'Delete it and insert it anew.');
    elsif (new.recipient, new.timezone, new.event_at, new.parameters)
      is not distinct from (old.recipient, old.timezone, old.event_at, old.parameters) then
      return new;
    end if;
  end if;
  if new.recipient ~ outbox_engine.trunk_zero_pattern()
    and (v_is_new or new.recipient is distinct from old.recipient) then
    perform outbox_engine.refuse_recipient(new.recipient);
  end if;

  perform outbox_engine.check_member(
    new, v_is_new, new.timezone is null and old.timezone is not null,
    v_is_new or new.parameters is distinct from old.parameters);

  if v_is_new or (new.event_at, new.timezone) is distinct from (old.event_at, old.timezone) then
    new.changed_at := outbox_engine.now();
    new.next_at := new.changed_at;
    new.handled_until := null;
  end if;
  return new;
end
$$;
create trigger outbox_campaign_members_change
  before insert or update of campaign, external_id, recipient, timezone, event_at, parameters
  on public.outbox_campaign_members for each row execute function outbox_engine.before_member_change();

-- Runs after each insert of members, for the counts of their campaigns.
create function outbox_engine.after_members_added() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.campaign_changes (campaign, members, messages)
  select campaign, count(*), 0 from added group by campaign;
  return null;
end
$$;
create trigger outbox_campaign_members_added after insert on public.outbox_campaign_members
  referencing new table as added for each statement execute function outbox_engine.after_members_added();

-- The error of a message that its campaign withdraws. PL/pgSQL, because `judge_times` asks for all of them
-- whenever it is planned.
create function outbox_engine.withdrawal_error(p_cause text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return case p_cause
    when 'ended' then 'the campaign was ended'
    when 'rescheduled' then 'the campaign was given another schedule'
    when 'removed' then 'the member was removed from the campaign'
    when 'moved' then 'the member was moved to another time'
  end;
end
$$;

-- Cancels the waiting ones of these messages, and requests cancellation of those that are being sent. Their
-- occurrences may make new messages; that of a message being sent only once it comes back unsent
-- (`after_campaign_message_cancelled`), and that of one which a provider accepted before never: what is heard
-- later may contradict the report that had it wait again.
create function outbox_engine.withdraw_messages(p_outbox_ids bigint[], p_reason text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_waiting bigint[];
  v_unsent bigint[];
  v_sending bigint[];
begin
  -- Waits for a claim that has some of them, so that the status after that claim decides.
  select array_agg(id) filter (where queue is not null),
    array_agg(id) filter (where queue is not null and batch_id is null),
    array_agg(id) filter (where status = 'sending' and cancel_requested_at is null)
  into v_waiting, v_unsent, v_sending
  from (
    select id, queue, status, cancel_requested_at, batch_id
    from public.outbox
    where id = any (p_outbox_ids)
    order by id
    for update
  ) o;

  update public.outbox_campaign_occurrences o
  set taken_back = coalesce(o.outbox_id = any (v_unsent), false), reason = p_reason
  where o.outbox_id = any (v_waiting || v_sending);
  perform outbox_engine.change_statuses(
    array_agg(row(id, 'cancelled', p_reason, null, null, null)::outbox_engine.status_change),
    'engine', outbox_engine.now())
  from unnest(v_waiting) id;
  with requested as (
    update public.outbox
    set cancel_requested_at = outbox_engine.now()
    where id = any (v_sending)
    returning id
  )
  insert into public.outbox_events (outbox_id, at, source, event, status, detail)
  select id, outbox_engine.now(), 'engine', 'cancel_requested', 'sending', p_reason
  from requested;
end
$$;

-- Runs after a campaign's message ended as cancelled without having been accepted. Where the engine withdrew
-- it, its occurrence may make a new message, and its member is due again. Where only an app or an operator
-- cancelled it, that is final, even if the message came back from an earlier attempt.
create function outbox_engine.after_campaign_message_cancelled() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  with taken_back as (
    update public.outbox_campaign_occurrences
    set taken_back = true, reason = coalesce(reason, new.error)
    where outbox_id = new.id and not taken_back
      and (reason is not null or new.error is not null and new.cancel_requested_at is null)
    returning campaign, external_id
  )
  insert into outbox_engine.campaign_returns (campaign, external_id)
  select campaign, external_id from taken_back;
  return null;
end
$$;
create trigger outbox_7_campaign_cancelled after update on public.outbox for each row
  when (new.campaign is not null
    and new.status = 'cancelled' and old.status <> 'cancelled' and new.batch_id is null)
  execute function outbox_engine.after_campaign_message_cancelled();

-- Locks the waiting messages of these members by id, the order in which everything locks many messages. A
-- message that is being sent keeps what it has: if it comes back, the claim brings it up to date
-- (`refresh_from_campaign`). The settings of this and the next three functions make the planner find messages
-- by index, for one member as for a hundred thousand.
create function outbox_engine.lock_messages(p_campaigns text[], p_external_ids text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = on set enable_seqscan = off
as $$
declare
  v_ids constant bigint[] := array(
    select o.outbox_id
    from unnest(p_campaigns, p_external_ids) u (campaign, external_id)
    join public.outbox_campaign_occurrences o
      on o.campaign = u.campaign and o.external_id = u.external_id
    where o.outbox_id is not null and not o.taken_back
  );
begin
  perform from public.outbox where id = any (v_ids) and queue is not null order by id for update;
end
$$;

-- Called after members were moved to another event or zone: withdraws messages of times they no longer have.
-- A time of a cron is a local time. It is withdrawn where the member's new clock has yet to show it, because
-- it then comes at another instant; where that clock is past it, the message stays, or none would come.
create function outbox_engine.withdraw_lost_times(p_campaigns text[], p_external_ids text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = on set enable_seqscan = off
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  perform outbox_engine.withdraw_messages(array_agg(o.outbox_id), outbox_engine.withdrawal_error('moved'))
  from unnest(p_campaigns, p_external_ids) u (campaign, external_id)
  join public.outbox_campaigns c on c.name = u.campaign and c.schedule <> 'once'
  join public.outbox_campaign_members m on m.campaign = u.campaign and m.external_id = u.external_id
  join public.outbox_campaign_occurrences o on o.campaign = u.campaign and o.external_id = u.external_id
  where o.outbox_id is not null and not o.taken_back
    and case c.schedule
      when 'reminder'
      then not coalesce(
        outbox_engine.is_campaign_time(c, m.event_at, coalesce(m.timezone, c.timezone), o.occurs_at), false)
      else c.timezone is null
        and outbox_engine.instant_of(o.stands_for, m.timezone) > v_now
        and outbox_engine.instant_of(o.stands_for, m.timezone) <> o.occurs_at
    end
  having count(*) > 0;
end
$$;

-- Called after members were moved, for their messages that remain: a reminder expires with the new event, and
-- a message that waits for a window is due at once, so that the claim decides by the window of the new zone.
-- In a paused campaign that happens when it goes on.
create function outbox_engine.reschedule_messages(p_campaigns text[], p_external_ids text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = on set enable_seqscan = off
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  update public.outbox x
  set
    expires_at = case
      when c.schedule = 'reminder' then outbox_engine.message_expiry(x.send_at, o.occurs_at, m.event_at)
      else x.expires_at
    end,
    due_at = case
      when c.status = 'active' and x.status = 'scheduled' then greatest(o.occurs_at, v_now)
      else x.due_at
    end
  from unnest(p_campaigns, p_external_ids) u (campaign, external_id)
  join public.outbox_campaigns c on c.name = u.campaign
  join public.outbox_campaign_members m on m.campaign = u.campaign and m.external_id = u.external_id
  join public.outbox_campaign_occurrences o on o.campaign = u.campaign and o.external_id = u.external_id
  where not o.taken_back and x.id = o.outbox_id and x.queue is not null;
end
$$;

-- Called after members got another number or other parameters: copies these to their waiting messages.
create function outbox_engine.copy_members_to_messages(p_campaigns text[], p_external_ids text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = on set enable_seqscan = off
as $$
begin
  update public.outbox x
  set recipient = m.recipient, parameters = m.parameters
  from unnest(p_campaigns, p_external_ids) u (campaign, external_id)
  join public.outbox_campaign_members m on m.campaign = u.campaign and m.external_id = u.external_id
  join public.outbox_campaign_occurrences o on o.campaign = u.campaign and o.external_id = u.external_id
  where not o.taken_back and x.id = o.outbox_id and x.queue is not null;
end
$$;

-- Runs after members were updated, once for all members of the statement: an import changes a hundred
-- thousand. Without `enable_nestloop = off`, a plan cached for one row would compare each member with all.
create function outbox_engine.after_members_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_nestloop = off
as $$
declare
  r record;
begin
  select
    array_agg(x.campaign) filter (where x.moved) as moved_campaigns,
    array_agg(x.external_id) filter (where x.moved) as moved,
    array_agg(x.campaign) filter (where x.edited) as edited_campaigns,
    array_agg(x.external_id) filter (where x.edited) as edited,
    array_agg(x.campaign) filter (where x.moved or x.edited) as campaigns,
    array_agg(x.external_id) filter (where x.moved or x.edited) as external_ids
  into r
  from (
    select n.campaign, n.external_id,
      (n.event_at, n.timezone) is distinct from (o.event_at, o.timezone) as moved,
      (n.recipient, n.parameters) is distinct from (o.recipient, o.parameters) as edited
    from old_members o
    join new_members n using (campaign, external_id)
  ) x;
  if r.external_ids is not null then
    perform outbox_engine.lock_messages(r.campaigns, r.external_ids);
  end if;
  if r.moved is not null then
    perform outbox_engine.withdraw_lost_times(r.moved_campaigns, r.moved);
    perform outbox_engine.reschedule_messages(r.moved_campaigns, r.moved);
  end if;
  if r.edited is not null then
    perform outbox_engine.copy_members_to_messages(r.edited_campaigns, r.edited);
  end if;
  return null;
end
$$;
create trigger outbox_campaign_members_changed after update on public.outbox_campaign_members
  referencing old table as old_members new table as new_members
  for each statement execute function outbox_engine.after_members_changed();

-- Runs after members were deleted, alone or with their campaign: withdraws their messages.
create function outbox_engine.after_members_removed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.withdraw_messages(
    array_agg(o.outbox_id), outbox_engine.withdrawal_error('removed'))
  from removed m
  join public.outbox_campaign_occurrences o on o.campaign = m.campaign and o.external_id = m.external_id
  where o.outbox_id is not null and not o.taken_back
  having count(*) > 0;
  insert into outbox_engine.campaign_changes (campaign, members, messages)
  select campaign, -count(*), 0 from removed group by campaign;
  return null;
end
$$;
create trigger outbox_campaign_members_removed after delete on public.outbox_campaign_members
  referencing old table as removed for each statement
  execute function outbox_engine.after_members_removed();

-- Runs before the owner empties the table of members, alone or with the campaigns. Deletes them, because a
-- truncate runs no trigger for deleted rows.
create function outbox_engine.before_members_emptied() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  delete from public.outbox_campaign_members where true;
  return null;
end
$$;
create trigger outbox_campaign_members_emptied before truncate on public.outbox_campaign_members
  for each statement execute function outbox_engine.before_members_emptied();
