-- What a member of a campaign must be, and what becomes of waiting messages when one is moved, changed or
-- removed.

-- What is wrong with a member, or null.
create function outbox_engine.member_fault(m public.outbox_campaign_members, c public.outbox_campaigns) returns text
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select case
    when c.name is null then format('campaign %L does not exist', m.campaign)
    when btrim(coalesce(m.external_id, '')) = '' then format('a member of campaign %L has no external_id', m.campaign)
    when char_length(m.external_id) > 200
    then format('external_id %L has %s characters, 200 are allowed', left(m.external_id, 20) || '…', char_length(m.external_id))
    when m.recipient is null or m.recipient !~ '^\+[1-9][0-9]{6,14}$'
    then format('recipient %s is not an E.164 number', coalesce(quote_literal(m.recipient), 'null'))
    when m.timezone is not null and not outbox_engine.is_zone(m.timezone) then outbox_engine.zone_problem(m.timezone)
    when m.timezone is null and c.timezone is null and outbox_engine.zone_needed_by(c) is not null
    then format('no timezone, and the campaign has none either; %s needs one', outbox_engine.zone_needed_by(c))
    when outbox_engine.is_outside_calendar(m.event_at) then 'event_at must be an instant between 1970 and 2200'
  end
$$;

create function outbox_engine.before_member_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_campaign public.outbox_campaigns;
  v_template public.outbox_templates;
  v_problem text;
begin
  new.parameters := jsonb_strip_nulls(coalesce(new.parameters, '{}'));
  new.timezone := outbox_engine.canonical_zone(new.timezone);
  if tg_op = 'UPDATE' then
    if (new.campaign, new.external_id) is distinct from (old.campaign, old.external_id) then
      perform outbox_engine.refuse(
        format('member %L keeps its campaign and its external_id', old.external_id), 'Delete it and insert it anew.');
    elsif (new.recipient, new.timezone, new.event_at, new.parameters)
      is not distinct from (old.recipient, old.timezone, old.event_at, old.parameters) then
      return new;
    end if;
  end if;

  -- The lines of an import were checked before, a chunk at a time; together they would take too long.
  if not exists (select from outbox_engine.campaign_imports where committing = pg_catalog.pg_current_xact_id()) then
    -- Who edits the campaign looks at its members, cannot see this one yet, and waits for it
    -- (`after_campaign_change`). One that is updated was seen. A lock that does not keep anybody from pausing
    -- or ending the campaign.
    if tg_op = 'INSERT' then
      perform from public.outbox_campaigns where name = new.campaign for key share;
    end if;
    select * into v_campaign from public.outbox_campaigns where name = new.campaign;
    v_problem := outbox_engine.member_fault(new, v_campaign);
    if v_problem is null and (tg_op = 'INSERT' or new.parameters is distinct from old.parameters) then
      select * into v_template from public.outbox_templates where name = v_campaign.template for share;
      v_problem := outbox_engine.text_problem(v_template, new.parameters, true);
    end if;
    if v_problem is not null then
      perform outbox_engine.refuse(format('member %L of campaign %L: %s', left(new.external_id, 200), new.campaign, v_problem));
    end if;
  end if;

  if tg_op = 'INSERT' or (new.event_at, new.timezone) is distinct from (old.event_at, old.timezone) then
    new.changed_at := v_now;
    new.next_at := v_now;
    new.handled_until := null;
  end if;
  return new;
end
$$;
create trigger outbox_campaign_members_change before insert or update of campaign, external_id, recipient, timezone, event_at, parameters
  on public.outbox_campaign_members for each row execute function outbox_engine.before_member_change();

create function outbox_engine.after_members_added() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.campaign_changes (campaign, members, messages)
  select campaign, count(*), 0 from came group by campaign;
  return null;
end
$$;
create trigger outbox_campaign_members_added after insert on public.outbox_campaign_members
  referencing new table as came for each statement execute function outbox_engine.after_members_added();

