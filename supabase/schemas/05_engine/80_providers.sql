-- What each provider can do, where two processes could decide differently: a process with a fault, or one of
-- an older release, must not conclude that a request never arrived where nothing proves it
-- (docs/decisions/0021).

-- One row for each provider, by its name. A provider that is not listed here proves nothing.
create table outbox_engine.providers (
  name text primary key,
  -- Whether two complete lookups that found nothing, a settling time apart, prove that a request never
  -- arrived.
  proves_absence boolean not null,
  -- Without that proof: how long after a request it is looked up, in ascending order. Each lookup can find
  -- the request, and none can rule it out.
  lookup_after interval[],
  -- How long after a request its messages end as unknown, if its outcome could not be found out.
  gives_up_after interval not null,
  -- How far back the provider's list or its callbacks show requests.
  listed_for interval not null,
  check (proves_absence = (lookup_after is null) and cardinality(lookup_after) is distinct from 0),
  -- Reports of the last week show whether the database was restored.
  check (listed_for >= greatest(gives_up_after, interval '14 days'))
);
alter table outbox_engine.providers enable row level security;

-- What a provider can do. One that is not listed proves nothing, and waits as long for a callback as Vonage.
create function outbox_engine.provider_of(p_name text) returns outbox_engine.providers
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_provider outbox_engine.providers;
begin
  select * into v_provider from outbox_engine.providers where name = p_name;
  if not found then
    v_provider.name := p_name;
    v_provider.proves_absence := false;
    v_provider.lookup_after := '{10 minutes, 1 hour, 24 hours}';
    v_provider.gives_up_after := '72 hours';
    v_provider.listed_for := '14 days';
  end if;
  return v_provider;
end
$$;

-- Sinch lists requests for 14 days. Vonage lists none: a report shows a message some minutes late and costs
-- money, and a status callback, which carries the reference, may come for 72 hours.
create function outbox_engine.seed_providers() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.providers (name, proves_absence, lookup_after, gives_up_after, listed_for)
  values
    ('sinch', true, null, '13 days', '14 days'),
    ('vonage', false, '{10 minutes, 1 hour, 24 hours}', '72 hours', '14 days')
  on conflict (name) do update
  set
    proves_absence = excluded.proves_absence, lookup_after = excluded.lookup_after,
    gives_up_after = excluded.gives_up_after, listed_for = excluded.listed_for
$$;
