-- Delivery reports, from callbacks and from polling. The same reports in any order, and however often
-- repeated, end in the same row.

-- Callbacks that the webhook app could not read or the database refused, byte for byte.
create table outbox_engine.kept_callbacks (
  id bigint generated always as identity primary key,
  received_at timestamptz not null,
  why text not null,
  raw bytea not null,
  digest uuid not null unique
);
alter table outbox_engine.kept_callbacks enable row level security;

-- Finds the message of each report: by batch and number, else by the reference that the report carries,
-- else by a second batch that is known of a dispatch. Writes each report as an event, where its key stops
-- repeats, and returns the new ones. Reports for unknown batches wait in `waiting_reports`; the next claim
-- pauses where one of them shows that the database was restored. A report whose message is gone is not
-- stored.
create function outbox_engine.store_new_reports(
  p_reports outbox_engine.report[], p_source text, p_now timestamptz
) returns table (
  outbox_id bigint, dispatch_id uuid, provider text, status text, code integer, at timestamptz, key uuid,
  accepted_at timestamptz
)
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
    insert into outbox_engine.waiting_reports (
      key, batch_id, reference, report, source, received_at, is_unknown
    )
    select l.key, l.batch_id, l.reference,
      row(
        l.batch_id, l.recipient, l.status, l.code, l.at, l.reference, l.raw, l.key
      )::outbox_engine.report,
      p_source, p_now, nullif(outbox_engine.shows_restore(l.reference, l.batch_id, l.at, p_now), false)
    from located l
    where l.outbox_id is null
      and outbox_engine.dispatch_without(l.batch_id, l.reference, l.recipient) is null
    order by l.key
    on conflict do nothing
  ),
  stored as (
    insert into public.outbox_events (
      outbox_id, at, source, event, status, status_code, batch_id, dispatch_id, occurred_at, report,
      report_key
    )
    select
      l.outbox_id, p_now, p_source, 'report', l.status, l.code, l.batch_id, l.dispatch_id, l.at, l.raw, l.key
    from located l
    where l.outbox_id is not null
    order by l.outbox_id, l.key
    on conflict (outbox_id, report_key) where report_key is not null do nothing
    returning outbox_id, dispatch_id, status, status_code, occurred_at, report_key
  )
  select f.outbox_id, f.dispatch_id, d.provider, f.status, f.status_code, f.occurred_at, f.report_key,
    d.accepted_at
  from stored f
  cross join lateral (
    select x.provider, x.accepted_at
    from outbox_engine.dispatches x
    where x.id = f.dispatch_id
    limit 1
  ) d
$$;

-- Stores reports and applies the new ones: plans and their pauses first, then messages, then opt-outs
-- (docs/decisions/0008). Returns what `outbox_take_reports` does, and the keys of the new ones as `keys`.
create function outbox_engine.record_new_reports(p_reports outbox_engine.report[], p_source text)
returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_effects constant text[] := array(
    select c.effect
    from outbox_engine.report_codes c
    where c.effect in ('account', 'opt_out') and c.code in (select r.code from unnest(p_reports) r)
  );
  v_outbox_ids bigint[];
  v_dispatches uuid[];
  v_locked_ids bigint[];
  v_present_dispatches uuid[];
  v_all_are_present boolean;
  v_providers text[];
  v_statuses text[];
  v_codes integer[];
  v_ats timestamptz[];
  v_detours smallint[];
  v_ended_moves bigint[];
  v_keys uuid[];
  v_seconds double precision[];
  v_traces text[];
