-- What `outbox events` does to endpoints.

-- The endpoint of this name, locked if it is to change. Refuses a name that there is not.
create function outbox_engine.event_endpoint(p_name text, p_lock boolean)
returns public.outbox_event_endpoints
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  e public.outbox_event_endpoints;
begin
  if p_lock then
    -- The lane first, as results of requests do.
    perform from outbox_engine.event_lanes l
    where l.endpoint_id = (select id from public.outbox_event_endpoints where name = p_name)
    for update;
    perform from public.outbox_event_endpoints where name = p_name for update;
  end if;
  select * into e from public.outbox_event_endpoints where name = p_name;
  if not found then
    perform outbox_engine.refuse(
      format('there is no endpoint %L', p_name), 'List them with outbox events list.');
  end if;
  return e;
end
$$;

-- Refuses what no request can be made to. Whether the address is private is the process's to find out.
create function outbox_engine.check_event_url(p_url text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if p_url is null or length(p_url) > 2048
    or p_url !~ '^https?://[^/?#@[:space:]]+([/?][^#[:space:]]*)?$' then
    perform outbox_engine.refuse(
      'the URL of an endpoint is https://, a host and a path, without user, password or fragment',
      'For example: https://example.com/hooks/outbox');
  end if;
end
$$;

-- The types of events as they are kept: null for none and for an empty list.
create function outbox_engine.checked_event_types(p_event_types text[]) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_unknown constant text := (
    select string_agg(coalesce(t, 'null'), ', ')
    from unnest(p_event_types) t
    where t is null or t not in (select name from outbox_engine.event_types));
begin
  if v_unknown is not null then
    perform outbox_engine.refuse(
      format('there are no events of this type: %s', v_unknown),
      'There are: ' || (select string_agg(name, ', ') from outbox_engine.event_types) || '.');
  end if;
  return nullif(array(select distinct t from unnest(p_event_types) t order by t), '{}');
end
$$;

-- A secret that signs: 24 to 64 random bytes are asked for.
create function outbox_engine.new_event_secret() returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
  -- Two random UUIDs have 244 random bits, and SHA-256 spreads them over 32 bytes.
  return 'whsec_' || encode(
    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    'base64');
end
$$;

-- Lets an endpoint begin with what happens from now on. Where it is the only one, nobody followed the history
-- meanwhile, so the follower begins there too. One that was disabled and has yet to get events of before goes
-- on from where it was. Called before the endpoint is enabled.
create function outbox_engine.begin_events(p_endpoint_id bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  v_last bigint;
begin
  -- One at a time, and not beside the follower. A squash of the migrations drops the row.
  insert into outbox_engine.event_follow default values on conflict do nothing;
  perform from outbox_engine.event_follow for update;
  v_last := outbox_engine.last_history_id();
  if not outbox_engine.has_event_endpoints() and not outbox_engine.has_unfinished_endpoints() then
    update outbox_engine.event_follow
    set followed_to = v_last, safe_to = v_last, marked_to = null, marked_by = null, marked_at = null;
  end if;
  insert into outbox_engine.event_lanes (endpoint_id, history_after, notices_after)
  values (p_endpoint_id, v_last, (
    select case when n.is_called then n.last_value else 0 end from outbox_engine.notices_id_seq n))
  on conflict (endpoint_id) do update
  set history_until = null, failures = 0, probe_at = null,
    history_after = case
      when event_lanes.history_until > (select f.followed_to from outbox_engine.event_follow f)
      then event_lanes.history_after else excluded.history_after
    end;
end
$$;

-- An endpoint as commands show it.
create function outbox_engine.shown_event_endpoint(p_endpoint public.outbox_event_endpoints) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select to_jsonb(p_endpoint) - 'id'
$$;

-- Called by `outbox events add`. The secret is shown here and never again.
create function public.outbox_add_event_endpoint(
  p_name text, p_url text, p_event_types text[] default null, p_include_recipient boolean default false
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_secret constant text := outbox_engine.new_event_secret();
  v_id bigint;
begin
  perform outbox_engine.audit_change('add_event_endpoint', p_name);
  if p_name is null or p_name !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' then
    perform outbox_engine.refuse(
      format('%L is no name for an endpoint', p_name),
      'A name has at most 63 letters, digits, dots, hyphens and underscores, and begins with one of the '
        || 'first two.');
  end if;
  perform outbox_engine.check_event_url(p_url);
  -- Disabled until it has a place to begin at.
  insert into public.outbox_event_endpoints (
    name, url, event_types, include_recipient, created_at, disabled_at, disabled_reason)
  values (
    p_name, p_url, outbox_engine.checked_event_types(p_event_types), coalesce(p_include_recipient, false),
    v_now, v_now, 'operator')
  on conflict (name) do nothing
  returning id into v_id;
  if v_id is null then
    perform outbox_engine.refuse(
      format('there is an endpoint %L already', p_name), 'Change it with outbox events set.');
  end if;
  insert into outbox_engine.event_secrets (endpoint_id, secret, created_at) values (v_id, v_secret, v_now);
  perform outbox_engine.begin_events(v_id);
  update public.outbox_event_endpoints set disabled_at = null, disabled_reason = null where id = v_id;
  return jsonb_build_object('name', p_name, 'url', p_url, 'secret', v_secret);
end
$$;

-- Called by `outbox events set`, `enable` and `disable`. Null keeps what there is; an empty list of types
-- means all but message.sent. What waits for an endpoint that is disabled is sent once it is enabled; what
-- happened in between is not, unless it is replayed.
create function public.outbox_set_event_endpoint(
  p_name text, p_url text default null, p_event_types text[] default null,
  p_include_recipient boolean default null, p_enabled boolean default null
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  e public.outbox_event_endpoints := outbox_engine.event_endpoint(p_name, true);
begin
  perform outbox_engine.audit_change('set_event_endpoint', p_name, jsonb_build_object('enabled', p_enabled));
  if p_url is not null then
    perform outbox_engine.check_event_url(p_url);
    e.url := p_url;
  end if;
  if p_event_types is not null then
    e.event_types := outbox_engine.checked_event_types(p_event_types);
  end if;
  e.include_recipient := coalesce(p_include_recipient, e.include_recipient);
  if p_enabled and e.disabled_at is not null then
    perform outbox_engine.begin_events(e.id);
    e.disabled_at := null;
    e.disabled_reason := null;
    e.failing_since := null;
  elsif not p_enabled and e.disabled_at is null then
    e.disabled_at := outbox_engine.now();
    e.disabled_reason := 'operator';
    update outbox_engine.event_lanes set history_until = outbox_engine.last_history_id()
    where endpoint_id = e.id;
  end if;
  update public.outbox_event_endpoints
  set url = e.url, event_types = e.event_types, include_recipient = e.include_recipient,
    disabled_at = e.disabled_at, disabled_reason = e.disabled_reason, failing_since = e.failing_since
  where id = e.id;
  return outbox_engine.shown_event_endpoint(e);
end
$$;

-- Called by `outbox events remove`. Its secrets go at once, and its deliveries with the upkeep job.
create function public.outbox_remove_event_endpoint(p_name text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  e constant public.outbox_event_endpoints := outbox_engine.event_endpoint(p_name, true);
begin
  perform outbox_engine.audit_change('remove_event_endpoint', p_name);
  delete from public.outbox_event_endpoints where id = e.id;
  delete from outbox_engine.event_secrets where endpoint_id = e.id;
  return outbox_engine.shown_event_endpoint(e);
end
$$;

-- Called by `outbox events rotate`. Both secrets sign until the old one ends, `p_keep_seconds` from now.
create function public.outbox_rotate_event_secret(
  p_name text, p_keep_seconds double precision default 86400
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  e constant public.outbox_event_endpoints := outbox_engine.event_endpoint(p_name, true);
  v_secret constant text := outbox_engine.new_event_secret();
  v_ends_at constant timestamptz := v_now + make_interval(
    secs => least(greatest(coalesce(p_keep_seconds, 86400), 0), 30 * 86400));
begin
  perform outbox_engine.audit_change('rotate_event_secret', p_name);
  delete from outbox_engine.event_secrets where endpoint_id = e.id and ends_at <= v_now;
  update outbox_engine.event_secrets
  set ends_at = least(ends_at, v_ends_at)
  where endpoint_id = e.id;
  insert into outbox_engine.event_secrets (endpoint_id, secret, created_at) values (e.id, v_secret, v_now);
  return jsonb_build_object('name', e.name, 'secret', v_secret, 'old_until', v_ends_at);
end
$$;

-- Called by `outbox events test`. Sends a webhook.test to one endpoint, at once even if that fails.
create function public.outbox_test_event(p_name text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  e constant public.outbox_event_endpoints := outbox_engine.event_endpoint(p_name, false);
  v_id bigint;
begin
  perform outbox_engine.audit_change('test_event', p_name);
  if e.disabled_at is not null then
    perform outbox_engine.refuse(
      format('endpoint %L is disabled', p_name), 'Enable it with outbox events enable.');
  end if;
  insert into outbox_engine.notices (at, type, data, endpoint_id)
  values (outbox_engine.now(), 'webhook.test', jsonb_build_object('endpoint', e.name), e.id)
  returning id into v_id;
  update outbox_engine.event_lanes set probe_at = null
  where endpoint_id = e.id and probe_at is not null;
  return jsonb_build_object('event_id', 'evt_n' || v_id);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_add_event_endpoint,
  public.outbox_set_event_endpoint,
  public.outbox_remove_event_endpoint,
  public.outbox_rotate_event_secret,
  public.outbox_test_event
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_add_event_endpoint,
  public.outbox_set_event_endpoint,
  public.outbox_remove_event_endpoint,
  public.outbox_rotate_event_secret,
  public.outbox_test_event
to service_role;
