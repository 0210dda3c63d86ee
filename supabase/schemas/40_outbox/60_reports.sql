-- What a provider's codes mean, and how far a report raises a message.

-- What a provider's codes mean in words, and the few that ask for more than a note:
-- `retry` the attempt may be made again, `account` sending stops, `opt_out` the recipient wants no more.
create table outbox_engine.report_codes (
  provider text not null,
  code integer not null,
  meaning text not null,
  effect text check (effect in ('retry', 'account', 'opt_out')),
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

-- Reports for batches that are not known yet, kept fourteen days.
create table outbox_engine.waiting_reports (
  key uuid primary key,
  batch_id text not null,
  reference uuid,
  report outbox_engine.report not null,
  source text not null,
  received_at timestamptz not null
);
alter table outbox_engine.waiting_reports enable row level security;

create index waiting_reports_batch on outbox_engine.waiting_reports (batch_id);
create index waiting_reports_reference on outbox_engine.waiting_reports (reference) where reference is not null;
create index waiting_reports_received on outbox_engine.waiting_reports (received_at);

-- How far a status is along within one attempt. A report only ever raises a row, so the order of arrival
-- cannot matter.
create function outbox_engine.rank_of(p_status text) returns smallint
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array_position(
    array['sent', 'dispatched', 'unknown', 'expired', 'cancelled', 'deleted', 'aborted', 'rejected', 'failed', 'delivered'],
    p_status
  )::smallint
$$;

-- What a status that is not good news means in words.
create function outbox_engine.report_error(p_provider text, p_status text, p_code integer) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(': ',
    format('reported %s', p_status) || coalesce(format(' with code %s', p_code), ''),
    (select meaning from outbox_engine.report_codes c where c.provider = p_provider and c.code = p_code)
  )
$$;

-- Applies news to the rows. Within the current attempt the higher rank wins, between equals the earliest,
-- then the lowest code. A final of ours yields to `delivered` alone, but where a report had said before that
-- the attempt may be made again, that report is compared as any other; only it never brings such a row back.
-- Of an earlier attempt, only `delivered` counts. The caller holds the rows, so they stay where they are and
-- can be found by place.
create function outbox_engine.advance_status(
  p_outbox_ids bigint[], p_dispatches uuid[], p_providers text[], p_statuses text[], p_codes integer[], p_ats timestamptz[],
  p_now timestamptz
) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with news as (
    select distinct on (n.outbox_id) n.provider, n.status, n.code, n.at, outbox_engine.rank_of(n.status) as rank,
      o.dispatch_id = n.dispatch_id as is_current, c.effect, o.*
    from unnest(p_outbox_ids, p_dispatches, p_providers, p_statuses, p_codes, p_ats) n (outbox_id, dispatch_id, provider, status, code, at)
    cross join lateral (
      select x.ctid as place, x.dispatch_id, x.status as was, x.attempts, x.cancel_requested_at is not null as wished, x.expires_at,
        x.finalized_at, x.reported_rank, x.reported_at, x.status_code
      from public.outbox x
      where x.id = n.outbox_id
      limit 1
    ) o
    left join outbox_engine.report_codes c on c.provider = n.provider and c.code = n.code
    where o.dispatch_id = n.dispatch_id or n.status = 'delivered'
    order by n.outbox_id, rank desc, n.at nulls last, n.code nulls last
  ),
  winning as (
    select n.*, s.again, s.ended, s.again and not s.ended and not n.wished and n.expires_at > p_now as returns
    from news n
    cross join lateral (
      select
        n.status = 'aborted' and coalesce(n.effect = 'retry', false) and n.attempts < 5 as again,
        n.finalized_at is not null and n.reported_rank is distinct from outbox_engine.rank_of(n.was) as ended
    ) s
    where case
      when n.status = 'delivered' and n.was <> 'delivered' then true
      when n.is_current is not true then false
      when n.finalized_at is not null and n.reported_rank is null then false
      when n.rank = n.reported_rank then
        n.at < coalesce(n.reported_at, 'infinity')
        or n.at is not distinct from n.reported_at and n.code < coalesce(n.status_code, 2147483647)
      else n.rank > coalesce(n.reported_rank, 0)
    end
  )
  update public.outbox o
  set
    status = case
      when not w.again then w.status
      when w.ended then o.status
      when w.wished then 'cancelled'
      when w.returns then 'pending'
      else 'expired' end,
    status_code = w.code,
    error = case
      when w.again and w.ended then o.error
      -- Nearly every report is good news: no call for each of those.
      when w.status not in ('sent', 'dispatched', 'delivered') then outbox_engine.report_error(w.provider, w.status, w.code) end,
    reported_rank = w.rank,
    reported_at = w.at,
    finalized_at = case
      when w.rank <= 2 or w.returns then null
      -- Something else ended it after that report.
      when w.again and w.ended and o.finalized_at <> o.reported_at then o.finalized_at
      else coalesce(w.at, p_now) end,
    queue = case when w.returns then 'w'::"char" end,
    -- One to sixteen minutes, growing with each attempt, jittered so that a wave does not come back as one.
    due_at = case when w.returns
      then p_now + interval '1 minute' * 2 ^ (w.attempts - 1) * (0.75 + random() * 0.5) else o.due_at end
  from winning w
  where o.ctid = w.place
$$;

-- Called by `seed`.
create function outbox_engine.seed_report_codes() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.report_codes (provider, code, meaning, effect) values
    ('sinch', 402, 'message unroutable', null),
    ('sinch', 403, 'internal error at the provider', null),
    ('sinch', 404, 'temporary delivery failure', 'retry'),
    ('sinch', 405, 'a placeholder without a value', null),
    ('sinch', 406, 'expired before it reached the carrier', null),
    ('sinch', 407, 'cancelled', null),
    ('sinch', 408, 'rejected by the provider', null),
    ('sinch', 410, 'no default sender matches', null),
    ('sinch', 411, 'too many parts', null),
    ('sinch', 412, 'region not provisioned', null),
    ('sinch', 413, 'account blocked', 'account'),
    ('sinch', 15, 'screened by the carrier', null),
    ('sinch', 60, 'sender blocked', null),
    ('sinch', 62, 'taken for spam', null),
    ('sinch', 64, 'quota exceeded', null),
    ('sinch', 152, 'sender not provisioned', null),
    ('sinch', 257, 'recipient opted out', 'opt_out')
  on conflict (provider, code) do update set meaning = excluded.meaning, effect = excluded.effect
$$;