-- Ends what waits for these occurrences, and leaves a wish where a request is under way. Their times may be
-- used again.
create function outbox_engine.withdraw(p_outbox_ids bigint[], p_why text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- Whoever is just claiming them is waited for, so that what they are by now decides.
  perform from public.outbox where id = any (p_outbox_ids) order by id for update;

  with stopped as (
    update public.outbox
    set status = 'cancelled', error = p_why, queue = null, finalized_at = outbox_engine.now()
    where id = any (p_outbox_ids) and queue is not null
    returning id
  ),
  wished as (
    update public.outbox
    set cancel_requested_at = outbox_engine.now()
    where id = any (p_outbox_ids) and status = 'sending' and cancel_requested_at is null
    returning id
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select id, outbox_engine.now(), 'engine', 'cancelled', 'cancelled', p_why from stopped
    union all
    select id, outbox_engine.now(), 'engine', 'cancel_requested', 'sending', p_why from wished
  )
  update public.outbox_campaign_occurrences o
  set taken_back = s.is_over, reason = p_why
  from (select id, true as is_over from stopped union all select id, false from wished) s
  where o.outbox_id = s.id;
end
$$;

-- A message that the engine wanted back came back unsent: its time may be used again, and its member may have
-- that time once more. Not one that an app or an operator alone cancelled, whatever it came back for before.
create function outbox_engine.after_campaign_cancel() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  with free as (
    update public.outbox_campaign_occurrences
    set taken_back = true, reason = coalesce(reason, new.error)
    where outbox_id = new.id and not taken_back
      and (reason is not null or new.error is not null and new.cancel_requested_at is null)
    returning campaign, external_id
  )
  insert into outbox_engine.campaign_returns (campaign, external_id)
  select campaign, external_id from free;
  return null;
end
$$;
create trigger outbox_6_campaign_cancelled after update on public.outbox for each row
  when (new.campaign is not null and new.status = 'cancelled' and old.status <> 'cancelled' and new.batch_id is null)
  execute function outbox_engine.after_campaign_cancel();

-- Locks what waits for these members by id, as everybody does who changes many messages: in another order, an
-- edit of their campaign and a change of its members would wait for each other. What is in a request is
-- nobody's to change: should it come back, the claim gives it what its member is by then. The settings of
-- this and the next two functions: be they few or a hundred thousand, the messages of each are found by
-- index.
create function outbox_engine.lock_messages(p_campaigns text[], p_external_ids text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = on set enable_seqscan = off
as $$
declare
  v_ids constant bigint[] := array(
    select o.outbox_id
    from unnest(p_campaigns, p_external_ids) u (campaign, external_id)
    join public.outbox_campaign_occurrences o on o.campaign = u.campaign and o.external_id = u.external_id
    where o.outbox_id is not null and not o.taken_back
  );
begin
  perform from public.outbox where id = any (v_ids) and queue is not null order by id for update;
end
$$;

-- Members who were moved lose what waits for a time they no longer have; the rest is asked to come up.
create function outbox_engine.move_messages(p_campaigns text[], p_external_ids text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = on set enable_seqscan = off
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  perform outbox_engine.withdraw(array_agg(o.outbox_id), 'the member was moved to another time')
  from unnest(p_campaigns, p_external_ids) u (campaign, external_id)
  join public.outbox_campaigns k on k.name = u.campaign and k.schedule <> 'once'
  join public.outbox_campaign_members m on m.campaign = u.campaign and m.external_id = u.external_id
  join public.outbox_campaign_occurrences o on o.campaign = u.campaign and o.external_id = u.external_id
  where o.outbox_id is not null and not o.taken_back
    and case k.schedule
      when 'reminder'
      then not coalesce(outbox_engine.is_campaign_time(k, m.event_at, coalesce(m.timezone, k.timezone), o.occurs_at), false)
      -- The same local time is still to come where the member is now. Where it is past, what waits is all
      -- there will be.
      else k.timezone is null and outbox_engine.instant_of(o.stands_for, m.timezone) > v_now
        and outbox_engine.instant_of(o.stands_for, m.timezone) <> o.occurs_at
    end
  having count(*) > 0;
  -- What stands for a time that the new event has as well ends with the new event, not with the old one; and
  -- what waits for the window of the old zone comes up, where the claim decides by the new one. In a pause it
  -- comes up when the campaign goes on.
  update public.outbox x
  set expires_at = case when k.schedule = 'reminder'
      then outbox_engine.message_expiry(x.send_at, o.occurs_at, m.event_at) else x.expires_at end,
    due_at = case when k.status = 'active' and x.status = 'scheduled' then greatest(o.occurs_at, v_now) else x.due_at end
  from unnest(p_campaigns, p_external_ids) u (campaign, external_id)
  join public.outbox_campaigns k on k.name = u.campaign
  join public.outbox_campaign_members m on m.campaign = u.campaign and m.external_id = u.external_id
  join public.outbox_campaign_occurrences o on o.campaign = u.campaign and o.external_id = u.external_id
  where not o.taken_back and x.id = o.outbox_id and x.queue is not null;
end
$$;

-- A new number or new values go into what waits.
create function outbox_engine.update_messages(p_campaigns text[], p_external_ids text[]) returns void
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

-- Runs after members were updated, once for all of them: an import changes a hundred thousand. A plan made
-- for one row and kept would compare each of them with all, hence the setting.
create function outbox_engine.after_members_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_nestloop = off
as $$
declare
  r record;
begin
  select array_agg(x.campaign) filter (where x.moved) as moved_campaigns,
    array_agg(x.external_id) filter (where x.moved) as moved,
    array_agg(x.campaign) filter (where x.changed) as changed_campaigns,
    array_agg(x.external_id) filter (where x.changed) as changed,
    array_agg(x.campaign) filter (where x.moved or x.changed) as campaigns,
    array_agg(x.external_id) filter (where x.moved or x.changed) as external_ids
  into r
  from (
    select n.campaign, n.external_id, (n.event_at, n.timezone) is distinct from (w.event_at, w.timezone) as moved,
      (n.recipient, n.parameters) is distinct from (w.recipient, w.parameters) as changed
    from were w
    join are n using (campaign, external_id)
  ) x;
  if r.external_ids is not null then
    perform outbox_engine.lock_messages(r.campaigns, r.external_ids);
  end if;
  if r.moved is not null then
    perform outbox_engine.move_messages(r.moved_campaigns, r.moved);
  end if;
  if r.changed is not null then
    perform outbox_engine.update_messages(r.changed_campaigns, r.changed);
  end if;
  return null;
end
$$;
create trigger outbox_campaign_members_changed after update on public.outbox_campaign_members
  referencing old table as were new table as are for each statement execute function outbox_engine.after_members_changed();

-- Runs after members were deleted, also with their campaign.
create function outbox_engine.after_members_removed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.withdraw(array_agg(o.outbox_id), 'the member was removed from the campaign')
  from gone g
  join public.outbox_campaign_occurrences o
    on o.campaign = g.campaign and o.external_id = g.external_id and o.outbox_id is not null and not o.taken_back
  having count(*) > 0;
  insert into outbox_engine.campaign_changes (campaign, members, messages)
  select campaign, -count(*), 0 from gone group by campaign;
  return null;
end
$$;
create trigger outbox_campaign_members_removed after delete on public.outbox_campaign_members
  referencing old table as gone for each statement execute function outbox_engine.after_members_removed();
