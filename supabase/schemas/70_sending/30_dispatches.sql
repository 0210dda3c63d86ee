-- What the dispatch job is told of a dispatch.

-- A dispatch as the scheduler sees it. `lease_seconds` is what was left of its lease when this was said.
-- `texts` are given, one for each recipient, where they differ; then there is no `body`.
create function outbox_engine.dispatch_json(
  p_dispatch_id uuid, p_lease_token bigint, p_sender text, p_body text, p_expire_at timestamptz, p_wait_seconds double precision,
  p_recipients text[], p_texts text[]
) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'dispatch_id', p_dispatch_id,
    'lease_token', p_lease_token::text,
    'sender', p_sender,
    'body', p_body,
    'expire_at', p_expire_at,
    'wait_seconds', p_wait_seconds,
    'recipients', p_recipients,
    'texts', p_texts
  )
$$;

-- The same for a dispatch that is in the tables already.
create function outbox_engine.dispatch_answer(p_dispatch outbox_engine.dispatches, p_wait_seconds double precision) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.dispatch_json(
    p_dispatch.id, p_dispatch.lease_token, p_dispatch.sender, p_dispatch.body, p_dispatch.expire_at, p_wait_seconds,
    array_agg(m.recipient order by m.outbox_id),
    case when p_dispatch.texts_differ then array_agg(o.body order by m.outbox_id) end
  )
  from outbox_engine.dispatch_members m
  left join public.outbox o on p_dispatch.texts_differ and o.id = m.outbox_id
  where m.dispatch_id = p_dispatch.id
$$;

-- The instant after which the provider must not deliver a row. Three days after it was sent is as far as
-- Sinch lets a message live and no request may ask for more: two hours less, so that clocks which differ
-- never make one refuse the other's request.
create function outbox_engine.provider_expiry(p_expires_at timestamptz, p_now timestamptz) returns timestamptz
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select least(p_expires_at, p_now + interval '2 days 22 hours')
$$;

-- Locks these dispatches, and the other halves of refused ones, in the order of their ids: what becomes of
-- one half decides about both. Whoever needs dispatches and their plan takes the dispatches first.
create function outbox_engine.lock_dispatches(p_dispatches uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
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

-- Rows of these dispatches that are still attached to them go back to waiting as a new attempt, or end if
-- they must. `p_recipients` restricts it to some of the numbers. `p_counts`: a refused attempt counts, "not
-- found" and throttling do not. Whoever just wants some of them back is waited for.
create function outbox_engine.put_back(
  p_dispatches uuid[], p_event text, p_detail text, p_counts boolean, p_delay interval default '0', p_recipients text[] default null
) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
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

-- Dispatches among these that the caller still holds by their lease tokens, locked.
create function outbox_engine.held(p_dispatch_ids uuid[], p_lease_tokens text[]) returns setof outbox_engine.dispatches
language sql set search_path = pg_catalog, pg_temp
as $$
  select d.*
  from unnest(p_dispatch_ids, p_lease_tokens) f (id, token)
  join outbox_engine.dispatches d on d.id = f.id and d.lease_token = f.token::bigint and d.state = 'claimed'
  order by d.id
  for update of d
$$;
