-- Members from a file: `outbox campaign import` stages and checks them in chunks. Then all of them become
-- members in one transaction, or none.

-- The campaign to import into. Refuses an unknown one, and one that has ended.
create function outbox_engine.get_campaign_for_import(p_campaign text) returns public.outbox_campaigns
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  c public.outbox_campaigns := outbox_engine.get_campaign(p_campaign);
begin
  if c.status = 'ended' then
    perform outbox_engine.refuse(
      format('campaign %L was ended, so members of it get nothing', p_campaign), 'Make a new campaign.');
  end if;
  return c;
end
$$;

-- A digest of everything that decides whether a member is valid: of the campaign, and of its template. An
-- import whose digest differs at its end was checked against something else.
create function outbox_engine.import_digest(c public.outbox_campaigns, t public.outbox_templates) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select md5(row(
    t.name, t.body, t.defaults, t.plain,
    c.schedule, c.timezone, c.offsets::text, outbox_engine.zone_needed_by(c)
  )::text)
$$;

-- Whether an ISO 8601 time names its offset from UTC.
create function outbox_engine.has_offset(p_time text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_time ~ '[+-]\d\d:\d\d(:\d\d)?$'
$$;

-- The instant a file names: by the offset, or else by the wall clock of the member's zone. A local time that
-- comes twice means the first one.
create function outbox_engine.parse_event_at(p_time text, p_zone text) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_time = '' then null
    when outbox_engine.has_offset(p_time) then p_time::timestamptz
    else outbox_engine.instant_of(p_time::timestamp, p_zone)
  end
$$;

-- Whether PostgreSQL can read a time from the file, or there is none. The command read it as ISO 8601 before,
-- which allows offsets that PostgreSQL does not.
create function outbox_engine.is_time(p_time text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  perform nullif(p_time, '')::timestamptz;
  return true;
exception when data_exception then
  return false;
end
$$;

-- Says what is wrong with the `event_at` of a line, or returns null. `p_zone` is the member's or the
-- campaign's.
create function outbox_engine.event_at_problem(p_time text, p_zone text, p_schedule text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not outbox_engine.is_time(p_time) then
    return format('event_at %L is not a time', p_time);
  elsif outbox_engine.is_outside_calendar(nullif(p_time, '')::timestamptz) then
    return format('event_at %L is not between 1970 and 2200', p_time);
  elsif p_schedule = 'reminder' and p_time = '' then
    return 'no event_at, which reminders are sent around';
  elsif p_time <> '' and not outbox_engine.has_offset(p_time) and p_zone is null then
    return format('event_at %s has no offset, and there is no timezone', p_time);
  end if;
  return null;
end
$$;

-- Says what is wrong with one line of a file, or returns null.
create function outbox_engine.import_line_problem(
  m public.outbox_campaign_members, c public.outbox_campaigns, t public.outbox_templates,
  p_event_at text, p_import_id uuid, p_line integer
) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text := coalesce(
    outbox_engine.member_problem(m, c),
    case
      when m.recipient ~ outbox_engine.trunk_zero_pattern()
        then outbox_engine.recipient_problem(m.recipient)
    end,
    outbox_engine.event_at_problem(p_event_at, coalesce(m.timezone, c.timezone), c.schedule),
    outbox_engine.text_problem(t, m.parameters, true));
  v_line integer;
begin
  if v_problem is null then
    select line into v_line
    from outbox_engine.campaign_import_lines
    where import_id = p_import_id and external_id = m.external_id and line <> p_line;
    if found then
      return format('external_id %L is on line %s already', m.external_id, v_line);
    end if;
  end if;
  return v_problem;
end
$$;

-- Called by `outbox campaign import` before it reads a file: which columns the members must and may have.
-- `required` placeholders have no default. `zone_needed_by` names the setting that needs a zone, where the
-- campaign has none.
create function public.outbox_member_form(p_campaign text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  c public.outbox_campaigns := outbox_engine.get_campaign_for_import(p_campaign);
begin
  return (
    select jsonb_build_object(
      'template', t.name,
      'placeholders', outbox_engine.placeholders(t.body),
      'required', (select required from outbox_engine.text_bounds(t)),
      'needs_event', c.schedule = 'reminder',
      'zone_needed_by', case when c.timezone is null then outbox_engine.zone_needed_by(c) end)
    from public.outbox_templates t
    where t.name = c.template);
end
$$;

-- Called by `outbox campaign import` for each chunk of a file. Stages the valid lines, and answers the others
-- with what is wrong. Empty texts mean null; `p_parameters` are JSON objects. A second call with the same
-- chunk changes nothing.
create function public.outbox_stage_members(
  p_import_id uuid, p_campaign text, p_lines integer[], p_external_ids text[], p_recipients text[],
  p_timezones text[], p_event_ats text[], p_parameters text[]
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_campaign public.outbox_campaigns := outbox_engine.get_campaign_for_import(p_campaign);
  v_template public.outbox_templates;
  m public.outbox_campaign_members;
  v_event_at timestamptz;
  v_problem text;
  v_refused jsonb := '[]';
begin
  select * into v_template from public.outbox_templates where name = v_campaign.template;
  insert into outbox_engine.campaign_imports (id, campaign, digest, started_at)
  values (
    p_import_id, p_campaign, outbox_engine.import_digest(v_campaign, v_template), outbox_engine.now())
  on conflict do nothing;

  m.campaign := p_campaign;
  for i in 1 .. coalesce(cardinality(p_lines), 0) loop
    m.external_id := p_external_ids[i];
    m.recipient := p_recipients[i];
    m.timezone := nullif(p_timezones[i], '');
    m.parameters := p_parameters[i]::jsonb;
    v_problem := outbox_engine.import_line_problem(
      m, v_campaign, v_template, p_event_ats[i], p_import_id, p_lines[i]);
    if v_problem is null then
      v_event_at := outbox_engine.parse_event_at(
        p_event_ats[i], coalesce(m.timezone, v_campaign.timezone));
      insert into outbox_engine.campaign_import_lines
        (import_id, line, external_id, recipient, timezone, event_at, parameters)
      values
        (p_import_id, p_lines[i], m.external_id, m.recipient, m.timezone, v_event_at, m.parameters)
      on conflict (import_id, line) do nothing;
    else
      v_refused := v_refused || jsonb_build_object('line', p_lines[i], 'problem', v_problem);
    end if;
  end loop;
  return v_refused;
end
$$;

-- Refuses to end an import whose campaign or template was edited since its first chunk. Until the transaction
-- ends, neither can be edited in a way that makes a member invalid.
create function outbox_engine.check_import_is_current(p_import outbox_engine.campaign_imports) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_campaign public.outbox_campaigns;
begin
  perform outbox_engine.lock_for_use('campaign', p_import.campaign);
  select * into v_campaign from public.outbox_campaigns where name = p_import.campaign for key share;
  if outbox_engine.import_digest(v_campaign, outbox_engine.template_for_use(v_campaign.template))
    is distinct from p_import.digest then
    perform outbox_engine.refuse(
      format('campaign %L or its template was changed during the import', p_import.campaign),
      'Import again.');
  end if;
end
$$;

-- Makes members of the staged lines. The members' triggers run once for all of them, and check none again
-- while `committing` is this transaction.
create function outbox_engine.write_imported_members(p_import outbox_engine.campaign_imports) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  update outbox_engine.campaign_imports
  set committing = pg_catalog.pg_current_xact_id(), result = p_import.result
  where id = p_import.id;

  update public.outbox_campaign_members m
  set recipient = l.recipient, timezone = l.timezone, event_at = l.event_at, parameters = l.parameters
  from outbox_engine.campaign_import_lines l
  where l.import_id = p_import.id and m.campaign = p_import.campaign and m.external_id = l.external_id
    and (m.recipient, m.timezone, m.event_at, m.parameters)
      is distinct from (l.recipient, l.timezone, l.event_at, l.parameters);

  insert into public.outbox_campaign_members
    (campaign, external_id, recipient, timezone, event_at, parameters)
  select p_import.campaign, l.external_id, l.recipient, l.timezone, l.event_at, l.parameters
  from outbox_engine.campaign_import_lines l
  where l.import_id = p_import.id and not exists (
    select from public.outbox_campaign_members m
    where m.campaign = p_import.campaign and m.external_id = l.external_id
  )
  on conflict (campaign, external_id) do update
  set recipient = excluded.recipient, timezone = excluded.timezone, event_at = excluded.event_at,
    parameters = excluded.parameters;

  update outbox_engine.campaign_imports set committing = null where id = p_import.id;
  delete from outbox_engine.campaign_import_lines where import_id = p_import.id;
end
$$;

-- Called by `outbox campaign import` at the end: each staged line becomes a member, new or changed, in this
-- one transaction. Answers how many were `added`, `changed` and `unchanged`, or with `p_dry_run` how many
-- would be. A second call answers the same. PostgREST takes the statement timeout from this function; a
-- hundred thousand lines take a few seconds.
create function public.outbox_commit_import(p_import_id uuid, p_dry_run boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set statement_timeout = '60s'
as $$
declare
  v_import outbox_engine.campaign_imports;
begin
  select * into v_import from outbox_engine.campaign_imports where id = p_import_id for update;
  if not found then
    perform outbox_engine.refuse(
      'this import is not known any more', 'An import that is not finished is forgotten after a day.');
  elsif v_import.result is not null then
    return v_import.result;
  end if;
  perform outbox_engine.get_campaign_for_import(v_import.campaign);
  perform outbox_engine.check_import_is_current(v_import);

  select jsonb_build_object(
    'added', count(*) filter (where m.external_id is null),
    'changed', count(*) filter (where m.external_id is not null and x.differs),
    'unchanged', count(*) filter (where m.external_id is not null and not x.differs))
  into v_import.result
  from outbox_engine.campaign_import_lines l
  left join public.outbox_campaign_members m
    on m.campaign = v_import.campaign and m.external_id = l.external_id
  cross join lateral (
    select (m.recipient, m.timezone, m.event_at, m.parameters)
      is distinct from (l.recipient, l.timezone, l.event_at, l.parameters) as differs
  ) x
  where l.import_id = p_import_id;
  if not p_dry_run then
    perform outbox_engine.write_imported_members(v_import);
  end if;
  return v_import.result;
end
$$;

-- Called by `outbox campaign import` to give up. Deletes the staged lines.
create function public.outbox_discard_import(p_import_id uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  delete from outbox_engine.campaign_imports where id = p_import_id and result is null
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_member_form,
  public.outbox_stage_members,
  public.outbox_commit_import,
  public.outbox_discard_import
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_member_form,
  public.outbox_stage_members,
  public.outbox_commit_import,
  public.outbox_discard_import
to service_role;
