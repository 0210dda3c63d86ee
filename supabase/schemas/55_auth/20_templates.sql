-- The texts of one-time codes: the templates auth_otp and auth_otp_mfa, and auth_otp.<locale>.

-- The text where a project has deleted its template.
create function outbox_engine.auth_code_body() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 'Your code is {{code}}'
$$;

-- Runs before a template of codes is written, after the trigger that checks all templates. A template that
-- leaves out the code, or needs another value, would lock everybody out. Security definer, because servers
-- edit templates and may not call `placeholders`.
create function outbox_engine.before_auth_template() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_names constant text[] := outbox_engine.placeholders(new.body);
  v_open text;
begin
  if 'code' <> all (v_names) or new.defaults ? 'code' then
    perform outbox_engine.refuse(
      format('template %L does not give the code', new.name),
      'Supabase Auth sends its one-time codes with it: write {{code}} into the body, without a default.');
  end if;
  select n into v_open from unnest(v_names) n where n <> 'code' and new.defaults ->> n is null limit 1;
  if found then
    perform outbox_engine.refuse(
      format('placeholder {{%s}} of template %L has no default', v_open, new.name),
      'Supabase Auth gives {{code}} only.');
  end if;
  return new;
end
$$;
create trigger outbox_templates_checked_for_auth before insert or update of name, body, defaults
  on public.outbox_templates for each row
  when (new.name ~ '^auth_otp(_mfa)?(\.|$)')
  execute function outbox_engine.before_auth_template();

-- The text of a code. A template for the locale counts only if it exists by exactly that name: the user may
-- write the locale. Reads without a lock, so an edit of the template holds up no sign-in.
create function outbox_engine.auth_code_text(p_kind text, p_locale text, p_code text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_name constant text := case p_kind when 'mfa' then 'auth_otp_mfa' else 'auth_otp' end;
  v_values constant jsonb := jsonb_build_object('code', p_code);
  v_template public.outbox_templates;
begin
  select t.* into v_template
  from public.outbox_templates t
  where t.name = v_name or t.name = v_name || '.' || p_locale
  order by t.name = v_name
  limit 1;
  -- A template of these names from before they were checked may give no text, or none with the code.
  if found
    and outbox_engine.text_problem(v_template, v_values, false) is null
    and strpos(outbox_engine.rendered_text(v_template, v_values), p_code) > 0 then
    return outbox_engine.rendered_text(v_template, v_values);
  end if;
  return outbox_engine.render(outbox_engine.auth_code_body(), v_values);
end
$$;

-- Called by `seed`. A template that the project wrote or deleted stays so.
create function outbox_engine.seed_auth() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into public.outbox_auth_settings default values on conflict do nothing;

  insert into public.outbox_templates (name, body)
  select n, outbox_engine.auth_code_body()
  from unnest(array['auth_otp', 'auth_otp_mfa']) n
  where not exists (select from outbox_engine.seeds s where s.name = 'auth_templates')
  on conflict do nothing;

  insert into outbox_engine.seeds (name) values ('auth_templates') on conflict do nothing
$$;
