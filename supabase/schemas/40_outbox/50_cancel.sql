-- Updates: the only change an app may make is to cancel.

-- Writes a cancel request into the history, also one that came too late. `p_old` and `p_new` are the row
-- before and after. Cancellations by the engine and by operators write their own events.
create function outbox_engine.log_cancel_request(p_old public.outbox, p_new public.outbox) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into public.outbox_events (outbox_id, at, source, event, status)
  values (
    p_new.id,
    case
      when p_new.cancel_requested_at is distinct from p_old.cancel_requested_at then p_new.cancel_requested_at
      else outbox_engine.now()
    end,
    'app',
    case
      when p_new.status = 'cancelled' and p_old.status <> 'cancelled' then 'cancelled'
      when p_new.status = 'sending' then 'cancel_requested'
      else 'cancel_too_late'
    end,
    p_new.status
  )
$$;

-- Runs before updates by apps, and before any other update of a status that is not the engine's: by functions
-- of the project, in the SQL editor and in the table editor, which have the role of the engine. Cancels where
-- the message is still here, and otherwise leaves the row as it is.
create function outbox_engine.before_app_update() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_changed public.outbox := new;
begin
  v_changed.status := old.status;
  if new.status is distinct from 'cancelled' or v_changed *<> old then
    raise exception using errcode = '42501',
      message = 'the outbox is written by the engine',
      hint = 'The only change an app may make is to set status to cancelled.';
  end if;
  if old.status in ('scheduled', 'pending', 'sending') then
    new.cancel_requested_at := outbox_engine.now();
  end if;
  if old.status in ('scheduled', 'pending') then
    new.finalized_at := new.cancel_requested_at;
    new.queue := null;
  else
    new.status := old.status;
  end if;
  -- Apps have no right to write events; for them `after_cancel_request` does it.
  if current_user not in ('anon', 'authenticated', 'service_role') then
    perform outbox_engine.log_cancel_request(old, new);
  end if;
  return new;
end
$$;
create trigger outbox_3_app_update before update on public.outbox for each row
  when (
    current_user in ('anon', 'authenticated', 'service_role')
    -- The engine's mark (`transitions`). It counts only at the depth of triggers that it names, so not in a
    -- trigger of the project, and only for who has all rights on a table of the engine, which is its owner:
    -- any role can set it.
    or new.status <> old.status and (
      current_setting('outbox.writer', true) is distinct from pg_trigger_depth()::text
      or not has_table_privilege('outbox_engine.clock'::regclass, 'truncate'))
  )
  execute function outbox_engine.before_app_update();

-- Runs after updates by apps, all of which are cancel requests.
create function outbox_engine.after_cancel_request() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.log_cancel_request(old, new);
  return null;
end
$$;
create trigger outbox_4_cancel_request after update on public.outbox for each row
  when (current_user in ('anon', 'authenticated', 'service_role'))
  execute function outbox_engine.after_cancel_request();
