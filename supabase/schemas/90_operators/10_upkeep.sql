-- Upkeep: expiry of waiting messages, outcomes that no other job will find, and retention.

-- How far retention has read the outbox, by id.
create table outbox_engine.upkeep (
  only_row boolean primary key default true check (only_row),
  pruned_to bigint not null default 0,
  -- How far the walk that blanks texts has come, null between two walks.
  blanked_to bigint,
  -- When the latest walk of more than one stretch began.
  blanking_since timestamptz
);
alter table outbox_engine.upkeep enable row level security;

-- Ends waiting messages whose expiry has passed, also while their plan is paused; but not after a restore,
-- where some of them turn out to have been sent. Returns how many.
create function outbox_engine.expire_waiting(p_now timestamptz, p_most integer) returns integer
language plpgsql set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
declare
  v_changes outbox_engine.status_change[];
begin
  if exists (select from outbox_engine.plan_pauses where kind = 'restored') then
    return 0;
  end if;
  select array_agg(row(
    id, case when cancel_requested_at is null then 'expired' else 'cancelled' end,
    case when cancel_requested_at is null then outbox_engine.expired_error() || coalesce(', held for: ' || (
      select r.error
      from outbox_engine.held_messages h
      join outbox_engine.refused_contents r using (provider, plan, content)
      where h.outbox_id = expired.id and r.held_since is not null
    ), '') end, null, null, null
  )::outbox_engine.status_change)
  into v_changes
  from (
    select id, cancel_requested_at
    from outbox_engine.expiring_messages
    where expires_at <= p_now
    order by expires_at
    limit p_most
    for update skip locked
  ) expired;
  perform outbox_engine.change_statuses(v_changes, 'engine', p_now);
  return coalesce(cardinality(v_changes), 0);
end
$$;

