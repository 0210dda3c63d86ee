-- Upkeep: rows that expired while waiting, reports that raced their batch, retention, and alarms.

create table outbox_engine.upkeep (
  only_row boolean primary key default true check (only_row),
  pruned_to bigint not null default 0
);
alter table outbox_engine.upkeep enable row level security;


-- Waiting rows whose time ran out, also while the plan is paused.
create function outbox_engine.expire_waiting(p_now timestamptz, p_most integer) returns integer
language sql set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
  with expired as (
    update public.outbox
    set status = case when cancel_requested_at is null then 'expired' else 'cancelled' end,
      error = 'expired before it could be sent', queue = null, finalized_at = p_now
    where id = any (array(
      select id from public.outbox
      where queue is not null and expires_at <= p_now
        and expires_at >= coalesce((select expiring_from from outbox_engine.queue_bounds), '-infinity')
      order by expires_at
      limit p_most
      for update skip locked
    ))
    returning id, status, error
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select id, p_now, 'engine', status, status, error from expired
  )
  select count(*)::integer from expired
$$;

-- A report that was committed in the same moment as the acceptance it belongs to saw no batch, and the
-- acceptance no report.
create function outbox_engine.match_raced_reports(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatches uuid[];
begin
  select array_agg(distinct d.id) into v_dispatches
  from outbox_engine.waiting_reports w
  join outbox_engine.dispatches d on d.batch_id = w.batch_id
  where w.received_at > p_now - interval '1 hour';
  if v_dispatches is not null then
    perform outbox_engine.match_waiting_reports(v_dispatches);
  end if;
end
$$;

-- Deletes finished rows with all that hangs on them, oldest first, a stretch of the table at a time. What
-- they came to stays in the counts of their campaigns.
create function outbox_engine.prune_messages(
  p_delete_before timestamptz, p_blank_before timestamptz, p_most integer
) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
  v_dispatches uuid[];
  v_last bigint;
  v_last_created_at timestamptz;
begin
  select array_agg(id) filter (where finalized_at < p_delete_before), max(id), max(created_at)
  into v_ids, v_last, v_last_created_at
  from (
    select id, created_at, finalized_at from public.outbox
    where id > (select pruned_to from outbox_engine.upkeep)
    order by id
    limit p_most
  ) stretch;

  update public.outbox o
  set body = null, parameters = null
  where o.id > (select pruned_to from outbox_engine.upkeep) and o.id <= v_last
    and o.finalized_at < p_blank_before and (o.body is not null or o.parameters is not null) and o.id <> all (coalesce(v_ids, '{}'));

  -- Held, so that of two who prune at once one counts them; and without what somebody sent again meanwhile.
  v_ids := array(
    select id from public.outbox where id = any (v_ids) and finalized_at < p_delete_before order by id for update);
  perform outbox_engine.count_pruned(array(select id from public.outbox where id = any (v_ids) and campaign is not null));
  -- By message, because a request that was throttled or given back left no entry in the trail.
  with members as (
    delete from outbox_engine.dispatch_members where outbox_id = any (v_ids) returning dispatch_id
  ),
  trail as (
    delete from public.outbox_events where outbox_id = any (v_ids) returning dispatch_id
  ),
  messages as (
    delete from public.outbox where id = any (v_ids) returning dispatch_id
  )
  select array_agg(distinct dispatch_id) into v_dispatches
  from (select dispatch_id from members union select dispatch_id from trail union select dispatch_id from messages) x
  where dispatch_id is not null;
  delete from outbox_engine.duplicate_sends where outbox_id = any (v_ids);
  delete from outbox_engine.campaign_sends where outbox_id = any (v_ids);
  delete from outbox_engine.reassigned_occurrences where outbox_id = any (v_ids);
  delete from outbox_engine.dispatches d
  where d.id = any (v_dispatches) and not exists (select from outbox_engine.dispatch_members m where m.dispatch_id = d.id);

  -- Start over once the stretch reaches rows that are too young to prune or blank.
  update outbox_engine.upkeep
  set pruned_to = case when v_last_created_at < least(p_delete_before, p_blank_before) then v_last else 0 end;
  return coalesce(cardinality(v_ids), 0);
end
$$;

-- Ends what nobody asks about any more, because no process is configured for its plan: neither end needs the
-- provider. After a downtime those who are have an hour to ask first; where no process runs for an hour, the
-- provider's memory is the limit.
create function outbox_engine.give_up_everywhere(p_now timestamptz, p_most integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_settled constant boolean := exists (select from outbox_engine.heartbeats where job = 'upkeep' and since < p_now - interval '1 hour');
  v_silent uuid[];
begin
  perform outbox_engine.give_up_old_lookups(p.provider, p.plan, p_now) from outbox_engine.plans p;
  select array_agg(id) into v_silent
  from outbox_engine.plans p
  cross join lateral (
    select d.id, d.accepted_at from outbox_engine.dispatches d
    where d.provider = p.provider and d.plan = p.plan and d.reconcile_at < p_now - interval '1 day'
    order by d.reconcile_at
    limit p_most
    for update skip locked
  ) late
  where v_settled or late.accepted_at < p_now - interval '14 days';
  if v_silent is not null then
    perform outbox_engine.give_up_reports(v_silent, true, p_now);
    update outbox_engine.dispatches set reconcile_at = p_now where id = any (v_silent);
  end if;
end
$$;

-- Called by the upkeep job. Small steps; `more` says that another is worth making at once.
create function public.outbox_upkeep(p_retention_days double precision, p_body_retention_days double precision, p_most integer)
returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_expired integer;
  v_pruned integer;
begin
  perform outbox_engine.record_heartbeat('upkeep', '', '', '');
  v_expired := outbox_engine.expire_waiting(v_now, p_most);
  perform outbox_engine.match_raced_reports(v_now);
  perform outbox_engine.close_already_sent(v_now);
  perform outbox_engine.give_up_everywhere(v_now, p_most);
  v_pruned := outbox_engine.prune_messages(
    v_now - make_interval(secs => p_retention_days * 86400),
    v_now - make_interval(secs => coalesce(p_body_retention_days, p_retention_days) * 86400),
    p_most
  );
  delete from outbox_engine.plan_requests where second < v_now - interval '5 minutes';
  delete from outbox_engine.waiting_reports where key = any (array(
    select key from outbox_engine.waiting_reports where received_at < v_now - interval '14 days' limit p_most));
  delete from public.outbox_inbound where id = any (array(
    select id from public.outbox_inbound
    where recorded_at < v_now - make_interval(secs => p_retention_days * 86400) limit p_most));
  delete from outbox_engine.kept_callbacks where id = any (array(
    select id from outbox_engine.kept_callbacks
    where received_at < v_now - make_interval(secs => p_retention_days * 86400)
    order by id
    limit p_most));
  delete from outbox_engine.help_answers where reconciled_at < v_now - interval '1 day';
  delete from outbox_engine.heartbeats where at < v_now - interval '1 day';
  delete from outbox_engine.alarms where acknowledged_at < v_now - interval '30 days';
  delete from outbox_engine.campaign_imports where id = any (array(
    select id from outbox_engine.campaign_imports where started_at < v_now - interval '1 day' limit 1));
  return jsonb_build_object('expired', v_expired, 'pruned', v_pruned, 'more', v_expired = p_most or v_pruned > 0);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_upkeep
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_upkeep
to service_role;
