-- One-time codes of Supabase Auth (55_auth/10_settings.sql).

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

create policy outbox_auth_settings_server on public.outbox_auth_settings for all to service_role
  using (true) with check (true);
revoke all on public.outbox_auth_settings from public, anon, authenticated, service_role;
grant
  select,
  update (code_seconds, mfa_code_seconds, hourly_per_number, hourly_per_country, hourly_by_country)
  on public.outbox_auth_settings to service_role;

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

-- functions

create trigger outbox_auth_settings_change before insert or update on public.outbox_auth_settings
  for each row execute function outbox_engine.before_auth_settings();
create trigger outbox_templates_checked_for_auth before insert or update of name, body, defaults
  on public.outbox_templates for each row
  when (new.name ~ '^auth_otp(_mfa)?(\.|$)')
  execute function outbox_engine.before_auth_template();
