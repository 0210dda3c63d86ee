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

-- What the database says to a claim, which the process compares with what it has seen. `lacks_token`
-- and the others are true only where it named one.
create type outbox_engine.database_state as (
  hosts text[],
  timeline text,
  heartbeat_at timestamptz,
  lacks_timeline boolean,
  has_unknown_reports boolean,
  lacks_token boolean,
  lacks_dispatch boolean,
  lacks_heartbeat boolean
);

-- Whether the database was made anew since a process saw it then: it has never sent anything, and no message
-- in it is older than that, as those of a backup would be.
create function outbox_engine.was_made_since(p_known_heartbeat timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return not exists (select from outbox_engine.dispatches)
    and not exists (
      select from public.outbox
      where dispatch_id is not null or batch_id is not null
        or created_at <= coalesce(p_known_heartbeat, 'infinity'));
end
$$;

-- What a process saw in this timeline, which is not the present one of the plan, says about the database:
-- `nothing` where it was adopted since, or the database was made anew; `something` where the timeline has
-- another name only, since `outbox bind`; `restored` where the database does not know the timeline.
create function outbox_engine.judge_timeline(
  p_provider text, p_plan text, p_timeline text, p_known_heartbeat timestamptz
) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select case
      when split_part(p_timeline, '/', 1) <> all (i.id || i.earlier_ids) then
        case when outbox_engine.was_made_since(p_known_heartbeat) then 'nothing' else 'restored' end
      when t.seen = t.ids[cardinality(t.ids)] or t.seen = '' and t.ids = '{}' then 'something'
      when t.seen = '' or t.seen = any (t.ids) then 'nothing'
      else 'restored'
    end
    from outbox_engine.installation i
    cross join (
      select split_part(p_timeline, '/', 2) as seen, array(
        select x.id::text
        from outbox_engine.timelines x
        where x.provider = p_provider and x.plan = p_plan
        order by x.number
      ) as ids
    ) t
  );
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
      (select last_value + is_called::integer from outbox_engine.lease_tokens), p_highest_lease_token) token
    limit 1000000;
  end if;
  perform outbox_engine.pause_restored(p_provider, p_plan, p_reason);
end
$$;

-- Why a process must not claim: the claim's answer. Null if it has just bound the database, as the first
-- claim does.
create function outbox_engine.refuse_process(
  p_provider text, p_plan text, p_project text, p_highest_lease_token bigint,
  p_state outbox_engine.database_state
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_reason text;
begin
  if not outbox_engine.sends_from(p_project) then
    return jsonb_build_object(
      'unbound', (select hosts from outbox_engine.installation), 'dispatches', '[]'::jsonb, 'more', false);
  end if;
  v_reason := case
    when p_state.lacks_timeline then
      'a process knows an adoption or an installation that the database does not know'
    when p_state.lacks_token then 'a process holds a lease token that the database has not issued'
    when p_state.lacks_dispatch then 'a process holds a request that the database does not know'
    when p_state.lacks_heartbeat then 'a process has claimed since, and the database does not know of it'
    when p_state.has_unknown_reports then
      'the provider reported on a request of this database that it does not know, with reference ' || (
        select min(w.reference::text)
        from outbox_engine.waiting_reports w
        where w.is_unknown and outbox_engine.is_unknown_request(w.reference))
  end;
  if v_reason is null then
    return null;
  end if;
  perform outbox_engine.pause_behind_process(p_provider, p_plan, v_reason, p_highest_lease_token);
  return jsonb_build_object(
    'paused', 'restored', 'reason', v_reason,
    'wait_seconds', extract(epoch from outbox_engine.endless() - outbox_engine.now()),
    'dispatches', '[]'::jsonb, 'more', true);
end
$$;

-- Called by each claim, before it records a heartbeat, wakes or locks anything. Returns `heartbeat_at` and
-- `timeline` for the next claim of the process. Where it may not claim, also the rest of the answer:
-- `unbound` with the hosts that the database sends from, or `paused`. Null arguments are not checked. What
-- the process saw counts in the timeline in which it saw it.
--
-- A sequence that comes back from a backup of the files may be up to 32 tokens ahead, so the process names
-- its newest dispatch too, and its heartbeat, in case it made no request. A heartbeat that is ahead of the
-- clock proves nothing: the clock was set back. `was_at` is for when the clock has caught up. Nor does an
-- old one prove anything, which upkeep deletes after a day while its process sleeps. One query, because each
-- claim makes it.
create function outbox_engine.check_database(
  p_provider text, p_plan text, p_worker text, p_project text,
  p_highest_lease_token bigint, p_known_dispatch uuid, p_known_heartbeat timestamptz, p_timeline text
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_state outbox_engine.database_state;
  v_says text := 'something';
  v_refusal jsonb;
begin
  select i.hosts, i.id || coalesce('/' || t.id, ''), h.at, false,
    exists (select from outbox_engine.waiting_reports w where w.is_unknown),
    p_highest_lease_token > (
      select case when t.is_called then t.last_value else 0 end from outbox_engine.lease_tokens t),
    p_known_dispatch is not null
      and not exists (select from outbox_engine.dispatches d where d.id = p_known_dispatch),
    p_known_heartbeat > coalesce(greatest(h.at, h.was_at), '-infinity')
      and p_known_heartbeat between outbox_engine.now() - interval '20 hours' and outbox_engine.now()
  into v_state
  from outbox_engine.installation i
  left join outbox_engine.heartbeats h
    on h.job = 'dispatch' and h.provider = p_provider and h.plan = p_plan and h.worker = p_worker
  left join lateral (
    select x.id
    from outbox_engine.timelines x
    where x.provider = p_provider and x.plan = p_plan
    order by x.number desc
    limit 1
  ) t on true;
  if p_timeline <> v_state.timeline then
    v_says := outbox_engine.judge_timeline(p_provider, p_plan, p_timeline, p_known_heartbeat);
    v_state.lacks_timeline := v_says = 'restored';
  end if;
  if v_says = 'nothing' then
    v_state.lacks_token := false;
    v_state.lacks_dispatch := false;
    v_state.lacks_heartbeat := false;
  end if;
  -- A comparison of null with all of none is true.
  if p_project is not null and p_project <> all (v_state.hosts)
    or v_state.lacks_timeline or v_state.lacks_token or v_state.lacks_dispatch or v_state.lacks_heartbeat
    or v_state.has_unknown_reports then
    v_refusal := outbox_engine.refuse_process(
      p_provider, p_plan, p_project, p_highest_lease_token, v_state);
  end if;
  return jsonb_build_object('heartbeat_at', v_state.heartbeat_at, 'timeline', v_state.timeline)
    || coalesce(v_refusal, '{}');
end
$$;
