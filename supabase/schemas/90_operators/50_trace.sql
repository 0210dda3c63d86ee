-- Trace: what happened to one message, from its insert to its end.

-- Called by `outbox trace` and `outbox cancel`. Finds the messages that a text names: by a message's id, a
-- dispatch's id, a batch of the provider or an idempotency key, whichever of these finds any first; with
-- `p_as` only by that one. At most a thousand, as many as a batch holds.
create function public.outbox_find(p_text text, p_as text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_kinds constant text[] := case
    when p_as is not null then array[p_as]
    else array['id', 'dispatch', 'batch', 'idempotency_key']
  end;
  v_as text;
  v_ids bigint[] := '{}';
begin
  foreach v_as in array v_kinds loop
    if v_as = 'id' and p_text ~ '^[0-9]{1,18}$' then
      v_ids := array(select id from public.outbox where id = p_text::bigint);
    elsif v_as = 'dispatch' and p_text ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
      v_ids := array(
        select outbox_id
        from outbox_engine.dispatch_members
        where dispatch_id = p_text::uuid
        order by outbox_id
      );
    elsif v_as = 'batch' then
      v_ids := array(
        select m.outbox_id
        from outbox_engine.dispatches d
        join outbox_engine.dispatch_members m on m.dispatch_id = d.id
        where d.batch_id = p_text
        order by m.outbox_id
        limit 1000
      );
    elsif v_as = 'idempotency_key' then
      v_ids := array(select id from public.outbox where idempotency_key = p_text);
    end if;
    exit when cardinality(v_ids) > 0;
  end loop;

  return jsonb_build_object('as', v_as, 'messages', (
    select coalesce(
      jsonb_agg(
        jsonb_build_object('id', o.id, 'recipient', o.recipient, 'status', o.status, 'error', o.error)
        order by o.id
      ),
      '[]'
    )
    from public.outbox o
    where o.id = any (v_ids)
  ));
end
$$;

-- Every dispatch that held a message, in the order they were claimed.
create function outbox_engine.dispatches_of(p_outbox_id bigint) returns setof outbox_engine.dispatches
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select d.*
  from outbox_engine.dispatches d
  where d.id in (
    select dispatch_id from outbox_engine.dispatch_members where outbox_id = p_outbox_id
    union
    select dispatch_id from public.outbox_events where outbox_id = p_outbox_id
    union
    select dispatch_id from outbox_engine.duplicate_sends where outbox_id = p_outbox_id
  )
  order by d.lease_token
$$;

-- What only the dispatches of a message know: when they were claimed and by which process, became
-- ambiguous, were not found, and were closed. The rest are events.
create function outbox_engine.dispatch_history(p_outbox_id bigint)
returns table (at timestamptz, event text, batch_id text, dispatch_id uuid, detail text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with requests as materialized (
    select * from outbox_engine.dispatches_of(p_outbox_id)
  )
  select d.claimed_at, 'claimed', null, d.id, concat_ws(', ',
    'by ' || d.worker,
    format('plan %s', outbox_engine.plan_name(d.provider, d.plan)),
    format(case d.recipients when 1 then '1 recipient' else '%s recipients' end, d.recipients),
    case when d.is_probe then 'as a probe' end,
    case
      when d.parent_id is not null
      then format('part of %s, refused with: %s', d.parent_id, coalesce(d.split_error, 'no callback URL'))
    end)
  from requests d
  union all
  select d.ambiguous_at, 'ambiguous', null, d.id,
    concat_ws(': ', d.ambiguous_error, case
      when p.proves_absence then 'the provider''s list will tell whether it took the request'
      else format(
        'a callback or a lookup may tell until %s whether the provider took the request',
        d.claimed_at + p.gives_up_after)
    end)
  from requests d
  cross join lateral outbox_engine.provider_of(d.provider) p
  where d.ambiguous_at is not null
  union all
  select d.first_missed_at, 'not_found', null, d.id,
    case
      when p.proves_absence then format('%s lookups in the provider''s list so far', d.lookup_misses)
      else format('%s lookups so far; the provider may have the request all the same', d.lookup_misses)
    end
  from requests d
  cross join lateral outbox_engine.provider_of(d.provider) p
  where d.first_missed_at is not null
  union all
  select d.closed_at, 'closed', d.batch_id, d.id,
    concat_ws(': ', d.state,
      case when starts_with(d.error, 'HTTP ') is not true then 'HTTP ' || d.http_status end, d.error)
  from requests d
  where d.closed_at is not null and d.state <> 'accepted'
$$;

-- What happened to a message, in the order in which it was recorded: the insert first, then claims, other
-- states of dispatches, events, and inbound messages of the recipient. The time of a claim is that of its
-- transaction, which may have begun before the insert was committed. `place` orders entries of one time.
create function outbox_engine.timeline_of(o public.outbox, p_show_body boolean)
returns table (
  at timestamptz, place bigint, source text, event text, status text, status_code integer, batch_id text,
  dispatch_id uuid, occurred_at timestamptz, detail text, report jsonb
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select o.created_at, -3, 'app', 'inserted', null::text, null::integer, null::text, null::uuid,
    null::timestamptz, concat_ws(', ', format('to go out at %s', o.send_at), 'by campaign ' || o.campaign),
    null::jsonb
  union all
  select h.at, case h.event when 'claimed' then -2 else -1 end, 'engine', h.event, null, null, h.batch_id,
    h.dispatch_id, null, h.detail, null
  from outbox_engine.dispatch_history(o.id) h
  union all
  select e.at, e.id, e.source, e.event, e.status, e.status_code, e.batch_id, e.dispatch_id, e.occurred_at,
    e.detail, e.report
  from public.outbox_events e
  where e.outbox_id = o.id
  union all
  select i.recorded_at, 0, 'recipient', 'inbound', null, null, null, null, i.received_at,
    concat_ws(': ', format('a message to %s', i.recipient), case when p_show_body then i.body end), null
  from (
    select *
    from public.outbox_inbound
    where sender = o.recipient
      and received_at between o.created_at
        and coalesce(o.finalized_at, outbox_engine.now()) + interval '7 days'
    order by received_at
    limit 50
  ) i
$$;

-- The dispatches of a message as `outbox trace` shows them.
create function outbox_engine.dispatches_json(p_outbox_id bigint) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'id', d.id, 'state', d.state, 'provider', d.provider, 'plan', d.plan, 'worker', d.worker,
        'recipients', d.recipients, 'lease_token', d.lease_token, 'lease_until', d.lease_until,
        'claimed_at', d.claimed_at, 'accepted_at', d.accepted_at, 'closed_at', d.closed_at,
        'batch_id', d.batch_id, 'http_status', d.http_status, 'error', d.error,
        'lookup_misses', d.lookup_misses, 'lookup_at', d.lookup_at,
        'gives_up_at', case when d.state = 'ambiguous' then d.claimed_at + p.gives_up_after end,
        'reconcile_at', d.reconcile_at, 'reconciliations', d.reconciliations, 'parent_id', d.parent_id
      )
      order by d.lease_token
    ),
    '[]'
  )
  from outbox_engine.dispatches_of(p_outbox_id) d
  cross join lateral outbox_engine.provider_of(d.provider) p
