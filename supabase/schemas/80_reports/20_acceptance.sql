-- Acceptances meet the reports that came before them.

-- Called by the dispatch job after 201s that were read. Safe to repeat; needs no valid lease; looks its rows
-- up one by one. Answers dispatches that became the caller's to send because the halves of a refused one are
-- now decided.
create function public.outbox_accept(
  p_dispatch_ids uuid[], p_batch_ids text[], p_worker text, p_lease_seconds double precision, p_reconcile_after_seconds double precision
) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off set enable_mergejoin = off
as $$
begin
  perform outbox_engine.accept_dispatches(p_dispatch_ids, p_batch_ids, 'engine', make_interval(secs => p_reconcile_after_seconds));
  perform outbox_engine.match_waiting_reports(p_dispatch_ids);
  return jsonb_build_object('dispatches', outbox_engine.decide_halves(p_dispatch_ids, p_worker, p_lease_seconds));
end
$$;

-- Called by the recover job after one complete look. `p_batch_ids` are the batches found that carry the
-- dispatch's id, `p_recipients` the numbers each holds, separated by spaces. An overtaken look that found
-- nothing decides nothing; one that found a batch is a fact.
create function public.outbox_record_lookup(
  p_dispatch_id uuid, p_lease_token text, p_batch_ids text[], p_recipients text[],
  p_settle_seconds double precision, p_reconcile_after_seconds double precision
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_dispatch outbox_engine.dispatches;
  v_missing text[];
begin
  perform outbox_engine.lock_dispatches(array[p_dispatch_id]);
  select * into v_dispatch from outbox_engine.dispatches where id = p_dispatch_id;
  if not found then
    return 'gone';
  end if;

  if cardinality(p_batch_ids) > 0 then
    -- Numbers that no batch holds were certainly not sent to.
    select array_agg(m.recipient) into v_missing
    from outbox_engine.dispatch_members m
    where m.dispatch_id = p_dispatch_id
      and m.recipient <> all (string_to_array(array_to_string(p_recipients, ' '), ' '));
    -- What a report proved meanwhile is no longer in question.
    if v_missing is not null and v_dispatch.batch_id is null then
      perform outbox_engine.put_back(array[p_dispatch_id], 'not_found', 'the provider''s batch lacks this number', false,
        p_recipients => v_missing);
      -- They are no longer this dispatch's, so that adopting it leaves them alone.
      with gone as (
        delete from outbox_engine.dispatch_members where dispatch_id = p_dispatch_id and recipient = any (v_missing)
        returning outbox_id
      )
      update public.outbox o
      set dispatch_id = null
      from gone g
      where o.id = g.outbox_id and o.dispatch_id = p_dispatch_id and o.queue is not null;
    end if;
    perform outbox_engine.accept_dispatches(array_fill(p_dispatch_id, array[cardinality(p_batch_ids)]), p_batch_ids, 'reconcile',
      make_interval(secs => p_reconcile_after_seconds));
    perform outbox_engine.match_waiting_reports(array[p_dispatch_id]);
    perform outbox_engine.decide_halves(array[p_dispatch_id], null, null);
    return 'found';
  end if;

  if v_dispatch.lease_token <> p_lease_token::bigint or v_dispatch.state not in ('ambiguous', 'not_found') then
    return 'overtaken';
  end if;
  -- Under a new token, so that this call, made again because its answer was lost, is no second look.
  update outbox_engine.dispatches
  set
    lease_token = nextval('outbox_engine.lease_tokens'),
    lookup_misses = lookup_misses + 1,
    first_missed_at = coalesce(first_missed_at, v_now),
    lookup_at = v_now + make_interval(secs => p_settle_seconds)
  where id = p_dispatch_id
  returning * into v_dispatch;

  if v_dispatch.state = 'not_found' then
    -- Watched for a while, in case it turns up after all.
    update outbox_engine.dispatches
    set lookup_at = case when lookup_misses < 6 then v_now + (interval '1 minute') * 5 ^ (lookup_misses - 2) end
    where id = p_dispatch_id;
    return 'watched';
  end if;
  if v_dispatch.lookup_misses >= 2 and v_now >= v_dispatch.first_missed_at + make_interval(secs => p_settle_seconds) then
    update outbox_engine.dispatches
    set state = 'not_found', closed_at = v_now, lookup_at = v_now + interval '1 minute', body = null
    where id = p_dispatch_id;
    perform outbox_engine.put_back(array[p_dispatch_id], 'not_found', 'the provider never got the request', false);
    perform outbox_engine.decide_halves(array[p_dispatch_id], null, null);
    return 'not_found';
  end if;
  return 'missed';
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_accept,
  public.outbox_record_lookup
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_accept,
  public.outbox_record_lookup
to service_role;
