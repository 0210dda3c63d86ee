-- Members from a file: `outbox campaign import` stages and checks them in chunks. Once all are checked, they
-- become members, some thousands in each call, so that no call takes long.

create type outbox_engine.import_counts as (added integer, changed integer, unchanged integer);

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

-- Says what is wrong with one line of a file by itself, or returns null.
create function outbox_engine.line_problem(
  m public.outbox_campaign_members, c public.outbox_campaigns, t public.outbox_templates, p_event_at text
) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce(
    outbox_engine.member_problem(m, c),
    case
      when m.recipient ~ outbox_engine.trunk_zero_pattern()
        then outbox_engine.recipient_problem(m.recipient)
    end,
    outbox_engine.event_at_problem(p_event_at, coalesce(m.timezone, c.timezone), c.schedule),
    outbox_engine.text_problem(t, m.parameters, true));
end
$$;

-- Stages lines that are valid by themselves, and returns those whose `external_id` an earlier line has.
-- Planned at each call: a plan from when the table was empty would read all lines of the import for each one.
create function outbox_engine.stage_lines(p_lines outbox_engine.campaign_import_lines[])
returns table (line integer, problem text)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan set enable_seqscan = off
as $$
begin
  insert into outbox_engine.campaign_import_lines
  select l.* from unnest(p_lines) l order by l.line
  on conflict do nothing;

  return query
  select l.line, format('external_id %L is on line %s already', l.external_id, x.line)
  from unnest(p_lines) l
  cross join lateral (
    select s.line
    from outbox_engine.campaign_import_lines s
    where s.import_id = l.import_id and s.external_id = l.external_id
    limit 1
  ) x
  where x.line <> l.line
  order by l.line;
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
  v_valid outbox_engine.campaign_import_lines[] := '{}';
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
    m.recipient := outbox_engine.read_recipient(p_recipients[i]);
    m.timezone := nullif(p_timezones[i], '');
    m.parameters := p_parameters[i]::jsonb;
    v_problem := outbox_engine.line_problem(m, v_campaign, v_template, p_event_ats[i]);
    if v_problem is null then
      v_event_at := outbox_engine.parse_event_at(
        p_event_ats[i], coalesce(m.timezone, v_campaign.timezone));
      v_valid := v_valid || row(
        p_import_id, p_lines[i], m.external_id, m.recipient, m.timezone, v_event_at, m.parameters
      )::outbox_engine.campaign_import_lines;
    else
      v_refused := v_refused || jsonb_build_object('line', p_lines[i], 'problem', v_problem);
    end if;
  end loop;
  return v_refused || (
    select coalesce(jsonb_agg(jsonb_build_object('line', s.line, 'problem', s.problem)), '[]')
    from outbox_engine.stage_lines(v_valid) s);
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

-- How many staged lines, up to line `p_last`, are new members, change one, or change nothing.
create function outbox_engine.count_staged_lines(
  p_import outbox_engine.campaign_imports, p_last integer
) returns outbox_engine.import_counts
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off
as $$
declare
  v_counts outbox_engine.import_counts;
begin
  select count(*) filter (where m.external_id is null),
    count(*) filter (where m.external_id is not null and x.differs),
    count(*) filter (where m.external_id is not null and not x.differs)
  into v_counts
  from outbox_engine.campaign_import_lines l
  left join lateral (
    select x.*
    from public.outbox_campaign_members x
    where x.campaign = p_import.campaign and x.external_id = l.external_id
    limit 1
  ) m on true
  cross join lateral (
    select (m.recipient, m.timezone, m.event_at, m.parameters)
      is distinct from (l.recipient, l.timezone, l.event_at, l.parameters) as differs
  ) x
  where l.import_id = p_import.id and l.line > p_import.written_to and l.line <= p_last;
  return v_counts;
end
$$;

-- Makes members of the next `p_most` staged lines, and adds up how many were added, changed and unchanged.
-- The members' triggers check none again while `committing` is this transaction. Members are named by their
-- ids besides the joins, and the function allows no nested loop: the planner's statistics do not know a new
-- campaign yet, and it would compare each of its members with each line (docs/decisions/0006).
create function outbox_engine.write_staged_members(
  p_import outbox_engine.campaign_imports, p_most integer
) returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_last integer;
  v_ids text[];
  v_counts outbox_engine.import_counts;
