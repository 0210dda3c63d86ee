-- What delivery reports change besides the status of a message: pauses, suppressions and duplicate sends.

-- Pauses plans whose account is blocked, as codes in reports on requests of the last hour say.
create function outbox_engine.pause_blocked_accounts(p_dispatches uuid[], p_codes integer[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_blocked record;
begin
  for v_blocked in
    select d.provider, d.plan, d.credential, c.meaning, bool_or(d.is_probe) as is_probe
    from unnest(p_dispatches, p_codes) n (dispatch_id, code)
    join outbox_engine.dispatches d on d.id = n.dispatch_id
    join outbox_engine.report_codes c
      on c.provider = d.provider and c.code = n.code and c.effect = 'account'
    where d.accepted_at > outbox_engine.now() - interval '1 hour'
    group by d.provider, d.plan, d.credential, c.meaning
    order by d.provider, d.plan, d.credential
  loop
    perform outbox_engine.pause_plan(
      v_blocked.provider, v_blocked.plan, 'account', v_blocked.credential, v_blocked.meaning,
      p_is_probe => v_blocked.is_probe);
    update outbox_engine.plan_pauses
    set by_report = true
    where provider = v_blocked.provider
      and plan = v_blocked.plan
      and kind = 'account'
      and credential = v_blocked.credential;
  end loop;
end
$$;

-- Ends account pauses that reports began: a report on a request that was claimed since says something else.
create function outbox_engine.end_account_pauses(
  p_dispatches uuid[], p_statuses text[], p_codes integer[]
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.hold_plans_of(p_dispatches);
  delete from outbox_engine.plan_pauses p
  using unnest(p_dispatches, p_statuses, p_codes) n (dispatch_id, status, code), outbox_engine.dispatches d
  where p.by_report
    and d.id = n.dispatch_id
    and n.status <> 'sent'
    and d.claimed_at > p.since
    and (d.provider, d.plan, d.credential) = (p.provider, p.plan, p.credential)
    and not exists (
      select from outbox_engine.report_codes c
      where c.provider = d.provider and c.code = n.code and c.effect = 'account'
    );
end
$$;

-- The request of a report whose message is gone: retention deleted it, a person was erased, or the owner
-- deleted it. Null where the request is not known, still has this number, or has all its messages.
create function outbox_engine.dispatch_without(p_batch_id text, p_reference uuid, p_recipient text)
returns uuid
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select d.id
  from outbox_engine.dispatches d
  where (d.id = p_reference or d.batch_id = p_batch_id)
    and d.recipients > (select count(*) from outbox_engine.dispatch_members m where m.dispatch_id = d.id)
    and not exists (
      select from outbox_engine.dispatch_members m where m.dispatch_id = d.id and m.recipient = p_recipient)
  limit 1
$$;

-- Suppresses numbers whose codes say that the recipient opted out at the provider. The arrays are the new
-- reports on known messages; the number is the one that the request went to, because a waiting message may
-- have another by now. Of `p_reports` those count that wait for their batch: a STOP to any number of the
-- plan counts for all messages of the project, whichever app sent the text. They are recognized by their
-- time, so one without a time has no effect until its batch is known. Those whose message is gone count too,
-- and are stored nowhere. A provider's time counts between the sending and now only.
create function outbox_engine.apply_opt_out_codes(
  p_dispatches uuid[], p_outbox_ids bigint[], p_codes integer[], p_ats timestamptz[],
  p_reports outbox_engine.report[]
) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  with opt_outs as (
    select m.recipient, c.provider, c.code,
      least(greatest(coalesce(n.at, outbox_engine.now()), d.accepted_at), outbox_engine.now()) as at
    from unnest(p_dispatches, p_outbox_ids, p_codes, p_ats) n (dispatch_id, outbox_id, code, at)
    join outbox_engine.dispatches d on d.id = n.dispatch_id
    join outbox_engine.report_codes c
      on c.provider = d.provider and c.code = n.code and c.effect = 'opt_out'
    join outbox_engine.dispatch_members m on m.dispatch_id = n.dispatch_id and m.outbox_id = n.outbox_id
    union all
    select r.recipient, c.provider, c.code, least(r.at, outbox_engine.now())
    from unnest(p_reports) r
    join outbox_engine.waiting_reports w on w.key = r.key
    join outbox_engine.report_codes c on c.code = r.code and c.effect = 'opt_out'
    where r.at is not null and r.recipient ~ outbox_engine.e164_pattern()
    union all
    select r.recipient, d.provider, r.code,
      least(greatest(coalesce(r.at, outbox_engine.now()), d.accepted_at), outbox_engine.now())
    from unnest(p_reports) r
    join outbox_engine.report_codes c on c.code = r.code and c.effect = 'opt_out'
    join outbox_engine.dispatches d
      on d.id = outbox_engine.dispatch_without(r.batch_id, r.reference, r.recipient)
      and d.provider = c.provider
    where r.recipient ~ outbox_engine.e164_pattern()
  ),
  latest as (
    select distinct on (recipient) recipient, format('%s code %s', provider, code) as reason, at
    from opt_outs
    order by recipient, at desc
  )
  select outbox_engine.apply_opt_outs(array_agg(recipient), array_agg(reason), array_agg(at))
  from latest
  having count(*) > 0
$$;

-- Reports that an earlier attempt was delivered. If a newer attempt was accepted too, the recipient gets
-- the text twice.
create function outbox_engine.record_late_deliveries(
  p_outbox_ids bigint[], p_dispatches uuid[], p_statuses text[], p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.duplicate_sends (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
  select o.id, d.id, d.batch_id, p_now, p_now
  from unnest(p_outbox_ids, p_dispatches, p_statuses) n (outbox_id, dispatch_id, status)
  cross join lateral (
    select x.id, x.dispatch_id from public.outbox x where x.id = n.outbox_id limit 1
  ) o
  cross join lateral (
    select x.batch_id from outbox_engine.dispatches x where x.id = o.dispatch_id limit 1
  ) newer
  cross join lateral (
    select x.id, x.batch_id from outbox_engine.dispatches x where x.id = n.dispatch_id limit 1
  ) d
  where n.status = 'delivered'
    and o.dispatch_id <> n.dispatch_id
    and newer.batch_id is not null
    and d.batch_id is not null
  on conflict do nothing;
  if found then
    perform outbox_engine.log_duplicate_sends(p_now);
  end if;
end
$$;
