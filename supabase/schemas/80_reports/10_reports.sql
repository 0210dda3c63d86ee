-- Delivery reports, from callbacks and from polling alike. Any order and any repetition of the same reports
-- ends in the same row.

-- What arrived and could not be read or stored, byte for byte.
create table outbox_engine.kept_callbacks (
  id bigint generated always as identity primary key,
  received_at timestamptz not null,
  why text not null,
  raw bytea not null,
  digest uuid not null unique
);
alter table outbox_engine.kept_callbacks enable row level security;

-- Finds the message each report is about, by batch and number, else by the reference it carries, else by a
-- second batch that is known of a dispatch. Writes it into the trail, where its key stops repeats, and
-- answers what was news. What belongs to no known batch waits.
create function outbox_engine.store_reports(p_reports outbox_engine.report[], p_source text, p_now timestamptz)
returns table (outbox_id bigint, dispatch_id uuid, provider text, status text, code integer, at timestamptz)
language sql set search_path = pg_catalog, pg_temp
as $$
  with located as materialized (
    select r.*, coalesce(b.outbox_id, f.outbox_id, s.outbox_id) as outbox_id,
      coalesce(b.dispatch_id, f.dispatch_id, s.dispatch_id) as dispatch_id
    from unnest(p_reports) r
    left join lateral (
      select m.outbox_id, m.dispatch_id
      from outbox_engine.dispatches d
      join outbox_engine.dispatch_members m on m.dispatch_id = d.id and m.recipient = r.recipient
      where d.batch_id = r.batch_id
      limit 1
    ) b on true
    left join lateral (
      select m.outbox_id, m.dispatch_id
      from outbox_engine.dispatch_members m
      where b.outbox_id is null and m.dispatch_id = r.reference and m.recipient = r.recipient
      limit 1
    ) f on true
    left join lateral (
      select m.outbox_id, m.dispatch_id
      from outbox_engine.duplicate_sends x
      join outbox_engine.dispatch_members m on m.dispatch_id = x.dispatch_id and m.recipient = r.recipient
      where b.outbox_id is null and f.outbox_id is null and x.batch_id = r.batch_id
      limit 1
    ) s on true
  ),
  waiting as (
    insert into outbox_engine.waiting_reports (key, batch_id, reference, report, source, received_at)
    select l.key, l.batch_id, l.reference,
      row(l.batch_id, l.recipient, l.status, l.code, l.at, l.reference, l.raw, l.key)::outbox_engine.report, p_source, p_now
    from located l
    where l.outbox_id is null
    order by l.key
    on conflict do nothing
  ),
  filed as (
    insert into public.outbox_events
      (outbox_id, at, source, event, status, status_code, batch_id, dispatch_id, occurred_at, report, report_key)
    select l.outbox_id, p_now, p_source, 'report', l.status, l.code, l.batch_id, l.dispatch_id, l.at, l.raw, l.key
    from located l
    where l.outbox_id is not null
    order by l.outbox_id, l.key
    on conflict (outbox_id, report_key) where report_key is not null do nothing
    returning outbox_id, dispatch_id, status, status_code, occurred_at
  )
  select f.outbox_id, f.dispatch_id, d.provider, f.status, f.status_code, f.occurred_at
  from filed f
  cross join lateral (select x.provider from outbox_engine.dispatches x where x.id = f.dispatch_id limit 1) d
$$;

-- What some codes ask for beyond the row: the account is blocked, or the recipient has opted out at the
-- provider.
create function outbox_engine.apply_code_effects(p_dispatches uuid[], p_outbox_ids bigint[], p_codes integer[], p_ats timestamptz[])
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_blocked record;
begin
  for v_blocked in
    select distinct d.provider, d.plan, d.credential, c.meaning
    from unnest(p_dispatches, p_codes) n (dispatch_id, code)
    join outbox_engine.dispatches d on d.id = n.dispatch_id
    join outbox_engine.report_codes c on c.provider = d.provider and c.code = n.code and c.effect = 'account'
    where d.accepted_at > outbox_engine.now() - interval '1 hour'
  loop
    perform outbox_engine.pause_plan(v_blocked.provider, v_blocked.plan, 'account', v_blocked.credential, v_blocked.meaning);
    update outbox_engine.plan_pauses
    set by_report = true
    where provider = v_blocked.provider and plan = v_blocked.plan and kind = 'account' and credential = v_blocked.credential;
  end loop;

  -- The number is the one the request went to: a waiting row may have been given another since.
  perform outbox_engine.apply_opt_outs(array_agg(x.recipient), array_agg(x.reason), array_agg(x.at))
  from (
    select distinct on (m.recipient) m.recipient, format('%s code %s', d.provider, n.code) as reason,
      coalesce(n.at, outbox_engine.now()) as at
    from unnest(p_dispatches, p_outbox_ids, p_codes, p_ats) n (dispatch_id, outbox_id, code, at)
    join outbox_engine.dispatches d on d.id = n.dispatch_id
    join outbox_engine.report_codes c on c.provider = d.provider and c.code = n.code and c.effect = 'opt_out'
    join outbox_engine.dispatch_members m on m.dispatch_id = n.dispatch_id and m.outbox_id = n.outbox_id
    order by m.recipient, at desc
  ) x
  having count(*) > 0;