begin
  select max(x.line), array_agg(x.external_id order by x.external_id) into v_last, v_ids
  from (
    select l.line, l.external_id
    from outbox_engine.campaign_import_lines l
    where l.import_id = p_import.id and l.line > p_import.written_to
    order by l.line
    limit p_most
  ) x;
  v_counts := outbox_engine.count_staged_lines(p_import, coalesce(v_last, p_import.written_to));
  update outbox_engine.campaign_imports
  set
    committing = pg_catalog.pg_current_xact_id(),
    written_to = coalesce(v_last, p_import.written_to),
    result = jsonb_build_object(
      'added', coalesce((p_import.result ->> 'added')::integer, 0) + v_counts.added,
      'changed', coalesce((p_import.result ->> 'changed')::integer, 0) + v_counts.changed,
      'unchanged', coalesce((p_import.result ->> 'unchanged')::integer, 0) + v_counts.unchanged)
  where id = p_import.id
  returning result into p_import.result;

  update public.outbox_campaign_members m
  set recipient = l.recipient, timezone = l.timezone, event_at = l.event_at, parameters = l.parameters
  from outbox_engine.campaign_import_lines l
  where l.import_id = p_import.id and l.line > p_import.written_to and l.line <= v_last
    and m.campaign = p_import.campaign and m.external_id = l.external_id and m.external_id = any (v_ids)
    and (m.recipient, m.timezone, m.event_at, m.parameters)
      is distinct from (l.recipient, l.timezone, l.event_at, l.parameters);

  insert into public.outbox_campaign_members
    (campaign, external_id, recipient, timezone, event_at, parameters)
  select p_import.campaign, l.external_id, l.recipient, l.timezone, l.event_at, l.parameters
  from outbox_engine.campaign_import_lines l
  where l.import_id = p_import.id and l.line > p_import.written_to and l.line <= v_last
    and not exists (
      select from public.outbox_campaign_members m
      where m.campaign = p_import.campaign and m.external_id = l.external_id and m.external_id = any (v_ids)
    )
  on conflict (campaign, external_id) do update
  set recipient = excluded.recipient, timezone = excluded.timezone, event_at = excluded.event_at,
    parameters = excluded.parameters;

  update outbox_engine.campaign_imports set committing = null where id = p_import.id;
  delete from outbox_engine.campaign_import_lines
  where import_id = p_import.id and line > p_import.written_to and line <= v_last;
  return p_import.result;
end
$$;

-- The import, locked against another call about it. Refuses one that is not known.
create function outbox_engine.lock_import(p_import_id uuid) returns outbox_engine.campaign_imports
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_import outbox_engine.campaign_imports;
begin
  select * into v_import from outbox_engine.campaign_imports where id = p_import_id for update;
  if not found then
    perform outbox_engine.refuse(
      'this import is not known any more', 'An import that is not finished is forgotten after a day.');
  end if;
  return v_import;
end
$$;

-- Called by `outbox campaign import` at the end, until no line is `left`: the next `p_most` staged lines
-- become members, new or changed. Answers how many were `added`, `changed` and `unchanged` so far, also by
-- calls whose answer was lost.
create function public.outbox_write_members(p_import_id uuid, p_most integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_import outbox_engine.campaign_imports := outbox_engine.lock_import(p_import_id);
  v_is_left boolean;
begin
  v_is_left := v_import.result is null or exists (
    select from outbox_engine.campaign_import_lines l
    where l.import_id = p_import_id and l.line > v_import.written_to);
  if v_is_left then
    if v_import.result is null then
      perform outbox_engine.audit_change('import_members', v_import.campaign);
    end if;
    perform outbox_engine.get_campaign_for_import(v_import.campaign);
    perform outbox_engine.check_import_is_current(v_import);
    v_import.result := outbox_engine.write_staged_members(v_import, p_most);
  end if;
  return v_import.result || jsonb_build_object('left', exists (
    select from outbox_engine.campaign_import_lines l where l.import_id = p_import_id));
end
$$;

-- Called by `outbox campaign import --dry-run`: how many lines would be `added`, `changed` and `unchanged`.
-- Without `p_dry_run`, all lines become members in this one call, for commands of release 0.1.0. A second
-- call answers the same. PostgREST takes the statement timeout from this function.
create function public.outbox_commit_import(p_import_id uuid, p_dry_run boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set statement_timeout = '60s'
as $$
declare
  v_import outbox_engine.campaign_imports := outbox_engine.lock_import(p_import_id);
begin
  if v_import.result is not null then
    return v_import.result;
  end if;
  perform outbox_engine.get_campaign_for_import(v_import.campaign);
  perform outbox_engine.check_import_is_current(v_import);
  if p_dry_run then
    return to_jsonb(outbox_engine.count_staged_lines(v_import, 2147483647));
  end if;
  perform outbox_engine.audit_change('import_members', v_import.campaign);
  return outbox_engine.write_staged_members(v_import, 2147483647);
end
$$;

-- Called by `outbox campaign import` to give up. Deletes the lines that are still staged.
create function public.outbox_discard_import(p_import_id uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  delete from outbox_engine.campaign_imports i
  where i.id = p_import_id
    and (i.result is null
      or exists (select from outbox_engine.campaign_import_lines l where l.import_id = i.id))
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_member_form,
  public.outbox_stage_members,
  public.outbox_write_members,
  public.outbox_commit_import,
  public.outbox_discard_import
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_member_form,
  public.outbox_stage_members,
  public.outbox_write_members,
  public.outbox_commit_import,
  public.outbox_discard_import
to service_role;