-- Matches reports with acceptances that were committed at the same moment: neither transaction saw the
-- other.
create function outbox_engine.match_raced_reports(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatches uuid[];
begin
  select array_agg(distinct d.id)
  into v_dispatches
  from outbox_engine.waiting_reports w
  join outbox_engine.dispatches d on d.batch_id = w.batch_id
  where w.received_at > p_now - interval '1 hour';
  if v_dispatches is not null then
    perform outbox_engine.match_waiting_reports(v_dispatches);
  end if;
end
$$;

-- Retention: in the next `p_most` messages by id, deletes those that became final before `p_delete_before` by
-- the provider's time, and of which nothing was recorded since by ours. Messages that another transaction
-- holds keep for the next round. Returns how many were deleted.
create function outbox_engine.prune_messages(p_delete_before timestamptz, p_most integer) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant bigint := (select pruned_to from outbox_engine.upkeep);
  v_old bigint[];
  v_last bigint;
  v_last_created_at timestamptz;
begin
  select
    array_agg(id) filter (where finalized_at < p_delete_before),
    max(id),
    max(created_at)
  into v_old, v_last, v_last_created_at
  from (
    select id, created_at, finalized_at
    from public.outbox
    where id > v_from
    order by id
    limit p_most
  ) stretch;

  -- Locked, so that two upkeep jobs do not count a message twice. Checked again, because an operator may
  -- have had a message sent again meanwhile.
  v_old := array(
    select id
    from public.outbox
    where id = any (v_old) and finalized_at < p_delete_before
      and not exists (
        select from public.outbox_events e where e.outbox_id = outbox.id and e.at >= p_delete_before)
    order by id
    for update skip locked
  );
  delete from public.outbox where id = any (v_old);

  -- Starts over once it reaches messages that are too young to delete.
  update outbox_engine.upkeep
  set pruned_to = case when v_last_created_at < p_delete_before then v_last else 0 end;
  return cardinality(v_old);
end
$$;

-- Removes the texts of messages that became final before `p_before` by the provider's time, and of which
-- nothing was recorded since by ours, in the next `p_most` messages by id. No index leads to them, because it
-- would make every report dearer. So a walk goes through the table up to the first stretch with messages
-- created after `p_before`. A walk of one stretch is made at each call; after a longer one the next begins a
-- day later. Messages that another transaction holds keep for the next walk.
-- Returns whether the walk goes on.
create function outbox_engine.blank_texts(p_before timestamptz, p_most integer, p_now timestamptz)
returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_from bigint;
  v_last bigint;
  v_goes_on boolean;
begin
  select coalesce(blanked_to, 0)
  into v_from
  from outbox_engine.upkeep
  where blanked_to is not null or coalesce(blanking_since <= p_now - interval '1 day', true);
  if not found then
    return false;
  end if;
  select max(id), count(*) = p_most and max(created_at) < p_before
  into v_last, v_goes_on
  from (select id, created_at from public.outbox where id > v_from order by id limit p_most) stretch;

  update public.outbox
  set body = null, parameters = null, media_url = null
  where id = any (array(
    select id
    from public.outbox
    where id > v_from and id <= v_last and finalized_at < p_before
      and num_nonnulls(body, parameters, media_url) > 0
      and not exists (select from public.outbox_events e where e.outbox_id = outbox.id and e.at >= p_before)
    order by id
    for update skip locked
  ));
  update outbox_engine.upkeep
  set
    blanked_to = case when v_goes_on then v_last end,
    blanking_since = case when v_from = 0 and v_goes_on then p_now else blanking_since end;
  return v_goes_on;
end
$$;

-- Deletes counts of refusals that are an hour old, holds without messages that no request was refused for in
-- a week, and the pauses for a setting that release 0.1.0 left.
create function outbox_engine.forget_refusals(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  delete from outbox_engine.refused_contents r
  where (r.provider, r.plan, r.content) in (
    select c.provider, c.plan, c.content
    from outbox_engine.refused_contents c
    where c.refused_at < p_now
        - case when c.held_since is null then interval '1 hour' else interval '7 days' end
      and not exists (
        select from outbox_engine.held_messages h
        where (h.provider, h.plan, h.content) = (c.provider, c.plan, c.content)
      )
    for update skip locked
  );
  delete from outbox_engine.plan_pauses p
  where (p.provider, p.plan, p.kind, p.credential) in (
    select x.provider, x.plan, x.kind, x.credential
    from outbox_engine.plan_pauses x
    where x.kind = 'setting'
    for update skip locked
  );
end
$$;

-- Deletes old rows of the engine's own tables.
create function outbox_engine.prune_records(p_now timestamptz, p_delete_before timestamptz, p_most integer)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.forget_refusals(p_now);
  perform outbox_engine.forget_secrets(p_most);
  perform outbox_engine.forget_retired_routes(p_now);
  perform outbox_engine.forget_unused_detours(p_now);
  delete from outbox_engine.plan_requests where second < p_now - interval '5 minutes';
  delete from outbox_engine.waiting_reports
  where key = any (array(
    select key
    from outbox_engine.waiting_reports
    where received_at < p_now - interval '14 days'
    limit p_most
  ));
  perform outbox_engine.prune_emptied_dispatches(p_now, p_most);
  delete from outbox_engine.adopted_messages where kept_until < p_now;
  delete from outbox_engine.help_answers where answered_at < p_now - interval '1 day';
  perform outbox_engine.end_future_heartbeats(p_now);
  delete from outbox_engine.heartbeats where at < p_now - interval '1 day';
  delete from outbox_engine.clocks_off where at < p_now - interval '1 day';
  delete from outbox_engine.alarms where acknowledged_at < p_now - interval '30 days';
  -- A key that was erased lives as long as that of a message that ended then.
  delete from outbox_engine.erased_keys
  where digest = any (array(
    select digest
    from outbox_engine.erased_keys
    where kept_from < p_delete_before
    order by kept_from
    limit p_most
  ));
  perform outbox_engine.remove_orphans(10 * p_most, p_now);
end
$$;

-- The instant before which retention removes what `p_days` has this name for. Null where it removes nothing.
create function outbox_engine.remove_before(p_days jsonb, p_name text, p_now timestamptz) returns timestamptz
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_now - make_interval(secs => (p_days ->> p_name)::double precision * 86400)
$$;

-- Retention of what people sent: replies, callbacks, decisions and imports. Returns whether another call has
-- work to do.
create function outbox_engine.prune_people(p_now timestamptz, p_days jsonb, p_most integer) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_replies_before constant timestamptz := outbox_engine.remove_before(p_days, 'replies', p_now);
  v_texts_before constant timestamptz := outbox_engine.remove_before(p_days, 'reply_bodies', p_now);
  v_goes_on boolean := false;
begin
  if v_texts_before > v_replies_before then
    v_goes_on := outbox_engine.blank_replies(v_texts_before, p_most, p_now);
  end if;
  delete from public.outbox_inbound
  where id = any (array(
    select id
    from public.outbox_inbound
    where recorded_at < v_replies_before
    order by recorded_at
    limit p_most
    for update skip locked
  ));
  perform outbox_engine.forget_seen_inbounds(
    least(v_replies_before, p_now - interval '30 days'), 10 * p_most, p_now);
  delete from outbox_engine.kept_callbacks
  where id = any (array(
    select id
    from outbox_engine.kept_callbacks
    where received_at < outbox_engine.remove_before(p_days, 'callbacks', p_now)
    order by id
    limit p_most
  ));
  perform outbox_engine.forget_consents(
    outbox_engine.remove_before(p_days, 'consents', p_now), 10 * p_most, p_now);
  delete from outbox_engine.campaign_imports
  where id = any (array(
    select id
    from outbox_engine.campaign_imports
    where started_at < outbox_engine.remove_before(p_days, 'imports', p_now)
    limit 1
  ));
  return v_goes_on;
end
$$;

-- Ends what no job asks the provider about, because no process is configured for its plan: lookups and
-- missing reports. After a downtime the jobs have an hour to ask first. If no upkeep job runs for an hour,
-- missing reports end 14 days after the acceptance, as far back as the provider's list goes.
create function outbox_engine.give_up_everywhere(p_now timestamptz, p_most integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_runs_for_an_hour constant boolean := outbox_engine.upkeep_ran_for_an_hour(p_now);
  v_unasked uuid[];
begin
  perform outbox_engine.give_up_old_lookups(p.provider, p.plan, p_now)
  from outbox_engine.plans p;

  select array_agg(id)
  into v_unasked
  from outbox_engine.plans_to_reconcile() p
  cross join lateral (
    select d.id, d.accepted_at
    from outbox_engine.dispatches d
    where d.provider = p.provider and d.plan = p.plan and d.reconcile_at < p_now - interval '1 day'
    order by d.reconcile_at
    limit p_most
    for update skip locked
  ) late
  where v_runs_for_an_hour or late.accepted_at < p_now - interval '14 days';
  if v_unasked is not null then
    perform outbox_engine.give_up_reports(v_unasked, true, p_now);
    update outbox_engine.dispatches d
    set reconcile_at = case when m.messages > 0 then p_now end
    from outbox_engine.missing_reports(v_unasked, p_now) m
    where d.id = m.dispatch_id;
  end if;
end
$$;

-- Called by the upkeep job. Does a small step of each task and returns how many messages expired and were
-- deleted; `more` says that another call has work to do at once. `p_days` says for how many days each kind is
-- kept: `messages`, `bodies` and `metadata` of final messages, `replies`, `reply_bodies`, `callbacks`,
-- `consents` and `imports`. Null or a name that is missing keeps it (texts and metadata: as long as the row).
-- It is the text of a JSON object, because Supabase's lightweight server passes objects on as strings.
-- The first two tasks may wait for messages; the others skip messages that another transaction holds, because
-- by then this one holds some (docs/decisions/0008).
create function public.outbox_run_upkeep(p_days text, p_most integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_days constant jsonb := p_days;
  v_delete_before constant timestamptz := outbox_engine.remove_before(v_days, 'messages', v_now);
  v_texts_before constant timestamptz := outbox_engine.remove_before(v_days, 'bodies', v_now);
  v_metadata_before constant timestamptz := outbox_engine.remove_before(v_days, 'metadata', v_now);
  v_expired integer;
  v_stranded integer;
  v_pruned integer;
  v_more boolean;
begin
  perform outbox_engine.record_heartbeat('upkeep', '', '', '');
  perform outbox_engine.give_up_everywhere(v_now, p_most);
  perform outbox_engine.match_raced_reports(v_now);
  v_expired := outbox_engine.expire_waiting(v_now, p_most);
  perform outbox_engine.close_already_sent(v_now);
  perform outbox_engine.match_strays(p_most);
  v_stranded := outbox_engine.end_stranded(v_now, p_most);
  perform outbox_engine.alarm_without_plans(v_now);
  v_more := outbox_engine.blank_secret_texts(v_now, p_most);
  v_pruned := outbox_engine.prune_messages(v_delete_before, p_most);
  if v_texts_before > v_delete_before then
    v_more := outbox_engine.blank_texts(v_texts_before, p_most, v_now) or v_more;
  end if;
  if v_metadata_before > v_delete_before then
    v_more := outbox_engine.blank_metadata(v_metadata_before, p_most, v_now) or v_more;
  end if;
  v_more := outbox_engine.prune_people(v_now, v_days, p_most) or v_more;
  perform outbox_engine.prune_records(v_now, v_delete_before, p_most);
  v_more := outbox_engine.prune_events(v_now, v_metadata_before, p_most) or v_more;
  perform outbox_engine.alarm_unclear('1 day', v_now);
  perform outbox_engine.tend_auth_codes(v_now, p_most);
  perform outbox_engine.tend_all_held_messages(v_now);
  -- Last, because health is decided by one transaction at a time.
  perform outbox_engine.tend_health(v_now);
  return jsonb_build_object(
    'expired', v_expired, 'pruned', v_pruned, 'more',
    v_expired = p_most or v_stranded = p_most or v_pruned > 0 or v_more);
end
$$;

-- Called by the upkeep job of release 0.1.0, which knows two of these times.
create function public.outbox_upkeep(
  p_retention_days double precision, p_body_retention_days double precision, p_most integer
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return public.outbox_run_upkeep(
    jsonb_build_object(
      'messages', p_retention_days, 'bodies', p_body_retention_days, 'replies', p_retention_days,
      'callbacks', p_retention_days, 'imports', 1)::text,
    p_most);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_run_upkeep,
  public.outbox_upkeep
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_run_upkeep,
  public.outbox_upkeep
to service_role;
