-- Reconciliation: asking the provider for what callbacks did not bring, which is missing reports and
-- inbound messages.

-- How far each list of the provider was read for a plan.
create table outbox_engine.feeds (
  provider text not null,
  plan text not null,
  feed text not null check (feed in ('reports', 'inbounds')),
  read_until timestamptz,
  next_at timestamptz not null,
  primary key (provider, plan, feed)
);
alter table outbox_engine.feeds enable row level security;

-- How long after a reconciliation the next one of the same dispatch comes: 1, 5 and 30 minutes, then every
-- 6 hours.
create function outbox_engine.reconcile_interval(p_reconciliations integer) returns interval
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case p_reconciliations
    when 0 then interval '1 minute'
    when 1 then '5 minutes'
    when 2 then '30 minutes'
    else '6 hours'
  end
$$;

-- Messages of these dispatches end as unknown if no report came until a day after their expiry and the
-- provider was asked in the last six hours of that day or later, or if the provider took them 14 days ago,
-- as far back as its list goes. With `p_unasked` the provider does not have to be asked, because no process
-- is configured for the plan. Messages that another transaction holds are left to the next call.
create function outbox_engine.give_up_reports(p_dispatches uuid[], p_unasked boolean, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant bigint[] := array(
    select o.id
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    join public.outbox o on o.id = m.outbox_id and o.dispatch_id = d.id
    where d.id = any (p_dispatches)
      and m.dispatch_id = any (p_dispatches)
      and o.status in ('sent', 'dispatched')
      and o.expires_at < p_now - interval '1 day'
      and (
        p_unasked
        or d.reconciled_at > o.expires_at + interval '18 hours'
        or d.accepted_at < p_now - interval '14 days'
      )
    order by o.id
    for update of o skip locked
  );
begin
  update public.outbox
  set reported_rank = outbox_engine.rank_of('unknown'), reported_at = null, status_code = null
  where id = any (v_ids);
  perform outbox_engine.change_statuses(
    array_agg(row(id, 'unknown', 'no report', null, null, null)::outbox_engine.status_change),
    'reconcile', p_now)
  from unnest(v_ids) id;
end
$$;

-- How many messages of each of these dispatches lack a report. A message that had ended before its request
-- turned up as accepted counts too, because it may have been delivered as well.
create function outbox_engine.missing_reports(p_dispatches uuid[], p_now timestamptz)
returns table (dispatch_id uuid, messages bigint)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select d.id, count(o.id)
  from outbox_engine.dispatches d
  left join outbox_engine.dispatch_members m on m.dispatch_id = d.id
  left join public.outbox o on o.id = m.outbox_id
    and o.dispatch_id = d.id
    and (
      o.status in ('sent', 'dispatched')
      or o.finalized_at is not null
        and o.reported_rank is null
        and o.expires_at > p_now - interval '1 day'
    )
  where d.id = any (p_dispatches)
  group by d.id
$$;

-- The plans with requests whose reports are missing, also forgotten ones. It steps through an index.
create function outbox_engine.plans_to_reconcile() returns table (provider text, plan text)
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_sort = off
as $$
  with recursive found as (
    (select provider, plan from outbox_engine.dispatches where reconcile_at is not null
      order by provider, plan limit 1)
    union all
    select n.provider, n.plan
    from found f
    cross join lateral (
      select d.provider, d.plan from outbox_engine.dispatches d
      where d.reconcile_at is not null and (d.provider, d.plan) > (f.provider, f.plan)
      order by d.provider, d.plan
      limit 1
    ) n
  )
  select provider, plan from found
$$;

-- Called by the reconcile job. Returns `batches`, the batches to ask for one by one; `feed`, the window of
-- the provider's list of finished reports that covers the others, with their ids, or null where nothing is
-- missing; and `more`, which says that other dispatches are due. A dispatch that is returned here is not
-- returned again for two minutes. Only `outbox_finish_reconciliation` counts it as reconciled, so a process
-- that fails loses no time.
create function public.outbox_claim_reconciliation(p_provider text, p_plan text, p_limit smallint)
returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_due uuid[];
  v_one_by_one jsonb;
  v_by_feed jsonb;
  v_since timestamptz;
begin
  perform outbox_engine.record_heartbeat('reconcile', p_provider, p_plan, '');
  select array_agg(id)
  into v_due
  from (
    select id
    from outbox_engine.dispatches
    where provider = p_provider and plan = p_plan and reconcile_at <= v_now
    order by reconcile_at
    limit p_limit
    for update skip locked
  ) due;
  if v_due is null then
    return jsonb_build_object('batches', '[]'::jsonb, 'feed', null, 'more', false);
  end if;
  perform outbox_engine.give_up_reports(v_due, false, v_now);

  with missing as materialized (
    select m.dispatch_id, m.messages
    from outbox_engine.missing_reports(v_due, v_now) m
  ),
  started as (
    update outbox_engine.dispatches d
    set
      reconcile_started_at = v_now,
      reconcile_at = case when m.messages > 0 then v_now + interval '2 minutes' end
    from missing m
    where d.id = m.dispatch_id
    returning d.batch_id, d.accepted_at, d.reconciliations, m.messages
  ),
  -- Many missing reports, or reports that the list did not bring, are worth a request of their own.
  to_ask as (
    select s.batch_id, s.accepted_at, s.messages >= 50 or s.reconciliations > 0 as alone
    from started s
    where s.messages > 0
  )
  select
    coalesce(jsonb_agg(batch_id order by accepted_at, batch_id) filter (where alone), '[]'),
    jsonb_agg(batch_id) filter (where not alone),
    min(accepted_at) filter (where not alone)
  into v_one_by_one, v_by_feed, v_since
  from to_ask;

  return jsonb_build_object(
    'batches', v_one_by_one,
    'feed', case when v_since is not null then jsonb_build_object(
      'start', v_since - interval '10 minutes', 'end', v_now, 'batches', v_by_feed) end,
    'more', cardinality(v_due) = p_limit
  );
end
$$;

-- Locks the dispatches of these batches in the order of their ids, like `lock_dispatches`, and returns the
-- ids.
create function outbox_engine.lock_batches(p_batch_ids text[]) returns uuid[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select id
    from outbox_engine.dispatches
    where batch_id = any (p_batch_ids)
    order by id
    for update
  );
end
$$;

-- Called by the reconcile job once the provider answered for these batches, or, with `p_answered` false,
-- answered other requests and not theirs. The next reconciliation comes later each time, unless one was
-- asked for soon meanwhile.
create function public.outbox_finish_reconciliation(
  p_provider text, p_plan text, p_batch_ids text[], p_answered boolean
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_ids constant uuid[] := outbox_engine.lock_batches(p_batch_ids);
begin
  update outbox_engine.dispatches
  set
    reconciliations = least(reconciliations + 1, 100),
    reconciled_at = case when p_answered then outbox_engine.now() else reconciled_at end,
    reconcile_at = case
      when reconcile_at < reconcile_started_at + interval '2 minutes' then reconcile_at
      else outbox_engine.now() + outbox_engine.reconcile_interval(reconciliations)
    end
  where id = any (v_ids) and provider = p_provider and plan = p_plan and reconcile_at is not null;
end
$$;

-- Called by the webhook app for summaries that name no recipients: the reconcile job asks for the full
-- report at its next tick.
create function public.outbox_reconcile_soon(p_batch_ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant uuid[] := outbox_engine.lock_batches(p_batch_ids);
begin
  update outbox_engine.dispatches
  set reconcile_at = outbox_engine.now(), reconciliations = greatest(reconciliations, 1)
  where id = any (v_ids);
end
$$;

-- Called by the inbound job. Returns the window of the provider's list to read, which overlaps the last
-- one, and draws the request for its first page. Returns null where a process read the list less than
-- `p_interval_seconds` ago, or the plan allows no request.
create function public.outbox_claim_inbound_window(
  p_provider text, p_plan text, p_interval_seconds double precision
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_read_until timestamptz;
begin
  perform outbox_engine.record_heartbeat('inbound', p_provider, p_plan, '');
  insert into outbox_engine.feeds (provider, plan, feed, next_at)
  values (p_provider, p_plan, 'inbounds', v_now)
  on conflict do nothing;

  select read_until
  into v_read_until
  from outbox_engine.feeds
  where provider = p_provider and plan = p_plan and feed = 'inbounds'
    -- A later time is of a clock that was set back since.
    and (next_at <= v_now or next_at > v_now + make_interval(secs => p_interval_seconds))
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

-- Called by the inbound job once every page up to `p_until` was recorded. A slower process may have read
-- less. A reading that ends more than ten minutes before the last one shows that a clock was set back.
create function public.outbox_finish_inbound_window(p_provider text, p_plan text, p_until timestamptz)
returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.feeds
  set read_until = case
    when read_until between p_until and p_until + interval '10 minutes' then read_until
    else p_until
  end
  where provider = p_provider and plan = p_plan and feed = 'inbounds'
$$;

-- Called by the webhook app, now and then, when it rejected callbacks that carry a provider's signature
-- headers: what they said is fetched instead. Anyone can send such a callback. So this brings forward only
-- up to 1000 dispatches of each plan that were not asked for in the last five minutes, and it does not
-- change the pace of reconciliation.
create function public.outbox_record_rejected_callbacks(p_count integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
begin
  update outbox_engine.dispatches
  set reconcile_at = v_now, reconciliations = greatest(reconciliations - 1, 0)
  where id = any (array(
    select d.id
    from outbox_engine.plans p
    cross join lateral (
      select x.id
      from outbox_engine.dispatches x
      where x.provider = p.provider
        and x.plan = p.plan
        and x.reconcile_at > v_now
        and x.accepted_at > v_now - interval '1 day'
        and coalesce(x.reconcile_started_at < v_now - interval '5 minutes', true)
      order by x.reconcile_at
      limit 1000
      for update skip locked
    ) d
  ));
  update outbox_engine.feeds
  set next_at = v_now
  where (provider, plan, feed) in (
    select provider, plan, feed
    from outbox_engine.feeds
    where feed = 'inbounds'
    order by provider, plan
    for update
  );
  perform outbox_engine.alarm_with_count('callback.rejected', p_count);
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
