-- What a campaign must be before anything is sent, and what a change of it does to what already waits.

-- What is wrong with when a campaign sends, or null.
create function outbox_engine.schedule_problem(c public.outbox_campaigns) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_cron outbox_engine.cron;
begin
  if c.schedule is null or c.schedule not in ('once', 'cron', 'reminder') then
    return format('schedule %L is not once, cron or reminder', c.schedule);
  elsif c.schedule = 'once' then
    return case when coalesce(outbox_engine.is_outside_calendar(c.starts_at), true)
      then 'schedule once needs starts_at, an instant between 1970 and 2200' end;
  elsif c.schedule = 'reminder' then
    return case
      when coalesce(cardinality(c.offsets), 0) = 0 then 'schedule reminder needs offsets, such as {-1 day,-1 hour}'
      when exists (select from unnest(c.offsets) o where o is null or o not between interval '-2 years' and interval '2 years')
      then 'each of the offsets must lie within two years of the event'
    end;
  end if;
  v_cron := outbox_engine.read_cron(c.cron_expression);
  return coalesce(v_cron.problem, case
    when outbox_engine.cron_next(v_cron, timestamp '2000-01-01') is null
    then format('cron_expression %L names a day that never comes', c.cron_expression) end);
end
$$;

-- What is wrong with a campaign apart from its schedule, or null.
create function outbox_engine.campaign_problem(c public.outbox_campaigns) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case
    when btrim(coalesce(c.name, '')) = '' then 'a campaign needs a name'
    when char_length(c.name) > 200 then format('name has %s characters, 200 are allowed', char_length(c.name))
    when c.status not in ('draft', 'active', 'paused', 'ended') then format('status %L is not draft, active, paused or ended', c.status)
    when c.late_policy not in ('send', 'skip') then format('late_policy %L is not send or skip', c.late_policy)
    when c.late_limit < '0' then 'late_limit must not be negative'
    when c.late_limit > '100 years' then 'late_limit must not be more than a hundred years'
    when not exists (select from public.outbox_templates t where t.name = c.template) then format('template %L does not exist', c.template)
    when not outbox_engine.is_sender(c.sender) then format('sender %L is not a sender', c.sender)
    when (c.window_start is null) <> (c.window_end is null) or c.window_start = c.window_end
    then 'window_start and window_end must both be given, and differ'
    when cardinality(c.window_days) = 0 or c.window_days && array[null]::smallint[]
      or not c.window_days <@ array[1, 2, 3, 4, 5, 6, 7]::smallint[]
    then 'window_days must be ISO days, 1 (Monday) to 7 (Sunday)'
    when least(c.daily_cap, c.weekly_cap) < 1 then 'daily_cap and weekly_cap must be at least 1'
    when least(c.budget_parts, c.daily_budget_parts) < 0 then 'budget_parts and daily_budget_parts must not be negative'
  end
$$;

-- A campaign by its name. Refuses a name nobody knows.
create function outbox_engine.named_campaign(p_campaign text) returns public.outbox_campaigns
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

-- Called for each campaign that is written. Says in words what is wrong.
create function outbox_engine.check_campaign(c public.outbox_campaigns) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text := coalesce(
    outbox_engine.zone_problem(c.timezone), outbox_engine.campaign_problem(c), outbox_engine.schedule_problem(c));
begin
  if v_problem is not null then
    perform outbox_engine.refuse(format('campaign %L: %s', left(c.name, 200), v_problem));
  end if;
end
$$;

-- What of a campaign goes by local time and so needs a zone from somebody, or null; none is guessed.
create function outbox_engine.zone_needed_by(c public.outbox_campaigns) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when c.schedule = 'cron' then 'its cron_expression'
    when num_nonnulls(c.window_start, c.window_days) > 0 then 'its window'
    when c.daily_cap is not null then 'its daily_cap'
    when c.weekly_cap is not null then 'its weekly_cap'
    when exists (
      select from unnest(c.offsets) o where extract(day from o) <> 0 or extract(month from o) <> 0 or extract(year from o) <> 0)
    then 'an offset in days'
  end
$$;

-- Runs for whatever an app or an operator writes into a campaign. Null means the default, as everywhere.
create function outbox_engine.before_campaign_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_rescheduled boolean;
begin
  new.timezone := outbox_engine.canonical_zone(new.timezone);
  v_rescheduled := tg_op = 'UPDATE' and (new.schedule, new.starts_at, new.cron_expression, new.timezone, new.offsets)
    is distinct from (old.schedule, old.starts_at, old.cron_expression, old.timezone, old.offsets);
  new.priority := coalesce(new.priority, 200);
  new.late_policy := coalesce(new.late_policy, 'send');
  new.late_limit := coalesce(new.late_limit, '1 hour');
  new.status := coalesce(new.status, 'draft');
  perform outbox_engine.check_campaign(new);

  if tg_op = 'UPDATE' then
    if new.name <> old.name then
      perform outbox_engine.refuse('a campaign keeps its name', 'Make a new campaign.');
    end if;
    if v_rescheduled and 'once' in (old.schedule, new.schedule) and exists (
      select from public.outbox_campaign_occurrences where campaign = old.name and outbox_id is not null and not taken_back) then
      perform outbox_engine.refuse(format('campaign %L has begun: its schedule and starts_at cannot change', old.name), 'Make a new campaign.');
    end if;
    if old.status = 'ended' and new.status <> 'ended' then
      perform outbox_engine.refuse(format('campaign %L was ended', old.name), 'Make a new campaign; what is paused can go on.');
    end if;
    if old.status in ('active', 'paused') and new.status = 'draft' then
      perform outbox_engine.refuse(
        format('campaign %L is %s: it cannot become a draft again', old.name, old.status), 'One that is paused can be changed as well.');
    end if;
    new.recheck_after := 0;
  end if;

  -- What was past when a campaign began, or came by its times, is not sent after all.
  if new.status = 'active' and (tg_op = 'INSERT' or v_rescheduled or old.status = 'draft' or old.activated_at is null) then
    new.activated_at := v_now;
    if new.schedule = 'once' and new.starts_at + new.late_limit < v_now then
      perform outbox_engine.refuse(format('starts_at %s is past by more than late_limit %s', new.starts_at, new.late_limit), 'Set it anew.');
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
create trigger outbox_campaigns_change before insert or update of name, template, sender, priority, schedule, starts_at, cron_expression,
    timezone, offsets, window_start, window_end, window_days, late_policy, late_limit, daily_cap, weekly_cap, budget_parts,
    daily_budget_parts, status
  on public.outbox_campaigns for each row execute function outbox_engine.before_campaign_change();

