-- What all calls about dispatches share: locks, what the dispatch job gets, and messages that go back to
-- the queue.

-- A dispatch as the dispatch job gets it. `wait_seconds` is how long to wait before the request. `texts`
-- are given, one for each recipient, where they differ; otherwise `body` is. `media_url` is null for an SMS.
-- `options` is what the provider asks for beside a sender alias. What is returned has the keys of
-- `dispatch_notes` too.
create function outbox_engine.dispatch_object(
  p_dispatch_id uuid, p_lease_token bigint, p_sender text, p_sent_as jsonb, p_body text, p_media_url text,
  p_expire_at timestamptz, p_wait_seconds double precision, p_recipients text[], p_texts text[]
) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'dispatch_id', p_dispatch_id,
    'lease_token', p_lease_token::text,
    'sender', coalesce(p_sent_as ->> 'sender', p_sender),
    'options', p_sent_as -> 'options',
    'body', p_body,
    'media_url', p_media_url,
    'expire_at', p_expire_at,
    'wait_seconds', p_wait_seconds,
    'recipients', p_recipients,
    'texts', p_texts
  )
$$;

-- A message of a dispatch, for `dispatch_notes`.
create type outbox_engine.claimed_message as (
  dispatch_id uuid, priority smallint, due_at timestamptz, trace_context text
);

-- What the dispatch job counts of each dispatch. `waits` says how long its messages waited from their due
-- time until `p_now`: an array of arrays, each whether they are urgent, the seconds, and how many messages.
-- `traces` are the trace contexts of its messages, at most 128, and `more_traces` counts the others.
create function outbox_engine.dispatch_notes(
  p_messages outbox_engine.claimed_message[], p_now timestamptz
) returns table (dispatch_id uuid, notes jsonb)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select w.dispatch_id,
    jsonb_build_object('waits', jsonb_agg(jsonb_build_array(w.is_urgent, w.seconds, w.messages)))
      || coalesce(min(t.traces::text)::jsonb, '{}')
  from (
    select m.dispatch_id, m.priority < 100 as is_urgent,
      round(extract(epoch from p_now - m.due_at), 2) as seconds, count(*) as messages
    from unnest(p_messages) m
    where m.due_at is not null
    group by 1, 2, 3
  ) w
  left join (
    select d.dispatch_id, jsonb_build_object(
      'traces', (array_agg(d.trace_context))[1:128], 'more_traces', greatest(count(*) - 128, 0)) as traces
    from (
      select distinct m.dispatch_id, m.trace_context
      from unnest(p_messages) m
      where m.trace_context is not null
    ) d
    group by d.dispatch_id
  ) t on t.dispatch_id = w.dispatch_id
  group by w.dispatch_id;
end
$$;

-- The same for a dispatch that is stored already.
create function outbox_engine.dispatch_answer(
  p_dispatch outbox_engine.dispatches, p_wait_seconds double precision
) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.dispatch_object(
    p_dispatch.id, p_dispatch.lease_token, p_dispatch.sender, p_dispatch.sent_as, p_dispatch.body,
    p_dispatch.media_url, p_dispatch.expire_at, p_wait_seconds,
    array_agg(m.recipient order by m.outbox_id),
    case when p_dispatch.texts_differ then array_agg(o.body order by m.outbox_id) end
  ) || coalesce((
    select n.notes
    from outbox_engine.dispatch_notes(
      array_agg(row(p_dispatch.id, o.priority, o.due_at, o.trace_context)::outbox_engine.claimed_message),
      p_dispatch.claimed_at) n
  ), '{}')
  from outbox_engine.dispatch_members m
  left join public.outbox o on o.id = m.outbox_id
  where m.dispatch_id = p_dispatch.id
$$;

-- The instant after which the provider must not deliver a message. Sinch lets a message live for three days
-- and refuses requests that ask for more. Two hours less keeps a clock that differs from Sinch's within the
-- limit.
create function outbox_engine.provider_expiry(p_expires_at timestamptz, p_now timestamptz) returns timestamptz
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select least(p_expires_at, p_now + interval '2 days 22 hours')
$$;

