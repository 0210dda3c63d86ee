-- Texts: templates with {{placeholder}}s, and how many parts a text takes on the air.

create table public.templates (
  name text primary key,
  body text not null,
  defaults jsonb not null default '{}',
  version integer not null default 1,
  updated_at timestamptz not null default outbox_engine.now(),
  constraint templates_body_length check (char_length(body) between 1 and 2000),
  constraint templates_defaults_are_an_object check (jsonb_typeof(defaults) = 'object')
);
alter table public.templates enable row level security;
comment on table public.templates is 'Texts with {{placeholder}}s, rendered when a row is claimed.';

-- The names of a text's placeholders, each once.
create function outbox_engine.placeholders(p_body text) returns text[]
language sql immutable set search_path = ''
as $$
  select coalesce(array_agg(distinct m[1] order by m[1]), '{}')
  from regexp_matches(p_body, '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}', 'g') m
$$;

-- The first placeholder that has no value, or null where all have one.
create function outbox_engine.missing_placeholder(p_body text, p_values jsonb) returns text
language sql immutable set search_path = ''
as $$
  select name
  from unnest(outbox_engine.placeholders(p_body)) name
  where p_values ->> name is null
  order by name
  limit 1
$$;

-- The text with every placeholder replaced. One pass over the template, so a value that looks like a placeholder stays as it is.
create function outbox_engine.render(p_body text, p_values jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_pieces text[] := regexp_split_to_array(p_body, '\{\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\}\}');
  v_text text := v_pieces[1];
  v_place integer := 1;
  v_name text;
begin
  for v_name in
    select m[1] from regexp_matches(p_body, '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}', 'g') m
  loop
    v_place := v_place + 1;
    v_text := v_text || (p_values ->> v_name) || v_pieces[v_place];
  end loop;
  return v_text;
end
$$;

-- Refuses a row whose template is unknown, lacks a value, is given one it has no place for, or grows too long.
create function outbox_engine.check_template_use(p_template text, p_parameters jsonb) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_template public.templates;
  v_name text;
  v_length integer;
begin
  select * into v_template from public.templates where name = p_template;
  if not found then
    perform outbox_engine.refuse(format('template %L does not exist', p_template));
  end if;
  if jsonb_typeof(p_parameters) is distinct from 'object' and p_parameters is not null then
    perform outbox_engine.refuse('parameters must be an object', 'Such as {"name": "Ada"}.');
  end if;

  v_name := outbox_engine.missing_placeholder(v_template.body, v_template.defaults || coalesce(p_parameters, '{}'));
  if v_name is not null then
    perform outbox_engine.refuse(
      format('placeholder {{%s}} of template %L has no value', v_name, p_template),
      'Give it in parameters, or a default in the template.');
  end if;

  select key into v_name
  from jsonb_object_keys(coalesce(p_parameters, '{}')) key
  where key <> all (outbox_engine.placeholders(v_template.body))
  limit 1;
  if found then
    perform outbox_engine.refuse(format('template %L has no placeholder {{%s}}', p_template, v_name));
  end if;

  v_length := char_length(outbox_engine.render(v_template.body, v_template.defaults || coalesce(p_parameters, '{}')));
  if v_length not between 1 and 2000 then
    perform outbox_engine.refuse(
      format('template %L becomes a text of %s characters, 1 to 2000 are allowed', p_template, v_length));
  end if;
end
$$;

create function outbox_engine.before_template_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  new.defaults := coalesce(new.defaults, '{}');
  new.updated_at := outbox_engine.now();
  if tg_op = 'INSERT' then
    new.version := 1;
  else
    new.version := old.version + case when (new.body, new.defaults) is distinct from (old.body, old.defaults) then 1 else 0 end;
  end if;
  if btrim(coalesce(new.name, '')) = '' or btrim(coalesce(new.body, '')) = '' then
    perform outbox_engine.refuse('a template needs a name and a body');
  end if;
  if char_length(new.body) > 2000 then
    perform outbox_engine.refuse(format('body has %s characters, 2000 are allowed', char_length(new.body)));
  end if;
  if jsonb_typeof(new.defaults) <> 'object' then
    perform outbox_engine.refuse('defaults must be an object', 'Such as {"name": "there"}.');
  end if;
  return new;
end
$$;
create trigger templates_change before insert or update on public.templates for each row
  execute function outbox_engine.before_template_change();

-- Parts a text takes: GSM-7 160 alone and 153 each when joined, where the extension table costs two; otherwise UCS-2 with 70
-- and 67 UTF-16 units. (3GPP TS 23.038 for the alphabet, TS 23.040 for the header that joined parts carry.)
create function outbox_engine.parts_of(p_text text) returns smallint
language sql immutable set search_path = ''
as $$
  select (case
    when p_text ~ ('^[' || E'@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà' || '|^€{}~\\\[\]\f-' || ']*$')
    then case when g.units <= 160 then 1 else ceil(g.units / 153.0) end
    else case when u.units <= 70 then 1 else ceil(u.units / 67.0) end
  end)::smallint
  from
    (select char_length(p_text) + char_length(regexp_replace(p_text, E'[^|^€{}~\\\\\\[\\]\f]', '', 'g')) as units) g,
    (select char_length(p_text) + char_length(regexp_replace(p_text, E'[\\u0001-\\uffff]', '', 'g')) as units) u
$$;

revoke all on public.templates from anon, authenticated, service_role;
grant select, delete on public.templates to service_role;
grant insert (name, body, defaults), update (name, body, defaults) on public.templates to service_role;
create policy templates_server on public.templates for all to service_role using (true) with check (true);
revoke all on all functions in schema outbox_engine from public, anon, authenticated, service_role;
grant execute on function outbox_engine.now(), outbox_engine.caller_id(), outbox_engine.refuse(text, text)
  to authenticated, service_role;
grant execute on function outbox_engine.placeholders(text) to service_role;

notify pgrst, 'reload schema';
