-- Refusals: the provider certainly did not take a request. The cause decides what happens: the plan pauses,
-- one number fails, or the dispatch is halved to find the fault.

-- What the dispatches have in common is wrong, such as the text, so their messages fail. Three refusals in
-- a row point to a setting rather than to three bad texts: then the plan pauses and the messages wait. A
-- message that is about to expire may have expired by the provider's clock, which says nothing about a
-- setting. The caller holds the plan.
create function outbox_engine.fail_shared(p_dispatches outbox_engine.dispatches[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_first constant outbox_engine.dispatches := p_dispatches[1];
  v_in_a_row smallint := 0;
  v_dispatch outbox_engine.dispatches;
begin
  if coalesce(v_first.expire_at >= outbox_engine.now() + interval '2 minutes', true) then
    update outbox_engine.plans
    set shared_refusals = least(shared_refusals + 1, 100)
    where provider = v_first.provider and plan = v_first.plan
    returning shared_refusals into v_in_a_row;
  end if;
  if v_in_a_row >= 3 then
    perform outbox_engine.pause_plan(v_first.provider, v_first.plan, 'setting', '',
      'three requests in a row were refused: ' || v_first.error, p_is_probe => v_first.is_probe);
  end if;

  foreach v_dispatch in array p_dispatches loop
    if v_in_a_row >= 3 then
      perform outbox_engine.requeue_refused(v_dispatch, 'refused', v_dispatch.error);
    else
      perform outbox_engine.fail_attached(v_dispatch.id, v_dispatch.error);
      perform outbox_engine.close_refused(v_dispatch.id);
    end if;
  end loop;
end
$$;

-- Both halves of a dispatch whose texts differ were refused for the same reason. Either what they share is
-- wrong, or the provider takes no different texts in one request. No message is to blame for the latter, so
-- all wait again, each to be sent with its own text only.
create function outbox_engine.separate_texts(p_dispatches outbox_engine.dispatches[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatch outbox_engine.dispatches;
  v_ids bigint[];
begin
  foreach v_dispatch in array p_dispatches loop
    v_ids := outbox_engine.lock_attached(array[v_dispatch.id]);
    update public.outbox
    set sends_alone = true
    where id = any (v_ids);
    perform outbox_engine.requeue_attached(array[v_dispatch.id], 'refused', v_dispatch.error);
    perform outbox_engine.close_refused(v_dispatch.id);
  end loop;
end
$$;

-- Two refusals with the same key have the same reason. It is the answer of the provider without the parts
-- that name the request.
create function outbox_engine.refusal_key(p_dispatch outbox_engine.dispatches) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_dispatch.http_status || ' ' || regexp_replace(p_dispatch.error, '[0-9A-Za-z-]{20,}', '', 'g')
$$;

-- A refused half whose fault lies within itself. It is halved again until one message is left, which fails.
-- Its messages wait again instead where no worker can send the halves, or where the other half was never
-- judged (`p_is_inconclusive`): a message never fails for a request that it shared with others.
-- `p_is_alone` says that the half stands for the whole dispatch, so a refusal of its only message is a
-- refusal of a request of one. Returns the new dispatches.
create function outbox_engine.decide_half(
  p_half outbox_engine.dispatches, p_is_alone boolean, p_is_inconclusive boolean, p_worker text,
  p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_left constant integer := outbox_engine.release_unsendable(p_half.id, p_half.error);
  v_is_one_message constant boolean := v_left = 1 and p_half.recipients = 1;
begin
  if v_is_one_message and p_is_alone then
    perform outbox_engine.fail_shared(array[p_half]);
  elsif v_is_one_message and not p_is_inconclusive then
    perform outbox_engine.fail_attached(p_half.id, p_half.error);
    perform outbox_engine.close_refused(p_half.id);
  elsif p_worker is null or p_is_inconclusive or v_left = 0 then
    perform outbox_engine.requeue_attached(array[p_half.id], 'refused', p_half.error);
    perform outbox_engine.close_refused(p_half.id);
  else
    return outbox_engine.split_dispatch(p_half, 2, 'shared', p_half.error, p_worker, p_lease_seconds);
  end if;
  return '[]';
end
$$;

-- Called after the outcome of these dispatches was recorded, with `p_worker` null where the caller sends no
-- requests. Where one of them is a half and the outcome of both halves is known, it decides about the
-- refused ones. Both refused for the same reason: what they share is wrong. Otherwise the fault lies within
-- the refused half. Returns the dispatches that the caller is to send. The caller called `lock_dispatches`.
create function outbox_engine.decide_halves(
  p_dispatches uuid[], p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_parent uuid;
  v_refused outbox_engine.dispatches[];
  v_is_undecided boolean;
  v_is_inconclusive boolean;
  v_is_alone boolean;
  v_half outbox_engine.dispatches;
  v_made jsonb := '[]';
begin
  for v_parent in
    select distinct d.parent_id
    from outbox_engine.dispatches d
    where d.id = any (p_dispatches) and d.split = 'shared'
    order by d.parent_id
  loop
    select
      array_agg(d order by d.lease_token) filter (where d.state = 'awaiting_half'),
      bool_or(d.state in ('claimed', 'ambiguous')),
      bool_or(d.state in ('released', 'not_found', 'given_up') or d.inconclusive),
      count(*) = 1
    into v_refused, v_is_undecided, v_is_inconclusive, v_is_alone
    from outbox_engine.dispatches d
    where d.parent_id = v_parent;
    continue when v_is_undecided or v_refused is null;

    if cardinality(v_refused) = 2
      and outbox_engine.refusal_key(v_refused[1]) = outbox_engine.refusal_key(v_refused[2]) then
      if v_refused[1].texts_differ then
        perform outbox_engine.separate_texts(v_refused);
      else
        perform outbox_engine.fail_shared(v_refused);
      end if;
    else
      foreach v_half in array v_refused loop
        v_made := v_made || outbox_engine.decide_half(
          v_half, v_is_alone, v_is_inconclusive, p_worker, p_lease_seconds);
      end loop;
    end if;
  end loop;
  return v_made;
end
$$;

-- The provider refused a dispatch for what is in it. `p_why`: `no_callback` sends it again without a
-- callback URL, `recipient` blames a number, anything else the part that its messages share. Returns the
-- dispatches that replace it.
create function outbox_engine.decide_refusal(
  p_dispatch outbox_engine.dispatches, p_why text, p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_left constant integer := outbox_engine.release_unsendable(p_dispatch.id, p_dispatch.error);
begin
  if v_left = 0 then
    update outbox_engine.dispatches
    set inconclusive = true
    where id = p_dispatch.id;
    perform outbox_engine.close_refused(p_dispatch.id);
  elsif p_why = 'no_callback' then
    return outbox_engine.split_dispatch(
      p_dispatch, 1, p_dispatch.split, p_dispatch.split_error, p_worker, p_lease_seconds);
  elsif p_why = 'recipient' and p_dispatch.recipients = 1 then
    perform outbox_engine.fail_attached(p_dispatch.id, p_dispatch.error);
    perform outbox_engine.close_refused(p_dispatch.id);
  elsif p_why = 'recipient' then
    return outbox_engine.split_dispatch(
      p_dispatch, 2, 'recipient', p_dispatch.error, p_worker, p_lease_seconds);
  elsif p_dispatch.split = 'shared' then
    -- `decide_halves` decides once the outcome of the other half is known.
    update outbox_engine.dispatches
    set state = 'awaiting_half'
    where id = p_dispatch.id;
  elsif p_dispatch.recipients > 1 then
    return outbox_engine.split_dispatch(
      p_dispatch, 2, 'shared', p_dispatch.error, p_worker, p_lease_seconds);
  else
    perform outbox_engine.fail_shared(array[p_dispatch]);
  end if;
  return '[]';
end
$$;

-- Called by the dispatch job after a certain refusal. `p_why` is `throttled`, `unreachable`, `account` or
-- `setting`, which pause the plan, or what `decide_refusal` takes. Returns the dispatches that replace the
-- refused one and are the caller's to send, after `wait_seconds` each.
create function public.outbox_refuse(
  p_dispatch_id uuid, p_lease_token text, p_why text, p_error text, p_http_status smallint,
  p_retry_after_seconds double precision, p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_dispatch outbox_engine.dispatches;
  v_made jsonb := '[]';
  v_worker text := p_worker;
begin
  perform outbox_engine.lock_dispatches(array[p_dispatch_id]);
  update outbox_engine.dispatches d
  set
    error = left(p_error, 500),
    http_status = p_http_status,
    inconclusive = p_why in ('throttled', 'unreachable', 'account', 'setting')
  from outbox_engine.lock_leased(array[p_dispatch_id], array[p_lease_token]) h
  where d.id = h.id
  returning d.* into v_dispatch;
  if not found then
    return jsonb_build_object('dispatches', v_made);
  end if;

  perform outbox_engine.hold_plan(v_dispatch.provider, v_dispatch.plan);
  if v_dispatch.inconclusive then
    perform outbox_engine.pause_plan(
      v_dispatch.provider, v_dispatch.plan, p_why, v_dispatch.credential, p_error, p_retry_after_seconds,
      v_dispatch.is_probe);
    perform outbox_engine.requeue_refused(v_dispatch, null, p_error);
    -- The plan is paused, so no half can be sent now.
    v_worker := null;
  else
    v_made := outbox_engine.decide_refusal(v_dispatch, p_why, p_worker, p_lease_seconds);
  end if;
  return jsonb_build_object('dispatches',
    v_made || outbox_engine.decide_halves(array[v_dispatch.id], v_worker, p_lease_seconds));
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_refuse
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_refuse
to service_role;
