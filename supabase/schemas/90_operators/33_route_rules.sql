-- What `outbox_set_route` refuses.

-- A route as an operator writes it, with countries and plans in their stored form.
create type outbox_engine.route_rule as (
  name text,
  channel text,
  countries text[],
  priority_from smallint,
  priority_below smallint,
  campaign text
);

-- A plan of a route as an operator writes it.
create type outbox_engine.route_plan as (
  provider text,
  plan text,
  weight smallint,
  place smallint
);

-- Plans with a process that sends for them.
create function outbox_engine.live_plans() returns table (provider text, plan text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select distinct d.provider, d.plan from outbox_engine.running_dispatchers d
$$;

-- These countries without repetitions, sorted, in capitals. Null for null.
create function outbox_engine.read_countries(p_countries text[]) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_countries constant text[] := array(
    select distinct upper(btrim(c)) from unnest(p_countries) c order by 1);
  v_unknown text;
begin
  if p_countries is null then
    return null;
  elsif v_countries = '{}' then
    perform outbox_engine.refuse('the list of countries is empty', 'Leave it out for all countries.');
  end if;
  select c
  into v_unknown
  from unnest(v_countries) c
  where c is null or not exists (select from outbox_engine.number_regions r where r.region = c)
  limit 1;
  if found then
    perform outbox_engine.refuse(
      format('country %L is not known', v_unknown), 'Use two letters of ISO 3166, such as DE or US.');
  end if;
  return v_countries;
end
$$;

-- What to do about the name of a provider that is not known.
create function outbox_engine.provider_hint() returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('Use one of %s.', string_agg(p.name, ', ' order by p.name)) from outbox_engine.providers p
$$;

-- The plans of a route in their order. Without any weight the first gets 100 and the others stand by. Refuses
-- a weight that is missing beside others: it may be meant to stand by, or to take the rest.
create function outbox_engine.read_route_plans(p_plans jsonb) returns outbox_engine.route_plan[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_given constant jsonb := outbox_engine.given_json(p_plans);
  v_has_weights constant boolean := v_given @? '$[*].weight ? (@ != null)';
  v_plan jsonb;
begin
  if jsonb_typeof(v_given) is distinct from 'array' or v_given = '[]' then
    perform outbox_engine.refuse('a route needs a plan', 'Name at least one, such as sinch:PLAN.');
  end if;
  for v_plan in select * from jsonb_array_elements(v_given) loop
    if jsonb_typeof(v_plan) <> 'object'
      or coalesce(v_plan ->> 'provider', '') = '' or coalesce(v_plan ->> 'plan', '') = ''
      or v_plan - array['provider', 'plan', 'weight'] <> '{}' then
      perform outbox_engine.refuse(
        format('%s is not a plan', v_plan), 'Give provider, plan, and a weight if it has one.');
    elsif not exists (select from outbox_engine.providers p where p.name = v_plan ->> 'provider') then
      perform outbox_engine.refuse(
        format('provider %L is not known', v_plan ->> 'provider'),
        outbox_engine.provider_hint());
    elsif coalesce(v_plan ->> 'weight', '0') !~ '^([0-9]{1,2}|100)$' then
      perform outbox_engine.refuse(
        format('weight %s of plan %s is not between 0 and 100', v_plan -> 'weight', v_plan ->> 'plan'),
        'Use whole numbers: 70 and 30 share messages, 0 stands by.');
    elsif v_has_weights and v_plan ->> 'weight' is null then
      perform outbox_engine.refuse(
        format('plan %s has no weight, and others have one',
          outbox_engine.plan_name(v_plan ->> 'provider', v_plan ->> 'plan')),
        'Give each plan a weight, 0 to stand by, or none to any.');
    end if;
  end loop;
  return array(
    select row(p ->> 'provider', p ->> 'plan',
      case
        when v_has_weights then (p ->> 'weight')::smallint
        when place = 1 then 100
        else 0
      end, place)::outbox_engine.route_plan
    from jsonb_array_elements(v_given) with ordinality u (p, place)
    order by place);
end
$$;

-- Refuses plans that cannot carry the route's messages. `p_allow_absent` lets plans be that no process sends
-- for yet.
create function outbox_engine.check_route_plans(
  p_plans outbox_engine.route_plan[], p_channel text, p_allow_absent boolean
) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_plan text;
begin
  select outbox_engine.plan_name(p.provider, p.plan)
  into v_plan
  from unnest(p_plans) p
  group by p.provider, p.plan
  having count(*) > 1
  limit 1;
  if found then
    perform outbox_engine.refuse(format('plan %s is named twice', v_plan), 'Name each plan once.');
  elsif (select max(p.weight) from unnest(p_plans) p) = 0 then
    perform outbox_engine.refuse(
      'all plans stand by', 'Give at least one a weight above 0, or leave all weights out.');
  end if;
  select initcap(p.provider)
  into v_plan
  from unnest(p_plans) p
  where p_channel = 'mms'
    and not exists (select from outbox_engine.mms_countries m where m.provider = p.provider)
  limit 1;
  if found then
    perform outbox_engine.refuse(
      v_plan || ' sends no MMS', 'Leave its plan out, or add its countries to outbox_engine.mms_countries.');
  end if;
  select outbox_engine.plan_name(p.provider, p.plan)
  into v_plan
  from unnest(p_plans) p
  where not exists (
    select from outbox_engine.live_plans() l where (l.provider, l.plan) = (p.provider, p.plan))
  order by p.place
  limit 1;
  if found and not p_allow_absent then
    perform outbox_engine.refuse(
      format('no running process sends for plan %s', v_plan), coalesce(
        'Plans with a process: ' || (
          select string_agg(outbox_engine.plan_name(l.provider, l.plan), ', ' order by l.provider, l.plan)
          from outbox_engine.live_plans() l) || '. --allow-absent takes a plan whose process starts later.',
        'Start `outbox run` first, or allow absent plans if their processes start later.'));
  end if;
end
$$;

-- Refuses a route that can match nothing, or that another one hides.
create function outbox_engine.check_route_rule(p_rule outbox_engine.route_rule) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_conditions constant integer := num_nonnulls(
    p_rule.channel, p_rule.countries, p_rule.priority_from, p_rule.priority_below, p_rule.campaign);
  v_twin text;
begin
  if (p_rule.name ~ '^[a-z][a-z0-9_-]{0,39}$') is not true then
    perform outbox_engine.refuse(
      format('%L is not a name for a route', p_rule.name),
      'Use at most 40 small letters, digits, - and _, with a letter first.');
  elsif p_rule.name = 'default' and v_conditions > 0 then
    perform outbox_engine.refuse(
      'the default route has no conditions: it takes what no other route matches',
      'Give the route another name.');
  elsif p_rule.name <> 'default' and v_conditions = 0 then
    perform outbox_engine.refuse(
      format('route %L has no conditions', p_rule.name),
      'Give a channel, countries, priorities or a campaign, or configure the route default.');
  elsif p_rule.channel not in ('sms', 'mms') then
    perform outbox_engine.refuse(format('channel %L is neither sms nor mms', p_rule.channel));
  elsif coalesce(p_rule.priority_from, -32768) >= coalesce(p_rule.priority_below, 32768) then
    perform outbox_engine.refuse(
      format('no priority is from %s and below %s',
        coalesce(p_rule.priority_from, -32768), p_rule.priority_below),
      'Smaller goes first: below 100 are one-time codes, from 101 campaigns and the like.');
  elsif p_rule.campaign is not null
    and not exists (select from public.outbox_campaigns c where c.name = p_rule.campaign) then
    perform outbox_engine.refuse(
      format('campaign %L does not exist', p_rule.campaign), '`outbox campaign list` shows them.');
  end if;
  select r.name
  into v_twin
  from public.outbox_routes r
  where r.retired_at is null and r.name <> p_rule.name
    and (r.channel, r.countries, r.priority_from, r.priority_below, r.campaign) is not distinct from
      (p_rule.channel, p_rule.countries, p_rule.priority_from, p_rule.priority_below, p_rule.campaign);
  if found then
    perform outbox_engine.refuse(
      format('route %L matches the same messages', v_twin), 'Change that route, or remove it first.');
  end if;
end
$$;

-- Refuses a route that would be the 51st, and any while a process runs that knows no routes.
create function outbox_engine.check_routes_allowed(p_name text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_old constant bigint := (outbox_engine.old_processes()).running;
begin
  if v_old > 0 then
    perform outbox_engine.refuse(
      format('%s of an older release still run, and know no routes',
        case when v_old = 1 then 'a process' else v_old || ' processes' end),
      'Update all processes first; `outbox status` shows them.');
  elsif p_name <> 'default'
    and (select count(*) from public.outbox_routes r where r.name <> p_name) >= 50 then
    perform outbox_engine.refuse('there are 50 routes', 'Remove one first: inserts compare each of them.');
  end if;
end
$$;
