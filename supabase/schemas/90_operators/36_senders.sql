-- What operators do with sender aliases.

-- The options that a provider takes beside a sender. Sinch takes none in a request.
create function outbox_engine.sender_options(p_provider text) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case p_provider when 'vonage' then array['entity_id', 'content_id'] else array[]::text[] end
$$;

-- Refuses options that the provider of a plan does not take.
create function outbox_engine.check_sender_options(p_provider text, p_options jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_known constant text[] := outbox_engine.sender_options(p_provider);
  v_wrong text;
begin
  if jsonb_typeof(p_options) <> 'object' then
    perform outbox_engine.refuse('options is no JSON object', 'Write it as {"entity_id": "…"}.');
  end if;
  select e.key
  into v_wrong
  from jsonb_each(p_options) e
  where e.key <> all (v_known)
  order by e.key
  limit 1;
  if found then
    perform outbox_engine.refuse(
      format('%s takes no option %L', p_provider, v_wrong),
      case
        when v_known = '{}' then 'Leave options out.'
        else format('It takes %s.', array_to_string(v_known, ' and '))
      end);
  end if;
  select e.key
  into v_wrong
  from jsonb_each(p_options) e
  where jsonb_typeof(e.value) <> 'string' or char_length(e.value #>> '{}') not between 1 and 100
  order by e.key
  limit 1;
  if found then
    perform outbox_engine.refuse(format('option %L is no text of 1 to 100 characters', v_wrong));
  end if;
end
$$;

-- Refuses a plan of which nothing is known: no process has claimed for it, and no route has it.
create function outbox_engine.check_plan_is_known(p_provider text, p_plan text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_known constant text[] := array(
    select outbox_engine.plan_name(x.provider, x.plan)
    from (
      select p.provider, p.plan from outbox_engine.plans p
      union
      select l.provider, l.plan from outbox_engine.live_plans() l
      union
      select m.provider, m.plan from public.outbox_route_plans m
    ) x
    order by x.provider, x.plan);
begin
  if outbox_engine.plan_name(p_provider, p_plan) <> all (v_known) then
    perform outbox_engine.refuse(
      format('no process has ever sent for plan %s', outbox_engine.plan_name(p_provider, p_plan)),
      case
        when v_known = '{}'
        then 'Start `outbox run` first, or allow absent plans if their processes start later.'
        else format('Known plans: %s. --allow-absent takes a plan whose process starts later.',
          array_to_string(v_known, ', '))
      end);
  end if;
end
$$;

-- Called by `outbox senders set`. At this plan, `p_alias` is sent as `p_sender` to numbers of a country (''
-- is all that have no row of their own). Replaces what was set before. Refuses a plan that is not known, but
-- for `p_allow_absent`. Returns the row.
create function public.outbox_set_sender(
  p_alias text, p_provider text, p_plan text, p_sender text, p_country text default '',
  p_options jsonb default null, p_allow_absent boolean default false
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_country text := coalesce(btrim(p_country), '');
  v_options jsonb := outbox_engine.given_json(p_options);
  v_name text;
begin
  perform outbox_engine.audit_change('set_sender', outbox_engine.audit_words(p_alias), jsonb_build_object(
    'plan', outbox_engine.audit_plan(p_provider, p_plan), 'country', p_country,
    'sender', outbox_engine.audit_words(p_sender)));
  foreach v_name in array array[p_alias, p_sender] loop
    if v_name is null or not outbox_engine.is_sender(v_name) then
      perform outbox_engine.refuse(
        format('%s %L is not a sender',
          case when v_name is not distinct from p_alias then 'alias' else 'sender' end, v_name),
        'A number, a short code, or at most 11 letters and digits with a letter among them.');
    end if;
    perform outbox_engine.refuse_sender_with_zero(v_name);
  end loop;
  if not exists (select from outbox_engine.providers p where p.name = p_provider) then
    perform outbox_engine.refuse(
      format('provider %L is not known', p_provider), outbox_engine.provider_hint());
  elsif coalesce(p_plan, '') = '' then
    perform outbox_engine.refuse('the plan is empty', '`outbox plans` shows them.');
  elsif not p_allow_absent then
    perform outbox_engine.check_plan_is_known(p_provider, p_plan);
  end if;
  if v_country <> '' then
    v_country := (outbox_engine.read_countries(array[v_country]))[1];
  end if;
  v_options := nullif(nullif(v_options, 'null'), '{}');
  if v_options is not null then
    perform outbox_engine.check_sender_options(p_provider, v_options);
  end if;
  insert into public.outbox_senders (alias, provider, plan, country, sender, options)
  values (p_alias, p_provider, p_plan, v_country, p_sender, v_options)
  on conflict (alias, provider, plan, country) do update
  set sender = excluded.sender, options = excluded.options;
  return (
    select to_jsonb(s)
    from public.outbox_senders s
    where s.alias = p_alias and s.provider = p_provider and s.plan = p_plan and s.country = v_country);
end
$$;

-- Called by `outbox senders remove`. Returns the row that is gone.
create function public.outbox_remove_sender(
  p_alias text, p_provider text, p_plan text, p_country text default ''
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_removed public.outbox_senders;
begin
  perform outbox_engine.audit_change('remove_sender', outbox_engine.audit_words(p_alias), jsonb_build_object(
    'plan', outbox_engine.audit_plan(p_provider, p_plan), 'country', p_country));
  delete from public.outbox_senders
  where alias = p_alias and provider = p_provider and plan = p_plan
    and country = upper(btrim(coalesce(p_country, '')))
  returning * into v_removed;
  if not found then
    perform outbox_engine.refuse(
      format('%L has no sender at plan %s for %s', p_alias, outbox_engine.plan_name(p_provider, p_plan),
        coalesce('numbers of ' || nullif(p_country, ''), 'all countries')),
      '`outbox senders` shows them.');
  end if;
  return to_jsonb(v_removed);
end
$$;

-- Called by `outbox senders`.
create function public.outbox_list_senders() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(to_jsonb(s) order by s.alias, s.provider, s.plan, s.country), '[]')
  from public.outbox_senders s
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_list_senders,
  public.outbox_remove_sender,
  public.outbox_set_sender
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_list_senders,
  public.outbox_remove_sender,
  public.outbox_set_sender
to service_role;
