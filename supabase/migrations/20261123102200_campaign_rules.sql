-- What a campaign and its members must be before anything is sent, and what a change of either does to what already waits.

alter table public.campaigns add column activated_at timestamptz, add column recheck boolean not null default false;
alter table public.campaign_members add column handled_until timestamptz;
-- `stands_for` is the key: for cron the local time, for the others the instant in UTC. `taken_back`: withdrawn before it was
-- sent, so the same time may be used again.
alter table public.campaign_occurrences add column stands_for timestamp not null, add column taken_back boolean not null default false;
alter table public.campaign_occurrences drop constraint campaign_occurrences_pkey;
alter table public.campaign_occurrences add primary key (campaign, external_id, stands_for);
create index outbox_waiting_campaign on public.outbox (campaign) where queue is not null and campaign is not null;
create index outbox_waiting_template on public.outbox (template) where queue is not null and template is not null;

-- Called for each campaign that is written. Says in words what is wrong.
create function outbox_engine.check_campaign(c public.campaigns, p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
declare
  v_problem text;
begin
  if c.timezone is not null and not outbox_engine.is_zone(c.timezone) then
    perform outbox_engine.refuse(format('timezone %L of campaign %L is not in the tz database', c.timezone, c.name), 'Such as Europe/Berlin.');
  end if;
  if c.schedule = 'cron' then
    v_problem := (outbox_engine.read_cron(c.cron_expression)).problem;
    if v_problem is not null then
      perform outbox_engine.refuse(v_problem, 'Five fields: minute, hour, day of month, month, day of week.');
    end if;
  end if;
  if (c.window_start is null) <> (c.window_end is null) or c.window_start = c.window_end then
    perform outbox_engine.refuse('window_start and window_end must both be given, and differ');
  end if;
  if cardinality(c.window_days) = 0 or not coalesce(c.window_days <@ array[1, 2, 3, 4, 5, 6, 7]::smallint[], true) then
    perform outbox_engine.refuse('window_days must be ISO days, 1 (Monday) to 7 (Sunday)');
  end if;
  if c.late_limit < '0' then
    perform outbox_engine.refuse('late_limit must not be negative');
  end if;
end
$$;

create function outbox_engine.before_campaign_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  if tg_op = 'UPDATE' then
    if new.name <> old.name then
      perform outbox_engine.refuse('a campaign keeps its name', 'Make a new campaign.');
    end if;
    if new.schedule = 'once' and new.starts_at is distinct from old.starts_at and exists (
      select from public.campaign_occurrences where campaign = old.name and outbox_id is not null and not taken_back) then
      perform outbox_engine.refuse('starts_at of a campaign that has begun cannot change', 'Make a new campaign.');
    end if;
  end if;
  perform outbox_engine.check_campaign(new, v_now);
  if new.status = 'active' and (tg_op = 'INSERT' or old.status in ('draft', 'ended')) then
    new.activated_at := v_now;
    if new.schedule = 'once' and new.starts_at + new.late_limit < v_now then
      perform outbox_engine.refuse(format('starts_at %s is past by more than late_limit %s', new.starts_at, new.late_limit), 'Set it anew.');
    end if;
  end if;
  if tg_op = 'UPDATE' and (to_jsonb(new) - '{next_at,member_count,message_count,recheck}'::text[])
    <> (to_jsonb(old) - '{next_at,member_count,message_count,recheck}'::text[]) then
    new.recheck := true;
  end if;
  return new;
end
$$;
create trigger campaigns_change before insert or update on public.campaigns for each row
  execute function outbox_engine.before_campaign_change();

-- A member that lacks a value, names a placeholder that is not there, or makes the text too long.
create function outbox_engine.check_member_text(m public.campaign_members, t public.templates) returns void
language plpgsql set search_path = ''
as $$
declare
  v_values jsonb := t.defaults || m.parameters;
  v_name text := outbox_engine.missing_placeholder(t.body, v_values);
  v_length integer;
begin
  if v_name is not null then
    perform outbox_engine.refuse(format('member %L of campaign %L: placeholder {{%s}} of template %L has no value',
      m.external_id, m.campaign, v_name, t.name), 'Give it in parameters, or a default in the template.');
  end if;
  select key into v_name from jsonb_object_keys(m.parameters) key where key <> all (outbox_engine.placeholders(t.body)) limit 1;
  if found then
    perform outbox_engine.refuse(format('member %L of campaign %L: template %L has no placeholder {{%s}}',
      m.external_id, m.campaign, t.name, v_name));
  end if;
  v_length := char_length(outbox_engine.render(t.body, v_values));
  if v_length not between 1 and 2000 then
    perform outbox_engine.refuse(format('member %L of campaign %L: template %L becomes a text of %s characters, 1 to 2000 are allowed',
      m.external_id, m.campaign, t.name, v_length));
  end if;
end
$$;

-- A campaign that goes by local time needs a zone from somebody; none is guessed.
create function outbox_engine.needs_zone(c public.campaigns) returns boolean
language sql immutable set search_path = ''
as $$
  select c.schedule = 'cron' or num_nonnulls(c.window_start, c.window_days, c.daily_cap, c.weekly_cap) > 0
    or exists (select from unnest(c.offsets) o where extract(day from o) <> 0 or extract(month from o) <> 0 or extract(year from o) <> 0)
$$;

create function outbox_engine.before_member_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_campaign public.campaigns;
  v_template public.templates;
begin
  new.parameters := coalesce(new.parameters, '{}');
  if tg_op = 'UPDATE' and (new.recipient, new.timezone, new.event_at, new.parameters, new.campaign, new.external_id)
    is not distinct from (old.recipient, old.timezone, old.event_at, old.parameters, old.campaign, old.external_id) then
    return new;
  end if;
  select * into v_campaign from public.campaigns where name = new.campaign;
  if not found then
    perform outbox_engine.refuse(format('campaign %L does not exist', new.campaign));
  end if;
  if new.recipient is null or new.recipient !~ '^\+[1-9][0-9]{6,14}$' then
    perform outbox_engine.refuse(format('member %L: recipient %s is not an E.164 number', new.external_id, coalesce(quote_literal(new.recipient), 'null')));
  end if;
  if new.timezone is not null and not outbox_engine.is_zone(new.timezone) then
    perform outbox_engine.refuse(format('member %L: timezone %L is not in the tz database', new.external_id, new.timezone), 'Such as Europe/Berlin.');
  end if;
  if new.timezone is null and v_campaign.timezone is null and outbox_engine.needs_zone(v_campaign) then
    perform outbox_engine.refuse(format('member %L has no timezone, and campaign %L has none either', new.external_id, new.campaign));
  end if;
  if tg_op = 'INSERT' or new.parameters is distinct from old.parameters then
    select * into v_template from public.templates where name = v_campaign.template;
    perform outbox_engine.check_member_text(new, v_template);
  end if;
  if tg_op = 'INSERT' or (new.event_at, new.timezone) is distinct from (old.event_at, old.timezone) then
    new.changed_at := v_now;
    new.next_at := v_now;
    new.handled_until := null;
  end if;
  return new;
end
$$;
create trigger campaign_members_change before insert or update on public.campaign_members for each row
  execute function outbox_engine.before_member_change();

-- Ends what waits for these occurrences, and leaves a wish where a request is under way. Their times may be used again.
create function outbox_engine.withdraw(p_outbox_ids bigint[], p_why text) returns void
language sql set search_path = ''
as $$
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
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select id, outbox_engine.now(), 'engine', 'cancelled', 'cancelled', p_why from stopped
  )
  update public.campaign_occurrences o
  set taken_back = true, reason = p_why
  from stopped
  where o.outbox_id = stopped.id
