-- Leases: a dispatch belongs to one worker until its lease ends. The worker renews it, gives it back, or
-- reports an ambiguous outcome.

-- Dispatches that belong to a worker. From `silent_at` on it counts as silent: its lease and the time of the
-- longest request are over.
create view outbox_engine.claimed_dispatches as
select id, provider, plan, host, recipients, lease_until + deadline as silent_at
from outbox_engine.dispatches
where state = 'claimed';

-- Called by the dispatch job while requests are open. Returns the ids of the dispatches that are still the
-- caller's.
create function public.outbox_renew(
  p_dispatch_ids uuid[], p_lease_tokens text[], p_lease_seconds double precision
) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with renewed as (
    update outbox_engine.dispatches d
    set lease_until = outbox_engine.now() + make_interval(secs => p_lease_seconds)
    from outbox_engine.lock_leased(p_dispatch_ids, p_lease_tokens) h
    where d.id = h.id
    returning d.id
  )
  select coalesce(jsonb_agg(id), '[]')
  from renewed
$$;

-- Called by the dispatch job for dispatches whose request it never started: the process shuts down, or too
-- little of the lease is left. Their messages wait again. Returns the ids of the dispatches that were the
-- caller's.
create function public.outbox_release(p_dispatch_ids uuid[], p_lease_tokens text[]) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_ids uuid[];
begin
  perform outbox_engine.lock_dispatches(p_dispatch_ids);
  perform outbox_engine.hear_late_workers(p_dispatch_ids, p_lease_tokens);
  select coalesce(array_agg(id), '{}')
  into v_ids
  from outbox_engine.lock_leased(p_dispatch_ids, p_lease_tokens);

  update outbox_engine.dispatches
  set state = 'released', closed_at = outbox_engine.now(), body = null, media_url = null
  where id = any (v_ids);
  perform outbox_engine.requeue_attached(v_ids, null, null);
  perform outbox_engine.decide_halves(v_ids, null, null);
  perform outbox_engine.end_moves_in_doubt(v_ids, outbox_engine.now());
  return to_jsonb(v_ids);
end
$$;

-- When a dispatch whose outcome is unknown is looked up next: `p_with_proof`, where its provider can prove
-- that a request never arrived. Elsewhere a lookup comes at the provider's times, the first one however late
-- it is. After the last of them none comes, and the dispatch is due when it is given up.
create function outbox_engine.next_lookup(
  p_dispatch outbox_engine.dispatches, p_with_proof timestamptz, p_now timestamptz
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_provider constant outbox_engine.providers := outbox_engine.provider_of(p_dispatch.provider);
begin
  if v_provider.proves_absence then
    return p_with_proof;
  elsif p_dispatch.lookup_misses = 0 then
    return greatest(p_dispatch.claimed_at + v_provider.lookup_after[1], p_now);
  end if;
  return coalesce(
    (
      select min(p_dispatch.claimed_at + x.after)
      from unnest(v_provider.lookup_after) x (after)
      where p_dispatch.claimed_at + x.after > p_now
    ),
    p_dispatch.claimed_at + v_provider.gives_up_after);
end
$$;

-- Marks a dispatch whose outcome is unknown. It gets a new lease token, so its worker no longer holds it,
-- and the recover job looks it up at the provider: at `p_lookup_at`, or when `next_lookup` says.
create function outbox_engine.mark_ambiguous(
  p_dispatch_id uuid, p_error text, p_lease_token bigint, p_lookup_at timestamptz
) returns uuid
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_marked outbox_engine.dispatches;
begin
  update outbox_engine.dispatches d
  set
    state = 'ambiguous',
    error = p_error,
    ambiguous_at = outbox_engine.now(),
    ambiguous_error = p_error,
    lease_token = p_lease_token,
    lookup_at = outbox_engine.next_lookup(d, p_lookup_at, outbox_engine.now())
  where id = p_dispatch_id
  returning d.* into v_marked;
  perform outbox_engine.count_failed_requests(
    v_marked.provider, v_marked.plan, 1, outbox_engine.now(), v_marked.ambiguous_error);
  return v_marked.id;
end
$$;

-- Called by the dispatch job when it cannot know whether the provider took a request, such as after a
-- timeout. The first lookup comes `p_lookup_after_seconds` later where lookups can prove something. Returns
-- the ids of the dispatches that were the caller's.
create function public.outbox_mark_ambiguous(
  p_dispatch_ids uuid[], p_lease_tokens text[], p_errors text[], p_lookup_after_seconds double precision
) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.notice_unknown_dispatches(p_dispatch_ids);
  -- All of them before any failed request is counted (docs/decisions/0008).
  select outbox_engine.lock_leased(p_dispatch_ids, p_lease_tokens);
  select outbox_engine.hold_plans_of(p_dispatch_ids)
  where exists (select from outbox_engine.plans where asked_at is not null);
  with leased as materialized (
    select h.id, f.error
    from outbox_engine.lock_leased(p_dispatch_ids, p_lease_tokens) h
    join unnest(p_dispatch_ids, p_errors) f (id, error) on f.id = h.id
  )
  select coalesce(
    jsonb_agg(outbox_engine.mark_ambiguous(
      id, error, nextval('outbox_engine.lease_tokens'),
      outbox_engine.now() + make_interval(secs => p_lookup_after_seconds)
    )),
    '[]'
  )
  from leased
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_renew,
  public.outbox_release,
  public.outbox_mark_ambiguous
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_renew,
  public.outbox_release,
  public.outbox_mark_ambiguous
to service_role;
