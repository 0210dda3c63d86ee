-- MMS: which provider sends them where.

-- The countries to whose numbers a provider sends MMS. A project may add and delete rows.
create table outbox_engine.mms_countries (
  provider text not null,
  country text not null,
  primary key (provider, country)
);
alter table outbox_engine.mms_countries enable row level security;

-- Called by `seed`. Vonage: developer.vonage.com/en/messages/concepts/mms. Sinch:
-- developers.sinch.com/docs/sms/api-reference/mms-support.
create function outbox_engine.seed_mms_countries() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.mms_countries (provider, country)
  select v.provider, unnest(v.countries)
  from (values
    ('vonage', array['CA', 'US']),
    ('sinch', array['AU', 'CA', 'PR', 'US'])
  ) v (provider, countries)
  where not exists (select from outbox_engine.mms_countries m where m.provider = v.provider)
$$;

-- Called by the claim. Returns those of these MMS that must not go out now, as `judge_messages` does;
-- without a status those that wait, and as `unsendable` those that this provider cannot send. A number whose
-- country is not known goes: the prefix may be new, and the provider decides. A process of release 0.1.0
-- would send the caption alone, so it gets none.
create function outbox_engine.judge_media(
  p_places bigint[], p_recipients text[], p_request outbox_engine.claim_request
) returns table (place bigint, status text, error text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_provider constant text := initcap(p_request.provider);
  v_countries constant text[] := array(
    select m.country
    from outbox_engine.mms_countries m
    where m.provider = p_request.provider
    order by m.country
  );
begin
  if exists (
    select from outbox_engine.heartbeats h
    where h.job = 'dispatch' and h.provider = p_request.provider and h.plan = p_request.plan
      and h.worker = p_request.worker and h.schema_version < 2
  ) then
    return query
    select u.place, null, 'waits for a process of release 0.2.0, which sends MMS'
    from unnest(p_places) u (place);
    return;
  end if;
  return query
  select p_places[c.place], 'unsendable',
    case
      when v_countries = '{}' then v_provider || ' sends no MMS'
      else format('%s sends MMS to %s only, and this number is of %s', v_provider,
        array_to_string(v_countries, ', '), c.country)
    end
  from outbox_engine.countries_of(p_recipients) c
  where v_countries = '{}' or c.country <> all (v_countries);
end
$$;

-- Called by the claim with what becomes of messages that do not go out now. Those that its provider cannot
-- send (`unsendable`) go to another plan of their route whose provider can; without one they end as failed.
create function outbox_engine.stop_messages(
  p_changes outbox_engine.status_change[], p_request outbox_engine.claim_request, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_error text;
  v_ids bigint[];
  v_moved bigint[] := '{}';
begin
  for v_error, v_ids in
    select c.error, array_agg(c.outbox_id)
    from unnest(p_changes) c
    cross join lateral (select x.route, x.recipient from public.outbox x where x.id = c.outbox_id limit 1) o
    cross join lateral outbox_engine.countries_of(array[o.recipient]) n
    where c.event = 'unsendable' and exists (
      select
      from outbox_engine.plans_with_process(o.route, '1 day', p_now) x
      join outbox_engine.mms_countries m on m.provider = x.provider and m.country = n.country
      where (x.provider, x.plan) <> (p_request.provider, p_request.plan))
    group by c.error
    order by c.error
  loop
    v_moved := v_moved || outbox_engine.move_messages(v_ids, p_request.provider, p_request.plan,
      format('%s: goes on without %s', v_error, outbox_engine.plan_name(p_request.provider, p_request.plan)),
      p_now);
  end loop;
  perform outbox_engine.change_statuses(
    array(
      select row(
        c.outbox_id, case c.event when 'unsendable' then 'failed' else c.event end, c.error, c.due_at,
        c.logged_as, c.detail)::outbox_engine.status_change
      from unnest(p_changes) c
      where c.outbox_id <> all (v_moved)),
    'engine', p_now);
end
$$;