$$;

-- When the content of a held message is tried next. Null where it is not held.
create function outbox_engine.held_until(p_outbox_id bigint) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select r.probe_at
  from outbox_engine.held_messages h
  join outbox_engine.refused_contents r using (provider, plan, content)
  where h.outbox_id = p_outbox_id and r.held_since is not null
$$;

-- What a message waits for: an instant, the next probe of its content, or a claim of one of its plans. Null
-- for one that does not wait.
create function outbox_engine.waiting_json(o public.outbox, p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'until', case when h.until > p_now or o.due_at > p_now then coalesce(h.until, o.due_at) end,
    'is_held', h.until is not null,
    'plans', outbox_engine.carriers_json(o.route, p_now))
  from (select outbox_engine.held_until(o.id) as until) h
  where o.queue is not null
$$;

-- Called by `outbox trace` for one message; null if there is none. Texts are included only with
-- `p_show_body`, and never that of a secret message.
create function public.outbox_trace(p_id bigint, p_show_body boolean) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  o public.outbox;
begin
  select * into o from public.outbox where id = p_id;
  if not found then
    return null;
  end if;

  return jsonb_build_object(
    'message',
      to_jsonb(o)
        - array[
          'body', 'parameters', 'media_url', 'metadata', 'queue', 'reported_rank', 'reported_at', 'owner_id',
          'route']
      || case
        when outbox_engine.has_routes() then jsonb_build_object('route', outbox_engine.route_name(o.route))
        else '{}'
      end
      -- A message that came back waits a while before the next attempt. A held one waits for the next probe
      -- of its content.
      || jsonb_build_object(
        'tried_again_at', coalesce(
          case when o.queue = 'w' then outbox_engine.held_until(o.id) end,
          case
            when o.status = 'pending' and o.queue = 'w' and o.due_at < o.expires_at then o.due_at
          end))
      || case
        when p_show_body and not o.secret then jsonb_build_object(
          'body', o.body, 'parameters', o.parameters, 'media_url', o.media_url)
        else '{}'
      end,
    'timeline', (
      select coalesce(
        jsonb_agg(to_jsonb(t) - 'place' order by t.event = 'inserted' desc, t.at, t.place), '[]')
      from outbox_engine.timeline_of(o, p_show_body) t
    ),
    'waiting', outbox_engine.waiting_json(o, outbox_engine.now()),
    'dispatches', outbox_engine.dispatches_json(p_id),
    'duplicate_sends', (
      select coalesce(jsonb_agg(to_jsonb(x) - 'outbox_id' order by x.found_at), '[]')
      from outbox_engine.duplicate_sends x
      where x.outbox_id = p_id
    ),
    'suppressed', (select s.reason from public.outbox_suppressions s where s.recipient = o.recipient)
  );
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_find,
  public.outbox_trace
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_find,
  public.outbox_trace
to service_role;