-- Locks these dispatches in the order of their ids, together with the open and waiting parts of their
-- families, because the outcome of one part of a refused dispatch decides about the others. If parts wait, it
-- then holds the plan and locks the messages that `decide_halves` may change. Called before a function locks
-- messages (docs/decisions/0008).
create function outbox_engine.lock_dispatches(p_dispatches uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_decidable uuid[];
  v_has_halves boolean;
begin
  select
    array_agg(x.id) filter (where x.state = 'awaiting_half' or x.id = any (p_dispatches)),
    bool_or(x.split = 'shared' or x.state = 'awaiting_half')
  into v_decidable, v_has_halves
  from (
    select id, split, state
    from outbox_engine.dispatches
    where id = any (p_dispatches || array(
      select s.id
      from outbox_engine.dispatches d
      join outbox_engine.dispatches s on s.parent_id = d.parent_id
      where d.id = any (p_dispatches) and outbox_engine.is_open(s.state)
    ))
    order by id
    for update
  ) x;
  if v_has_halves then
    perform outbox_engine.hold_plans_of(v_decidable);
    perform outbox_engine.lock_attached(v_decidable);
  end if;
end
$$;

-- The error of a dispatch whose worker did not report an outcome.
create function outbox_engine.silence_error() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 'its worker fell silent'
$$;

-- Called before a worker's certain outcome is recorded: it never made the request, or the provider refused
-- it. If the worker had fallen silent at a provider that cannot prove absence, no other process can have
-- freed the messages meanwhile. So its word still counts: the dispatch is leased to it again by its old
-- token. Later tokens are those of lookups.
create function outbox_engine.hear_late_workers(p_dispatch_ids uuid[], p_lease_tokens text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  update outbox_engine.dispatches d
  set state = 'claimed', lease_token = f.token::bigint, lookup_at = null
  from unnest(p_dispatch_ids, p_lease_tokens) f (id, token)
  where d.id = f.id and d.id = any (p_dispatch_ids)
    and d.state = 'ambiguous'
    and d.ambiguous_error = outbox_engine.silence_error()
    and d.lease_token > f.token::bigint
    and not (outbox_engine.provider_of(d.provider)).proves_absence;
end
$$;

-- Locks those of these dispatches that the caller still holds by their lease tokens, and returns them.
create function outbox_engine.lock_leased(p_dispatch_ids uuid[], p_lease_tokens text[])
returns setof outbox_engine.dispatches
language sql set search_path = pg_catalog, pg_temp
as $$
  select d.*
  from unnest(p_dispatch_ids, p_lease_tokens) f (id, token)
  join outbox_engine.dispatches d on d.id = f.id and d.lease_token = f.token::bigint and d.state = 'claimed'
  order by d.id
  for update of d
$$;

-- Locks the messages that are still attached to these dispatches, in the order of their ids, and returns
-- the ids. A message that was accepted, requeued or ended is not attached any more. `p_recipients`
-- restricts it to these numbers.
create function outbox_engine.lock_attached(p_dispatches uuid[], p_recipients text[] default null)
returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select o.id
    from public.outbox o
    where o.id = any (array(
        select m.outbox_id
        from outbox_engine.dispatch_members m
        where m.dispatch_id = any (p_dispatches)
          and (p_recipients is null or m.recipient = any (p_recipients))
      ))
      and o.dispatch_id = any (p_dispatches)
      and o.status = 'sending'
    order by o.id
    for update
  );
end
$$;

-- Called when a dispatch certainly did not reach the provider. Messages that are still attached to it wait
-- again, after `p_delay`, or end if they expired or were cancelled on request. It counts as no attempt, and
-- not for the daily cap.
-- Writes the event `p_event`; without one, only messages that end get an event.
create function outbox_engine.requeue_attached(
  p_dispatches uuid[], p_event text, p_detail text,
  p_delay interval default '0', p_recipients text[] default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant bigint[] := outbox_engine.lock_attached(p_dispatches, p_recipients);
  v_now constant timestamptz := outbox_engine.now();
begin
  perform outbox_engine.return_messages(v_ids);
  perform outbox_engine.change_statuses(
    array_agg(row(
      o.id,
      case
        when o.cancel_requested_at is not null then 'cancelled'
        when o.expires_at <= v_now then 'expired'
        else 'requeued'
      end,
      case
        -- Where the engine asked for the cancellation, the occurrence says why.
        when o.cancel_requested_at is not null then oc.reason
        when o.expires_at <= v_now then outbox_engine.expired_error()
        else p_detail
      end,
      v_now + p_delay, p_event, p_detail
    )::outbox_engine.status_change),
    'engine', v_now)
  from public.outbox o
  left join public.outbox_campaign_occurrences oc on o.campaign is not null and oc.outbox_id = o.id
  where o.id = any (v_ids);
end
$$;
