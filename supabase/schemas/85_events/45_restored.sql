-- Events of a database that was restored from a backup.

-- Runs when a plan is paused because the database was restored. The ids that were drawn since the backup
-- would be drawn again, and a server that remembers the ids of events would take new ones for repetitions.
-- So none of the next billion is used: more than ids are drawn between two backups.
create function outbox_engine.after_restored() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform setval('public.outbox_events_id_seq', outbox_engine.last_history_id() + 1000000000);
  perform setval('outbox_engine.notices_id_seq', n.last_value + 1000000000)
  from outbox_engine.notices_id_seq n;
  return null;
end
$$;
-- Before the trigger that notes the pause, by its name.
create trigger plan_pauses_event_ids after insert on outbox_engine.plan_pauses for each row
  when (new.kind = 'restored')
  execute function outbox_engine.after_restored();
