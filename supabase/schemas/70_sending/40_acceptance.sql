-- Requests that the provider took.

-- Trail and alarm for doubles confirmed at this moment.
create function outbox_engine.log_duplicate_sends(p_now timestamptz) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with told as (
    insert into public.outbox_events (outbox_id, at, source, event, batch_id, dispatch_id, detail)
    select x.outbox_id, p_now, 'engine', 'duplicate_send', x.batch_id, x.dispatch_id,
      case when exists (select from outbox_engine.dispatch_members m where m.dispatch_id = x.dispatch_id and m.outbox_id = x.outbox_id)
        then 'the provider accepted this message twice'
        else 'the provider accepted an earlier message for the same time too' end
    from outbox_engine.duplicate_sends x
    join public.outbox o on o.id = x.outbox_id
    where x.confirmed_at = p_now
      and not exists (
        select from public.outbox_events e
        where e.outbox_id = x.outbox_id and e.event = 'duplicate_send' and e.dispatch_id = x.dispatch_id and e.batch_id = x.batch_id
      )
    returning outbox_id
  )
  select outbox_engine.alarm('message.duplicate_send', jsonb_build_object('outbox_ids', jsonb_agg(outbox_id)))
  from told
  having count(*) > 0
$$;

-- Rows of newly accepted dispatches that are still attached to them become sent. Answers whether all of them
-- did. They are named by their ids as well as joined, and joined by hash: a plan from the time when the
-- tables were small, which lives as long as its connection, reads a whole table or each row of one for each
-- of another.
create function outbox_engine.mark_sent(p_dispatches uuid[], p_source text, p_now timestamptz) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set enable_nestloop = off
as $$
declare
  v_ids constant bigint[] := array(select outbox_id from outbox_engine.dispatch_members where dispatch_id = any (p_dispatches));
  v_all_sent boolean;
begin
  with members as materialized (
    select m.outbox_id, m.recipient, d.id, d.batch_id
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    where d.id = any (p_dispatches) and m.dispatch_id = any (p_dispatches)
    -- In the order in which others lock messages, and in which these stand in the table.
    order by m.outbox_id
  ),
  sent as (
    update public.outbox o
    set
      status = 'sent', batch_id = m.batch_id, sent_at = p_now, attempts = o.attempts + 1, queue = null, error = null
    from members m
    where o.id = m.outbox_id and o.id = any (v_ids) and o.dispatch_id = m.id and o.status in ('sending', 'pending', 'scheduled')
    returning o.id, m.batch_id, m.id as dispatch_id
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, batch_id, dispatch_id)
    select id, p_now, p_source, 'accepted', 'sent', batch_id, dispatch_id from sent
  )
  select (select count(*) from sent) = (select count(*) from members) into v_all_sent;
  return v_all_sent;
end
$$;

