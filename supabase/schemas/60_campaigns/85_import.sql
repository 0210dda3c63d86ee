-- Members from a file: staged and checked in chunks, then all of them become members in one transaction, or
-- none.

-- The campaign that members are to be imported into. Refused where nobody knows it, or where it sends nothing
-- any more.
create function outbox_engine.importing_campaign(p_campaign text) returns public.outbox_campaigns
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  c public.outbox_campaigns := outbox_engine.named_campaign(p_campaign);
begin
  if c.status = 'ended' then
    perform outbox_engine.refuse(format('campaign %L was ended, so members of it get nothing', p_campaign), 'Make a new campaign.');
  end if;
  return c;
end
$$;

-- Everything that decides whether a member is right: the campaign's schedule, zone, window and caps, and the
-- template.
create function outbox_engine.import_basis(c public.outbox_campaigns, t public.outbox_templates) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select md5(row(t.name, t.body, t.defaults, t.plain, c.schedule, c.timezone, c.offsets::text, outbox_engine.zone_needed_by(c))::text)
$$;

-- An instant as a file gives it: with an offset, or by the wall clock of the member's zone. Of a local time
-- that comes twice, the first. `p_at` is ISO 8601.
create function outbox_engine.event_of(p_at text, p_zone text) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_at = '' then null
    when p_at ~ '[+-]\d\d:\d\d(:\d\d)?$' then p_at::timestamptz
    else outbox_engine.instant_of(p_at::timestamp, p_zone)
  end
$$;

