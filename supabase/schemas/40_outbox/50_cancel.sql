-- What an application may change: it may cancel.

-- Writes a wish to cancel into the trail, also the one that came too late. What the engine and operators
-- cancel they write down themselves.
create function outbox_engine.log_cancel_request(was public.outbox, is_now public.outbox) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into public.outbox_events (outbox_id, at, source, event, status)
  values (
    is_now.id,
    case when is_now.cancel_requested_at is distinct from was.cancel_requested_at
      then is_now.cancel_requested_at else outbox_engine.now() end,
    'app',
    case
      when is_now.status = 'cancelled' and was.status <> 'cancelled' then 'cancelled'
      when is_now.status = 'sending' then 'cancel_requested'
      else 'cancel_too_late'
    end,
    is_now.status
  )
$$;

-- The only change an app may make is to cancel. What that does depends on how far the row is: too late, it
-- does nothing. The same goes for an owner's functions and for whoever types into an SQL editor: the engine,
-- which has the same role, never changes a status alone.
create function outbox_engine.before_app_update() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if new.status is distinct from 'cancelled' or (to_jsonb(new) - 'status') <> (to_jsonb(old) - 'status') then
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
  if current_user not in ('anon', 'authenticated', 'service_role') then
    perform outbox_engine.log_cancel_request(old, new);
  end if;
  return new;
end
$$;
create trigger outbox_3_app_update before update on public.outbox for each row
  when (current_user in ('anon', 'authenticated', 'service_role') or new.status <> old.status
    and (new.queue, new.dispatch_id, new.batch_id, new.reported_rank, new.status_code, new.error, new.finalized_at)
      is not distinct from (old.queue, old.dispatch_id, old.batch_id, old.reported_rank, old.status_code, old.error, old.finalized_at))
  execute function outbox_engine.before_app_update();

-- For the API's roles, which may not write into the trail: whatever they update, it is a wish to cancel.
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
