-- Events of messages and persons that are removed (90_operators/08_removed.sql, 65_erasing.sql).

-- Removes the deliveries of these messages, which are being deleted. The follower reads messages without
-- locking them, so it must not make deliveries of these meanwhile.
create function outbox_engine.remove_events(p_outbox_ids bigint[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  perform outbox_engine.lock_events_shared();
  delete from public.outbox_event_deliveries
  where id = any (array(
    select d.id from public.outbox_event_deliveries d
    where d.outbox_id = any (p_outbox_ids) and d.outbox_id is not null order by d.id for update));
end
$$;

-- The same where all messages are.
create function outbox_engine.remove_all_events() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.lock_events_shared();
  delete from public.outbox_event_deliveries
  where id = any (array(
    select d.id from public.outbox_event_deliveries d
    where d.outbox_id is not null order by d.id for update));
end
$$;

-- Removes the deliveries of these messages that show one of these numbers whole. A number may have changed
-- after an event of the message.
create function outbox_engine.remove_events_showing(p_outbox_ids bigint[], p_recipients text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.remove_events(array(
    select d.outbox_id
    from public.outbox_event_deliveries d
    where d.outbox_id = any (p_outbox_ids) and d.outbox_id is not null
      and exists (select from unnest(p_recipients) r where strpos(d.payload, '"' || r || '"') > 0)));
end
$$;

-- Removes the notices about these numbers, and what is on its way of them.
create function outbox_engine.erase_notices(p_recipients text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
begin
  perform outbox_engine.lock_events_shared();
  v_ids := array(
    select id from outbox_engine.notices
    where recipient = any (p_recipients) and recipient is not null order by id for update);
  delete from public.outbox_event_deliveries
  where id = any (array(
    select d.id from public.outbox_event_deliveries d
    where d.notice_id = any (v_ids) and d.notice_id is not null order by d.id for update));
  delete from outbox_engine.notices where id = any (v_ids);
end
$$;