-- Whether the database reads a text as a time; '' is none. What it takes is not quite what others do, such as
-- offsets up to 16 hours.
create function outbox_engine.is_time(p_at text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  perform nullif(p_at, '')::timestamptz;
  return true;
exception when data_exception then
  return false;
end
$$;

-- What is wrong with one line, or null.
create function outbox_engine.line_fault(
  m public.outbox_campaign_members, c public.outbox_campaigns, t public.outbox_templates, p_event_at text, p_import_id uuid, p_line integer
) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text := outbox_engine.member_fault(m, c);
  v_line integer;
begin
  if v_problem is null and not outbox_engine.is_time(p_event_at) then
    return format('event_at %L is not a time', p_event_at);
  elsif v_problem is null and outbox_engine.is_outside_calendar(nullif(p_event_at, '')::timestamptz) then
    return format('event_at %L is not between 1970 and 2200', p_event_at);
  elsif v_problem is null and c.schedule = 'reminder' and p_event_at = '' then
    return 'no event_at, which reminders are sent around';
  elsif v_problem is null and p_event_at <> '' and p_event_at !~ '[+-]\d\d:\d\d(:\d\d)?$' and coalesce(m.timezone, c.timezone) is null then
    return format('event_at %s has no offset, and there is no timezone', p_event_at);
  end if;
  v_problem := coalesce(v_problem, outbox_engine.text_problem(t, m.parameters, true));
  if v_problem is null then
    select line into v_line from outbox_engine.campaign_import_lines
    where import_id = p_import_id and external_id = m.external_id and line <> p_line;
    if found then
      return format('external_id %L is on line %s already', m.external_id, v_line);
    end if;
  end if;
  return v_problem;
end
$$;

-- Called by `outbox campaign import` before it reads a file: what the columns of members must and may be.
-- `required` placeholders have no default, and `zone_needed_by` is what needs a zone where the campaign has
-- none.
create function public.outbox_member_form(p_campaign text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  c public.outbox_campaigns := outbox_engine.importing_campaign(p_campaign);
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

-- Called by `outbox campaign import` for each chunk of a file. Keeps the lines that are right; answers the
-- others with why not. Empty texts stand for nothing; `p_parameters` are JSON objects. Calling it again with
-- the same chunk changes nothing.
create function public.outbox_stage_members(
  p_import_id uuid, p_campaign text, p_lines integer[], p_external_ids text[], p_recipients text[], p_timezones text[],
  p_event_ats text[], p_parameters text[]
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_campaign public.outbox_campaigns := outbox_engine.importing_campaign(p_campaign);
  v_template public.outbox_templates;
  m public.outbox_campaign_members;
  v_problem text;
  v_refused jsonb := '[]';
begin
  select * into v_template from public.outbox_templates where name = v_campaign.template;
  insert into outbox_engine.campaign_imports (id, campaign, basis, started_at)
  values (p_import_id, p_campaign, outbox_engine.import_basis(v_campaign, v_template), outbox_engine.now())
  on conflict do nothing;

  m.campaign := p_campaign;
  for i in 1 .. coalesce(cardinality(p_lines), 0) loop
    m.external_id := p_external_ids[i];
    m.recipient := p_recipients[i];
    m.timezone := nullif(p_timezones[i], '');
    m.parameters := p_parameters[i]::jsonb;
    v_problem := outbox_engine.line_fault(m, v_campaign, v_template, p_event_ats[i], p_import_id, p_lines[i]);
    if v_problem is null then
      insert into outbox_engine.campaign_import_lines (import_id, line, external_id, recipient, timezone, event_at, parameters)
      values (p_import_id, p_lines[i], m.external_id, m.recipient, m.timezone,
        outbox_engine.event_of(p_event_ats[i], coalesce(m.timezone, v_campaign.timezone)), m.parameters)
      on conflict (import_id, line) do nothing;
    else
      v_refused := v_refused || jsonb_build_object('line', p_lines[i], 'problem', v_problem);
    end if;
  end loop;
  return v_refused;
end
$$;

-- Called by `outbox campaign import` at the end: every staged line becomes a member, new or changed, in this
-- one transaction. Answers how many were `added`, `changed` and `unchanged`; with `p_dry_run`, how many would
-- be. Asked again, it answers the same. (PostgREST takes the statement timeout from the function. A hundred
-- thousand lines take a few seconds.)
create function public.outbox_commit_import(p_import_id uuid, p_dry_run boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set statement_timeout = '60s'
as $$
declare
  v_import outbox_engine.campaign_imports;
  v_basis text;
  v_total bigint;
  v_known bigint;
  v_changed bigint;
begin
  select * into v_import from outbox_engine.campaign_imports where id = p_import_id for update;
  if not found then
    perform outbox_engine.refuse('this import is not known any more', 'An import that is not finished is forgotten after a day.');
  elsif v_import.result is not null then
    return v_import.result;
  end if;
  perform outbox_engine.importing_campaign(v_import.campaign);
  select outbox_engine.import_basis(c, t) into v_basis
  from public.outbox_campaigns c join public.outbox_templates t on t.name = c.template
  where c.name = v_import.campaign
  for key share of c
  for share of t;
  if v_basis is distinct from v_import.basis then
    perform outbox_engine.refuse(format('campaign %L or its template was changed during the import', v_import.campaign), 'Import again.');
  end if;

  select count(*), count(m.external_id), count(m.external_id) filter (where
    (m.recipient, m.timezone, m.event_at, m.parameters) is distinct from (l.recipient, l.timezone, l.event_at, l.parameters))
  into v_total, v_known, v_changed
  from outbox_engine.campaign_import_lines l
  left join public.outbox_campaign_members m on m.campaign = v_import.campaign and m.external_id = l.external_id
  where l.import_id = p_import_id;
  v_import.result := jsonb_build_object('added', v_total - v_known, 'changed', v_changed, 'unchanged', v_known - v_changed);
  if p_dry_run then
    return v_import.result;
  end if;

  update outbox_engine.campaign_imports
  set committing = pg_catalog.pg_current_xact_id(), result = v_import.result
  where id = p_import_id;
  update public.outbox_campaign_members m
  set recipient = l.recipient, timezone = l.timezone, event_at = l.event_at, parameters = l.parameters
  from outbox_engine.campaign_import_lines l
  where l.import_id = p_import_id and m.campaign = v_import.campaign and m.external_id = l.external_id
    and (m.recipient, m.timezone, m.event_at, m.parameters) is distinct from (l.recipient, l.timezone, l.event_at, l.parameters);
  insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)
  select v_import.campaign, l.external_id, l.recipient, l.timezone, l.event_at, l.parameters
  from outbox_engine.campaign_import_lines l
  where l.import_id = p_import_id and not exists (
    select from public.outbox_campaign_members m where m.campaign = v_import.campaign and m.external_id = l.external_id)
  on conflict (campaign, external_id) do update
  set recipient = excluded.recipient, timezone = excluded.timezone, event_at = excluded.event_at, parameters = excluded.parameters;
  update outbox_engine.campaign_imports set committing = null where id = p_import_id;
  delete from outbox_engine.campaign_import_lines where import_id = p_import_id;
  return v_import.result;
end
$$;

-- Called by `outbox campaign import` where nothing is to be imported after all. Forgets what was staged.
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
