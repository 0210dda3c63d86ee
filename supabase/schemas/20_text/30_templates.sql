-- Templates: the table, when one is valid, and the text it makes from values.
--
-- Functions named `…_problem` describe the first thing that is wrong, in words for the app, or return null.

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
comment on column public.outbox_templates.plain is
  'Replace typographic look-alikes (curly quotes, dashes, dots) by characters of GSM-7';
comment on column public.outbox_templates.warning is
  'Engine: the character that more than doubles the parts of each text, and braces that are no placeholder';
comment on column public.outbox_templates.version is
  'Engine: increases with each change of body, defaults or plain';

-- The text a template makes for one message.
create function outbox_engine.rendered_text(t public.outbox_templates, p_parameters jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := outbox_engine.render(t.body, outbox_engine.template_values(t.defaults, p_parameters));
begin
  return case when t.plain then outbox_engine.plain_text(v_text) else v_text end;
end
$$;

-- Each placeholder of a body, and how often it stands there.
create function outbox_engine.placeholder_uses(p_body text) returns table (name text, uses integer)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select m[1], count(*)::integer
  from regexp_matches(p_body, outbox_engine.placeholder_pattern(), 'g') m
  group by m[1]
$$;

-- A body with each placeholder replaced by `p_replacement`, to find braces that are no placeholder.
create function outbox_engine.without_placeholders(p_body text, p_replacement text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select regexp_replace(p_body, outbox_engine.placeholder_pattern(), p_replacement, 'g')
$$;

-- Says that the text is longer than 2000 characters, and which placeholder makes up most of it.
create function outbox_engine.length_problem(t public.outbox_templates, p_values jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format(
    'template %L becomes a text of %s characters, 2000 are allowed%s', t.name, x.characters, (
      select format('; {{%s}} makes up %s of them', u.name, u.uses * v.characters)
      from outbox_engine.placeholder_uses(t.body) u
      cross join lateral (
        select char_length(p_values ->> u.name) as characters
      ) v
      order by u.uses * v.characters desc, u.name
      limit 1
    ))
  from (select char_length(outbox_engine.rendered_text(t, p_values)) as characters) x
  where x.characters > 2000
$$;

-- Says why a template makes no text from these values. With `p_strict`, a value without a placeholder is
-- wrong too: a writer may have mistyped its name. Rows that are waiting already may have such values, because
-- an edit may remove a placeholder.
create function outbox_engine.text_problem(
  t public.outbox_templates, p_parameters jsonb, p_strict boolean
) returns text
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
  elsif outbox_engine.is_blank(v_text) then
    return format('template %L becomes a text that is all blank', t.name);
  end if;
  return null;
end
$$;

-- Called by edits of templates and campaigns, to check many rows without rendering each: a row's text is at
-- most `literal_length + growth * (characters of its values)` long, and a row without a value for one of
-- `required` has no text. `growth` is more than 1 where a placeholder stands in the body several times. With
-- `plain`, a text has no more characters than it had bytes, and one character becomes at most three ("...").
create function outbox_engine.text_bounds(
  t public.outbox_templates, out required text[], out literal_length integer, out growth integer
)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select
    array(select n from unnest(outbox_engine.placeholders(t.body)) n where t.defaults ->> n is null),
    case
      when t.plain then octet_length(t.body) + u.uses * octet_length(t.defaults::text)
      else char_length(t.body) + u.uses * char_length(t.defaults::text)
    end,
    u.uses * case when t.plain then 3 else 1 end
  from (select coalesce(max(p.uses), 0) as uses from outbox_engine.placeholder_uses(t.body) p) u
$$;

-- What `check_template_use` has to know of each template, so that most messages are not rendered to be
-- checked: the names of its placeholders, and its `text_bounds`. A template that may make a blank text has no
-- row.
create table outbox_engine.template_bounds (
  template text primary key references public.outbox_templates (name) on update cascade on delete cascade,
  names text[] not null,
  required text[] not null,
  literal_length integer not null,
  growth integer not null
);
alter table outbox_engine.template_bounds enable row level security;

-- Writes the bounds of a template.
create function outbox_engine.write_template_bounds(t public.outbox_templates) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  delete from outbox_engine.template_bounds where template = t.name;
  insert into outbox_engine.template_bounds (template, names, required, literal_length, growth)
  select t.name, outbox_engine.placeholders(t.body), b.required, b.literal_length, b.growth
  from outbox_engine.text_bounds(t) b
  where not outbox_engine.is_blank(outbox_engine.plain_text(outbox_engine.without_placeholders(t.body, '')))
$$;

-- Runs after each insert and update of a template.
create function outbox_engine.after_template_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.write_template_bounds(new);
  return null;
end
$$;
create trigger outbox_templates_changed after insert or update on public.outbox_templates for each row
  execute function outbox_engine.after_template_change();

-- Called by the claim and the preview for a message that got no text. Never null.
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

-- Says what is wrong with a template's defaults, which must be an object of texts and numbers, each for a
-- placeholder of the body.
create function outbox_engine.defaults_problem(t public.outbox_templates) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
begin
  if jsonb_typeof(t.defaults) <> 'object' then
    return 'defaults must be an object, such as {"name": "there"}';
  end if;
  select key into v_name
  from jsonb_object_keys(t.defaults) key
  where key <> all (outbox_engine.placeholders(t.body))
  limit 1;
  if found then
    return format('defaults name {{%s}}, which the body has no place for', v_name);
  end if;
  select key into v_name from jsonb_each(t.defaults) where jsonb_typeof(value) in ('object', 'array') limit 1;
  if found then
    return format('the default of {{%s}} must be a text or a number', v_name);
  end if;
  return null;
end
$$;

-- Says what is wrong with a template itself.
create function outbox_engine.template_problem(t public.outbox_templates) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_braces text := substring(
    outbox_engine.without_placeholders(t.body, '') from '\{\{[^{}]{0,40}\}{0,2}|\}\}');
  v_problem text;
begin
  if btrim(coalesce(t.name, '')) = '' or outbox_engine.is_blank(coalesce(t.body, '')) then
    return 'a template needs a name and a body';
  elsif char_length(t.name) > 200 then
    return format('name has %s characters, 200 are allowed', char_length(t.name));
  elsif char_length(t.body) > 2000 then
    return format('body has %s characters, 2000 are allowed', char_length(t.body));
  elsif v_braces is not null then
    return format(
      '%L in the body is not a placeholder; write {{name}} with letters, digits and _', v_braces);
  end if;
  v_problem := outbox_engine.defaults_problem(t);
  if v_problem is not null then
    return v_problem;
  elsif outbox_engine.is_blank(outbox_engine.rendered_text(t, null)) then
    return 'the defaults make a text of the template that is all blank';
  end if;
  -- The shortest text that leaves the defaults as they are: placeholders without a default are empty.
  return outbox_engine.length_problem(t, (
    select coalesce(jsonb_object_agg(n, ''), '{}') from unnest(outbox_engine.placeholders(t.body)) n
  ) || t.defaults);
end
$$;

-- Warns of the first character that is not in GSM-7: with it, a part holds less than half as much. Null
-- without one.
create function outbox_engine.alphabet_warning(p_text text, p_plain boolean) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format(
    '%L at character %s is not in GSM-7, so a part holds 70 characters instead of 160%s',
    x.character,
    strpos(x.text, x.character),
    case
      when outbox_engine.without_look_alikes(x.text) !~ outbox_engine.beyond_gsm7()
      then '; plain = true replaces look-alikes'
      else ''
    end)
  from (
    select y.text, substring(y.text from outbox_engine.beyond_gsm7()) as character
    from (
      select case when p_plain then outbox_engine.without_look_alikes(p_text) else p_text end as text
    ) y
  ) x
  where x.character is not null
$$;

-- Warns of `{name}` and `{{{name}}}`, which other systems replace. This one sends the first as it stands, and
-- the second with braces around the value. Null without one.
create function outbox_engine.brace_warning(p_body text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when x.braced is not null then format(
      '%s goes out with braces around its value; write {{%s}}', x.braced, btrim(x.braced, '{} '))
    when x.single is not null then format(
      '%s is no placeholder and goes out as it stands; one is written {{%s}}',
      x.single, btrim(x.single, '{} '))
  end
  from (
    select
      substring(p_body from '\{{3,}\s*[A-Za-z_][A-Za-z0-9_]*\s*\}{2,}') as braced,
      substring(
        outbox_engine.without_placeholders(p_body, '-') from '\{ *[A-Za-z_][A-Za-z0-9_]* *\}') as single
  ) x
$$;

-- Warns of a character outside GSM-7 that stands in every text of a template, in its body or its defaults.
create function outbox_engine.template_alphabet_warning(t public.outbox_templates) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.alphabet_warning(
    t.body || array_to_string(array(select value from jsonb_each_text(t.defaults)), ''), t.plain)
$$;

-- Runs before each insert and update of a template: refuses invalid ones, and writes version and warning.
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
  elsif (new.body, new.defaults, new.plain) is distinct from (old.body, old.defaults, old.plain) then
    new.version := old.version + 1;
  else
    new.version := old.version;
  end if;
  v_problem := outbox_engine.template_problem(new);
  if v_problem is not null then
    perform outbox_engine.refuse(v_problem);
  end if;
  new.warning := nullif(
    concat_ws('; ', outbox_engine.template_alphabet_warning(new), outbox_engine.brace_warning(new.body)), '');
  return new;
end
$$;
create trigger outbox_templates_change before insert or update on public.outbox_templates for each row
  execute function outbox_engine.before_template_change();

-- Called by whatever writes rows that use a template: the template, null where there is none. Until the
-- transaction ends, edits wait for it, and then see its rows. A transaction that reads from an older snapshot
-- could take a template that was edited since, and gets a serialization failure instead.
create function outbox_engine.template_for_use(p_template text) returns public.outbox_templates
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_template public.outbox_templates;
begin
  perform outbox_engine.lock_for_use('template', p_template);
  if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
    select * into v_template from public.outbox_templates where name = p_template for share;
  else
    select * into v_template from public.outbox_templates where name = p_template;
  end if;
  return v_template;
end
$$;

-- Called before the insert of a message with a template. Refuses it where the template is unknown, lacks a
-- value, is given a value it has no placeholder for, or makes too long a text.
create function outbox_engine.check_template_use(p_template text, p_parameters jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  b outbox_engine.template_bounds;
  v_written constant text := p_parameters::text;
  v_template public.outbox_templates;
  v_problem text;
begin
  if current_setting('transaction_isolation') = 'read committed' then
    perform outbox_engine.lock_for_use('template', p_template);
    select * into b from outbox_engine.template_bounds where template = p_template;
    -- Each placeholder without a default has a value, each value a placeholder, none is an object or array,
    -- and together they are short. A value with a bracket is left to the slow check.
    if found and p_parameters ?& b.required and p_parameters - b.names = '{}'
      and v_written ~ '^\{[^][{}]*\}$'
      and b.literal_length + b.growth * char_length(v_written) <= 2000 then
      return;
    end if;
  end if;
  v_template := outbox_engine.template_for_use(p_template);
  if v_template.name is null then
    perform outbox_engine.refuse(format('template %L does not exist', p_template));
  end if;
  v_problem := outbox_engine.text_problem(v_template, p_parameters, true);
  if v_problem is not null then
    perform outbox_engine.refuse(
      v_problem, 'Values are given in parameters; the template may have defaults.');
  end if;
end
$$;

create policy outbox_templates_server on public.outbox_templates for all to service_role
  using (true) with check (true);

revoke all on public.outbox_templates from public, anon, authenticated, service_role;
grant select, delete on public.outbox_templates to service_role;
grant
  insert (name, body, defaults, plain),
  update (name, body, defaults, plain)
  on public.outbox_templates to service_role;
