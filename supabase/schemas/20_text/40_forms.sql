-- Templates taken apart once, for statements that fill many rows.

-- These templates by name: what stands around their placeholders, and the placeholders' names in order. Used
-- by the claim and by previews with `fill_template`.
create function outbox_engine.template_forms(p_names text[])
returns table (name text, defaults jsonb, plain boolean, pieces text[], placeholders text[])
language plpgsql stable
set search_path = pg_catalog, pg_temp rows 10
as $$
begin
  return query
  select t.name, t.defaults, t.plain,
    regexp_split_to_array(t.body, outbox_engine.placeholder_pattern()),
    array(select m[1] from regexp_matches(t.body, outbox_engine.placeholder_pattern(), 'g') m)
  from public.outbox_templates t
  where t.name = any (p_names);
end
$$;
