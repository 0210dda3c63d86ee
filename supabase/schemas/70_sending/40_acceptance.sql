-- Acceptance: the provider took a request. That is a fact, however late and by whichever job it is learned.

-- Writes an event and raises an alarm for duplicate sends that were confirmed at this moment.
create function outbox_engine.log_duplicate_sends(p_now timestamptz) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with logged as (
    insert into public.outbox_events (outbox_id, at, source, event, batch_id, dispatch_id, detail)
    select x.outbox_id, p_now, 'engine', 'duplicate_send', x.batch_id, x.dispatch_id,
      case
        when exists (
          select from outbox_engine.dispatch_members m
          where m.dispatch_id = x.dispatch_id and m.outbox_id = x.outbox_id
        ) then coalesce(
          (
            select string_agg(p.name, ' and ' order by p.first) || ' accepted this message'
            from (
              select outbox_engine.plan_name(d.provider, d.plan) as name, min(d.lease_token) as first
              from outbox_engine.dispatch_members m
              join outbox_engine.dispatches d on d.id = m.dispatch_id
              where m.outbox_id = x.outbox_id and d.batch_id is not null
              group by 1
            ) p
            having count(*) > 1
          ),
          'the provider accepted this message twice')
        else 'the provider accepted an earlier message for the same time too'
      end
    from outbox_engine.duplicate_sends x
    join public.outbox o on o.id = x.outbox_id
    where x.confirmed_at = p_now
      and not exists (
        select from public.outbox_events e
        where e.outbox_id = x.outbox_id
          and e.event = 'duplicate_send'
          and e.dispatch_id = x.dispatch_id
          and e.batch_id = x.batch_id
      )
    returning outbox_id
  )
  select outbox_engine.alarm(
    'message.duplicate_send', jsonb_build_object('outbox_ids', jsonb_agg(outbox_id)))
  from logged
  having count(*) > 0
$$;

