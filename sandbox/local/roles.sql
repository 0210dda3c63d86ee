-- What a Supabase project comes with before the first migration, as far as migrations and the API build on it.
-- Run once, by the superuser, as one transaction. :password stands for the password of postgres.

create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;

-- Not a superuser, as on a hosted project: what migrations may not do there, they may not do here.
create role postgres login createdb createrole replication bypassrls password :password;
grant anon, authenticated, service_role to postgres;
grant pg_monitor, pg_signal_backend, pg_read_all_data to postgres;
alter database postgres owner to postgres;

-- As projects from before October 2026 have it: whatever postgres creates in public is everybody's. The migrations must take
-- that back, and tests against this database show that they do.
alter default privileges for role postgres in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on functions to anon, authenticated, service_role;

-- What policies of an app refer to.
create schema auth authorization postgres;
grant usage on schema auth to anon, authenticated, service_role;

create function auth.jwt() returns jsonb
language sql stable
return coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb;

create function auth.uid() returns uuid
language sql stable
return (auth.jwt() ->> 'sub')::uuid;

create function auth.role() returns text
language sql stable
return auth.jwt() ->> 'role';
