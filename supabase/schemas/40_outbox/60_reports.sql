-- Delivery reports: what the codes of providers mean, and how a report changes the status of its message.

-- The codes of delivery reports in words, and what a code does besides: with `retry` the message is sent
-- again, with `retry_unless_dispatched` only if no report says that it was handed on, `account` pauses
-- sending, `opt_out` suppresses the recipient.
create table outbox_engine.report_codes (
  provider text not null,
  code integer not null,
  meaning text not null,
  effect text check (effect in ('retry', 'retry_unless_dispatched', 'account', 'opt_out')),
  primary key (provider, code)
);
alter table outbox_engine.report_codes enable row level security;

create type outbox_engine.report as (
  batch_id text,
  recipient text,
  status text,
  code integer,
  at timestamptz,
  reference uuid,
  raw jsonb,
  key uuid
);

-- Reports of batches that are not known yet. They are kept for fourteen days.
create table outbox_engine.waiting_reports (
  key uuid primary key,
  batch_id text not null,
  reference uuid,
  report outbox_engine.report not null,
  source text not null,
  received_at timestamptz not null,
  -- It names a request of this database that it did not know then: a sign that it was restored.
  is_unknown boolean
);
alter table outbox_engine.waiting_reports enable row level security;

create index waiting_reports_batch on outbox_engine.waiting_reports (batch_id);
create index waiting_reports_reference on outbox_engine.waiting_reports (reference)
  where reference is not null;
-- For lookups. Our own requests carry a reference, so reports on them never enter this index.
create index waiting_reports_unreferenced on outbox_engine.waiting_reports (((report).recipient))
  where reference is null;
create index waiting_reports_unknown on outbox_engine.waiting_reports (received_at) where is_unknown;
create index waiting_reports_received on outbox_engine.waiting_reports (received_at);

-- The statuses of reports. A report only ever raises the rank of a message within one attempt, so the order
-- in which reports arrive does not matter.
create function outbox_engine.statuses_by_rank() returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array[
    'sent', 'dispatched', 'unknown', 'expired', 'cancelled', 'deleted', 'aborted', 'rejected', 'failed',
    'delivered'
  ]
$$;

create function outbox_engine.rank_of(p_status text) returns smallint
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array_position(outbox_engine.statuses_by_rank(), p_status)::smallint
$$;

-- The error of a message whose report has this status and code.
create function outbox_engine.report_error(p_provider text, p_status text, p_code integer) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(': ',
    format('reported %s', p_status) || coalesce(format(' with code %s', p_code), ''),
    (select meaning from outbox_engine.report_codes c where c.provider = p_provider and c.code = p_code)
  )
$$;

-- How long a message waits that is sent again after so many attempts: one to sixteen minutes, doubled with
-- each attempt, with jitter so that a wave is spread out.
create function outbox_engine.retry_delay(p_attempts smallint) returns interval
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return interval '1 minute' * 2 ^ (p_attempts - 1) * (0.75 + random() * 0.5);
end
$$;

-- The same for a message that may go to another plan, which takes it at once.
create function outbox_engine.wait_of(p_attempts smallint, p_detour smallint) returns interval
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return case when p_detour is null then outbox_engine.retry_delay(p_attempts) else '0' end;
end
$$;

-- The statuses of reports that say that the message was handed on, whatever became of it then.
create function outbox_engine.handed_on_statuses() returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array['dispatched', 'unknown', 'expired', 'deleted']
$$;

