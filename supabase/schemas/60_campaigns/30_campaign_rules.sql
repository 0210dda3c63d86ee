-- What a campaign must be before anything is sent, and which edits of campaigns and templates are refused.
--
-- Functions named `…_problem` describe the first thing that is wrong, in words for the app, or return null.

-- Says what is wrong with the times at which a campaign sends.
create function outbox_engine.schedule_problem(c public.outbox_campaigns) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_cron outbox_engine.cron;
begin
  if c.schedule is null or c.schedule not in ('once', 'cron', 'reminder') then
    return format('schedule %L is not once, cron or reminder', c.schedule);
  elsif c.schedule <> 'once' and outbox_engine.is_outside_calendar(c.starts_at) then
    return 'starts_at must be an instant between 1970 and 2200, or be left out';
  elsif c.schedule = 'once' then
    return case
      when coalesce(outbox_engine.is_outside_calendar(c.starts_at), true)
      then 'schedule once needs starts_at, an instant between 1970 and 2200'
    end;
  elsif c.schedule = 'reminder' then
    return case
      when coalesce(cardinality(c.offsets), 0) = 0
      then 'schedule reminder needs offsets, such as {-1 day,-1 hour}'
      when exists (
        select from unnest(c.offsets) o
        where o is null or o not between interval '-2 years' and interval '2 years'
      )
      then 'each of the offsets must lie within two years of the event'
    end;
  end if;
  v_cron := outbox_engine.read_cron(c.cron_expression);
  return coalesce(v_cron.problem, case
    when outbox_engine.cron_next(v_cron, timestamp '2000-01-01') is null
    then format('cron_expression %L names a day that never comes', c.cron_expression)
  end);
end
$$;

-- Says what is wrong with a campaign apart from its schedule and time zone.
create function outbox_engine.settings_problem(c public.outbox_campaigns) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case
    when btrim(coalesce(c.name, '')) = ''
    then 'a campaign needs a name'
    when char_length(c.name) > 200
    then format('name has %s characters, 200 are allowed', char_length(c.name))
    when c.status not in ('draft', 'active', 'paused', 'ended')
    then format('status %L is not draft, active, paused or ended', c.status)
    when c.late_policy not in ('send', 'skip')
    then format('late_policy %L is not send or skip', c.late_policy)
    when c.late_limit < '0'
    then 'late_limit must not be negative'
    when c.late_limit > '100 years'
    then 'late_limit must not be more than a hundred years'
    when not exists (select from public.outbox_templates t where t.name = c.template)
    then format('template %L does not exist', c.template)
    when not outbox_engine.is_sender(c.sender)
    then format('sender %L is not a sender', c.sender)
    when (c.window_start is null) <> (c.window_end is null) or c.window_start = c.window_end
    then 'window_start and window_end must both be given, and differ'
    when cardinality(c.window_days) = 0
      or c.window_days && array[null]::smallint[]
      or not c.window_days <@ array[1, 2, 3, 4, 5, 6, 7]::smallint[]
    then 'window_days must be ISO days, 1 (Monday) to 7 (Sunday)'
    when least(c.daily_cap, c.weekly_cap) < 1
    then 'daily_cap and weekly_cap must be at least 1'
    when least(c.budget_parts, c.daily_budget_parts) < 0
    then 'budget_parts and daily_budget_parts must not be negative'
  end
$$;

-- Called by functions that take a campaign's name. Refuses an unknown name.
create function outbox_engine.get_campaign(p_campaign text) returns public.outbox_campaigns
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  c public.outbox_campaigns;
begin
  select * into c from public.outbox_campaigns where name = p_campaign;
  if not found then
    perform outbox_engine.refuse(format('campaign %L does not exist', p_campaign));
  end if;
  return c;
end
$$;

-- Called for each campaign that is written. Refuses an invalid one.
create function outbox_engine.check_campaign(c public.outbox_campaigns) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text := coalesce(
    outbox_engine.zone_problem(c.timezone),
    outbox_engine.settings_problem(c),
    outbox_engine.schedule_problem(c));
begin
  if v_problem is not null then
    perform outbox_engine.refuse(format('campaign %L: %s', left(c.name, 200), v_problem));
  end if;
end
$$;

-- The first setting of a campaign that goes by local time, so that each member needs a zone, its own or the
-- campaign's; null where none does. The engine guesses no zone.
create function outbox_engine.zone_needed_by(c public.outbox_campaigns) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when c.schedule = 'cron' then 'its cron_expression'
    when num_nonnulls(c.window_start, c.window_days) > 0 then 'its window'
    when c.daily_cap is not null then 'its daily_cap'
    when c.weekly_cap is not null then 'its weekly_cap'
    when exists (
      select from unnest(c.offsets) o
      where extract(day from o) <> 0 or extract(month from o) <> 0 or extract(year from o) <> 0
    )
    then 'an offset in days'
  end
$$;

