-- Leases: renewed, given back, or ended by an ambiguous outcome.

-- Called by the dispatch job while requests are open. Answers the ids that are still the caller's.
create function public.outbox_renew(p_dispatch_ids uuid[], p_lease_tokens text[], p_lease_seconds double precision) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp
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

-- Called by the dispatch job for dispatches whose request was never started: shutting down, or too little of
-- the lease left.
create function public.outbox_release(p_dispatch_ids uuid[], p_lease_tokens text[]) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_ids uuid[];
begin
  perform outbox_engine.lock_dispatches(p_dispatch_ids);
  select array_agg(id) into v_ids from outbox_engine.held(p_dispatch_ids, p_lease_tokens);
  update outbox_engine.dispatches set state = 'released', closed_at = outbox_engine.now(), body = null where id = any (v_ids);
  perform outbox_engine.put_back(v_ids, null, null, false);
  perform outbox_engine.decide_halves(v_ids, null, null);
  return to_jsonb(coalesce(v_ids, '{}'));
end
$$;

-- Called by the dispatch job when nobody knows whether the provider took a request. The first look comes a
-- moment later.
create function public.outbox_mark_ambiguous(
  p_dispatch_ids uuid[], p_lease_tokens text[], p_errors text[], p_lookup_after_seconds double precision
) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with doubted as (
    update outbox_engine.dispatches d
    set
      state = 'ambiguous', error = f.error, ambiguous_at = outbox_engine.now(), ambiguous_error = f.error, lease_token = nextval('outbox_engine.lease_tokens'),
      lookup_at = outbox_engine.now() + make_interval(secs => p_lookup_after_seconds)
    from unnest(p_dispatch_ids, p_errors) f (id, error)
    where d.id = f.id and d.id in (select h.id from outbox_engine.held(p_dispatch_ids, p_lease_tokens) h)
    returning d.id
  )
  select coalesce(jsonb_agg(id), '[]') from doubted
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
