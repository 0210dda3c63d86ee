-- Texts with {{placeholder}}s.

-- The names of a text's placeholders, each once.
create function outbox_engine.placeholders(p_body text) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(distinct m[1] order by m[1]), '{}')
  from regexp_matches(p_body, '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}', 'g') m
$$;

-- The first placeholder that has no value, or null where all have one.
create function outbox_engine.missing_placeholder(p_body text, p_values jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select name
  from unnest(outbox_engine.placeholders(p_body)) name
  where p_values ->> name is null
  order by name
  limit 1
$$;

-- The text with every placeholder replaced. One pass over the template, so a value that looks like a
-- placeholder stays as it is.
create function outbox_engine.render(p_body text, p_values jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
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

-- What a template is filled with: a row's values before the template's defaults. Null means the default, as
-- in every column.
create function outbox_engine.template_values(p_defaults jsonb, p_parameters jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_defaults || jsonb_strip_nulls(coalesce(p_parameters, '{}'))
$$;

-- A text from a template taken apart: what stands around its placeholders, and their names. Null where a name
-- has no value, or one that is no text, and where the whole is blank or too long: `row_problem` then says
-- what is wrong.
create function outbox_engine.fill_template(p_pieces text[], p_names text[], p_values jsonb, p_plain boolean) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := p_pieces[1];
begin
  for v_place in 1 .. cardinality(p_names) loop
    if jsonb_typeof(p_values -> p_names[v_place]) in ('object', 'array') then
      return null;
    end if;
    v_text := v_text || (p_values ->> p_names[v_place]) || p_pieces[v_place + 1];
  end loop;
  if p_plain then
    v_text := outbox_engine.plain_text(v_text);
  end if;
  return case when char_length(v_text) <= 2000 and btrim(v_text, E' \t\r\n') <> '' then v_text end;
end
$$;