-- Whether a report with this status says so.
create function outbox_engine.says_handed_on(p_status text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_status = any (outbox_engine.handed_on_statuses())
$$;

-- The latest event by which an operator had a message sent again. What came before it counts no more.
create function outbox_engine.last_retried(p_outbox_id bigint) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return coalesce((
    select max(e.id) from public.outbox_events e where e.outbox_id = p_outbox_id and e.event = 'retried'), 0);
end
$$;

-- Whether an aborted message is sent again for the effect of its code, never if the provider has a second
-- batch of it. `retry_unless_dispatched` does that only if no report of any attempt says that the message was
-- handed on. All reports are in the history by now.
create function outbox_engine.is_retried(p_effect text, p_outbox_id bigint) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_effect is null or exists (
    select from outbox_engine.duplicate_sends x where x.outbox_id = p_outbox_id
  ) then
    return false;
  elsif p_effect <> 'retry_unless_dispatched' then
    return p_effect = 'retry';
  end if;
  return not exists (
    select from public.outbox_events e
    where e.outbox_id = p_outbox_id and e.event = 'report' and outbox_engine.says_handed_on(e.status)
      and e.id > outbox_engine.last_retried(p_outbox_id)
  );
end
$$;

-- Of these messages, those that wait because of a code that has them sent again, although `is_retried` would
-- deny it by now, or a report on the same request has a higher rank, which would have ended them. Another
-- request may have come to nothing since. Where the route takes failures in the network for proofs, these end
-- none.
create function outbox_engine.retries_in_doubt(p_ids bigint[]) returns bigint[]
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return array(
    select o.id
    from unnest(p_ids) n (id)
    cross join lateral (
      select x.id, x.status, x.batch_id, x.parts, x.route from public.outbox x where x.id = n.id limit 1
    ) o
    where o.status in ('pending', 'scheduled') and o.batch_id is not null and exists (
      select
      from public.outbox_events e
      join outbox_engine.dispatches d on d.id = e.dispatch_id
      join outbox_engine.report_codes c on c.provider = d.provider and c.code = e.status_code
      where e.outbox_id = o.id and e.event = 'report' and e.status = 'aborted'
        and e.id > outbox_engine.last_retried(o.id)
        and c.effect in ('retry', 'retry_unless_dispatched')
        and (not outbox_engine.is_retried(c.effect, o.id) or exists (
          select from public.outbox_events r
          where r.outbox_id = o.id and r.dispatch_id = e.dispatch_id and r.event = 'report'
            and r.id > outbox_engine.last_retried(o.id)
            and outbox_engine.rank_of(r.status) > outbox_engine.rank_of('aborted')
            and (o.parts = 1 and outbox_engine.is_after_network_failure(o.route)) is not true)))
    order by o.id
  );
end
$$;

-- Messages that wait to be sent again end as the report said that made them wait. Where another request came
-- to nothing since, that is the best of all reports since an operator had them sent again, if there is one.
create function outbox_engine.end_waiting(p_ids bigint[], p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_writer text := current_setting('outbox.writer', true);
  v_outer constant text := coalesce(v_writer, '');
begin
  if cardinality(p_ids) > 0 is not true then
    return;
  end if;
  v_writer := set_config('outbox.writer', pg_trigger_depth()::text, true);
  update public.outbox o
  set
    status = (outbox_engine.statuses_by_rank())[o.reported_rank], queue = null,
    finalized_at = least(greatest(coalesce(o.reported_at, p_now), o.sent_at), p_now)
  where o.id = any (p_ids) and o.status in ('pending', 'scheduled') and o.reported_rank is not null;
  update public.outbox o
  set
    status = r.status, queue = null, error = outbox_engine.report_error(r.provider, r.status, r.status_code),
    reported_rank = outbox_engine.rank_of(r.status), reported_at = r.occurred_at, status_code = r.status_code,
    finalized_at = least(greatest(coalesce(r.occurred_at, p_now), o.sent_at), p_now)
  from unnest(p_ids) w (id)
  cross join lateral (
    select e.status, e.status_code, e.occurred_at, d.provider
    from public.outbox_events e
    join outbox_engine.dispatches d on d.id = e.dispatch_id
    where e.outbox_id = w.id and e.event = 'report'
    order by e.id > outbox_engine.last_retried(w.id) desc, outbox_engine.rank_of(e.status) desc,
      e.occurred_at nulls last, e.status_code nulls last
    limit 1
  ) r
  where o.id = w.id and o.status in ('pending', 'scheduled') and o.reported_rank is null;
  v_writer := set_config('outbox.writer', v_outer, true);
end
$$;

-- Messages that wait to be sent again end as the report said that made them wait: those that move no more
-- (`p_ended_moves`, null: none), and those that wait for `retry_unless_dispatched` and of which one of these
-- reports says that they were handed on. Reports come in any order.
create function outbox_engine.end_retries(
  p_outbox_ids bigint[], p_providers text[], p_statuses text[], p_ended_moves bigint[], p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_ids bigint[] := p_ended_moves;
begin
  -- Asked first and alone: a condition with a query in it would run the query's executor for every call.
  if p_ended_moves is null and not p_statuses && outbox_engine.handed_on_statuses() then
    return;
  end if;
  if p_statuses && outbox_engine.handed_on_statuses() and exists (
    select from outbox_engine.report_codes
    where effect = 'retry_unless_dispatched' and provider = any (p_providers)
  ) then
    v_ids := v_ids || outbox_engine.retries_in_doubt(array(
      select distinct n.outbox_id
      from unnest(p_outbox_ids, p_statuses) n (outbox_id, status)
      where outbox_engine.says_handed_on(n.status)));
  end if;
  perform outbox_engine.end_waiting(v_ids, p_now);
end
$$;

-- Called when reports are recorded, and when an acceptance finds reports that came before it. Applies one
-- report for each element of the arrays; `p_detours` (null: none) is the way on for a message whose report
-- proves that it may go to another plan, `p_ended_moves` (null: none) the messages that wait for another plan
-- although a report speaks against it. The caller has locked the rows, so their ctids stay valid; joined by
-- id instead, a plan from the time when the table was small would read all of it. A message ends at the time
-- that the provider gives, but not before it was sent and not ahead of our clock. A secret message is sent
-- again by another plan at once or never: later its code has been asked for again.
create function outbox_engine.advance_statuses(
  p_outbox_ids bigint[], p_dispatches uuid[], p_providers text[], p_statuses text[], p_codes integer[],
  p_ats timestamptz[], p_detours smallint[], p_ended_moves bigint[], p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_writer text := current_setting('outbox.writer', true);
  v_outer constant text := coalesce(v_writer, '');
begin
  v_writer := set_config('outbox.writer', pg_trigger_depth()::text, true);
  perform outbox_engine.end_retries(p_outbox_ids, p_providers, p_statuses, p_ended_moves, p_now);
  -- The best report of each message: the highest rank, then the earliest, then the lowest code. Of earlier
  -- attempts, only `delivered` counts. The rule of `rank_of` is written out: it is called for each.
  with reports as (
    select distinct on (n.outbox_id) n.outbox_id, n.provider, n.status, n.code, n.at, n.detour,
      array_position(outbox_engine.statuses_by_rank(), n.status)::smallint as rank,
      m.dispatch_id = n.dispatch_id as is_current, c.effect, m.*
    from unnest(p_outbox_ids, p_dispatches, p_providers, p_statuses, p_codes, p_ats, p_detours)
      n (outbox_id, dispatch_id, provider, status, code, at, detour)
    cross join lateral (
      select o.ctid as message_ctid, o.dispatch_id, o.status as old_status, o.attempts, o.expires_at,
        o.cancel_requested_at is not null as cancel_requested, o.sent_at, o.finalized_at, o.reported_rank,
        o.reported_at, o.status_code, o.secret
      from public.outbox o where o.id = n.outbox_id limit 1
    ) m
    left join outbox_engine.report_codes c on c.provider = n.provider and c.code = n.code and not m.secret
    where m.dispatch_id = n.dispatch_id or n.status = 'delivered'
    order by n.outbox_id, rank desc, n.at nulls last, n.code nulls last
  ),
  -- The reports that change their message, compared with its own in the same way. A final status that the
  -- engine set yields to `delivered` only. If a retryable report came before that, later ones queue nothing.
  applied as (
    select n.*, s.retryable, s.ended_by_engine,
      s.retryable and s.ended_by_engine and n.finalized_at > greatest(n.reported_at, n.sent_at)
        as ended_after_report,
      s.retryable and not s.ended_by_engine and not n.cancel_requested and n.expires_at > p_now as requeued
    from reports n
    cross join lateral (
      select n.detour is not null or n.status = 'aborted' and n.attempts < 5
          and outbox_engine.is_retried(n.effect, n.outbox_id) as retryable,
        n.finalized_at is not null
          and n.reported_rank is distinct from outbox_engine.rank_of(n.old_status) as ended_by_engine
    ) s
    where case
      when n.status = 'delivered' and n.old_status <> 'delivered' then true
      when n.is_current is not true or n.finalized_at is not null and n.reported_rank is null then false
      when n.rank = n.reported_rank then
        n.at < coalesce(n.reported_at, 'infinity')
        or n.at is not distinct from n.reported_at and n.code < coalesce(n.status_code, 2147483647)
      else n.rank > coalesce(n.reported_rank, 0) end
  )
  update public.outbox o
  set
    status = case
      when not a.retryable then a.status
      when a.ended_by_engine then o.status
      when a.cancel_requested then 'cancelled'
      when a.requeued then 'pending'
      else 'expired' end,
    error = case
      when a.retryable and a.ended_by_engine then o.error
      when a.rank > 2 and a.status <> 'delivered' -- Most reports are good: they need no call.
      then outbox_engine.report_error(a.provider, a.status, a.code)
    end,
    status_code = a.code, reported_rank = a.rank, reported_at = a.at,
    finalized_at = case
      when a.rank <= 2 or a.requeued then null
      when a.ended_after_report then o.finalized_at
      else least(greatest(coalesce(a.at, p_now), a.sent_at), p_now)
    end,
    queue = case when a.requeued then 'w'::"char" end,
    due_at = case when a.requeued then p_now + outbox_engine.wait_of(a.attempts, a.detour) else o.due_at end,
    route = case when a.detour is not null and a.requeued then a.detour else o.route end
  from applied a
  where o.ctid = a.message_ctid;
  v_writer := set_config('outbox.writer', v_outer, true);
end
$$;
