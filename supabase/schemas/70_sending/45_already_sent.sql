-- Messages that were sent by an earlier attempt: it was given up after two lookups, and then turned out to
-- be accepted.

-- Locks messages of which an earlier attempt turned up as accepted while a later one was under way, and
-- whatever else `close_already_sent` changes: the earlier dispatches, and the messages that took over their
-- times. Waits for nothing, because the claim holds its plan by now: a message is returned only if all of
-- these could be locked.
create function outbox_engine.lock_already_sent() returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant bigint[] := array(
    select id
    from public.outbox
    where id = any (array(select outbox_id from outbox_engine.duplicate_sends where confirmed_at is null))
    order by id
    for update skip locked
  );
  v_dispatches constant uuid[] := array(
    select id
    from outbox_engine.dispatches
    where id = any (array(
      select dispatch_id
      from outbox_engine.duplicate_sends
      where confirmed_at is null and outbox_id = any (v_ids)
    ))
    order by id
    for update skip locked
  );
  v_holders constant bigint[] := array(
    select id
    from public.outbox
    where id = any (array(select t.holder_id from outbox_engine.occurrences_of_messages(v_ids) t))
    order by id
    for update skip locked
  );
begin
  return array(
    select u.id
    from unnest(v_ids) u (id)
    where not exists (
        select from outbox_engine.duplicate_sends x
        join outbox_engine.dispatches d on d.id = x.dispatch_id
        where x.outbox_id = u.id and x.confirmed_at is null and d.id <> all (v_dispatches)
      )
      and not exists (
        select from outbox_engine.occurrences_of_messages(array[u.id]) t
        join public.outbox o on o.id = t.holder_id
        where t.holder_id <> all (v_holders)
      )
  );
end
$$;

-- Called by the claim, before it picks messages, and by the upkeep job. The last attempt of a message came
-- to nothing, so it ended or waits again, while an earlier attempt, given up after two lookups, turned out
-- to be accepted. The message was sent, by the earlier attempt. Messages that another transaction holds are
-- left to the next call.
create function outbox_engine.close_already_sent(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_locked constant bigint[] := outbox_engine.lock_already_sent();
  v_ids bigint[];
  v_dispatches uuid[];
begin
  with proven as (
    delete from outbox_engine.duplicate_sends x
    using public.outbox o
    where x.confirmed_at is null
      and x.outbox_id = any (v_locked)
      and o.id = x.outbox_id
      and (o.finalized_at is not null or o.queue is not null)
      and not exists (
        select from outbox_engine.dispatches d where d.id = o.dispatch_id and d.batch_id is not null
      )
    returning x.*
  ),
  adopted as (
    update public.outbox o
    set
      dispatch_id = p.dispatch_id, batch_id = p.batch_id, sent_at = p.found_at,
      reported_rank = case o.status when 'delivered' then o.reported_rank end
    from proven p
    -- Not where the dispatch held another message for the same time: this one was not sent.
    join outbox_engine.dispatch_members m on m.dispatch_id = p.dispatch_id and m.outbox_id = p.outbox_id
    where o.id = p.outbox_id
    returning o.id, o.dispatch_id
  )
  select array_agg(id), array_agg(dispatch_id)
  into v_ids, v_dispatches
  from adopted;
  if v_ids is null then
    return;
  end if;

  perform outbox_engine.change_statuses(
    array_agg(row(id, 'accepted', null, null, null, null)::outbox_engine.status_change), 'engine', p_now)
  from unnest(v_ids) id;
  perform outbox_engine.reclaim_occurrences(v_ids, p_now);
  perform outbox_engine.log_duplicate_sends(p_now);
  update outbox_engine.dispatches
  set reconcile_at = p_now
  where id = any (v_dispatches);
  -- Reports of the earlier attempt that came before.
  perform outbox_engine.advance_statuses(
    array_agg(e.outbox_id), array_agg(e.dispatch_id), array_agg(d.provider), array_agg(e.status),
    array_agg(e.status_code), array_agg(e.occurred_at), null, null, p_now)
  from unnest(v_ids, v_dispatches) c (outbox_id, dispatch_id)
  join public.outbox_events e
    on e.outbox_id = c.outbox_id and e.dispatch_id = c.dispatch_id and e.event = 'report'
  join outbox_engine.dispatches d on d.id = c.dispatch_id;
end
$$;

-- Called behind whatever has messages wait again. Those of which a second batch was found while their latest
-- request was open, and since an operator had them sent again, were sent by that batch. The caller locked
-- them.
create function outbox_engine.adopt_second_batches(p_ids bigint[], p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_adopted bigint[];
begin
  if p_ids is null
    or not exists (select from outbox_engine.duplicate_sends where outbox_id = any (p_ids)) then
    return;
  end if;
  with adopted as (
    update public.outbox o
    set
      dispatch_id = x.dispatch_id, batch_id = x.batch_id, sent_at = p_now,
      reported_rank = null, reported_at = null, status_code = null
    from unnest(p_ids) n (id)
    cross join lateral (
      select e.dispatch_id, e.batch_id
      from public.outbox_events e
      join outbox_engine.dispatch_members m on m.dispatch_id = e.dispatch_id and m.outbox_id = n.id
      where e.outbox_id = n.id and e.event = 'duplicate_send'
        and e.id > outbox_engine.last_retried(n.id)
      order by e.id desc
      limit 1
    ) x
    where o.id = n.id and o.status in ('pending', 'scheduled')
    returning o.id
  )
  select array_agg(id) into v_adopted from adopted;
  if v_adopted is null then
    return;
  end if;
  perform outbox_engine.change_statuses(
    array_agg(row(id, 'accepted', null, null, null, null)::outbox_engine.status_change), 'engine', p_now)
  from unnest(v_adopted) id;
  -- What was heard of the batch before.
  perform outbox_engine.advance_statuses(
    array_agg(e.outbox_id), array_agg(e.dispatch_id), array_agg(d.provider), array_agg(e.status),
    array_agg(e.status_code), array_agg(e.occurred_at), null, null, p_now)
  from unnest(v_adopted) a (id)
  cross join lateral (select x.dispatch_id, x.batch_id from public.outbox x where x.id = a.id limit 1) o
  join public.outbox_events e
    on e.outbox_id = a.id and e.dispatch_id = o.dispatch_id and e.batch_id = o.batch_id and e.event = 'report'
  join outbox_engine.dispatches d on d.id = e.dispatch_id
  having count(*) > 0;
end
$$;
