-- Asking for what callbacks did not bring: reports that are missing, and inbound messages.

-- How far each listing of a plan has been read.
create table outbox_engine.feeds (
  provider text not null,
  plan text not null,
  feed text not null check (feed in ('reports', 'inbounds')),
  read_until timestamptz,
  next_at timestamptz not null,
  primary key (provider, plan, feed)
);
alter table outbox_engine.feeds enable row level security;

-- When a dispatch is asked about again: after 1, 5 and 30 minutes, then every 6 hours.
create function outbox_engine.reconcile_interval(p_asks integer) returns interval
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case p_asks when 0 then interval '1 minute' when 1 then '5 minutes' when 2 then '30 minutes' else '6 hours' end
$$;

-- Rows of these dispatches for which no report came until a day after their expiry, although the provider was
-- asked towards the end of it, however seldom that is; or until 14 days after it took them, as far back as
-- Sinch's list of batches goes. `p_unasked`: nobody reconciliations any more.
create function outbox_engine.give_up_reports(p_dispatches uuid[], p_unasked boolean, p_now timestamptz) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with ended as (
    update public.outbox o
    set status = 'unknown', error = 'no report', reported_rank = outbox_engine.rank_of('unknown'), reported_at = null,
      status_code = null, finalized_at = p_now
    from outbox_engine.dispatch_members m
    join outbox_engine.dispatches d on d.id = m.dispatch_id
    where m.dispatch_id = any (p_dispatches) and d.id = any (p_dispatches) and o.id = m.outbox_id and o.dispatch_id = m.dispatch_id
      and o.status in ('sent', 'dispatched') and o.expires_at < p_now - interval '1 day'
      and (p_unasked or d.reconciled_at > o.expires_at + interval '18 hours' or d.accepted_at < p_now - interval '14 days')
    returning o.id
  )
  insert into public.outbox_events (outbox_id, at, source, event, status, detail)
  select id, p_now, 'reconcile', 'unknown', 'unknown', 'no report' from ended
$$;

-- Called by the reconcile job. Answers which batches to ask for one by one, and the window of the
-- finished-reports feed that covers the rest, with their ids (`feed` is null where nothing is missing);
-- `more` says that others are due. What is answered here is not answered again for two minutes. Only
-- `outbox_finish_reconciliation` counts it as asked: who comes to nothing loses no time.
create function public.outbox_claim_reconciliation(p_provider text, p_plan text, p_limit smallint) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_due uuid[];
  v_one_by_one jsonb;
  v_by_feed jsonb;
  v_since timestamptz;
begin
  perform outbox_engine.record_heartbeat('reconcile', p_provider, p_plan, '');
  select array_agg(id) into v_due
  from (
    select id from outbox_engine.dispatches
    where provider = p_provider and plan = p_plan and reconcile_at <= v_now
    order by reconcile_at
    limit p_limit
    for update skip locked
  ) due;
  if v_due is null then
    return jsonb_build_object('batches', '[]'::jsonb, 'feed', null, 'more', false);
  end if;
  perform outbox_engine.give_up_reports(v_due, false, v_now);

  -- What had ended before its request turned up may have been delivered as well.
  with missing as materialized (
    select d.id, count(o.id) as rows_open
    from outbox_engine.dispatches d
    left join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    left join public.outbox o on o.id = m.outbox_id and o.dispatch_id = d.id and (o.status in ('sent', 'dispatched')
      or o.finalized_at is not null and o.reported_rank is null and o.expires_at > v_now - interval '1 day')
    where d.id = any (v_due)
    group by d.id
  ),
  set_out as (
    update outbox_engine.dispatches d
    set
      reconcile_started_at = v_now,
      reconcile_at = case when m.rows_open > 0 then v_now + interval '2 minutes' end
    from missing m
    where d.id = m.id
    returning d.batch_id, d.accepted_at, d.reconciliations, m.rows_open
  )
  select
    coalesce(jsonb_agg(batch_id order by accepted_at, batch_id) filter (where rows_open >= 50 or reconciliations > 0), '[]'),
    jsonb_agg(batch_id) filter (where rows_open < 50 and reconciliations = 0),
    min(accepted_at) filter (where rows_open < 50 and reconciliations = 0)
  into v_one_by_one, v_by_feed, v_since
  from set_out
  where rows_open > 0;
  return jsonb_build_object(
    'batches', v_one_by_one,
    'feed', case when v_since is not null then
      jsonb_build_object('start', v_since - interval '10 minutes', 'end', v_now, 'batches', v_by_feed) end,
    'more', cardinality(v_due) = p_limit
  );