begin
  select
    array_agg(n.outbox_id), array_agg(n.dispatch_id), array_agg(n.provider), array_agg(n.status),
    array_agg(n.code), array_agg(n.at), array_agg(n.key),
    array_agg(greatest(extract(epoch from least(n.at, v_now) - n.accepted_at), 0))
      filter (where n.status = 'delivered' and n.accepted_at is not null)
  into v_outbox_ids, v_dispatches, v_providers, v_statuses, v_codes, v_ats, v_keys, v_seconds
  from outbox_engine.store_new_reports(p_reports, p_source, v_now) n;

  if v_outbox_ids is not null then
    if 'account' = any (v_effects) then
      perform outbox_engine.pause_blocked_accounts(v_dispatches, v_codes);
    end if;
    if exists (select from outbox_engine.plan_pauses where by_report) then
      perform outbox_engine.end_account_pauses(v_dispatches, v_statuses, v_codes);
    end if;

    select array_agg(o.id), array_agg(o.dispatch_id),
      array_agg(distinct o.trace_context) filter (where o.trace_context is not null)
    into v_locked_ids, v_present_dispatches, v_traces
    from (select m.* from public.outbox m where m.id = any (v_outbox_ids) order by m.id for update) o;
    -- One report on the present request of each message, as in nearly all calls: no message is gone, and no
    -- report is of an earlier request.
    v_all_are_present := v_locked_ids is not distinct from v_outbox_ids
      and v_present_dispatches is not distinct from v_dispatches;
    if not v_all_are_present and cardinality(coalesce(v_locked_ids, '{}'))
      < (select count(distinct id) from unnest(v_outbox_ids) id) then
      -- Retention deleted some of these messages meanwhile, so their events go too.
      delete from public.outbox_events e where e.outbox_id = any (v_outbox_ids)
        and not exists (select from public.outbox o where o.id = e.outbox_id);
    end if;
    v_detours := outbox_engine.find_moves(
      v_outbox_ids, v_dispatches, v_providers, v_statuses, v_codes, v_now);
    v_ended_moves := outbox_engine.find_ended_moves(v_outbox_ids, v_statuses);
    perform outbox_engine.advance_statuses(
      v_outbox_ids, v_dispatches, v_providers, v_statuses, v_codes, v_ats, v_detours, v_ended_moves, v_now);
    if not v_statuses <@ array['delivered', 'dispatched', 'sent'] then
      perform outbox_engine.end_waits_in_doubt(v_outbox_ids, v_now);
      if v_detours is not null then
        perform outbox_engine.log_moves(v_outbox_ids, v_dispatches, v_detours, v_now);
      end if;
    end if;
    if not v_all_are_present then
      perform outbox_engine.record_late_deliveries(v_outbox_ids, v_dispatches, v_statuses, v_now);
    end if;
  end if;
  if 'opt_out' = any (v_effects) then
    perform outbox_engine.apply_opt_out_codes(v_dispatches, v_outbox_ids, v_codes, v_ats, p_reports);
  end if;
  return jsonb_build_object('new', coalesce(cardinality(v_outbox_ids), 0), 'keys', coalesce(v_keys, '{}'),
    'delivered_seconds', v_seconds, 'traces', v_traces[1:128]);
end
$$;

-- Applies reports that came before their batch was known. A report on a number that the batch does not have
-- keeps waiting until retention deletes it.
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
        select id, batch_id
        from outbox_engine.dispatches
        where id = any (p_dispatches)
        union all
        select dispatch_id, batch_id
        from outbox_engine.duplicate_sends
        where dispatch_id = any (p_dispatches)
      ) d, outbox_engine.dispatch_members m
      where (w.batch_id = d.batch_id or w.reference = d.id)
        and m.dispatch_id = d.id
        and m.recipient = (w.report).recipient
      returning w.source, w.report
    )
    select source, array_agg(report)
    from matched
    group by source
  loop
    perform outbox_engine.record_new_reports(v_reports, v_source);
  end loop;
end
$$;

-- Locks the messages of these dispatches, which are about to be accepted, together with those of reports on
-- other batches, so that one call locks all its messages in one order. Before that it holds the plans, if
-- the call may begin or end a pause or the hold of a content. Not needed where all reports are about
-- the dispatches.
create function outbox_engine.lock_proven_and_reported(p_proven uuid[], p_reports outbox_engine.report[])
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from unnest(p_reports) r where (r.reference = any (p_proven)) is not true) then
    return;
  end if;
  if exists (select from outbox_engine.plan_pauses)
    or exists (select from outbox_engine.refused_contents)
    or exists (
      select from unnest(p_reports) r
      join outbox_engine.report_codes c on c.code = r.code and c.effect = 'account'
    ) then
    perform outbox_engine.hold_plans_of(p_proven);
  end if;
  perform from public.outbox
  where id = any (array(
    select m.outbox_id
    from outbox_engine.dispatch_members m
    where m.dispatch_id = any (p_proven)
    union all
    select o.outbox_id
    from unnest(p_reports) r
    cross join lateral (
      select m.outbox_id
      from outbox_engine.dispatches d
      join outbox_engine.dispatch_members m on m.dispatch_id = d.id and m.recipient = r.recipient
      where d.batch_id = r.batch_id
      limit 1
    ) o
  ))
  order by id
  for update;
end
$$;

-- Adopts batches that prove, by the reference they carry, that a request of unknown outcome arrived, and
-- applies the reports that wait for them.
create function outbox_engine.accept_proven(p_reports outbox_engine.report[], p_source text) returns void
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
    cross join lateral (
      select x.id, x.batch_id
      from outbox_engine.dispatches x
      where x.id = r.reference
      limit 1
    ) d
    where d.batch_id is distinct from r.batch_id
  ) x;
  if v_ids is null then
    return;
  end if;

  perform outbox_engine.lock_dispatches(v_ids);
  perform outbox_engine.lock_proven_and_reported(v_ids, p_reports);
  perform outbox_engine.accept_dispatches(v_ids, v_batches, p_source, null);
  perform outbox_engine.match_waiting_reports(v_ids);
  perform outbox_engine.decide_halves(v_ids, null, null);
end
$$;

-- Applies reports from a callback or a poll. Returns what `record_new_reports` does.
create function outbox_engine.apply_new_reports(p_reports outbox_engine.report[], p_source text)
returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if p_source = 'webhook' then
    perform outbox_engine.record_heartbeat('webhook', '', '', '');
  end if;
  perform outbox_engine.accept_proven(p_reports, p_source);
  return outbox_engine.record_new_reports(p_reports, p_source);
end
$$;
