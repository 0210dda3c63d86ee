-- What became of a dispatch's one request: accepted, refused, doubtful, or never made.

-- Locks these dispatches, and the other halves of refused ones, in the order of their ids: what becomes of one half decides about both.
-- Whoever needs dispatches and their plan takes the dispatches first.
create function outbox_engine.lock_dispatches(p_dispatches uuid[]) returns void
language plpgsql set search_path = ''
as $$
begin
  perform from outbox_engine.dispatches
  where id = any (p_dispatches || array(
    select s.id
    from outbox_engine.dispatches d
    join outbox_engine.dispatches s on s.parent_id = d.parent_id
    where d.id = any (p_dispatches) and d.split = 'shared'
  ))
  order by id
  for update;
end
$$;

-- Rows of these dispatches that are still attached to them go back to waiting as a new attempt, or end if they must.
-- `p_recipients` restricts it to some of the numbers. `p_counts`: a refused attempt counts, "not found" and throttling do not.
-- Whoever just wants some of them back is waited for.
create function outbox_engine.put_back(
  p_dispatches uuid[], p_event text, p_detail text, p_counts boolean, p_delay interval default '0', p_recipients text[] default null
) returns integer
language plpgsql set search_path = ''
as $$
declare
  v_count integer;
begin
  perform from public.outbox
  where id = any (array(select m.outbox_id from outbox_engine.dispatch_members m where m.dispatch_id = any (p_dispatches)))
    and status = 'sending' and dispatch_id = any (p_dispatches)
  order by id
  for update;

  with rows_back as materialized (
    select o.id, o.attempts + p_counts::integer as attempts, outbox_engine.now() as now,
      o.cancel_requested_at is not null as wished, oc.reason
    from outbox_engine.dispatch_members m
    join public.outbox o on o.id = m.outbox_id and o.dispatch_id = m.dispatch_id
    left join public.outbox_campaign_occurrences oc on o.campaign is not null and oc.outbox_id = o.id
    where m.dispatch_id = any (p_dispatches) and o.status = 'sending' and (p_recipients is null or m.recipient = any (p_recipients))
  ),
  changed as (
    update public.outbox o
    set
      attempts = r.attempts,
      status = case when r.wished then 'cancelled' when o.expires_at <= r.now then 'expired'
        when r.attempts >= 5 then 'failed' else 'pending' end,
      error = case when r.wished then coalesce(r.reason, o.error) when o.expires_at <= r.now then 'expired before it could be sent' else p_detail end,
      finalized_at = case when r.wished or o.expires_at <= r.now or r.attempts >= 5 then r.now end,
      queue = case when r.wished or o.expires_at <= r.now or r.attempts >= 5 then null
        when p_delay > '0' then 'w' else 'r' end::"char",
      due_at = r.now + p_delay
    from rows_back r
    where o.id = r.id
    returning o.id, o.status, r.now, o.dispatch_id
  ),
  trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, dispatch_id, detail)
    select id, now, 'engine', coalesce(p_event, status), status, dispatch_id, p_detail from changed
    where p_event is not null or status <> 'pending'
  )
  select count(*)::integer into v_count from changed;
  return v_count;
end
$$;

