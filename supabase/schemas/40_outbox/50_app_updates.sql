-- Updates by apps: changes of messages that wait, and cancel requests.

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

-- Writes what an app changed of a message into the history: the names of the columns, no values.
create function outbox_engine.log_change(p_message public.outbox, p_columns text[], p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into public.outbox_events (outbox_id, at, source, event, status, detail)
  values (p_message.id, p_now, 'app', 'changed', p_message.status, array_to_string(p_columns, ', '));
end
$$;

-- A message for which an app or the table's owner requests the cancellation: cancelled where it is still
-- here, and otherwise as it is. Writes the request into the history.
create function outbox_engine.cancelled_by_app(p_old public.outbox) returns public.outbox
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  r public.outbox := p_old;
begin
  if r.status in ('scheduled', 'pending', 'sending') then
    r.cancel_requested_at := outbox_engine.now();
  end if;
  if r.status in ('scheduled', 'pending') then
    r.status := 'cancelled';
    r.finalized_at := r.cancel_requested_at;
    r.queue := null;
  end if;
  perform outbox_engine.log_cancel_request(p_old, r);
  return r;
end
$$;

-- Refuses columns that an app may not change.
create function outbox_engine.refuse_columns(p_id bigint, p_columns text[], p_is_server boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not p_is_server then
    raise exception using errcode = '42501',
      message = format('a signed-in user may only cancel message %s', p_id),
      hint = 'Set status to cancelled, and nothing else. Change other columns from your server, with the '
        || 'secret key.';
  elsif not p_columns <@ outbox_engine.changeable_columns() then
    raise exception using errcode = '42501',
      message = format('an app may not change %s of message %s: the outbox is written by the engine',
        array_to_string(array(
          select c from unnest(p_columns) c where c <> all (outbox_engine.changeable_columns())
        ), ', '), p_id),
      hint = format(
        'An app may change %s, or set status to cancelled and nothing else. To change another column, '
          || 'cancel the message and insert a new one.',
        array_to_string(outbox_engine.changeable_columns(), ', '));
  end if;
end
$$;

-- Runs before updates by apps, and before any other update of a status that is not the engine's: by functions
-- of the project, in the SQL editor and in the table editor, which have the role of the engine. An update
-- that changes nothing passes, so that an upsert can be repeated. Security definer, because apps have no
-- right to write events.
create function outbox_engine.before_app_update() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  -- The role of the request. `current_user` is the owner of this function.
  v_role constant text := coalesce(nullif(current_setting('role', true), 'none'), session_user);
  v_with_status public.outbox := old;
  v_columns text[];
  v_problem text;
  v_words record;
  v_now timestamptz;
begin
  v_with_status.status := new.status;
  if new.status = 'cancelled' and new *= v_with_status then
    return outbox_engine.cancelled_by_app(old);
  end if;
  v_now := outbox_engine.now();
  new := outbox_engine.without_repeats(old, new, v_now);
  if new *= old then
    return new;
  end if;
  v_columns := outbox_engine.changed_columns(old, new);
  perform outbox_engine.refuse_columns(old.id, v_columns, v_role not in ('anon', 'authenticated'));
  v_problem := outbox_engine.change_problem(old, v_columns);
  if v_problem is not null then
    v_words := outbox_engine.change_problem_words(v_problem, old);
    perform outbox_engine.refuse(v_words.message, v_words.hint);
  end if;
  new := outbox_engine.checked_change(old, new, v_now);
  perform outbox_engine.log_change(new, v_columns, v_now);
  if new.send_at <> old.send_at and new.status = 'pending' then
    perform outbox_engine.tell_sleepers();
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

-- Runs before a server deletes messages, and refuses it. A server has the right to delete, because without it
-- PostgreSQL would refuse in words that say neither why nor what to do. Retention deletes as the owner.
create function outbox_engine.before_app_delete() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using errcode = '42501',
    message = 'an app may not delete messages: their keys would go too, and they could be sent again',
    hint = 'Set status to cancelled. Retention deletes messages some time after their end, and the owner of '
      || 'the table may delete them, for example in the SQL editor.';
end
$$;
create trigger outbox_f_app_delete before delete on public.outbox for each statement
  when (current_user in ('anon', 'authenticated', 'service_role'))
  execute function outbox_engine.before_app_delete();
grant delete on public.outbox to service_role;
