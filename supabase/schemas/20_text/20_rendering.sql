-- Texts with {{placeholder}}s.

-- A pattern for one placeholder; its only group is the name. Immutable, so that plans hold it as a constant.
create function outbox_engine.placeholder_pattern() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}'
$$;

-- The names of a text's placeholders, each once.
create function outbox_engine.placeholders(p_body text) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(distinct m[1] order by m[1]), '{}')
  from regexp_matches(p_body, outbox_engine.placeholder_pattern(), 'g') m
$$;

-- The text with every placeholder replaced by its value. A value that looks like a placeholder stays as it
-- is, because only the template is searched.
create function outbox_engine.render(p_body text, p_values jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_pieces text[] := regexp_split_to_array(p_body, outbox_engine.placeholder_pattern());
  v_text text := v_pieces[1];
  v_piece integer := 1;
  v_name text;
begin
  for v_name in
    select m[1] from regexp_matches(p_body, outbox_engine.placeholder_pattern(), 'g') m
  loop
    v_piece := v_piece + 1;
    v_text := v_text || (p_values ->> v_name) || v_pieces[v_piece];
  end loop;
  return v_text;
end
$$;

-- The values that fill a template: those of the row, else the template's defaults. A null of the row means
-- the default, as in every column.
create function outbox_engine.template_values(p_defaults jsonb, p_parameters jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_defaults || jsonb_strip_nulls(coalesce(p_parameters, '{}'))
$$;

-- Called by the claim and the campaign preview for each row. The text of a template that was split once:
-- `p_pieces` are the texts around its placeholders, `p_names` their names. Null where a value is missing or
-- is an object or array, and where the text is blank or too long; `template_row_problem` then says what is
-- wrong.
create function outbox_engine.fill_template(
  p_pieces text[], p_names text[], p_values jsonb, p_plain boolean
) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := p_pieces[1];
begin
  for i in 1 .. cardinality(p_names) loop
    if jsonb_typeof(p_values -> p_names[i]) in ('object', 'array') then
      return null;
    end if;
    v_text := v_text || (p_values ->> p_names[i]) || p_pieces[i + 1];
  end loop;
  if p_plain then
    v_text := outbox_engine.plain_text(v_text);
  end if;
  return case
    when char_length(v_text) <= 2000
      and (ascii(v_text) between 33 and 126 or not outbox_engine.is_blank(v_text)) then v_text
  end;
end
$$;