$$;

-- Runs after a member changed: a moved one loses what waits for a time it no longer has; a new number or new values go into what
-- waits. By row, because the expansion updates thousands at once and changes none of this.
create function outbox_engine.after_member_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if (new.event_at, new.timezone) is distinct from (old.event_at, old.timezone) then
    perform outbox_engine.withdraw(array_agg(o.outbox_id), 'the member was moved to another time')
    from public.campaigns k
    join public.campaign_occurrences o on o.campaign = k.name and o.external_id = new.external_id
    where k.name = new.campaign and k.schedule = 'reminder' and o.outbox_id is not null and not o.taken_back
      and (new.event_at is null or o.occurs_at <> all (array(
        select outbox_engine.moved_by(new.event_at, d, coalesce(new.timezone, k.timezone, 'UTC')) from unnest(k.offsets) d)))
    having count(*) > 0;
  end if;
  if (new.recipient, new.parameters) is distinct from (old.recipient, old.parameters) then
    update public.outbox x
    set recipient = new.recipient, parameters = new.parameters
    from public.campaign_occurrences o
    where o.campaign = new.campaign and o.external_id = new.external_id and not o.taken_back and x.id = o.outbox_id
      and x.queue is not null;
  end if;
  return null;
end
$$;
create trigger campaign_members_changed after update on public.campaign_members for each row
  when ((old.event_at, old.timezone, old.recipient, old.parameters)
    is distinct from (new.event_at, new.timezone, new.recipient, new.parameters))
  execute function outbox_engine.after_member_change();

