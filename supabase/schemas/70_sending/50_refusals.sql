-- Refusals: the provider certainly did not take a request. The cause decides what happens: the plan pauses,
-- one number fails, messages are held, or the dispatch is halved to find the fault.

-- The provider refused a setting of a process, such as its default sender. No message is to blame: those of
-- the dispatch are held. So are later ones of their sender that are refused alike. The caller holds the plan.
create function outbox_engine.hold_for_setting(p_dispatch outbox_engine.dispatches) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_key constant text := coalesce(outbox_engine.refusal_key(p_dispatch), '');
  v_content uuid;
begin
  if outbox_engine.release_unsendable(p_dispatch.id, p_dispatch.error) > 0 then
    for v_content in
      select distinct content
      from outbox_engine.contents_of(outbox_engine.lock_attached(array[p_dispatch.id]))
      order by content
    loop
      perform outbox_engine.count_sender(p_dispatch, v_content, v_key, 3);
      perform outbox_engine.count_refusal(p_dispatch, v_content, v_key, 3, true);
    end loop;
  end if;
  perform outbox_engine.hold_attached(p_dispatch);
end
$$;

-- The provider refused a dispatch for what is in it. `p_why`: `no_callback` sends it again without a
-- callback URL, `recipient` blames a number, anything else the part that its messages share. A request with
-- one text is halved in the same way for both: a provider may blame each number for a sender that it does not
-- take. Returns the dispatches that replace it.
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
  elsif p_why = 'recipient' and p_dispatch.recipients = 1 and p_dispatch.split is distinct from 'shared' then
    perform outbox_engine.move_or_fail(p_dispatch);
    perform outbox_engine.close_refused(p_dispatch.id);
  elsif p_why = 'recipient' and (p_dispatch.texts_differ or p_dispatch.split = 'recipient') then
    return outbox_engine.split_dispatch(
      p_dispatch, 2, 'recipient', p_dispatch.error, p_worker, p_lease_seconds);
  elsif p_dispatch.split is not null then
    -- `decide_family` decides once the outcome of the other parts is known.
    update outbox_engine.dispatches
    set state = 'awaiting_half'
    where id = p_dispatch.id;
  elsif p_dispatch.recipients = 1 then
    perform outbox_engine.refuse_single(p_dispatch);
  elsif not p_dispatch.texts_differ and outbox_engine.singles_needed(p_dispatch, 0) = 0 then
    -- Its content was held since it was claimed.
    perform outbox_engine.hold_attached(p_dispatch);
  else
    return outbox_engine.split_dispatch(
      p_dispatch, 2, 'shared', p_dispatch.error, p_worker, p_lease_seconds);
  end if;
  return '[]';
end
$$;

-- Called by the dispatch job after a certain refusal. `p_why` is `throttled`, `unreachable` or `account`,
-- which pause the plan, `setting`, which holds its messages, or what `decide_refusal` takes. Returns the
-- dispatches that replace the refused one and are the caller's to send, after `wait_seconds` each.
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
  perform outbox_engine.hear_late_workers(array[p_dispatch_id], array[p_lease_token]);
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
  if p_why = 'setting' then
    perform outbox_engine.hold_for_setting(v_dispatch);
  elsif v_dispatch.inconclusive then
    perform outbox_engine.pause_plan(
      v_dispatch.provider, v_dispatch.plan, p_why, v_dispatch.credential, p_error, p_retry_after_seconds,
      v_dispatch.is_probe);
    perform outbox_engine.requeue_refused(v_dispatch, null, p_error);
    -- The plan is paused, so no half can be sent now.
    v_worker := null;
  else
    v_made := outbox_engine.decide_refusal(v_dispatch, p_why, p_worker, p_lease_seconds);
  end if;
  v_made := v_made || outbox_engine.decide_halves(array[v_dispatch.id], v_worker, p_lease_seconds);
  perform outbox_engine.end_moves_in_doubt(array[v_dispatch.id], outbox_engine.now());
  -- Last, because health is decided by one transaction at a time.
  if p_why in ('throttled', 'unreachable') then
    perform outbox_engine.count_failed_requests(
      v_dispatch.provider, v_dispatch.plan, 1, outbox_engine.now());
  end if;
  return jsonb_build_object('dispatches', v_made);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_refuse
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_refuse
to service_role;
