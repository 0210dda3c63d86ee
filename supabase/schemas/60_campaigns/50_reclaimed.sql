-- Messages of campaigns that were withdrawn and turn out to have been sent, because two lookups missed their
-- request. By then their occurrence may have made another message.

-- Runs when an occurrence is given to another message. Remembers the earlier one if it was part of a request,
-- because it may turn out to have been sent.
create function outbox_engine.after_occurrence_reassigned() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.reassigned_occurrences (outbox_id, campaign, external_id, stands_for)
  select old.outbox_id, old.campaign, old.external_id, old.stands_for
  where exists (select from outbox_engine.dispatch_members m where m.outbox_id = old.outbox_id)
  on conflict do nothing;
  return null;
end
$$;
create trigger outbox_campaign_occurrences_reassigned
  after update of outbox_id on public.outbox_campaign_occurrences for each row
  when (old.outbox_id <> new.outbox_id)
  execute function outbox_engine.after_occurrence_reassigned();

-- The occurrences that these messages have or had, and the message that has each now (`holder_id`).
create function outbox_engine.occurrences_of_messages(p_outbox_ids bigint[])
returns table (outbox_id bigint, campaign text, external_id text, stands_for timestamp, holder_id bigint)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select u.id, o.campaign, o.external_id, o.stands_for, o.outbox_id
  from unnest(p_outbox_ids) u (id)
  join public.outbox_campaign_occurrences o on o.outbox_id = u.id
  union all
  select r.outbox_id, o.campaign, o.external_id, o.stands_for, o.outbox_id
  from outbox_engine.reassigned_occurrences r
  join public.outbox_campaign_occurrences o using (campaign, external_id, stands_for)
  where r.outbox_id = any (p_outbox_ids) and o.outbox_id <> r.outbox_id
$$;

-- Called by the acceptance for messages that had ended and turn out to have been sent: each gets its
-- occurrence back. Another message made for it meanwhile is withdrawn. If that one was accepted too, or is in
-- a request, it is recorded as a duplicate send, confirmed once it was accepted. The caller raises the alarm.
create function outbox_engine.reclaim_occurrences(p_outbox_ids bigint[], p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_reason constant text := 'an earlier message for this time turned out to have been sent';
  v_sent record;
  v_holder public.outbox;
begin
  -- Messages are locked before their occurrences, as everywhere.
  perform from public.outbox
  where id in (select t.holder_id from outbox_engine.occurrences_of_messages(p_outbox_ids) t)
  order by id
  for update;

  for v_sent in
    select t.outbox_id, t.campaign, t.external_id, t.stands_for, s.dispatch_id, s.batch_id
    from outbox_engine.occurrences_of_messages(p_outbox_ids) t
    join public.outbox s on s.id = t.outbox_id
    order by t.outbox_id
  loop
    -- Waits for an expansion that is giving the occurrence to another message.
    perform from public.outbox_campaign_occurrences o
    where o.campaign = v_sent.campaign and o.external_id = v_sent.external_id
      and o.stands_for = v_sent.stands_for
    for update;
    select x.* into v_holder
    from public.outbox_campaign_occurrences o
    join public.outbox x on x.id = o.outbox_id
    where o.campaign = v_sent.campaign and o.external_id = v_sent.external_id
      and o.stands_for = v_sent.stands_for
      and o.outbox_id <> v_sent.outbox_id
    for update of x;

    if v_holder.status = 'sending' or (v_holder.batch_id is not null and v_holder.queue is null) then
      insert into outbox_engine.duplicate_sends (outbox_id, dispatch_id, batch_id, found_at, confirmed_at)
      values (
        v_holder.id, v_sent.dispatch_id, v_sent.batch_id, p_now,
        case when v_holder.status <> 'sending' then p_now end)
      on conflict do nothing;
    end if;
    -- A message that was accepted keeps the occurrence.
    if v_holder.status <> 'sending' and v_holder.batch_id is not null and v_holder.queue is null then
      continue;
    end if;
    update public.outbox_campaign_occurrences o
    set outbox_id = v_sent.outbox_id, taken_back = false, reason = null
    where o.campaign = v_sent.campaign and o.external_id = v_sent.external_id
      and o.stands_for = v_sent.stands_for;
    perform outbox_engine.withdraw_messages(array[v_holder.id], v_reason);
    update public.outbox set error = v_reason where id = v_holder.id and status = 'sending';
  end loop;
end
$$;