-- Messages whose cancellation was requested and came too late: the occurrences of those that their campaign
-- withdrew no longer give a reason.
create function outbox_engine.keep_occurrences(p_outbox_ids bigint[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  if p_outbox_ids is not null then
    update public.outbox_campaign_occurrences
    set reason = null
    where outbox_id = any (p_outbox_ids) and reason is not null and not taken_back;
  end if;
end
$$;

-- Messages of newly accepted dispatches that are still attached to them become sent. Returns whether all
-- did. The messages are named by their ids besides the join, and the function allows no nested loop: the
-- API's connections keep plans from when the tables were small, and those would read a whole table, or one
-- row of it for each of another (docs/decisions/0006).
create function outbox_engine.mark_sent(p_dispatches uuid[], p_source text, p_now timestamptz) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set enable_nestloop = off
as $$
declare
  v_ids constant bigint[] := array(
    select outbox_id from outbox_engine.dispatch_members where dispatch_id = any (p_dispatches));
  v_all_sent boolean;
  v_kept bigint[];
  v_writer text := current_setting('outbox.writer', true);
  v_outer constant text := coalesce(v_writer, '');
begin
  v_writer := set_config('outbox.writer', pg_trigger_depth()::text, true);
  with members as materialized (
    select m.outbox_id, m.recipient, d.id, d.batch_id
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    where d.id = any (p_dispatches) and m.dispatch_id = any (p_dispatches)
    -- The order in which other functions lock messages, and in which these stand in the table.
    order by m.outbox_id
  ),
  sent as (
    update public.outbox o
    set
      status = 'sent', batch_id = m.batch_id, sent_at = p_now, attempts = o.attempts + 1, queue = null,
      error = null
    from members m
    where o.id = m.outbox_id
      and o.id = any (v_ids)
      and o.dispatch_id = m.id
      and o.status in ('sending', 'pending', 'scheduled')
    returning o.id, m.batch_id, m.id as dispatch_id, o.cancel_requested_at is not null as is_kept
  ),
  history as (
    insert into public.outbox_events (outbox_id, at, source, event, status, batch_id, dispatch_id)
    select id, p_now, p_source, 'accepted', 'sent', batch_id, dispatch_id
    from sent
  )
  select count(*) = (select count(*) from members), array_agg(id) filter (where is_kept)
  into v_all_sent, v_kept
  from sent;
  v_writer := set_config('outbox.writer', v_outer, true);
  perform outbox_engine.keep_occurrences(v_kept);
  return v_all_sent;
end
$$;

-- Locks all messages of these dispatches, wherever they are by now, and the messages that took over the
-- times of those among them that a campaign made. Called before a late acceptance changes any of them.
create function outbox_engine.lock_messages_and_successors(p_dispatches uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant bigint[] := array(
    select outbox_id from outbox_engine.dispatch_members where dispatch_id = any (p_dispatches));
begin
  perform from public.outbox
  where id = any (v_ids)
    or id = any (array(select t.holder_id from outbox_engine.occurrences_of_messages(v_ids) t))
  order by id
  for update;
end
$$;

-- Messages that had ended, still attached to a dispatch that turns out to be accepted, get its batch. Their
-- status stays: the reports of the batch say what became of them. The time of a campaign's message, which
-- the campaign may have given to another message, is its own again.
create function outbox_engine.adopt_ended_messages(p_dispatches uuid[], p_source text, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_campaign_messages bigint[];
begin
  with adopted as (
    update public.outbox o
    set batch_id = d.batch_id, sent_at = p_now
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    where d.id = any (p_dispatches)
      and o.id = m.outbox_id
      and o.dispatch_id = d.id
      and o.finalized_at is not null
      and (o.batch_id is null or o.batch_id <> d.batch_id and o.status <> 'delivered')
    returning o.id, o.campaign, d.batch_id, d.id as dispatch_id, o.status
  ),
  history as (
    insert into public.outbox_events (outbox_id, at, source, event, status, batch_id, dispatch_id)
    select id, p_now, p_source, 'accepted', status, batch_id, dispatch_id
    from adopted
  )
  select array_agg(id)
  into v_campaign_messages
  from adopted
  where campaign is not null;

  if v_campaign_messages is not null then
    perform outbox_engine.reclaim_occurrences(v_campaign_messages, p_now);
  end if;
end
$$;

-- Records messages of newly accepted dispatches that may have been sent twice. Each is confirmed once both
-- requests are known to have been accepted.
create function outbox_engine.record_duplicate_sends(p_dispatches uuid[], p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.duplicate_sends (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
  -- The message went to another dispatch meanwhile, or an operator had it sent again after an earlier
  -- dispatch was accepted.
  select m.outbox_id, d.id, d.batch_id, p_now,
    case
      when other.batch_id is not null then p_now
      when o.dispatch_id is null and exists (
        select from outbox_engine.dispatch_members earlier
        join outbox_engine.dispatches x on x.id = earlier.dispatch_id
        where earlier.outbox_id = o.id and x.id <> d.id and x.batch_id is not null
      ) then p_now
    end
  from outbox_engine.dispatches d
  join outbox_engine.dispatch_members m on m.dispatch_id = d.id
  join public.outbox o on o.id = m.outbox_id and o.dispatch_id is distinct from d.id
  left join outbox_engine.dispatches other on other.id = o.dispatch_id
  where d.id = any (p_dispatches)
  union all
  -- An earlier attempt proved delivered while this dispatch was on its way.
  select m.outbox_id, d.id, d.batch_id, p_now, p_now
  from outbox_engine.dispatches d
  join outbox_engine.dispatch_members m on m.dispatch_id = d.id
  join public.outbox o on o.id = m.outbox_id
    and o.dispatch_id = d.id
    and o.status = 'delivered'
    and o.batch_id <> d.batch_id
  where d.id = any (p_dispatches)
  on conflict do nothing;

  if exists (select from outbox_engine.duplicate_sends) then
    -- Earlier finds about these messages are confirmed by this acceptance.
    update outbox_engine.duplicate_sends x
    set confirmed_at = p_now
    from outbox_engine.dispatch_members m
    where m.dispatch_id = any (p_dispatches)
      and x.outbox_id = m.outbox_id
      and x.dispatch_id <> m.dispatch_id
      and x.confirmed_at is null;
    perform outbox_engine.log_duplicate_sends(p_now);
  end if;
end
$$;

-- Messages that wait again because of a report on one batch, while another batch of them was found just now
-- in one of these dispatches: that one sent them. The caller locked them.
create function outbox_engine.adopt_waiting_messages(
  p_dispatches uuid[], p_source text, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_adopted bigint[];
begin
  with adopted as (
    update public.outbox o
    set
      dispatch_id = x.dispatch_id, batch_id = x.batch_id, sent_at = p_now,
      reported_rank = null, reported_at = null, status_code = null
    from outbox_engine.duplicate_sends x
    where x.dispatch_id = any (p_dispatches) and x.confirmed_at = p_now and x.outbox_id = o.id
      and o.batch_id is not null and o.queue is not null
    returning o.id
  )
  select array_agg(id) into v_adopted from adopted;
  perform outbox_engine.change_statuses(
    array_agg(row(id, 'accepted', null, null, null, null)::outbox_engine.status_change), p_source, p_now)
  from unnest(v_adopted) id
  having count(*) > 0;
end
$$;

-- The messages of newly accepted dispatches. `p_were_closed` says that some of the dispatches had been
-- given up or refused, so that their messages may be elsewhere by now.
create function outbox_engine.accept_messages(
  p_dispatches uuid[], p_were_closed boolean, p_source text, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_all_sent boolean;
begin
  if p_were_closed then
    perform outbox_engine.lock_messages_and_successors(p_dispatches);
  end if;
  v_all_sent := outbox_engine.mark_sent(p_dispatches, p_source, p_now);
  if v_all_sent and not exists (select from outbox_engine.duplicate_sends) then
    -- The usual case: no message is elsewhere, and none was sent before.
    return;
  end if;
  if not v_all_sent then
    -- Waits for transactions that are changing the others, then decides by what they are now.
    perform outbox_engine.lock_messages_and_successors(p_dispatches);
    perform outbox_engine.mark_sent(p_dispatches, p_source, p_now);
  end if;
  perform outbox_engine.adopt_ended_messages(p_dispatches, p_source, p_now);
  perform outbox_engine.record_duplicate_sends(p_dispatches, p_now);
  perform outbox_engine.adopt_waiting_messages(p_dispatches, p_source, p_now);
end
$$;

-- Records for the plans of newly accepted dispatches that the provider accepts requests: pauses end,
-- so do holds of contents, and the latest `p_reconcile_after` is kept.
create function outbox_engine.record_plan_success(p_dispatches uuid[], p_reconcile_after interval)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from outbox_engine.plan_pauses) and exists (
    select from outbox_engine.plan_pauses p
    join outbox_engine.dispatches d on d.provider = p.provider and d.plan = p.plan
    where d.id = any (p_dispatches)
  ) then
    perform outbox_engine.hold_plans_of(p_dispatches);
    perform outbox_engine.lift_pauses(d.provider, d.plan, d.credential, d.claimed_at)
    from (
      select provider, plan, credential, max(claimed_at) as claimed_at
      from outbox_engine.dispatches
      where id = any (p_dispatches)
      group by provider, plan, credential
    ) d;
  end if;

  if exists (select from outbox_engine.refused_contents) then
    perform outbox_engine.lift_contents(p_dispatches);
  end if;

  update outbox_engine.plans p
  set reconcile_after = p_reconcile_after
  from outbox_engine.dispatches d
  where d.id = any (p_dispatches)
    and p.provider = d.provider
    and p.plan = d.plan
    and p.reconcile_after <> p_reconcile_after;
end
$$;

-- Second batches with the same reference: something between us and the provider repeated our request. Locks
-- all messages of the call first, because a report that moves one of them looks for second batches.
create function outbox_engine.record_repeated_requests(
  p_dispatches uuid[], p_batches text[], p_source text, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  perform outbox_engine.lock_messages_and_successors(p_dispatches);
  insert into outbox_engine.duplicate_sends (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
  select m.outbox_id, d.id, f.batch_id, p_now, p_now
  from unnest(p_dispatches, p_batches) f (dispatch_id, batch_id)
  cross join lateral (
    select x.id, x.batch_id
    from outbox_engine.dispatches x
    where x.id = f.dispatch_id
    limit 1
  ) d
  join outbox_engine.dispatch_members m on m.dispatch_id = d.id
  where d.batch_id <> f.batch_id
  on conflict do nothing;
  if found then
    perform outbox_engine.log_duplicate_sends(p_now);
    perform outbox_engine.adopt_waiting_messages(p_dispatches, p_source, p_now);
  end if;
end
$$;

-- Records that the provider has these batches. Needs no lease: a late acceptance counts all the same.
-- Messages that are still attached become sent; a message that meanwhile went out in another dispatch is a
-- duplicate send. `p_reconcile_after` is kept with the plan; null takes what is kept there. The caller then
-- matches the reports that wait for these batches.
create function outbox_engine.accept_dispatches(
  p_dispatches uuid[], p_batches text[], p_source text, p_reconcile_after interval
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_new uuid[];
  v_were_closed boolean;
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
      batch_id = f.batch_id, state = 'accepted', accepted_at = v_now,
      closed_at = coalesce(d.closed_at, v_now), body = null, media_url = null, lookup_at = null,
      error = null,
      -- A plan may be forgotten since.
      reconcile_at = v_now + coalesce(p_reconcile_after, (
        select p.reconcile_after
        from outbox_engine.plans p
        where p.provider = d.provider and p.plan = d.plan
      ), '5 minutes')
    from facts f
    where d.id = f.dispatch_id and d.id = any (p_dispatches) and d.batch_id is null
    returning d.id, d.closed_at < v_now as was_closed
  )
  select array_agg(id), bool_or(was_closed)
  into v_new, v_were_closed
  from adopted;
  if cardinality(v_new) is distinct from cardinality(p_dispatches) then
    perform outbox_engine.notice_unknown_dispatches(p_dispatches);
  end if;

  if v_new is not null then
    perform outbox_engine.record_plan_success(v_new, p_reconcile_after);
  end if;
  if exists (
    select
    from unnest(p_dispatches, p_batches) f (dispatch_id, batch_id)
    cross join lateral (
      select from outbox_engine.dispatches x
      where x.id = f.dispatch_id and x.batch_id <> f.batch_id
      limit 1
    ) repeated
  ) then
    perform outbox_engine.record_repeated_requests(p_dispatches, p_batches, p_source, v_now);
  end if;
  if v_new is not null then
    perform outbox_engine.accept_messages(v_new, v_were_closed, p_source, v_now);
  end if;
end
$$;