end
$$;

-- Called by the reconcile job once the provider answered what these batches were asked for, or (not
-- `p_answered`) answered other questions and not theirs. The next time is further off, unless somebody wanted
-- them asked soon meanwhile.
create function public.outbox_finish_reconciliation(p_provider text, p_plan text, p_batch_ids text[], p_answered boolean) returns void
language sql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  update outbox_engine.dispatches d
  set
    reconciliations = least(d.reconciliations + 1, 100), reconciled_at = case when p_answered then outbox_engine.now() else d.reconciled_at end,
    reconcile_at = case when d.reconcile_at < d.reconcile_started_at + interval '2 minutes' then d.reconcile_at
      else outbox_engine.now() + outbox_engine.reconcile_interval(d.reconciliations) end
  where d.batch_id = any (p_batch_ids) and d.provider = p_provider and d.plan = p_plan and d.reconcile_at is not null
$$;

-- Called by the webhook app for summaries that name no recipients: the full report is asked for at the next
-- tick.
create function public.outbox_reconcile_soon(p_batch_ids text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.dispatches
  set reconcile_at = outbox_engine.now(), reconciliations = greatest(reconciliations, 1)
  where batch_id = any (p_batch_ids)
$$;

-- Called by the inbound job. Answers the window to read, overlapping the last one, and draws the request for
-- its first page; null where another process read it less than `p_interval_seconds` ago, or the plan allows
-- no request.
create function public.outbox_claim_inbound_window(p_provider text, p_plan text, p_interval_seconds double precision) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_read_until timestamptz;
begin
  perform outbox_engine.record_heartbeat('inbound', p_provider, p_plan, '');
  insert into outbox_engine.feeds (provider, plan, feed, next_at) values (p_provider, p_plan, 'inbounds', v_now)
  on conflict do nothing;
  select read_until into v_read_until
  from outbox_engine.feeds
  where provider = p_provider and plan = p_plan and feed = 'inbounds' and next_at <= v_now
  for update;
  if not found or outbox_engine.draw_requests(p_provider, p_plan, 'poll', 1) = 0 then
    return null;
  end if;
  update outbox_engine.feeds
  set next_at = v_now + make_interval(secs => p_interval_seconds)
  where provider = p_provider and plan = p_plan and feed = 'inbounds';
  return jsonb_build_object(
    'start', coalesce(v_read_until - interval '10 minutes', v_now - interval '1 day'),
    'end', v_now
  );
end
$$;

-- Called by the inbound job when every page up to `p_until` was recorded.
create function public.outbox_finish_inbound_window(p_provider text, p_plan text, p_until timestamptz) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.feeds
  set read_until = greatest(read_until, p_until)
  where provider = p_provider and plan = p_plan and feed = 'inbounds'
$$;

-- Called by the webhook app, now and then, when callbacks that carry a provider's signature headers were
-- turned away: what they said is fetched instead. Anybody can send such a callback, so this brings forward
-- only what was not asked for just now, some of it, and leaves the pace of asking as it was.
create function public.outbox_record_rejected_callbacks(p_count integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  update outbox_engine.dispatches
  set reconcile_at = v_now, reconciliations = greatest(reconciliations - 1, 0)
  where id = any (array(
    select d.id
    from outbox_engine.plans p
    cross join lateral (
      select x.id from outbox_engine.dispatches x
      where x.provider = p.provider and x.plan = p.plan and x.reconcile_at > v_now
        and x.accepted_at > v_now - interval '1 day' and coalesce(x.reconcile_started_at < v_now - interval '5 minutes', true)
      order by x.reconcile_at
      limit 1000
      for update skip locked
    ) d
  ));
  update outbox_engine.feeds set next_at = outbox_engine.now() where feed = 'inbounds';
  perform outbox_engine.alarm('callback.rejected', jsonb_build_object('count', p_count));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_claim_reconciliation,
  public.outbox_finish_reconciliation,
  public.outbox_reconcile_soon,
  public.outbox_claim_inbound_window,
  public.outbox_finish_inbound_window,
  public.outbox_record_rejected_callbacks
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_claim_reconciliation,
  public.outbox_finish_reconciliation,
  public.outbox_reconcile_soon,
  public.outbox_claim_inbound_window,
  public.outbox_finish_inbound_window,
  public.outbox_record_rejected_callbacks
to service_role;