end
$$;

-- Opt-outs that reports on batches nobody here knows (yet) tell of. A STOP to any number of the plan counts
-- for all we send, so this counts too, whichever app on the plan sent the text. Repeats are told by their
-- time: without one, the report only waits.
create function outbox_engine.apply_unmatched_opt_outs(p_reports outbox_engine.report[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from unnest(p_reports) r join outbox_engine.report_codes c on c.code = r.code and c.effect = 'opt_out'
  ) then
    return;
  end if;
  perform outbox_engine.apply_opt_outs(array_agg(x.recipient), array_agg(x.reason), array_agg(x.at))
  from (
    select distinct on (r.recipient) r.recipient, format('%s code %s', c.provider, c.code) as reason, r.at
    from unnest(p_reports) r
    join outbox_engine.waiting_reports w on w.key = r.key
    join outbox_engine.report_codes c on c.code = r.code and c.effect = 'opt_out'
    where r.at is not null and r.recipient ~ '^\+[1-9][0-9]{6,14}$'
    order by r.recipient, r.at desc
  ) x
  having count(*) > 0;
end
$$;

-- Where reports said that the account is blocked, sending stops until one of them, about a request made
-- since, says something else.
create function outbox_engine.end_account_pauses(p_dispatches uuid[], p_statuses text[], p_codes integer[]) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  delete from outbox_engine.plan_pauses p
  using unnest(p_dispatches, p_statuses, p_codes) n (dispatch_id, status, code), outbox_engine.dispatches d
  where p.by_report and d.id = n.dispatch_id and n.status <> 'sent' and d.claimed_at > p.since
    and (d.provider, d.plan, d.credential) = (p.provider, p.plan, p.credential)
    and not exists (
      select from outbox_engine.report_codes c where c.provider = d.provider and c.code = n.code and c.effect = 'account'
    )
$$;

-- An earlier attempt proved delivered. If a newer one was accepted too, the recipient has or will have the
-- text twice.
create function outbox_engine.record_late_deliveries(
  p_outbox_ids bigint[], p_dispatches uuid[], p_statuses text[], p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.duplicate_sends (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
  select o.id, d.id, d.batch_id, p_now, p_now
  from unnest(p_outbox_ids, p_dispatches, p_statuses) n (outbox_id, dispatch_id, status)
  cross join lateral (select x.id, x.dispatch_id from public.outbox x where x.id = n.outbox_id limit 1) o
  cross join lateral (select x.batch_id from outbox_engine.dispatches x where x.id = o.dispatch_id limit 1) newer
  cross join lateral (select x.id, x.batch_id from outbox_engine.dispatches x where x.id = n.dispatch_id limit 1) d
  where n.status = 'delivered' and o.dispatch_id <> n.dispatch_id and newer.batch_id is not null and d.batch_id is not null
  on conflict do nothing;
  if found then
    perform outbox_engine.log_duplicate_sends(p_now);
  end if;
end
$$;

-- Files reports and applies what is news. Answers how many were.
create function outbox_engine.record_reports(p_reports outbox_engine.report[], p_source text) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_rows bigint[];
  v_held integer;
  v_dispatches uuid[];
  v_providers text[];
  v_statuses text[];
  v_codes integer[];
  v_ats timestamptz[];
begin
  select array_agg(n.outbox_id), array_agg(n.dispatch_id), array_agg(n.provider), array_agg(n.status), array_agg(n.code),
    array_agg(n.at)
  into v_rows, v_dispatches, v_providers, v_statuses, v_codes, v_ats
  from outbox_engine.store_reports(p_reports, p_source, v_now) n;
  if v_rows is null then
    perform outbox_engine.apply_unmatched_opt_outs(p_reports);
    return 0;
  end if;

  -- Everybody locks rows in one order.
  perform from public.outbox where id = any (v_rows) order by id for update;
  get diagnostics v_held = row_count;
  if v_held < (select count(distinct id) from unnest(v_rows) id) then
    -- Of messages that somebody was just pruning nothing stays.
    delete from public.outbox_events e where e.outbox_id = any (v_rows) and not exists (select from public.outbox o where o.id = e.outbox_id);
  end if;
  perform outbox_engine.advance_status(v_rows, v_dispatches, v_providers, v_statuses, v_codes, v_ats, v_now);
  perform outbox_engine.record_late_deliveries(v_rows, v_dispatches, v_statuses, v_now);
  if exists (select from outbox_engine.report_codes c where c.effect in ('account', 'opt_out') and c.code = any (v_codes)) then
    perform outbox_engine.apply_code_effects(v_dispatches, v_rows, v_codes, v_ats);
  end if;
  if exists (select from outbox_engine.plan_pauses where by_report) then
    perform outbox_engine.end_account_pauses(v_dispatches, v_statuses, v_codes);
  end if;
  perform outbox_engine.apply_unmatched_opt_outs(p_reports);
  return cardinality(v_rows);
end
$$;

-- Reports that came before their batch was known. What names a number that the batch does not have goes on
-- waiting for its end.
create function outbox_engine.match_waiting_reports(p_dispatches uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_source text;
  v_reports outbox_engine.report[];
begin
  for v_source, v_reports in
    with matched as (
      delete from outbox_engine.waiting_reports w
      using (
        select id, batch_id from outbox_engine.dispatches where id = any (p_dispatches)
        union all
        select dispatch_id, batch_id from outbox_engine.duplicate_sends where dispatch_id = any (p_dispatches)
      ) d, outbox_engine.dispatch_members m
      where (w.batch_id = d.batch_id or w.reference = d.id) and m.dispatch_id = d.id and m.recipient = (w.report).recipient
      returning w.source, w.report
    )
    select source, array_agg(report) from matched group by source
  loop
    perform outbox_engine.record_reports(v_reports, v_source);
  end loop;
end
$$;

-- Adopts the batches that prove, by the reference they carry, that a lost request arrived. Answers the
-- dispatches, or null.
create function outbox_engine.accept_proven(p_reports outbox_engine.report[], p_source text) returns uuid[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids uuid[];
  v_batches text[];
begin
  select array_agg(x.id order by x.id), array_agg(x.batch_id order by x.id)
  into v_ids, v_batches
  from (
    select distinct d.id, r.batch_id
    from unnest(p_reports) r
    cross join lateral (select x.id, x.batch_id from outbox_engine.dispatches x where x.id = r.reference limit 1) d
    where d.batch_id is distinct from r.batch_id
  ) x;
  if v_ids is not null then
    perform outbox_engine.accept_dispatches(v_ids, v_batches, p_source, null);
  end if;
  return v_ids;
end
$$;

-- Takes reports that were read, from a callback or a poll. Answers how many were news.
create function outbox_engine.apply_reports(p_reports outbox_engine.report[], p_source text) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_proven uuid[];
begin
  if p_source = 'webhook' then
    perform outbox_engine.record_heartbeat('webhook', '', '', '');
  end if;
  v_proven := outbox_engine.accept_proven(p_reports, p_source);
  if v_proven is not null then
    perform outbox_engine.match_waiting_reports(v_proven);
    perform outbox_engine.decide_halves(v_proven, null, null);
  end if;
  return outbox_engine.record_reports(p_reports, p_source);
end
$$;

-- Called by the webhook app for a group of callbacks and by the reconcile job for a page. Arrays of one
-- length, '' for what is missing. `p_raws` is each report's JSON text. Answers how many were news. All or
-- nothing; repeating it changes nothing.
create function public.outbox_record_reports(
  p_source text, p_batch_ids text[], p_recipients text[], p_statuses text[], p_codes text[], p_ats text[], p_references text[],
  p_raws text[]
) returns integer
language sql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
  select outbox_engine.apply_reports(array_agg(
    row(r.batch_id, r.recipient, r.status, r.code, r.at, r.reference, r.raw, r.key)::outbox_engine.report
  ), p_source)
  from (
    select distinct on (key) x.batch_id, x.recipient, x.status, nullif(x.code, '')::integer as code,
      nullif(x.at, '')::timestamptz as at,
      case when x.reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then x.reference::uuid end as reference,
      x.raw::jsonb as raw,
      md5(concat_ws('|', x.batch_id, x.recipient, x.status, x.code, extract(epoch from nullif(x.at, '')::timestamptz)))::uuid as key
    from unnest(p_batch_ids, p_recipients, p_statuses, p_codes, p_ats, p_references, p_raws)
      x (batch_id, recipient, status, code, at, reference, raw)
  ) r
$$;

-- Called by the webhook app for what it could not read or the database refused. `p_raws` is base64.
create function public.outbox_keep_callbacks(p_whys text[], p_raws text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with kept as (
    insert into outbox_engine.kept_callbacks (received_at, why, raw, digest)
    select outbox_engine.now(), x.why, decode(x.raw, 'base64'), md5(x.raw)::uuid
    from unnest(p_whys, p_raws) x (why, raw)
    on conflict do nothing
    returning why
  )
  select outbox_engine.alarm('callback.unusable', jsonb_build_object('count', count(*), 'why', min(why)))
  from kept
  having count(*) > 0
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_record_reports,
  public.outbox_keep_callbacks
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_record_reports,
  public.outbox_keep_callbacks
to service_role;