-- Records that the provider has these batches, whoever found out and however late: a fact that no lease can undo. Rows still
-- attached become sent. Rows that meanwhile went out in another dispatch are doubles. `p_ask_after` is kept with the plan; null is
-- what was told last.
create function outbox_engine.adopt(p_dispatches uuid[], p_batches text[], p_source text, p_ask_after interval) returns void
language plpgsql set search_path = ''
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
      look_at = null, error = null,
      ask_at = v_now + coalesce(
        p_ask_after, (select p.ask_after from outbox_engine.plans p where p.provider = d.provider and p.plan = d.plan))
    from facts f
    where d.id = f.dispatch_id and d.id = any (p_dispatches) and d.batch_id is null
    returning d.id
  )
  select array_agg(id) into v_new from adopted;

  -- A second batch under the same reference: somebody repeated our request on the way.
  insert into outbox_engine.doubles (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
  select m.outbox_id, d.id, f.batch_id, v_now, v_now
  from unnest(p_dispatches, p_batches) f (dispatch_id, batch_id)
  cross join lateral (select x.id, x.batch_id from outbox_engine.dispatches x where x.id = f.dispatch_id limit 1) d
  join outbox_engine.dispatch_members m on m.dispatch_id = d.id
  where d.batch_id <> f.batch_id
  on conflict do nothing;
  if found then
    perform outbox_engine.tell_doubles(v_now);
    perform outbox_engine.match_waiting_reports(p_dispatches);
  end if;

  if v_new is null then
    return;
  end if;
  perform outbox_engine.adopt_rows(v_new, p_source, v_now);
  perform outbox_engine.plan_works(d.provider, d.plan, d.credential, d.claimed_at)
  from (
    select provider, plan, credential, max(claimed_at) as claimed_at
    from outbox_engine.dispatches
    where id = any (v_new)
    group by provider, plan, credential
  ) d
  where exists (select from outbox_engine.plan_pauses);
  update outbox_engine.plans p
  set shared_refusals = 0, throttles = 0, ask_after = coalesce(p_ask_after, p.ask_after)
  from outbox_engine.dispatches d
  where d.id = any (v_new) and p.provider = d.provider and p.plan = d.plan
    and (p.shared_refusals, p.throttles, p.ask_after) <> (0, 0, coalesce(p_ask_after, p.ask_after));
  perform outbox_engine.match_waiting_reports(v_new);
end
$$;

-- Rows of newly accepted dispatches that are still attached to them become sent. Answers whether all of them did. They are named by their
-- ids as well as joined, and joined by hash: a plan from the time when the tables were small, which lives as long as its connection,
-- reads a whole table or each row of one for each of another.
create function outbox_engine.mark_sent(p_dispatches uuid[], p_source text, p_now timestamptz) returns boolean
language plpgsql set search_path = '' set enable_nestloop = off
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
create function outbox_engine.adopt_rows(p_dispatches uuid[], p_source text, p_now timestamptz) returns void
language plpgsql set search_path = ''
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
  elsif not exists (select from outbox_engine.doubles) then
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
    perform outbox_engine.take_times_again(v_late, p_now);
  end if;

  -- Rows that are elsewhere by now. Whether it is a double depends on what becomes of the other dispatch.
  insert into outbox_engine.doubles (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
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

  if exists (select from outbox_engine.doubles) then
    update outbox_engine.doubles x
    set confirmed_at = p_now
    from outbox_engine.dispatch_members m
    where m.dispatch_id = any (p_dispatches) and x.outbox_id = m.outbox_id and x.dispatch_id <> m.dispatch_id
      and x.confirmed_at is null;
    perform outbox_engine.tell_doubles(p_now);
  end if;
end
$$;

-- Trail and alarm for doubles confirmed at this moment.
create function outbox_engine.tell_doubles(p_now timestamptz) returns void
language sql set search_path = ''
as $$
  with told as (
    insert into public.outbox_events (outbox_id, at, source, event, batch_id, dispatch_id, detail)
    select x.outbox_id, p_now, 'engine', 'double', x.batch_id, x.dispatch_id,
      case when exists (select from outbox_engine.dispatch_members m where m.dispatch_id = x.dispatch_id and m.outbox_id = x.outbox_id)
        then 'the provider accepted this message twice'
        else 'the provider accepted an earlier message for the same time too' end
    from outbox_engine.doubles x
    join public.outbox o on o.id = x.outbox_id
    where x.confirmed_at = p_now
      and not exists (
        select from public.outbox_events e
        where e.outbox_id = x.outbox_id and e.event = 'double' and e.dispatch_id = x.dispatch_id and e.batch_id = x.batch_id
      )
    returning outbox_id
  )
  select outbox_engine.alarm('message.double', jsonb_build_object('outbox_ids', jsonb_agg(outbox_id)))
  from told
  having count(*) > 0
$$;

-- Called by the dispatch job after 201s that were read. Safe to repeat; needs no valid lease; looks its rows up one by one.
-- Answers dispatches that became the caller's to send because the halves of a refused one are now decided.
create function public.outbox_accept(
  p_dispatch_ids uuid[], p_batch_ids text[], p_worker text, p_lease_seconds double precision, p_ask_after_seconds double precision
) returns jsonb
language plpgsql security definer set search_path = '' set jit = off set enable_seqscan = off set enable_mergejoin = off
as $$
begin
  perform outbox_engine.adopt(p_dispatch_ids, p_batch_ids, 'engine', make_interval(secs => p_ask_after_seconds));
  return jsonb_build_object('dispatches', outbox_engine.settle_siblings(p_dispatch_ids, p_worker, p_lease_seconds));
end
$$;

-- Dispatches among these that the caller still holds by their lease tokens, locked.
create function outbox_engine.held(p_dispatch_ids uuid[], p_lease_tokens text[]) returns setof outbox_engine.dispatches
language sql set search_path = ''
as $$
  select d.*
  from unnest(p_dispatch_ids, p_lease_tokens) f (id, token)
  join outbox_engine.dispatches d on d.id = f.id and d.lease_token = f.token::bigint and d.state = 'claimed'
  order by d.id
  for update of d
$$;

-- Called by the dispatch job while requests are open. Answers the ids that are still the caller's.
create function public.outbox_renew(p_dispatch_ids uuid[], p_lease_tokens text[], p_lease_seconds double precision) returns jsonb
language sql security definer set search_path = ''
as $$
  with renewed as (
    update outbox_engine.dispatches d
    set lease_until = outbox_engine.now() + make_interval(secs => p_lease_seconds)
    from outbox_engine.held(p_dispatch_ids, p_lease_tokens) h
    where d.id = h.id
    returning d.id
  )
  select coalesce(jsonb_agg(id), '[]') from renewed
$$;

-- Called by the dispatch job for dispatches whose request was never started: shutting down, or too little of the lease left.
create function public.outbox_release(p_dispatch_ids uuid[], p_lease_tokens text[]) returns jsonb
language plpgsql security definer set search_path = '' set jit = off set enable_seqscan = off
as $$
declare
  v_ids uuid[];
begin
  perform outbox_engine.lock_dispatches(p_dispatch_ids);
  select array_agg(id) into v_ids from outbox_engine.held(p_dispatch_ids, p_lease_tokens);
  update outbox_engine.dispatches set state = 'released', closed_at = outbox_engine.now(), body = null where id = any (v_ids);
  perform outbox_engine.put_back(v_ids, null, null, false);
  perform outbox_engine.settle_siblings(v_ids, null, null);
  return to_jsonb(coalesce(v_ids, '{}'));
end
$$;

-- Called by the dispatch job when nobody knows whether the provider took a request. The first look comes a moment later.
create function public.outbox_doubt(
  p_dispatch_ids uuid[], p_lease_tokens text[], p_errors text[], p_look_after_seconds double precision
) returns jsonb
language sql security definer set search_path = ''
as $$
  with doubted as (
    update outbox_engine.dispatches d
    set
      state = 'doubtful', error = f.error, doubtful_at = outbox_engine.now(), doubt = f.error, lease_token = nextval('outbox_engine.lease_tokens'),
      look_at = outbox_engine.now() + make_interval(secs => p_look_after_seconds)
    from unnest(p_dispatch_ids, p_errors) f (id, error)
    where d.id = f.id and d.id in (select h.id from outbox_engine.held(p_dispatch_ids, p_lease_tokens) h)
    returning d.id
  )
  select coalesce(jsonb_agg(id), '[]') from doubted
$$;

notify pgrst, 'reload schema';
