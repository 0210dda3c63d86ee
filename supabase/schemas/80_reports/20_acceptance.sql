-- The outcome of a request: accepted, found by a lookup, or not found.

-- Called by the dispatch job after requests that the provider answered with a batch. Safe to repeat; needs
-- no valid lease. Returns dispatches that became the caller's to send, because the outcome of both halves
-- of a refused one is now known. The settings keep plans of old connections from reading whole tables.
create function public.outbox_accept(
  p_dispatch_ids uuid[], p_batch_ids text[], p_worker text, p_lease_seconds double precision,
  p_reconcile_after_seconds double precision
) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
  perform outbox_engine.accept_dispatches(
    p_dispatch_ids, p_batch_ids, 'engine', make_interval(secs => p_reconcile_after_seconds));
  perform outbox_engine.match_waiting_reports(p_dispatch_ids);
  return jsonb_build_object('dispatches',
    outbox_engine.decide_halves(p_dispatch_ids, p_worker, p_lease_seconds));
end
$$;

-- A lookup found these batches of a dispatch. `p_recipients` are the numbers of each batch, separated by
-- spaces. Only the dispatch's request carries its id, so the provider took that request, and its messages are
-- never sent again, whatever numbers the batches show: a provider may write a number in another way. Where
-- they lack numbers of the dispatch, an alarm says so. The caller holds the dispatch.
create function outbox_engine.record_found_batches(
  p_dispatch outbox_engine.dispatches, p_batch_ids text[], p_recipients text[], p_reconcile_after interval
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_missing bigint;
begin
  select count(*)
  into v_missing
  from outbox_engine.dispatch_members m
  where m.dispatch_id = p_dispatch.id
    and m.recipient <> all (string_to_array(array_to_string(p_recipients, ' '), ' '));
  -- Once a report has proved the request accepted, its numbers are not in question.
  if v_missing > 0 and p_dispatch.batch_id is null then
    perform outbox_engine.alarm('lookup.numbers_differ', jsonb_build_object(
      'plan', p_dispatch.plan, 'dispatch', p_dispatch.id, 'batches', p_batch_ids, 'messages', v_missing));
  end if;

  perform outbox_engine.accept_dispatches(
    array_fill(p_dispatch.id, array[cardinality(p_batch_ids)]), p_batch_ids, 'reconcile', p_reconcile_after);
  perform outbox_engine.match_waiting_reports(array[p_dispatch.id]);
  perform outbox_engine.decide_halves(array[p_dispatch.id], null, null);
end
$$;

-- Whether as much time has passed since the first lookup that missed a dispatch as the database's clock
-- says, which may have been set forward: by the provider's clock, to the second, or by that of the
-- process, which has watched the database's run true for `p_watched`. Without either, the database's clock
-- decides alone. A dispatch whose worker fell silent needs a lease and a deadline more, which the step may
-- have cut short.
create function outbox_engine.has_settled(
  p_dispatch outbox_engine.dispatches, p_settle interval, p_provider_at timestamptz, p_watched interval
) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce(
    greatest(p_watched, p_provider_at - p_dispatch.missed_provider_at + interval '1 second')
      >= p_settle + case
        when p_dispatch.ambiguous_error = outbox_engine.silence_error() then 4 * p_dispatch.deadline
        else '0'
      end,
    true);
end
$$;

-- A lookup found no trace of a dispatch at a provider that cannot prove absence: its messages stay as they
-- are. The next lookup comes at the provider's next time. An alarm says so when that was the last one.
create function outbox_engine.wait_undecided(p_dispatch outbox_engine.dispatches, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_next constant timestamptz := outbox_engine.next_lookup(p_dispatch, null, p_now);
begin
  update outbox_engine.dispatches set lookup_at = v_next where id = p_dispatch.id;
  if v_next >= p_dispatch.claimed_at + (outbox_engine.provider_of(p_dispatch.provider)).gives_up_after then
    perform outbox_engine.alarm_undecided(
      p_dispatch, 'the last lookup found no trace of the request; only a callback can show one now', p_now);
  end if;
end
$$;

-- A lookup found no batch of a dispatch. The second one, `p_settle` after the first, decides that the
-- provider does not have the request, if that can be proved. Lookups go on for a while after that, ever more
-- seldom, in case the batch turns up. `p_provider_at` and `p_watched` as in `has_settled`. The caller holds
-- the dispatch. A time of the future is of a clock that was set back: the settling time begins again.
create function outbox_engine.count_missed_lookup(
  p_dispatch_id uuid, p_settle interval, p_provider_at timestamptz, p_watched interval
) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_dispatch outbox_engine.dispatches;
begin
  -- The new token keeps a repeated call from counting as a second lookup.
  update outbox_engine.dispatches
  set
    lease_token = nextval('outbox_engine.lease_tokens'),
    lookup_misses = lookup_misses + 1,
    first_missed_at = case when first_missed_at <= v_now then first_missed_at else v_now end,
    missed_provider_at = case
      when missed_provider_at <= p_provider_at then missed_provider_at
      else coalesce(p_provider_at, missed_provider_at)
    end,
    lookup_at = v_now + p_settle
  where id = p_dispatch_id
  returning * into v_dispatch;

  if v_dispatch.state = 'not_found' then
    update outbox_engine.dispatches
    set lookup_at = case
      when lookup_misses < 6 then v_now + (interval '1 minute') * 5 ^ (lookup_misses - 2)
    end
    where id = p_dispatch_id;
    return 'watched';
  end if;
  if not (outbox_engine.provider_of(v_dispatch.provider)).proves_absence then
    perform outbox_engine.wait_undecided(v_dispatch, v_now);
    return 'undecided';
  end if;
  if v_dispatch.lookup_misses >= 2 and v_now >= v_dispatch.first_missed_at + p_settle
    and outbox_engine.has_settled(v_dispatch, p_settle, p_provider_at, p_watched) then
    update outbox_engine.dispatches
    set state = 'not_found', closed_at = v_now, lookup_at = v_now + interval '1 minute',
      lookup_misses = 2, body = null, media_url = null
    where id = p_dispatch_id;
    perform outbox_engine.requeue_attached(
      array[p_dispatch_id], 'not_found', 'the provider never got the request');
    perform outbox_engine.decide_halves(array[p_dispatch_id], null, null);
    perform outbox_engine.end_moves_in_doubt(array[p_dispatch_id], v_now);
    return 'not_found';
  end if;
  return 'missed';
end
$$;

-- Records a lookup that found no batch. It decides nothing if another lookup overtook it, or while a report
-- waits that may be about the dispatch, but for reports on the batches `p_others`; where they are only some
-- of those to ask for, the next lookup asks for others at once. The caller holds the
-- dispatch. Returns `missed`, `not_found`, `watched`, `overtaken`, `reported`, `undecided` where the provider
-- cannot prove absence, or `gone` where retention deleted the dispatch.
create function outbox_engine.record_empty_lookup(
  p_dispatch_id uuid, p_lease_token text, p_settle interval, p_provider_at timestamptz, p_watched interval,
  p_others text[]
) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatch outbox_engine.dispatches;
begin
  select *
  into v_dispatch
  from outbox_engine.dispatches
  where id = p_dispatch_id;
  if not found then
    return 'gone';
  end if;
  if v_dispatch.lease_token <> p_lease_token::bigint
    or v_dispatch.state not in ('ambiguous', 'not_found') then
    return 'overtaken';
  end if;
  if p_others <> '{}' then
    v_dispatch.other_batches := coalesce(v_dispatch.other_batches, '{}') || p_others;
    update outbox_engine.dispatches set other_batches = v_dispatch.other_batches where id = p_dispatch_id;
  end if;
  if v_dispatch.state = 'ambiguous'
    and (outbox_engine.provider_of(v_dispatch.provider)).proves_absence
    and exists (select from outbox_engine.unexplained_reports(v_dispatch)) then
    perform outbox_engine.lookup_failed(
      v_dispatch, 'a report about one of its numbers waits that shows no reference and no known batch',
      p_settle, outbox_engine.now());
    if p_others <> '{}' then
      update outbox_engine.dispatches
      set lookup_at = least(lookup_at, outbox_engine.now() + interval '1 second')
      where id = p_dispatch_id;
    end if;
    return 'reported';
  end if;
  return outbox_engine.count_missed_lookup(p_dispatch_id, p_settle, p_provider_at, p_watched);
end
$$;

-- Called by the recover job after one complete lookup. `p_batch_ids` are the batches that carry the
-- dispatch's id, `p_recipients` the numbers of each, separated by spaces. A batch that was found is a fact.
-- Returns `found`, or what `record_empty_lookup` decides.
create function public.outbox_record_lookup(
  p_dispatch_id uuid, p_lease_token text, p_batch_ids text[], p_recipients text[],
  p_settle_seconds double precision, p_reconcile_after_seconds double precision
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatch outbox_engine.dispatches;
begin
  perform outbox_engine.lock_dispatches(array[p_dispatch_id]);
  select *
  into v_dispatch
  from outbox_engine.dispatches
  where id = p_dispatch_id;
  if not found then
    return 'gone';
  end if;

  if cardinality(p_batch_ids) > 0 then
    perform outbox_engine.record_found_batches(
      v_dispatch, p_batch_ids, p_recipients, make_interval(secs => p_reconcile_after_seconds));
    return 'found';
  end if;
  return outbox_engine.record_empty_lookup(
    p_dispatch_id, p_lease_token, make_interval(secs => p_settle_seconds), null, null, '{}');
end
$$;

-- The same for a lookup that found none, with the clock of the provider (null where its answers gave
-- none), and how long the process has watched the database's clock run true on its own (null where it
-- cannot tell). `p_others` are reported batches that the provider says are other requests.
create function public.outbox_record_missed_lookup(
  p_dispatch_id uuid, p_lease_token text, p_settle_seconds double precision, p_provider_at timestamptz,
  p_watched_seconds double precision, p_others text[]
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.lock_dispatches(array[p_dispatch_id]);
  return outbox_engine.record_empty_lookup(p_dispatch_id, p_lease_token,
    make_interval(secs => p_settle_seconds), p_provider_at, make_interval(secs => p_watched_seconds),
    p_others);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_accept,
  public.outbox_record_lookup,
  public.outbox_record_missed_lookup
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_accept,
  public.outbox_record_lookup,
  public.outbox_record_missed_lookup
to service_role;