-- Runs after members were deleted, also with their campaign.
create function outbox_engine.after_members_gone() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform outbox_engine.withdraw(array_agg(o.outbox_id), 'the member was removed from the campaign')
  from gone g
  join public.campaign_occurrences o
    on o.campaign = g.campaign and o.external_id = g.external_id and o.outbox_id is not null and not o.taken_back
  having count(*) > 0;
  return null;
end
$$;
create trigger campaign_members_gone after delete on public.campaign_members
  referencing old table as gone for each statement execute function outbox_engine.after_members_gone();

-- An edit of a template that would leave a waiting row or a member of an active campaign without a value is refused.
create function outbox_engine.before_template_edit() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_name text;
  v_who text;
begin
  if tg_op = 'DELETE' or new.name <> old.name then
    select id::text into v_who from public.outbox where template = old.name and queue is not null limit 1;
    if found then
      perform outbox_engine.refuse(format('template %L is used by waiting message %s', old.name, v_who));
    end if;
    return case when tg_op = 'DELETE' then old else new end;
  end if;
  foreach v_name in array outbox_engine.placeholders(new.body) loop
    continue when new.defaults ->> v_name is not null;
    select id::text into v_who from public.outbox
    where template = new.name and queue is not null and coalesce(parameters, '{}') ->> v_name is null limit 1;
    if found then
      perform outbox_engine.refuse(format('placeholder {{%s}} of template %L would have no value in waiting message %s', v_name, new.name, v_who), 'Give it a default.');
    end if;
    select format('%L of campaign %L', m.external_id, m.campaign) into v_who
    from public.campaigns c
    join public.campaign_members m on m.campaign = c.name
    where c.template = new.name and c.status = 'active' and m.parameters ->> v_name is null limit 1;
    if found then
      perform outbox_engine.refuse(format('placeholder {{%s}} of template %L would have no value for member %s', v_name, new.name, v_who), 'Give it a default.');
    end if;
  end loop;
  return new;
end
$$;
create trigger templates_edit before update or delete on public.templates for each row
  execute function outbox_engine.before_template_edit();

-- Members become known one by one, but a campaign starts with all of them: none may lack a value or a zone then.
create function outbox_engine.after_campaign_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_name text;
  v_who text;
  v_template public.templates;
begin
  if new.status <> 'active' then
    return null;
  end if;
  select * into v_template from public.templates where name = new.template;
  foreach v_name in array outbox_engine.placeholders(v_template.body) loop
    continue when v_template.defaults ->> v_name is not null;
    select external_id into v_who from public.campaign_members where campaign = new.name and parameters ->> v_name is null limit 1;
    if found then
      perform outbox_engine.refuse(format('member %L of campaign %L: placeholder {{%s}} of template %L has no value', v_who, new.name, v_name, v_template.name));
    end if;
  end loop;
  if new.timezone is null and outbox_engine.needs_zone(new) then
    select external_id into v_who from public.campaign_members where campaign = new.name and timezone is null limit 1;
    if found then
      perform outbox_engine.refuse(format('member %L has no timezone, and campaign %L has none either', v_who, new.name));
    end if;
  end if;
  return null;
end
$$;
create trigger campaigns_changed after insert or update of status, template, timezone, window_start, window_days, offsets, schedule
  on public.campaigns for each row execute function outbox_engine.after_campaign_change();

notify pgrst, 'reload schema';
