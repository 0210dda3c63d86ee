-- Templates: the table, what makes one valid, and what makes a text of it.

create table public.outbox_templates (
  name text primary key,
  body text not null,
  defaults jsonb not null default '{}',
  plain boolean not null default false,
  warning text,
  version integer not null default 1,
  updated_at timestamptz not null default outbox_engine.now(),
  constraint outbox_templates_name_length check (char_length(name) <= 200),
  constraint outbox_templates_body_length check (char_length(body) between 1 and 2000),
  constraint outbox_templates_defaults_are_an_object check (jsonb_typeof(defaults) = 'object')
);
alter table public.outbox_templates enable row level security;

comment on table public.outbox_templates is 'Texts with {{placeholder}}s, rendered when a row is claimed.';
comment on column public.outbox_templates.plain is 'Replace typographic look-alikes (curly quotes, dashes, dots) by characters of GSM-7';
comment on column public.outbox_templates.warning is
  'Engine: the character that makes texts of this template take more than twice the parts, and what only looks like a placeholder';
comment on column public.outbox_templates.version is 'Engine: a new one whenever body, defaults or plain change';

-- A template's text for one row.
create function outbox_engine.rendered_text(t public.outbox_templates, p_parameters jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case when t.plain then outbox_engine.plain_text(x.text) else x.text end
  from (select outbox_engine.render(t.body, outbox_engine.template_values(t.defaults, p_parameters)) as text) x
$$;

-- What of these values makes the text of a template too long, or null where it is not.
create function outbox_engine.length_problem(t public.outbox_templates, p_values jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format('template %L becomes a text of %s characters, 2000 are allowed%s', t.name, x.characters, (
    select format('; {{%s}} makes up %s of them', v.name, v.characters)
    from (
      select m[1] as name, sum(char_length(case when t.plain then outbox_engine.plain_text(p_values ->> m[1]) else p_values ->> m[1] end)) as characters
      from regexp_matches(t.body, '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}', 'g') m
      group by m[1]
    ) v
    order by v.characters desc, v.name
    limit 1))
  from (select char_length(outbox_engine.rendered_text(t, p_values)) as characters) x
  where x.characters > 2000
$$;

-- Why these values do not make a text of this template, or null where they do. `p_strict`: values without a
-- place are wrong as well, which they are when they are written, but not once a placeholder was taken out of
-- the template.
create function outbox_engine.text_problem(t public.outbox_templates, p_parameters jsonb, p_strict boolean) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_names text[] := outbox_engine.placeholders(t.body);
  v_values jsonb;
  v_name text;
  v_text text;
begin
  if jsonb_typeof(p_parameters) <> 'object' then
    return 'parameters must be an object, such as {"name": "Ada"}';
  end if;
  v_values := outbox_engine.template_values(t.defaults, p_parameters);
  foreach v_name in array v_names loop
    if v_values ->> v_name is null then
      return format('placeholder {{%s}} of template %L has no value', v_name, t.name);
    elsif jsonb_typeof(v_values -> v_name) in ('object', 'array') then
      return format('placeholder {{%s}} of template %L must be a text or a number', v_name, t.name);
    end if;
  end loop;
  if p_strict then
    select key into v_name
    from jsonb_object_keys(jsonb_strip_nulls(coalesce(p_parameters, '{}'))) key
    where key <> all (v_names)
    limit 1;
    if found then
      return format('template %L has no placeholder {{%s}}', t.name, v_name);
    end if;
  end if;
  v_text := outbox_engine.rendered_text(t, p_parameters);
  if char_length(v_text) > 2000 then
    return outbox_engine.length_problem(t, v_values);
  elsif btrim(v_text, E' \t\r\n') = '' then
    return format('template %L becomes a text that is all blank', t.name);
  end if;
  return null;
end
$$;

-- For checks of many rows at once: placeholders that a row must bring, how long the text is without values,
-- and how much a row's values can add per character at most (each may stand in the text several times). With
-- look-alikes replaced no text has more characters than it had bytes before, and a character becomes three at
-- most, such as the dots of an ellipsis.
create function outbox_engine.text_bounds(t public.outbox_templates, out required text[], out literal integer, out most integer)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select
    array(select n from unnest(outbox_engine.placeholders(t.body)) n where t.defaults ->> n is null),
    case when t.plain
      then octet_length(t.body) + u.uses * octet_length(t.defaults::text)
      else char_length(t.body) + u.uses * char_length(t.defaults::text)
    end,
    u.uses * case when t.plain then 3 else 1 end
  from (
    select coalesce(max(n.uses), 0) as uses
    from (
      select count(*)::integer as uses
      from regexp_matches(t.body, '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}', 'g') m
      group by m[1]
    ) n
  ) u
$$;

-- Why a row's template gives no text that may be sent.
create function outbox_engine.template_row_problem(p_template text, p_parameters jsonb) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_template public.outbox_templates;
begin
  select * into v_template from public.outbox_templates where name = p_template;
  if not found then
    return format('template %L does not exist any more', p_template);
  end if;
  return coalesce(
    outbox_engine.text_problem(v_template, p_parameters, false),
    format('template %L gives no text', p_template));
end
$$;

-- What is wrong with a template itself, or null.
create function outbox_engine.template_problem(t public.outbox_templates) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when btrim(coalesce(t.name, '')) = '' or btrim(coalesce(t.body, ''), E' \t\r\n') = '' then 'a template needs a name and a body'
    when char_length(t.name) > 200 then format('name has %s characters, 200 are allowed', char_length(t.name))
    when char_length(t.body) > 2000 then format('body has %s characters, 2000 are allowed', char_length(t.body))
    when stray.piece is not null
    then format('%L in the body is not a placeholder; write {{name}} with letters, digits and _', stray.piece)
    when jsonb_typeof(t.defaults) <> 'object' then 'defaults must be an object, such as {"name": "there"}'
    when surplus.name is not null then format('defaults name {{%s}}, which the body has no place for', surplus.name)
    when odd.name is not null then format('the default of {{%s}} must be a text or a number', odd.name)
    when btrim(outbox_engine.rendered_text(t, null), E' \t\r\n') = '' then 'the defaults make a text of the template that is all blank'
    -- As short as its texts are where a row leaves the defaults as they are.
    else outbox_engine.length_problem(t, (
      select coalesce(jsonb_object_agg(n, ''), '{}') from unnest(outbox_engine.placeholders(t.body)) n) || t.defaults)
  end
  from (
    select substring(
      regexp_replace(t.body, '\{\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\}\}', '', 'g') from '\{\{[^{}]{0,40}\}{0,2}|\}\}') as piece
  ) stray
  left join lateral (
    select key as name
    from jsonb_object_keys(case when jsonb_typeof(t.defaults) = 'object' then t.defaults else '{}' end) key
    where key <> all (outbox_engine.placeholders(t.body))
    limit 1
  ) surplus on true
  left join lateral (
    select key as name
    from jsonb_each(case when jsonb_typeof(t.defaults) = 'object' then t.defaults else '{}' end)
    where jsonb_typeof(value) in ('object', 'array')
    limit 1
  ) odd on true
$$;

-- What a reader of a template should know: that one character makes every part of its texts less than half as
-- long.
create function outbox_engine.alphabet_warning(p_text text, p_plain boolean) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format('%L at character %s is not in GSM-7, so a part holds 70 characters instead of 160%s', x.character,
    strpos(x.text, x.character),
    case when outbox_engine.plain_text(x.text) !~ outbox_engine.beyond_gsm7() then '; plain = true replaces look-alikes' else '' end)
  from (
    select y.text, substring(y.text from outbox_engine.beyond_gsm7()) as character
    from (select case when p_plain then outbox_engine.plain_text(p_text) else p_text end as text) y
  ) x
  where x.character is not null
$$;

-- Likewise, that something is written as placeholders are elsewhere, and goes out as it stands.
create function outbox_engine.brace_warning(p_body text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format('%s is no placeholder and goes out as it stands; one is written {{%s}}', x.found, btrim(x.found, '{} '))
  from (
    select substring(
      regexp_replace(p_body, '\{\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\}\}', '-', 'g') from '\{ *[A-Za-z_][A-Za-z0-9_]* *\}') as found
  ) x
  where x.found is not null
$$;

-- For which character all texts of a template leave GSM-7, or null.
create function outbox_engine.template_alphabet_warning(t public.outbox_templates) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.alphabet_warning(t.body || array_to_string(array(select value from jsonb_each_text(t.defaults)), ''), t.plain)
$$;

create function outbox_engine.before_template_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text;
begin
  new.defaults := jsonb_strip_nulls(coalesce(new.defaults, '{}'));
  new.plain := coalesce(new.plain, false);
  new.updated_at := outbox_engine.now();
  if tg_op = 'INSERT' then
    new.version := 1;
  else
    new.version := old.version + case when (new.body, new.defaults, new.plain) is distinct from (old.body, old.defaults, old.plain) then 1 else 0 end;
  end if;
  v_problem := outbox_engine.template_problem(new);
  if v_problem is not null then
    perform outbox_engine.refuse(v_problem);
  end if;
  new.warning := nullif(concat_ws('; ', outbox_engine.template_alphabet_warning(new), outbox_engine.brace_warning(new.body)), '');
  return new;
end
$$;
create trigger outbox_templates_change before insert or update on public.outbox_templates for each row
  execute function outbox_engine.before_template_change();

-- Refuses a row whose template is unknown, lacks a value, is given one it has no place for, or grows too
-- long. An edit of the template waits until the row is committed and can be seen, and the row for an edit, so
-- that neither lookup_misses the other.
create function outbox_engine.check_template_use(p_template text, p_parameters jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_template public.outbox_templates;
  v_problem text;
begin
  select * into v_template from public.outbox_templates where name = p_template for share;
  if not found then
    perform outbox_engine.refuse(format('template %L does not exist', p_template));
  end if;
  v_problem := outbox_engine.text_problem(v_template, p_parameters, true);
  if v_problem is not null then
    perform outbox_engine.refuse(v_problem, 'Values are given in parameters; the template may have defaults.');
  end if;
end
$$;

create policy outbox_templates_server on public.outbox_templates for all to service_role using (true) with check (true);

revoke all on public.outbox_templates from public, anon, authenticated, service_role;
grant select, delete on public.outbox_templates to service_role;
grant insert (name, body, defaults, plain), update (name, body, defaults, plain) on public.outbox_templates to service_role;
