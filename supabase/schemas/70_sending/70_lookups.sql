-- Looking for requests whose outcome nobody knows. Never resent on a guess: only after two complete looks, a
-- settling time apart, that found nothing.

-- How many looks are waiting to be made at this host; they go before sending. A batch is looked for where it
-- may be: under another host of the provider it can never be found.
create function outbox_engine.lookups_due(p_provider text, p_plan text, p_host text, p_now timestamptz) returns integer
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select (
    select count(*) from (
      select from outbox_engine.dispatches
      where provider = p_provider and plan = p_plan and host = p_host and lookup_at <= p_now
      limit 100
    ) ambiguous
  )::integer + (
    select count(*) from (
      select from outbox_engine.dispatches
      where provider = p_provider and plan = p_plan and host = p_host and state = 'claimed' and lease_until <= p_now - deadline
      limit 100
    ) silent
  )::integer
$$;

-- The provider's list reaches back fourteen days. A dispatch it no longer reaches stays unknown and is never
-- resent.
create function outbox_engine.give_up_old_lookups(p_provider text, p_plan text, p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_old constant uuid[] := array(
    select id from outbox_engine.dispatches
    where provider = p_provider and plan = p_plan and lookup_at is not null and claimed_at < p_now - interval '13 days');
  v_lost uuid[];
begin
  perform outbox_engine.lock_dispatches(v_old);
  with old as (
    update outbox_engine.dispatches
    set state = case state when 'ambiguous' then 'given_up' else state end, closed_at = p_now, lookup_at = null, body = null
    where id = any (v_old) and lookup_at is not null
    returning id, state
  )
  select array_agg(id) into v_lost from old where state = 'given_up';
  if v_lost is null then
    return;
  end if;

  with ended as (
    update public.outbox o
    set status = 'unknown', error = 'the outcome of the request could not be found out', finalized_at = p_now
    from outbox_engine.dispatch_members m
    where m.dispatch_id = any (v_lost) and o.id = m.outbox_id and o.dispatch_id = m.dispatch_id and o.status = 'sending'
    returning o.id, o.error
  )
  insert into public.outbox_events (outbox_id, at, source, event, status, detail)
  select id, p_now, 'engine', 'unknown', 'unknown', error from ended;
  perform outbox_engine.decide_halves(v_lost, null, null);
end
$$;

-- Called by the recover job. A claim whose worker has been silent beyond its lease and the longest request is
-- doubtful from now on. Answers the dispatches to look for, leased to the caller by a new token; requests are
-- drawn from the plan.
create function public.outbox_claim_lookups(
  p_provider text, p_plan text, p_host text, p_lease_seconds double precision, p_limit smallint
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_allowed integer;
  v_taken jsonb;
begin
  perform outbox_engine.record_heartbeat('recover', p_provider, p_plan, '');
  -- Tokens are drawn in an order of their own, and not in that of the table's pages: a history that is told
  -- again must go the same way.
  with silent as materialized (
    select id, nextval('outbox_engine.lease_tokens') as lease_token
    from (
      select id from outbox_engine.dispatches
      where provider = p_provider and plan = p_plan and state = 'claimed' and lease_until <= v_now - deadline
      order by id
      for update skip locked
    ) x
  )
  update outbox_engine.dispatches d
  set
    state = 'ambiguous', error = 'its worker fell silent', ambiguous_at = v_now, ambiguous_error = 'its worker fell silent', lookup_at = v_now,
    lease_token = s.lease_token
  from silent s
  where d.id = any (array(select id from silent)) and d.id = s.id;
  perform outbox_engine.give_up_old_lookups(p_provider, p_plan, v_now);

  v_allowed := outbox_engine.draw_requests(p_provider, p_plan, 'lookup',
    least(p_limit, outbox_engine.lookups_due(p_provider, p_plan, p_host, v_now)));
  with due as materialized (
    select id, nextval('outbox_engine.lease_tokens') as lease_token
    from (
      select id from outbox_engine.dispatches
      where provider = p_provider and plan = p_plan and host = p_host and lookup_at <= v_now
      order by lookup_at, claimed_at, id
      limit v_allowed
      for update skip locked
    ) x
  ),
  taken as (
    update outbox_engine.dispatches d
    set lookup_at = v_now + make_interval(secs => p_lease_seconds), lease_token = due.lease_token
    from due
    where d.id = any (array(select id from due)) and d.id = due.id
    returning d.id, d.lease_token, d.claimed_at
  )
  select jsonb_agg(jsonb_build_object(
    'dispatch_id', id, 'lease_token', lease_token::text, 'since', claimed_at - interval '1 hour'
  ) order by claimed_at, id) into v_taken
  from taken;
  return coalesce(v_taken, '[]');
end
$$;

-- Called by the recover job when a look could not be completed: nothing is known, look again in a while.
create function public.outbox_postpone_lookup(p_dispatch_id uuid, p_lease_token text, p_seconds double precision) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with postponed as (
    update outbox_engine.dispatches
    set lookup_at = outbox_engine.now() + make_interval(secs => p_seconds)
    where id = p_dispatch_id and lease_token = p_lease_token::bigint and lookup_at is not null
    returning id
  )
  select exists (select from postponed)
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_claim_lookups,
  public.outbox_postpone_lookup
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_claim_lookups,
  public.outbox_postpone_lookup
to service_role;
