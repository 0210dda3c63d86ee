-- One-time codes of Supabase Auth: their settings, and how many were sent in the last hour.

create table public.outbox_auth_settings (
  only_row boolean primary key default true check (only_row),
  code_seconds integer not null default 60 check (code_seconds between 10 and 86400),
  mfa_code_seconds integer not null default 300 check (mfa_code_seconds between 10 and 86400),
  hourly_per_number integer not null default 10 check (hourly_per_number >= 0),
  hourly_per_country integer not null default 300 check (hourly_per_country >= 0),
  hourly_by_country jsonb not null default '{}'
);
alter table public.outbox_auth_settings enable row level security;

comment on table public.outbox_auth_settings is
  'One row: how long the one-time codes of Supabase Auth are worth sending, and how many may go out.';
comment on column public.outbox_auth_settings.code_seconds is
  'Codes of sign-in, phone change and reauthentication expire then, like sms_otp_exp of Auth';
comment on column public.outbox_auth_settings.mfa_code_seconds is
  'Codes of a second factor expire then';
comment on column public.outbox_auth_settings.hourly_per_number is
  'Codes to one number in an hour; 0 sends none';
comment on column public.outbox_auth_settings.hourly_per_country is
  'Codes to the numbers of one country in an hour; 0 sends none';
comment on column public.outbox_auth_settings.hourly_by_country is
  'Other caps for some countries, such as {"US": 5000, "GB": 1000}';

-- Runs before the settings are written, and refuses caps that are none, and countries without numbers: a cap
-- for "UK" would leave the one of GB as it is. Numbers of no known prefix count as a country of their own.
create function outbox_engine.before_auth_settings() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_wrong text;
begin
  new.hourly_by_country := coalesce(new.hourly_by_country, '{}');
  if jsonb_typeof(new.hourly_by_country) <> 'object' then
    v_wrong := new.hourly_by_country::text;
  else
    select format('%s: %s', c.key, c.value) into v_wrong
    from jsonb_each_text(new.hourly_by_country) c
    where c.key !~ '^([A-Z]{2}|001|unknown)$' or (c.value ~ '^[0-9]{1,9}$') is not true
    limit 1;
  end if;
  if v_wrong is not null then
    perform outbox_engine.refuse(
      format('hourly_by_country: %s is no cap of a country', v_wrong),
      'Use ISO codes of two capital letters and whole numbers, such as {"US": 5000}.');
  end if;
  select k into v_wrong
  from jsonb_object_keys(new.hourly_by_country) k
  where k <> 'unknown' and not exists (select from outbox_engine.number_regions r where r.region = k)
  limit 1;
  if found then
    perform outbox_engine.refuse(
      format('hourly_by_country: country %s is not known', v_wrong),
      'Use two letters of ISO 3166, such as GB or US; 001 for numbers of no country; unknown for the rest.');
  end if;
  return new;
end
$$;
create trigger outbox_auth_settings_change before insert or update on public.outbox_auth_settings
  for each row execute function outbox_engine.before_auth_settings();

-- How many codes may go to a country in an hour.
create function outbox_engine.auth_country_cap(s public.outbox_auth_settings, p_country text) returns integer
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce((s.hourly_by_country ->> p_country)::integer, s.hourly_per_country)
$$;

-- The codes of the last hour, which the caps count. A table of its own, so that an index of them costs other
-- inserts nothing, and so that a code counts also if its message is deleted.
create table outbox_engine.auth_codes (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  recipient text not null,
  -- 'unknown' where no prefix is known.
  country text not null
);
alter table outbox_engine.auth_codes enable row level security;

create index auth_codes_recipient on outbox_engine.auth_codes (recipient, at);
create index auth_codes_country on outbox_engine.auth_codes (country, at);

-- Why no further code goes to this number now, as the status and the words that Auth hands to its user; null
-- where one may. Counts what is committed and waits for no one, so callers that run at the same time may pass
-- a cap by one each.
create function outbox_engine.auth_cap_problem(
  s public.outbox_auth_settings, p_recipient text, p_country text, p_now timestamptz
) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_since constant timestamptz := p_now - interval '1 hour';
  v_country_cap constant integer := outbox_engine.auth_country_cap(s, p_country);
begin
  -- The limits end the count of an attack at the cap.
  if s.hourly_per_number <= (
    select count(*)
    from (
      select from outbox_engine.auth_codes c
      where c.recipient = p_recipient and c.at > v_since
      limit s.hourly_per_number
    ) x
  ) then
    return 'Too many codes were sent to this number. Try again in an hour.';
  elsif v_country_cap <= (
    select count(*)
    from (
      select from outbox_engine.auth_codes c
      where c.country = p_country and c.at > v_since
      limit v_country_cap
    ) x
  ) then
    return 'No code can be sent to this number at the moment. Try again later.';
  end if;
  return null;
end
$$;

-- Called by the upkeep job. Raises an alarm for each country that reached its cap in the last hour, once an
-- hour, and forgets older codes. The hook cannot raise it: Auth rolls its transaction back when a code is
-- refused. A code of the future is of a clock that was set back since.
create function outbox_engine.tend_auth_codes(p_now timestamptz, p_most integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from outbox_engine.auth_codes) then
    return;
  end if;
  perform outbox_engine.alarm_at_most(
    'auth_codes.country_cap_reached',
    jsonb_build_object('country', c.country, 'codes', c.codes, 'cap', c.cap),
    jsonb_build_object('country', c.country), '1 hour', p_now)
  from (
    select x.country, count(*) as codes, outbox_engine.auth_country_cap(s, x.country) as cap
    from outbox_engine.auth_codes x
    cross join public.outbox_auth_settings s
    where x.at > p_now - interval '1 hour'
    group by x.country, s
  ) c
  where c.codes >= c.cap;
  delete from outbox_engine.auth_codes
  where id = any (array(
    select id
    from outbox_engine.auth_codes
    where at <= p_now - interval '1 hour' or at > p_now + interval '1 minute'
    limit p_most
    for update skip locked
  ));
end
$$;

create policy outbox_auth_settings_server on public.outbox_auth_settings for all to service_role
  using (true) with check (true);

revoke all on public.outbox_auth_settings from public, anon, authenticated, service_role;
grant
  select,
  update (code_seconds, mfa_code_seconds, hourly_per_number, hourly_per_country, hourly_by_country)
  on public.outbox_auth_settings to service_role;