-- The first member of a campaign (or, with null, of any active or paused campaign of the template) for which
-- the template makes no text, and why. Members were checked one by one when they were written, so only what a
-- change can break is looked for, and the texts themselves are made only where they might be too long.
create function outbox_engine.member_problem(t public.outbox_templates, p_campaign text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with suspects as materialized (
    select m.external_id, m.campaign, m.parameters
    from outbox_engine.text_bounds(t) b
    cross join public.outbox_campaigns c
    join public.outbox_campaign_members m on m.campaign = c.name
    where (c.name = p_campaign or (p_campaign is null and c.template = t.name and c.status in ('active', 'paused')))
      and (not m.parameters ?& b.required or b.literal + b.most * char_length(m.parameters::text) > 2000)
  )
  select format('member %L of campaign %L: %s', s.external_id, s.campaign, p.problem)
  from suspects s
  cross join lateral (select outbox_engine.text_problem(t, s.parameters, false) as problem) p
  where p.problem is not null
  limit 1
$$;

-- Likewise for the messages that wait with this template.
create function outbox_engine.waiting_problem(t public.outbox_templates) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with suspects as materialized (
    select o.id, o.parameters
    from outbox_engine.text_bounds(t) b
    join public.outbox o on o.template = t.name and o.queue is not null
    where o.parameters is null or not o.parameters ?& b.required or b.literal + b.most * char_length(o.parameters::text) > 2000
  )
  select format('waiting message %s: %s', s.id, p.problem)
  from suspects s
  cross join lateral (select outbox_engine.text_problem(t, s.parameters, false) as problem) p
  where p.problem is not null
  limit 1
$$;

-- Members become known one by one, but a campaign starts with all of them: none may lack a value or a zone
-- then. Those whom others are just adding are waited for, a moment long.
create function outbox_engine.after_campaign_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  v_problem text;
begin
  if new.status <> 'active' then
    return null;
  end if;
  begin
    perform from public.outbox_campaigns where name = new.name for update;
    select outbox_engine.member_problem(t, new.name) into v_problem
    from public.outbox_templates t
    where t.name = new.template
    for share;
  exception when lock_not_available then
    perform outbox_engine.refuse(
      format('somebody is adding members to campaign %L, or editing its template, just now', new.name), 'Try again in a moment.');
  end;
  if v_problem is null and new.timezone is null and outbox_engine.zone_needed_by(new) is not null then
    select format('member %L has no timezone, and campaign %L has none either; %s needs one',
      external_id, new.name, outbox_engine.zone_needed_by(new)) into v_problem
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
create trigger outbox_campaigns_changed after insert or update of status, template, timezone, window_start, window_days, daily_cap,
    weekly_cap, offsets, schedule
  on public.outbox_campaigns for each row execute function outbox_engine.after_campaign_change();

-- An edit of a template that would leave a waiting message or a member of a campaign without a text is
-- refused, unless the campaign is a draft, which is looked at when it is started, or ended. A paused one goes
-- on.
create function outbox_engine.before_template_edit() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text;
begin
  if tg_op = 'DELETE' or new.name <> old.name then
    select format('waiting message %s', id) into v_problem from public.outbox where template = old.name and queue is not null limit 1;
    if tg_op = 'DELETE' and v_problem is null then
      select format('campaign %L', name) into v_problem from public.outbox_campaigns where template = old.name limit 1;
    end if;
    if v_problem is not null then
      perform outbox_engine.refuse(format('template %L is used by %s', old.name, v_problem));
    end if;
  elsif (new.body, new.defaults, new.plain) is distinct from (old.body, old.defaults, old.plain) then
    v_problem := coalesce(outbox_engine.waiting_problem(new), outbox_engine.member_problem(new, null));
    if v_problem is not null then
      perform outbox_engine.refuse(v_problem, 'A new placeholder needs a default as long as somebody is without a value.');
    end if;
  end if;
  return case when tg_op = 'DELETE' then old else new end;
end
$$;
create trigger outbox_templates_edit before update or delete on public.outbox_templates for each row
  execute function outbox_engine.before_template_edit();

-- A campaign's counts and what it spent of its budget go with it: a new one of the same name begins with
-- nothing, also where a claim that was under way added something after that.
create function outbox_engine.forget_campaign() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  delete from outbox_engine.campaign_totals where campaign = coalesce(new.name, old.name);
  delete from outbox_engine.campaign_spend where campaign = coalesce(new.name, old.name);
  delete from outbox_engine.campaign_changes where campaign = coalesce(new.name, old.name);
  delete from outbox_engine.campaign_returns where campaign = coalesce(new.name, old.name);
  return null;
end
$$;
create trigger outbox_campaigns_forget after insert or delete on public.outbox_campaigns for each row execute function outbox_engine.forget_campaign();
