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

-- Called by the claim. Returns those of these MMS that must not go out now, as `judge_messages` does; without
-- a status those that wait. A number whose country is not known goes: the prefix may be new, and the provider
-- decides. A process of release 0.1.0 would send the caption alone, so it gets none.
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
  select p_places[c.place], 'failed',
    case
      when v_countries = '{}' then v_provider || ' sends no MMS'
      else format('%s sends MMS to %s only, and this number is of %s', v_provider,
        array_to_string(v_countries, ', '), c.country)
    end
  from outbox_engine.countries_of(p_recipients) c
  where v_countries = '{}' or c.country <> all (v_countries);
end
$$;