-- The rows of newly accepted dispatches.
create function outbox_engine.accept_rows(p_dispatches uuid[], p_source text, p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_late bigint[];
begin
  if not outbox_engine.mark_sent(p_dispatches, p_source, p_now) then
    -- Whoever is just changing the others is waited for: what they are by then decides.
    perform from public.outbox
    where id = any (array(select outbox_id from outbox_engine.dispatch_members where dispatch_id = any (p_dispatches)))
    order by id
    for no key update;
    perform outbox_engine.mark_sent(p_dispatches, p_source, p_now);
  elsif not exists (select from outbox_engine.duplicate_sends) then
    -- As nearly always: then no row is elsewhere, and nothing below can find one.
    return;
  end if;

  -- It had ended before the provider turned out to have it. Its reports tell how.
  with late as (
    update public.outbox o
    set batch_id = d.batch_id, sent_at = p_now
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    where d.id = any (p_dispatches) and o.id = m.outbox_id and o.dispatch_id = d.id and o.finalized_at is not null
      and (o.batch_id is null or o.batch_id <> d.batch_id and o.status <> 'delivered')
    returning o.id, o.campaign, d.batch_id, d.id as dispatch_id, o.status
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, batch_id, dispatch_id)
    select id, p_now, p_source, 'accepted', status, batch_id, dispatch_id from late
  )
  select array_agg(id) into v_late from late where campaign is not null;
  -- A campaign may have given their times to others.
  if v_late is not null then
    perform outbox_engine.reclaim_occurrences(v_late, p_now);
  end if;

  -- Rows that are elsewhere by now. Whether it is a double depends on what becomes of the other dispatch.
  insert into outbox_engine.duplicate_sends (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
  select m.outbox_id, d.id, d.batch_id, p_now,
    case when other.batch_id is not null or (o.dispatch_id is null and exists (
      -- One that was accepted, and that an operator had sent again.
      select from outbox_engine.dispatch_members a
      join outbox_engine.dispatches x on x.id = a.dispatch_id
      where a.outbox_id = o.id and x.id <> d.id and x.batch_id is not null
    )) then p_now end
  from outbox_engine.dispatches d
  join outbox_engine.dispatch_members m on m.dispatch_id = d.id
  join public.outbox o on o.id = m.outbox_id and o.dispatch_id is distinct from d.id
  left join outbox_engine.dispatches other on other.id = o.dispatch_id
  where d.id = any (p_dispatches)
  union all
  -- An earlier attempt proved delivered while this one was on its way.
  select m.outbox_id, d.id, d.batch_id, p_now, p_now
  from outbox_engine.dispatches d
  join outbox_engine.dispatch_members m on m.dispatch_id = d.id
  join public.outbox o on o.id = m.outbox_id and o.dispatch_id = d.id and o.status = 'delivered' and o.batch_id <> d.batch_id
  where d.id = any (p_dispatches)
  on conflict do nothing;

  if exists (select from outbox_engine.duplicate_sends) then
    update outbox_engine.duplicate_sends x
    set confirmed_at = p_now
    from outbox_engine.dispatch_members m
    where m.dispatch_id = any (p_dispatches) and x.outbox_id = m.outbox_id and x.dispatch_id <> m.dispatch_id
      and x.confirmed_at is null;
    perform outbox_engine.log_duplicate_sends(p_now);
  end if;
end
$$;

-- Records that the provider has these batches, whoever found out and however late: a fact that no lease can
-- undo. Rows still attached become sent. Rows that meanwhile went out in another dispatch are doubles.
-- `p_reconcile_after` is kept with the plan; null is what was told last. The caller then matches the reports that
-- wait for these batches.
create function outbox_engine.accept_dispatches(p_dispatches uuid[], p_batches text[], p_source text, p_reconcile_after interval) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_new uuid[];
begin
  perform outbox_engine.lock_dispatches(p_dispatches);

  with facts as (
    select distinct on (f.dispatch_id) f.dispatch_id, f.batch_id
    from unnest(p_dispatches, p_batches) with ordinality f (dispatch_id, batch_id, place)
    order by f.dispatch_id, f.place
  ),
  adopted as (
    update outbox_engine.dispatches d
    set
      batch_id = f.batch_id, state = 'accepted', accepted_at = v_now, closed_at = coalesce(d.closed_at, v_now), body = null,
      lookup_at = null, error = null,
      reconcile_at = v_now + coalesce(
        p_reconcile_after, (select p.reconcile_after from outbox_engine.plans p where p.provider = d.provider and p.plan = d.plan))
    from facts f
    where d.id = f.dispatch_id and d.id = any (p_dispatches) and d.batch_id is null
    returning d.id
  )
  select array_agg(id) into v_new from adopted;

  -- A second batch under the same reference: somebody repeated our request on the way.
  insert into outbox_engine.duplicate_sends (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
  select m.outbox_id, d.id, f.batch_id, v_now, v_now
  from unnest(p_dispatches, p_batches) f (dispatch_id, batch_id)
  cross join lateral (select x.id, x.batch_id from outbox_engine.dispatches x where x.id = f.dispatch_id limit 1) d
  join outbox_engine.dispatch_members m on m.dispatch_id = d.id
  where d.batch_id <> f.batch_id
  on conflict do nothing;
  if found then
    perform outbox_engine.log_duplicate_sends(v_now);
  end if;

  if v_new is null then
    return;
  end if;
  perform outbox_engine.accept_rows(v_new, p_source, v_now);
  perform outbox_engine.lift_pauses(d.provider, d.plan, d.credential, d.claimed_at)
  from (
    select provider, plan, credential, max(claimed_at) as claimed_at
    from outbox_engine.dispatches
    where id = any (v_new)
    group by provider, plan, credential
  ) d
  where exists (select from outbox_engine.plan_pauses);
  update outbox_engine.plans p
  set shared_refusals = 0, throttles = 0, reconcile_after = coalesce(p_reconcile_after, p.reconcile_after)
  from outbox_engine.dispatches d
  where d.id = any (v_new) and p.provider = d.provider and p.plan = d.plan
    and (p.shared_refusals, p.throttles, p.reconcile_after) <> (0, 0, coalesce(p_reconcile_after, p.reconcile_after));
end
$$;

-- A row whose last attempt came to nothing, so that it ended or waits again, while an earlier one, given up
-- after two looks, turned out to have been accepted: it was sent after all, by that one. The claim asks this
-- before it takes rows; what somebody else holds is left to the next one.
create function outbox_engine.close_already_sent(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_held constant bigint[] := array(
    select id from public.outbox
    where id = any (array(select outbox_id from outbox_engine.duplicate_sends where confirmed_at is null))
    order by id
    for update skip locked);
  v_rows bigint[];
  v_dispatches uuid[];
begin
  with theirs as (
    delete from outbox_engine.duplicate_sends x
    using public.outbox o
    where x.confirmed_at is null and x.outbox_id = any (v_held) and o.id = x.outbox_id and (o.finalized_at is not null or o.queue is not null)
      and not exists (select from outbox_engine.dispatches d where d.id = o.dispatch_id and d.batch_id is not null)
    returning x.*
  ),
  changed as (
    update public.outbox o
    set
      dispatch_id = t.dispatch_id, batch_id = t.batch_id, sent_at = t.found_at,
      status = case o.status when 'delivered' then o.status else 'sent' end,
      finalized_at = case o.status when 'delivered' then o.finalized_at end,
      reported_rank = case o.status when 'delivered' then o.reported_rank end,
      queue = null, error = null
    -- Not where it was another message for the same time that turned up: this one was not sent.
    from theirs t
    join outbox_engine.dispatch_members m on m.dispatch_id = t.dispatch_id and m.outbox_id = t.outbox_id
    where o.id = t.outbox_id
    returning o.id, o.status, o.batch_id, o.dispatch_id
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, batch_id, dispatch_id)
    select id, p_now, 'engine', 'accepted', status, batch_id, dispatch_id from changed
  )
  select array_agg(id), array_agg(dispatch_id) into v_rows, v_dispatches from changed;
  if v_rows is null then
    return;
  end if;
  perform outbox_engine.reclaim_occurrences(v_rows, p_now);
  perform outbox_engine.log_duplicate_sends(p_now);
  update outbox_engine.dispatches set reconcile_at = p_now where id = any (v_dispatches);
  -- What was reported of it before.
  perform outbox_engine.advance_status(array_agg(e.outbox_id), array_agg(e.dispatch_id), array_agg(d.provider), array_agg(e.status),
    array_agg(e.status_code), array_agg(e.occurred_at), p_now)
  from unnest(v_rows, v_dispatches) c (outbox_id, dispatch_id)
  join public.outbox_events e on e.outbox_id = c.outbox_id and e.dispatch_id = c.dispatch_id and e.event = 'report'
  join outbox_engine.dispatches d on d.id = c.dispatch_id;
end
$$;