-- Refuses an edit that takes back a decision: another name, another schedule after messages of `once` were
-- made, a draft after the start, anything after the end.
create function outbox_engine.check_campaign_edit(
  was public.outbox_campaigns, c public.outbox_campaigns, p_rescheduled boolean
) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if c.name <> was.name then
    perform outbox_engine.refuse('a campaign keeps its name', 'Make a new campaign.');
  end if;
  if p_rescheduled and 'once' in (was.schedule, c.schedule) and exists (
    select from public.outbox_campaign_occurrences
    where campaign = was.name and outbox_id is not null and not taken_back
  ) then
    perform outbox_engine.refuse(
      format('campaign %L has begun: its schedule and starts_at cannot change', was.name),
      'Make a new campaign.');
  end if;
  if was.status = 'ended' and c.status <> 'ended' then
    perform outbox_engine.refuse(
      format('campaign %L was ended', was.name), 'Make a new campaign; what is paused can go on.');
  end if;
  if was.status in ('active', 'paused') and c.status = 'draft' then
    perform outbox_engine.refuse(
      format('campaign %L is %s: it cannot become a draft again', was.name, was.status),
      'One that is paused can be changed as well.');
  end if;
end
$$;

-- Whether members without a zone of their own are invalid.
create function outbox_engine.members_need_zone(c public.outbox_campaigns) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select c.timezone is null and outbox_engine.zone_needed_by(c) is not null
$$;

-- Says what is wrong with a member without a zone of its own, or returns null.
create function outbox_engine.missing_zone_problem(c public.outbox_campaigns) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format(
    'no timezone, and the campaign has none either; %s needs one', outbox_engine.zone_needed_by(c))
  where outbox_engine.members_need_zone(c)
$$;

