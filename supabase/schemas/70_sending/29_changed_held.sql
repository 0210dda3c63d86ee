-- Held messages whose text or time changes: the next claim judges them anew.

-- Runs before an update that changes the text or `send_at` of a message that waits. Ends its hold: another
-- text may be accepted, and what goes later is no probe now and moves to no other plan now. A new `send_at`
-- still decides when it goes (`before_requeue`).
create function outbox_engine.before_held_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  delete from outbox_engine.held_messages where outbox_id = new.id;
  if found then
    new.due_at := greatest(new.send_at, outbox_engine.now());
  end if;
  return new;
end
$$;
create trigger outbox_4_held before update of body, parameters, media_url, send_at on public.outbox
  for each row
  when (new.queue = 'w' and old.queue = 'w' and (new.body, new.parameters, new.media_url, new.send_at)
    is distinct from (old.body, old.parameters, old.media_url, old.send_at))
  execute function outbox_engine.before_held_change();
