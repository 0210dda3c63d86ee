-- The Send SMS hook of Supabase Auth: it hands one-time codes to the outbox instead of an SMS provider.

-- An answer that Auth passes on to its user: the HTTP status and the words.
create function outbox_engine.auth_refusal(p_status integer, p_message text) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object('error', jsonb_build_object('http_code', p_status, 'message', p_message))
$$;

-- Whether texts may go to this number: it did not opt out, and a running process may send to it. Before any
-- process ran, every number may.
create function outbox_engine.may_text(p_recipient text, p_now timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_message constant outbox_engine.outgoing_message[] := array[
    row(1, p_recipient, null, null, false, null)::outbox_engine.outgoing_message];
begin
  if exists (select from outbox_engine.judge_messages(v_message, null, p_now)) then
    return false;
  end if;
  return coalesce((
    select bool_or(not exists (
      select from outbox_engine.judge_messages(v_message, r.allowed_countries, p_now)
    ))
    from outbox_engine.reported_countries() r
  ), true);
end
$$;

-- What is wrong with an event, as an answer; null where it can be sent.
create function outbox_engine.auth_event_problem(p_event jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_phone constant text := p_event -> 'sms' ->> 'phone';
  v_recipient constant text := '+' || v_phone;
begin
  if coalesce(v_phone, '') = '' then
    return outbox_engine.auth_refusal(
      500, 'The Send SMS hook got no sms.phone. Update Supabase Auth to version 2.180 or later.');
  elsif (char_length(p_event -> 'sms' ->> 'otp') between 1 and 32) is not true then
    return outbox_engine.auth_refusal(500, 'The Send SMS hook got no sms.otp.');
  elsif v_recipient !~ outbox_engine.e164_pattern()
    or v_recipient ~ outbox_engine.trunk_zero_pattern() then
    return outbox_engine.auth_refusal(
      422, 'This is not a phone number. Give it with its country code and without a zero after that.');
  end if;
  return null;
end
$$;

-- Called by `send_auth_code`, for an event without a problem. An event that was taken before is not sent
-- again; `p_digest` identifies it where Auth before 2.187 gives it no id.
create function outbox_engine.put_auth_code(p_event jsonb, p_digest text) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_recipient constant text := '+' || (p_event -> 'sms' ->> 'phone');
  v_kind constant text := case when p_event -> 'sms' ->> 'sms_type' = 'mfa' then 'mfa' else 'otp' end;
  v_event_id constant text := substring(p_event -> 'metadata' ->> 'uuid' from '^[0-9A-Za-z-]{1,100}$');
  -- With a key of this database: a plain digest of an event tells its code to anybody who tries a million.
  v_key constant text := 'auth:' || coalesce(
    v_event_id, encode(outbox_engine.keyed_digest('auth ' || p_digest), 'hex'));
  v_country text;
  s public.outbox_auth_settings;
  v_cap_problem text;
begin
  if exists (select from public.outbox where idempotency_key = v_key) then
    return '{}';
  elsif not outbox_engine.may_text(v_recipient, v_now) then
    -- One wording for both reasons.
    return outbox_engine.auth_refusal(422, 'Texts cannot be sent to this number.');
  end if;
  v_country := coalesce(outbox_engine.country_of(v_recipient), 'unknown');
  select * into s from public.outbox_auth_settings;
  if not found then
    perform outbox_engine.seed_auth();
    select * into s from public.outbox_auth_settings;
  end if;
  v_cap_problem := outbox_engine.auth_cap_problem(s, v_recipient, v_country, v_now);
  if v_cap_problem is not null then
    return outbox_engine.auth_refusal(429, v_cap_problem);
  end if;

  insert into public.outbox (recipient, body, priority, expires_at, idempotency_key, metadata, secret)
  values (
    v_recipient,
    outbox_engine.auth_code_text(
      v_kind, p_event -> 'user' -> 'user_metadata' ->> 'locale', p_event -> 'sms' ->> 'otp'),
    0,
    v_now + make_interval(secs => case v_kind when 'mfa' then s.mfa_code_seconds else s.code_seconds end),
    v_key,
    jsonb_build_object('auth', jsonb_strip_nulls(
      jsonb_build_object('kind', v_kind, 'user_id', p_event -> 'user' ->> 'id'))),
    true
  )
  on conflict (idempotency_key) do nothing;
  if found then
    insert into outbox_engine.auth_codes (at, recipient, country) values (v_now, v_recipient, v_country);
  end if;
  return '{}';
end
$$;

-- Called by both kinds of the hook. Puts the code of an event into the outbox and returns `{}`, or an error
-- object for the user. Raises an error for faults only, because that makes Auth's answer a bare 500. Waits
-- for no lock of a row: what it reads is read without one, and the rows that it writes are new. A lock on a
-- table, such as a migration takes, ends it before Auth's two seconds do.
create function outbox_engine.send_auth_code(p_event jsonb, p_digest text) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '800ms'
as $$
begin
  return coalesce(
    outbox_engine.auth_event_problem(p_event), outbox_engine.put_auth_code(p_event, p_digest));
exception
  when lock_not_available or deadlock_detected then
    return outbox_engine.auth_refusal(503, 'No code can be sent at the moment. Try again in a minute.');
end
$$;

-- The hook as a Postgres function, which Auth calls inside its own transaction: the code and its message
-- commit together or not at all. Security definer: Auth's role would otherwise need rights on the outbox and
-- its engine, which are more than this one call.
create function public.outbox_send_sms(event jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return outbox_engine.send_auth_code(event, encode(sha256(convert_to(event::text, 'UTF8')), 'hex'));
end
$$;

comment on function public.outbox_send_sms is
  'Send SMS hook of Supabase Auth: pg-functions://postgres/public/outbox_send_sms';

-- Called by the webhook app for the hook over HTTP, with the body of the request and a digest of its bytes.
-- Texts, because Supabase's lightweight server turns objects into JSON strings.
create function public.outbox_send_sms_over_http(p_body text, p_digest text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return outbox_engine.send_auth_code(p_body::jsonb, p_digest);
end
$$;

-- Called by `seed`. Lets Auth call its hook, in a database that has Auth.
create function outbox_engine.grant_auth_hook() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from pg_roles where rolname = 'supabase_auth_admin') then
    if not has_schema_privilege('supabase_auth_admin', 'public', 'usage') then
      grant usage on schema public to supabase_auth_admin;
    end if;
    grant execute on function public.outbox_send_sms(jsonb) to supabase_auth_admin;
  end if;
end
$$;

-- The first is for Auth alone (`grant_auth_hook`); the second is called by processes, with the server's key.
revoke all on function
  public.outbox_send_sms,
  public.outbox_send_sms_over_http
from public, anon, authenticated, service_role;
grant execute on function public.outbox_send_sms_over_http to service_role;
