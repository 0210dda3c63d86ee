-- Changes by a call, which answers whether it came in time and can revive a cancelled message.

-- Why a cancelled message may not be sent after all, as a code, or null where it may: only one that was never
-- in a request.
create function outbox_engine.revival_problem(p_message public.outbox) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_message.campaign is not null then
    return 'campaign';
  elsif p_message.batch_id is not null or p_message.dispatch_id is not null or exists (
    select from outbox_engine.dispatch_members m where m.outbox_id = p_message.id
  ) then
    return 'was_in_request';
  elsif p_message.body is null and p_message.parameters is null then
    return 'text_removed';
  end if;
  return null;
end
$$;

-- The expiry of a message that moves to `p_send_at`: as long after it as before. Null, the default, where
-- that is no time: release 0.1.0 took messages that never expire.
create function outbox_engine.moved_expiry(
  p_message public.outbox, p_send_at timestamptz, p_now timestamptz
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_send_at = p_message.send_at or outbox_engine.is_outside_calendar(p_send_at) then
    return p_message.expires_at;
  elsif outbox_engine.is_outside_calendar(p_message.expires_at)
    or outbox_engine.is_outside_calendar(p_message.send_at) then
    return null;
  end if;
  -- Not beyond the end of the calendar.
  return least(
    greatest(p_send_at, p_now) + (p_message.expires_at - p_message.send_at),
    timestamptz '2199-12-31 23:59:59.999999+00');
end
$$;

-- The answer of `outbox_reschedule` about a message. `problem` is null where the call came in time.
create function outbox_engine.reschedule_answer(p_id bigint, p_outcome text, p_problem text) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', o.id,
    'in_time', p_problem is null,
    'outcome', coalesce(p_problem, p_outcome),
    'status', o.status,
    'send_at', o.send_at,
    'expires_at', o.expires_at,
    'reason', w.message,
    'hint', w.hint)
  from (select) one
  left join public.outbox o on o.id = p_id
  cross join lateral outbox_engine.change_problem_words(p_problem, o) w
$$;

-- Writes a message with its changed columns. With `p_revives` it is sent after all.
create function outbox_engine.write_change(
  p_old public.outbox, p_new public.outbox, p_columns text[], p_revives boolean, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_is_due constant boolean := p_new.send_at <= p_now;
begin
  update public.outbox
  set send_at = p_new.send_at, expires_at = p_new.expires_at, body = p_new.body,
    parameters = p_new.parameters, recipient = p_new.recipient, priority = p_new.priority,
    metadata = p_new.metadata, media_url = p_new.media_url, channel = p_new.channel,
    error = case when not p_revives then p_old.error end,
    cancel_requested_at = case when not p_revives then p_old.cancel_requested_at end
  where id = p_old.id;
  if p_revives then
    perform outbox_engine.change_statuses(
      array[row(
        p_old.id, case when v_is_due then 'revived' else 'revived_for_later' end, null,
        greatest(p_new.send_at, p_now), 'revived',
        array_to_string(p_columns, ', ')
      )::outbox_engine.status_change],
      'app', p_now);
  else
    perform outbox_engine.log_change(p_new, p_columns, p_now);
  end if;
  if v_is_due then
    perform outbox_engine.tell_sleepers();
  end if;
end
$$;

-- For apps, with the secret key. Changes a message that waits, named by id or key, and says whether the call
-- came in time: a message that is in a request or was sent keeps what it has. Null leaves a column as it is;
-- `expires_at` moves along with `send_at` unless it is given. A cancelled message that was never in a request
-- is sent after all, with its key. Raises an error for values that an insert would refuse.
create function public.outbox_reschedule(
  p_id bigint default null, p_idempotency_key text default null, p_send_at timestamptz default null,
  p_expires_at timestamptz default null, p_body text default null, p_parameters jsonb default null,
  p_recipient text default null, p_priority smallint default null, p_metadata jsonb default null,
  p_media_url text default null
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_old public.outbox;
  v_new public.outbox;
  v_now timestamptz;
  v_columns text[];
  v_problem text;
  v_revives boolean;
begin
  if p_id is not null then
    select * into v_old from public.outbox
    where id = p_id and (p_idempotency_key is null or idempotency_key = p_idempotency_key)
    for update;
  elsif p_idempotency_key is not null then
    select * into v_old from public.outbox where idempotency_key = p_idempotency_key for update;
  else
    perform outbox_engine.refuse('no message is named', 'Give p_id or p_idempotency_key.');
  end if;
  -- Behind the lock: by now, a claim that had the message has ended.
  v_now := outbox_engine.now();
  v_revives := coalesce(v_old.status = 'cancelled', false);
  v_new := v_old;
  v_new.body := coalesce(p_body, v_old.body);
  v_new.parameters := coalesce(p_parameters, v_old.parameters);
  v_new.recipient := coalesce(p_recipient, v_old.recipient);
  v_new.priority := coalesce(p_priority, v_old.priority);
  v_new.metadata := coalesce(p_metadata, v_old.metadata);
  v_new.media_url := coalesce(p_media_url, v_old.media_url);
  v_new.send_at := coalesce(p_send_at, v_old.send_at);
  if v_revives and v_new.send_at = v_old.send_at then
    v_new.send_at := greatest(v_old.send_at, v_now);
  elsif not v_revives then
    v_new := outbox_engine.without_repeats(v_old, v_new, v_now);
  end if;
  v_new.expires_at := coalesce(p_expires_at, outbox_engine.moved_expiry(v_old, v_new.send_at, v_now));

  v_columns := outbox_engine.changed_columns(v_old, v_new);
  v_problem := case
    when v_revives then outbox_engine.revival_problem(v_new)
    else outbox_engine.change_problem(v_old, v_columns)
  end;
  if v_problem is null and (v_revives or v_columns <> '{}') then
    v_new := outbox_engine.checked_change(v_old, v_new, v_now);
    perform outbox_engine.write_change(v_old, v_new, v_columns, v_revives, v_now);
  end if;
  return outbox_engine.reschedule_answer(
    v_old.id,
    case when v_revives then 'revived' when v_columns = '{}' then 'unchanged' else 'changed' end,
    v_problem);
end
$$;

revoke all on function public.outbox_reschedule from public, anon, authenticated, service_role;
grant execute on function public.outbox_reschedule to service_role;
