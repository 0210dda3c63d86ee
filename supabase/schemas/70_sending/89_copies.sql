-- What the claim checks of the database itself: that it is the one of the project, and not an older state.

-- Whether the database sends from the project with this host of SUPABASE_URL. The first claim binds it. Null,
-- as of processes that do not name their project, is not checked.
create function outbox_engine.sends_from(p_project text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_hosts text[] := (select hosts from outbox_engine.installation);
begin
  if v_hosts = '{}' and p_project is not null then
    update outbox_engine.installation set hosts = array[p_project] where hosts = '{}';
    v_hosts := (select hosts from outbox_engine.installation);
  end if;
  return p_project is null or p_project = any (v_hosts);
end
$$;

-- Why the database must be older than what a process has seen of it, null if it need not be. A sequence that
-- comes back from a backup of the files may be up to 32 tokens ahead, so the process names its newest
-- dispatch too, and its heartbeat, in case it made no request. `p_heartbeat_at` is the recorded one, null
-- where none is. A time that is ahead of the clock proves nothing: the clock was set back.
create function outbox_engine.behind_process(
  p_highest_lease_token bigint, p_known_dispatch uuid, p_known_heartbeat timestamptz,
  p_heartbeat_at timestamptz
) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_highest_lease_token > (
    select case when is_called then last_value else 0 end from outbox_engine.lease_tokens
  ) then
    return format('a process holds lease token %s, which the database has not issued', p_highest_lease_token);
  end if;
  if p_known_dispatch is not null
    and not exists (select from outbox_engine.dispatches where id = p_known_dispatch) then
    return format('a process holds request %s, which the database does not know', p_known_dispatch);
  end if;
  if p_known_heartbeat > coalesce(p_heartbeat_at, '-infinity')
    and p_known_heartbeat <= outbox_engine.now() then
    return format('a process claimed at %s, which the database does not know', p_known_heartbeat);
  end if;
  return null;
end
$$;

-- Pauses for a restored database, and keeps lease tokens from being issued twice. A later call draws the
-- tokens, once the pause is committed: a rollback would not undo that, and would hide the restore.
create function outbox_engine.pause_behind_process(
  p_provider text, p_plan text, p_reason text, p_highest_lease_token bigint
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select from outbox_engine.plan_pauses
    where provider = p_provider and plan = p_plan and kind = 'restored'
  ) then
    perform nextval('outbox_engine.lease_tokens')
    from generate_series(
      (select last_value + 1 from outbox_engine.lease_tokens), p_highest_lease_token) token
    limit 1000000;
  end if;
  perform outbox_engine.pause_restored(p_provider, p_plan, p_reason);
end
$$;

-- Called by each claim, before it records a heartbeat, wakes or locks anything. Returns `heartbeat_at` for
-- the next claim of the process. Where it may not claim, also the rest of the answer: `unbound` with the
-- hosts that the database sends from, or `paused`.
create function outbox_engine.check_database(
  p_provider text, p_plan text, p_worker text, p_project text,
  p_highest_lease_token bigint, p_known_dispatch uuid, p_known_heartbeat timestamptz
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_heartbeat_at constant timestamptz := (
    select at from outbox_engine.heartbeats
    where job = 'dispatch' and provider = p_provider and plan = p_plan and worker = p_worker
  );
  v_state constant jsonb := jsonb_build_object('heartbeat_at', v_heartbeat_at);
  v_reason text;
begin
  if not outbox_engine.sends_from(p_project) then
    return v_state || jsonb_build_object(
      'unbound', (select hosts from outbox_engine.installation), 'dispatches', '[]'::jsonb, 'more', false);
  end if;
  v_reason := outbox_engine.behind_process(
    p_highest_lease_token, p_known_dispatch, p_known_heartbeat, v_heartbeat_at);
  if v_reason is null then
    return v_state;
  end if;
  perform outbox_engine.pause_behind_process(p_provider, p_plan, v_reason, p_highest_lease_token);
  return v_state || jsonb_build_object(
    'paused', 'restored', 'reason', v_reason,
    'wait_seconds', extract(epoch from outbox_engine.endless() - outbox_engine.now()),
    'dispatches', '[]'::jsonb, 'more', true);
end
$$;