-- Waits for transactions that add members, where the edit may make those members invalid; later it finds
-- them. An edit that keeps every member valid, such as a start, a pause or an end, waits for none: each
-- member that is being added was checked against the campaign as it is.
create function outbox_engine.lock_for_campaign_edit(
  was public.outbox_campaigns, c public.outbox_campaigns
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if c.template <> was.template
    or outbox_engine.members_need_zone(c) and not outbox_engine.members_need_zone(was) then
    perform outbox_engine.lock_for_edit(
      'campaign', c.name, false,
      format('members of campaign %L are being added by another transaction', c.name));
  end if;
end
$$;

-- Runs before an app or an operator writes a campaign. Null means the default in each column, as in the
-- outbox.
create function outbox_engine.before_campaign_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_rescheduled boolean;
begin
  new.timezone := outbox_engine.canonical_zone(new.timezone);
  v_rescheduled := tg_op = 'UPDATE'
    and (new.schedule, new.starts_at, new.cron_expression, new.timezone, new.offsets)
      is distinct from (old.schedule, old.starts_at, old.cron_expression, old.timezone, old.offsets);
  new.priority := coalesce(new.priority, 200);
  new.late_policy := coalesce(new.late_policy, 'send');
  new.late_limit := coalesce(new.late_limit, '1 hour');
  new.status := coalesce(new.status, 'draft');
  perform outbox_engine.check_campaign(new);
  -- A campaign from before this rule can still be changed.
  if tg_op = 'INSERT' or new.sender is distinct from old.sender then
    perform outbox_engine.refuse_sender_with_zero(new.sender);
  end if;
  if tg_op = 'UPDATE' then
    perform outbox_engine.check_campaign_edit(old, new, v_rescheduled);
    perform outbox_engine.lock_for_campaign_edit(old, new);
    new.recheck_after := 0;
  end if;

  -- Times before `activated_at` are not sent: they were past when the campaign started or was rescheduled.
  if new.status = 'active'
    and (tg_op = 'INSERT' or v_rescheduled or old.status = 'draft' or old.activated_at is null) then
    new.activated_at := v_now;
    if new.schedule = 'once' and new.starts_at + new.late_limit < v_now then
      perform outbox_engine.refuse(
        format('starts_at %s is past by more than late_limit %s', new.starts_at, new.late_limit),
        'Set it anew.');
    end if;
  elsif v_rescheduled then
    new.activated_at := v_now;
  end if;
  if v_rescheduled then
    new.replan_after := '';
  end if;
  return new;
end
$$;
create trigger outbox_campaigns_change
  before insert or update of name, template, sender, priority, schedule, starts_at, cron_expression, timezone,
    offsets, window_start, window_end, window_days, late_policy, late_limit, daily_cap, weekly_cap,
    budget_parts, daily_budget_parts, status
  on public.outbox_campaigns for each row execute function outbox_engine.before_campaign_change();

-- Names the first member for which the template makes no text, and why; null where there is none. Looks at
-- one campaign, or with null at all active and paused campaigns of the template. Each member was checked when
-- it was written, so this finds only what an edit can break.
create function outbox_engine.member_without_text(t public.outbox_templates, p_campaign text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with suspects as materialized (
    select m.external_id, m.campaign, m.parameters
    from outbox_engine.text_bounds(t) b
    cross join public.outbox_campaigns c
    join public.outbox_campaign_members m on m.campaign = c.name
    where (c.name = p_campaign
        or (p_campaign is null and c.template = t.name and c.status in ('active', 'paused')))
      and (not m.parameters ?& b.required
        or b.literal_length + b.growth * char_length(m.parameters::text) > 2000)
  )
  select format('member %L of campaign %L: %s', s.external_id, s.campaign, p.problem)
  from suspects s
  cross join lateral (select outbox_engine.text_problem(t, s.parameters, false) as problem) p
  where p.problem is not null
  limit 1
$$;

-- Names the first waiting message for which its template, as edited, makes no text, and why.
create function outbox_engine.message_without_text(t public.outbox_templates) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with suspects as materialized (
    select o.id, o.parameters
    from outbox_engine.text_bounds(t) b
    join public.outbox o on o.template = t.name and o.queue is not null
    where o.parameters is null
      or not o.parameters ?& b.required
      or b.literal_length + b.growth * char_length(o.parameters::text) > 2000
  )
  select format('waiting message %s: %s', s.id, p.problem)
  from suspects s
  cross join lateral (select outbox_engine.text_problem(t, s.parameters, false) as problem) p
  where p.problem is not null
  limit 1
$$;

-- Runs after a campaign was written. Refuses to start one, or to edit an active one, where a member has no
-- text or lacks a zone.
create function outbox_engine.after_campaign_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text;
begin
  if new.status <> 'active' then
    return null;
  end if;
  perform outbox_engine.lock_for_edit(
    'template', new.template, true,
    format('template %L is being edited by another transaction', new.template));
  select outbox_engine.member_without_text(t, new.name) into v_problem
  from outbox_engine.template_for_use(new.template) t;
  if v_problem is null and outbox_engine.members_need_zone(new) then
    select format('member %L of campaign %L: %s',
      external_id, new.name, outbox_engine.missing_zone_problem(new)) into v_problem
    from public.outbox_campaign_members
    where campaign = new.name and timezone is null
    limit 1;
  end if;
  if v_problem is not null then
    perform outbox_engine.refuse(v_problem);
  end if;
  return null;
end
$$;
create trigger outbox_campaigns_changed
  after insert or update of status, template, timezone, window_start, window_days, daily_cap, weekly_cap,
    offsets, schedule
  on public.outbox_campaigns for each row execute function outbox_engine.after_campaign_change();

-- Called before a template is deleted or renamed. Refuses it while waiting messages use the old name; a
-- campaign follows a rename by its foreign key, but not a deletion.
create function outbox_engine.check_template_is_unused(p_name text, p_deleted boolean) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_user text;
begin
  select format('waiting message %s', id) into v_user
  from public.outbox
  where template = p_name and queue is not null
  limit 1;
  if v_user is null and p_deleted then
    select format('campaign %L', name) into v_user
    from public.outbox_campaigns
    where template = p_name
    limit 1;
  end if;
  if v_user is not null then
    perform outbox_engine.refuse(format('template %L is used by %s', p_name, v_user));
  end if;
end
$$;

-- Runs before a template is edited or deleted. Refuses an edit that leaves a waiting message without a text,
-- or a member of an active or paused campaign. Members of a draft are checked when it starts.
create function outbox_engine.before_template_edit() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_renamed boolean := tg_op = 'UPDATE' and new.name <> old.name;
  v_rewritten boolean := tg_op = 'UPDATE'
    and (new.body, new.defaults, new.plain) is distinct from (old.body, old.defaults, old.plain);
  v_template public.outbox_templates := new;
  v_problem text;
begin
  if tg_op = 'UPDATE' and not v_renamed and not v_rewritten then
    return new;
  end if;
  if v_renamed then
    -- The foreign key updates these campaigns. An edit of a campaign locks its row before its template.
    perform from public.outbox_campaigns where template = old.name order by name for no key update;
  end if;
  perform outbox_engine.lock_for_edit(
    'template', old.name, false, format('template %L is in use by another transaction', old.name));

  if v_renamed or tg_op = 'DELETE' then
    perform outbox_engine.check_template_is_unused(old.name, tg_op = 'DELETE');
  end if;
  if v_rewritten then
    -- Messages and members still have the old name.
    v_template.name := old.name;
    v_problem := coalesce(
      outbox_engine.message_without_text(v_template), outbox_engine.member_without_text(v_template, null));
    if v_problem is not null then
      perform outbox_engine.refuse(
        v_problem, 'A new placeholder needs a default while any message or member is without a value.');
    end if;
  end if;
  return case when tg_op = 'DELETE' then old else new end;
end
$$;
create trigger outbox_templates_edit before update or delete on public.outbox_templates for each row
  execute function outbox_engine.before_template_edit();

-- Runs after a campaign was inserted or deleted: its counts and what it spent go with it. A new campaign of
-- an old name starts from zero, even where a claim added to the old counts after the deletion.
create function outbox_engine.forget_campaign_counts() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_campaign constant text := coalesce(new.name, old.name);
begin
  delete from outbox_engine.campaign_totals where campaign = v_campaign;
  delete from outbox_engine.campaign_spend where campaign = v_campaign;
  delete from outbox_engine.campaign_changes where campaign = v_campaign;
  delete from outbox_engine.campaign_returns where campaign = v_campaign;
  return null;
end
$$;
create trigger outbox_campaigns_forget after insert or delete on public.outbox_campaigns for each row
  execute function outbox_engine.forget_campaign_counts();
