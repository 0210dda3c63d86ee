-- A request the provider certainly did not take. Who is to blame decides what happens: the plan waits, a
-- number fails alone, or the dispatch is halved to find out.

-- The rows of a dispatch end as failed.
create function outbox_engine.fail_rows(p_dispatch uuid, p_error text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with failed as (
    update public.outbox o
    set
      attempts = o.attempts + 1,
      status = case when o.cancel_requested_at is null then 'failed' else 'cancelled' end,
      error = p_error, finalized_at = outbox_engine.now(), queue = null
    from outbox_engine.dispatch_members m
    where m.dispatch_id = p_dispatch and o.id = m.outbox_id and o.dispatch_id = p_dispatch and o.status = 'sending'
    returning o.id, o.status
  )
  insert into public.outbox_events (outbox_id, at, source, event, status, dispatch_id, detail)
  select id, outbox_engine.now(), 'engine', 'refused', status, p_dispatch, p_error from failed
$$;

create function outbox_engine.close_refused(p_dispatch uuid) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.dispatches
  set state = 'refused', closed_at = outbox_engine.now(), body = null
  where id = p_dispatch
$$;

-- A refused dispatch's rows came back, and what the claim checks is checked again: those that must not go out
-- any more, or not to this number or with this text, or did in an earlier attempt that turned up, end here or
-- wait for the claim to say why. Halves may have to wait for minutes. Answers how many rows are left.
create function outbox_engine.release_unsendable(p_dispatch uuid, p_error text) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_gone text[];
  v_left integer;
begin
  with attached as materialized (
    select m.recipient, o.id, o.campaign, o.parts, o.cancel_requested_at is not null or o.expires_at <= v_now as over
    from outbox_engine.dispatch_members m
    join public.outbox o on o.id = m.outbox_id and o.dispatch_id = p_dispatch and o.status = 'sending'
    where m.dispatch_id = p_dispatch
  ),
  held as materialized (
    select h.outbox_id
    from (
      select array_agg(a.id order by a.id) as ids, array_agg(a.parts order by a.id) as parts from attached a where a.campaign is not null
    ) c
    cross join lateral outbox_engine.judge_campaign_rows(c.ids, c.parts, v_now) h
    where h.status is not null or h.due_at is not null
  ),
  behind as materialized (
    select b.id
    from (select array_agg(a.id) as ids from attached a where a.campaign is not null having count(*) > 0) c
    cross join lateral outbox_engine.rows_behind_campaign(c.ids) b
  )
  select array_agg(x.recipient) filter (where x.gone), count(*) filter (where not x.gone)
  into v_gone, v_left
  from (
    select a.recipient,
      a.over or exists (select from public.outbox_suppressions s where s.recipient = a.recipient)
        or exists (select from outbox_engine.duplicate_sends x where x.outbox_id = a.id and x.confirmed_at is null)
        or exists (select from held h where h.outbox_id = a.id)
        or exists (select from behind b where b.id = a.id) as gone
    from attached a
  ) x;
  if v_gone is not null then
    perform outbox_engine.put_back(array[p_dispatch], null, p_error, false, p_recipients => v_gone);
  end if;
  return v_left;
end
$$;

-- New dispatches for slices of a closed one, in the same transaction and leased to the same worker, of the
-- rows that are still its own; none while the plan stands still, then they go back. Each waits until the plan
-- allows one more request. A single slice stands where the closed one stood, beside its other half if it has
-- one.
create function outbox_engine.split_dispatch(
  p_dispatch outbox_engine.dispatches, p_slices integer, p_split text, p_error text, p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_plan outbox_engine.plans;
  v_pause outbox_engine.plan_pauses;
  v_child outbox_engine.dispatches := p_dispatch;
  v_wait double precision;
  v_made jsonb := '[]';
begin
  select * into v_plan from outbox_engine.plans
  where provider = p_dispatch.provider and plan = p_dispatch.plan for update;
  v_pause := outbox_engine.current_pause(p_dispatch.provider, p_dispatch.plan, p_dispatch.credential, v_now);
  if v_pause.until > v_now then
    perform outbox_engine.put_back(array[p_dispatch.id], 'refused', p_error, false);
    perform outbox_engine.close_refused(p_dispatch.id);
    return v_made;
  end if;

  for v_slice in 1 .. p_slices loop
    v_child.id := gen_random_uuid();
    insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)
    select v_child.id, m.recipient, m.outbox_id
    from (
      -- The slices before this one have taken theirs along.
      select a.recipient, a.outbox_id, ntile(p_slices - v_slice + 1) over (order by a.outbox_id) as slice
      from outbox_engine.dispatch_members a
      join public.outbox o on o.id = a.outbox_id and o.dispatch_id = p_dispatch.id and o.status = 'sending'
      where a.dispatch_id = p_dispatch.id
    ) m
    where m.slice = 1;
    get diagnostics v_child.recipients = row_count;
    continue when v_child.recipients = 0;

    update public.outbox o
    set dispatch_id = v_child.id
    from outbox_engine.dispatch_members m
    where m.dispatch_id = v_child.id and o.id = m.outbox_id;

    v_wait := outbox_engine.reserve_request(v_plan, v_now);
    v_child.worker := p_worker;
    v_child.state := 'claimed';
    v_child.lease_token := nextval('outbox_engine.lease_tokens');
    v_child.lease_until := v_now + make_interval(secs => p_lease_seconds);
    v_child.claimed_at := v_now;
    v_child.parent_id := case when p_slices = 1 then coalesce(p_dispatch.parent_id, p_dispatch.id) else p_dispatch.id end;
    v_child.split := p_split;
    v_child.split_error := p_error;
    v_child.http_status := null;
    v_child.error := null;
    insert into outbox_engine.dispatches select v_child.*;
    v_made := v_made || outbox_engine.dispatch_answer(v_child, v_wait);
  end loop;

  perform outbox_engine.close_refused(p_dispatch.id);
  return v_made;
end
$$;

-- The shared part of a dispatch is wrong, so its rows fail. But three in a row are more likely a setting than
-- three bad texts: then the plan pauses and the rows wait. A refused probe waits longer, so that the next
-- probe is another row. What is about to expire has maybe expired by the provider's clock, which says nothing
-- of a setting.
create function outbox_engine.fail_shared(p_dispatches outbox_engine.dispatches[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_first outbox_engine.dispatches := p_dispatches[1];
  v_in_a_row smallint;
  v_dispatch outbox_engine.dispatches;
begin
  if v_first.expire_at < outbox_engine.now() + interval '2 minutes' then
    v_in_a_row := 0;
  else
    update outbox_engine.plans
    set shared_refusals = least(shared_refusals + 1, 100)
    where provider = v_first.provider and plan = v_first.plan
    returning shared_refusals into v_in_a_row;
  end if;

  if v_in_a_row >= 3 then
    perform outbox_engine.pause_plan(v_first.provider, v_first.plan, 'setting', '',
      'three requests in a row were refused: ' || v_first.error);
  end if;
  foreach v_dispatch in array p_dispatches loop
    if v_in_a_row >= 3 then
      perform outbox_engine.put_back(array[v_dispatch.id], 'refused', v_dispatch.error, false,
        case when v_dispatch.is_probe then interval '5 minutes' else interval '0' end);
    else
      perform outbox_engine.fail_rows(v_dispatch.id, v_dispatch.error);
    end if;
    perform outbox_engine.close_refused(v_dispatch.id);
  end loop;
end
$$;

-- Both halves of a request with differing texts were refused alike. What they share may be wrong, or that
-- they share a request at all, which blames no row: they go back, each to be sent with its own text only.
create function outbox_engine.separate_texts(p_dispatches outbox_engine.dispatches[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatch outbox_engine.dispatches;
begin
  foreach v_dispatch in array p_dispatches loop
    update public.outbox o
    set sends_alone = true
    from outbox_engine.dispatch_members m
    where m.dispatch_id = v_dispatch.id and o.id = m.outbox_id and o.dispatch_id = v_dispatch.id;
    perform outbox_engine.put_back(array[v_dispatch.id], 'refused', v_dispatch.error, false);
    perform outbox_engine.close_refused(v_dispatch.id);
  end loop;
end
$$;

-- What two refusals have to have in common to be called alike: all but what names the request.
create function outbox_engine.refusal_key(p_dispatch outbox_engine.dispatches) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_dispatch.http_status || ' ' || regexp_replace(p_dispatch.error, '[0-9A-Za-z-]{20,}', '', 'g')
$$;

-- One of two halves may know more now that the other is decided. Refused alike: the shared part is wrong.
-- Otherwise the fault is within the refused half, which is halved on, or fails when it is one number. Without
-- a worker, or where the other half was never tried or never judged, its rows go back instead. Nobody is
-- blamed for a request that had others in it, also where those are gone; who is tried alone then, and
-- refused, is as good as a request of one. The plan is held before what belongs to campaigns, as claims do.
create function outbox_engine.decide_halves(p_dispatches uuid[], p_worker text, p_lease_seconds double precision) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_parent uuid;
  v_parked outbox_engine.dispatches[];
  v_open boolean;
  v_untried boolean;
  v_is_alone boolean;
  v_half outbox_engine.dispatches;
  v_left integer;
  v_made jsonb := '[]';
begin
  for v_parent in
    select distinct d.parent_id from outbox_engine.dispatches d
    where d.id = any (p_dispatches) and d.split = 'shared'
    order by d.parent_id
  loop
    select array_agg(d order by d.lease_token) filter (where d.state = 'awaiting_half'), bool_or(d.state in ('claimed', 'ambiguous')),
      bool_or(d.state in ('released', 'not_found', 'given_up') or d.inconclusive), count(*) = 1
    into v_parked, v_open, v_untried, v_is_alone
    from outbox_engine.dispatches d
    where d.parent_id = v_parent;
    continue when v_open or v_parked is null;
    perform from outbox_engine.plans
    where provider = v_parked[1].provider and plan = v_parked[1].plan for update;

    if cardinality(v_parked) = 2 and outbox_engine.refusal_key(v_parked[1]) = outbox_engine.refusal_key(v_parked[2]) then
      if v_parked[1].texts_differ then
        perform outbox_engine.separate_texts(v_parked);
      else
        perform outbox_engine.fail_shared(v_parked);
      end if;
      continue;
    end if;
    foreach v_half in array v_parked loop
      v_left := outbox_engine.release_unsendable(v_half.id, v_half.error);
      if v_left = 1 and v_half.recipients = 1 and v_is_alone then
        perform outbox_engine.fail_shared(array[v_half]);
      elsif v_left = 1 and v_half.recipients = 1 and not v_untried then
        perform outbox_engine.fail_rows(v_half.id, v_half.error);
        perform outbox_engine.close_refused(v_half.id);
      elsif p_worker is null or v_untried or v_left = 0 then
        perform outbox_engine.put_back(array[v_half.id], 'refused', v_half.error, false);
        perform outbox_engine.close_refused(v_half.id);
      else
        v_made := v_made || outbox_engine.split_dispatch(v_half, 2, 'shared', v_half.error, p_worker, p_lease_seconds);
      end if;
    end loop;
  end loop;
  return v_made;
end
$$;

-- Called by the dispatch job after a certain refusal. Answers the dispatches that replace it and are the
-- caller's to send, after `wait_seconds` each.
create function public.outbox_refuse(
  p_dispatch_id uuid, p_lease_token text, p_why text, p_error text, p_http_status smallint,
  p_retry_after_seconds double precision, p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_dispatch outbox_engine.dispatches;
  v_left integer;
  v_made jsonb := '[]';
begin
  perform outbox_engine.lock_dispatches(array[p_dispatch_id]);
  update outbox_engine.dispatches d
  set
    error = left(p_error, 500), http_status = p_http_status,
    inconclusive = p_why in ('throttled', 'unreachable', 'account', 'setting')
  from outbox_engine.held(array[p_dispatch_id], array[p_lease_token]) h
  where d.id = h.id
  returning d.* into v_dispatch;
  if not found then
    return jsonb_build_object('dispatches', v_made);
  end if;

  if v_dispatch.inconclusive then
    perform outbox_engine.pause_plan(v_dispatch.provider, v_dispatch.plan, p_why,
      case when p_why = 'account' then v_dispatch.credential else '' end, p_error, p_retry_after_seconds);
    perform outbox_engine.put_back(array[v_dispatch.id], null, p_error, false,
      case when v_dispatch.is_probe then interval '5 minutes' else interval '0' end);
    perform outbox_engine.close_refused(v_dispatch.id);
    return jsonb_build_object('dispatches', outbox_engine.decide_halves(array[v_dispatch.id], null, null));
  end if;

  -- As claims do: the plan first, then what belongs to campaigns.
  perform from outbox_engine.plans where provider = v_dispatch.provider and plan = v_dispatch.plan for update;
  v_left := outbox_engine.release_unsendable(v_dispatch.id, v_dispatch.error);
  if v_left = 0 then
    update outbox_engine.dispatches set inconclusive = true where id = v_dispatch.id;
    perform outbox_engine.close_refused(v_dispatch.id);
  elsif p_why = 'no_callback' then
    v_made := outbox_engine.split_dispatch(v_dispatch, 1, v_dispatch.split, v_dispatch.split_error, p_worker, p_lease_seconds);
  elsif p_why = 'recipient' and v_dispatch.recipients = 1 then
    perform outbox_engine.fail_rows(v_dispatch.id, v_dispatch.error);
    perform outbox_engine.close_refused(v_dispatch.id);
  elsif p_why = 'recipient' then
    v_made := outbox_engine.split_dispatch(v_dispatch, 2, 'recipient', v_dispatch.error, p_worker, p_lease_seconds);
  elsif v_dispatch.split = 'shared' then
    update outbox_engine.dispatches set state = 'awaiting_half' where id = v_dispatch.id;
  elsif v_dispatch.recipients > 1 then
    v_made := outbox_engine.split_dispatch(v_dispatch, 2, 'shared', v_dispatch.error, p_worker, p_lease_seconds);
  else
    perform outbox_engine.fail_shared(array[v_dispatch]);
  end if;
  return jsonb_build_object('dispatches',
    v_made || outbox_engine.decide_halves(array[v_dispatch.id], p_worker, p_lease_seconds));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_refuse
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_refuse
to service_role;
