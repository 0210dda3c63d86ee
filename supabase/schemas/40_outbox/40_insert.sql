-- Inserts: what an app may write, the defaults, and the errors.

-- Refuses times outside the years 1970 to 2199.
create function outbox_engine.check_times(p_send_at timestamptz, p_expires_at timestamptz) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_is_wrong constant text := case
    when isfinite(p_send_at) is not false and isfinite(p_expires_at) is not false
      then 'is not between 1970 and 2200'
    else 'is not an instant'
  end;
begin
  if outbox_engine.is_outside_calendar(p_send_at) then
    perform outbox_engine.refuse(
      format('send_at %s %s', p_send_at, v_is_wrong), 'Leave send_at out to send it now.');
  elsif outbox_engine.is_outside_calendar(p_expires_at) then
    perform outbox_engine.refuse(
      format('expires_at %s %s', p_expires_at, v_is_wrong),
      'Leave expires_at out for three days after send_at.');
  end if;
end
$$;

-- Runs before an update that moves a message to a time outside the calendar, and refuses it. No constraint
-- says that, because it would refuse every change of a row that has such a time from release 0.1.0.
create function outbox_engine.before_times_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.check_times(
    case when new.send_at <> old.send_at then new.send_at end,
    case when new.expires_at <> old.expires_at then new.expires_at end);
  return new;
end
$$;
create trigger outbox_d_times before update of send_at, expires_at on public.outbox for each row
  when (least(new.send_at, new.expires_at) < timestamptz '1970-01-01 00:00+00'
    or greatest(new.send_at, new.expires_at) >= timestamptz '2200-01-01 00:00+00')
  execute function outbox_engine.before_times_change();

-- Called by `before_insert`. Refuses invalid values with an error that says what to do.
create function outbox_engine.check_message(r public.outbox, p_now timestamptz) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if (r.recipient ~ outbox_engine.e164_pattern()) is not true then
    perform outbox_engine.refuse_recipient(r.recipient);
  -- The quick comparisons spare most numbers the slow one. A member that was written before this rule must
  -- not stop its campaign.
  elsif (r.recipient like '+__0%' or r.recipient like '+___0%')
    and r.recipient ~ outbox_engine.trunk_zero_pattern()
    and r.campaign is null then
    perform outbox_engine.refuse_recipient(r.recipient);
  end if;

  if r.template is null then
    if r.body is null or ascii(r.body) not between 33 and 126 and outbox_engine.is_blank(r.body) then
      perform outbox_engine.refuse(
        'body is empty',
        case when r.media_url is not null then 'An MMS needs a caption. ' else '' end
          || 'Give body a text of 1 to 2000 characters, or name a template.');
    end if;
    if r.parameters is not null then
      perform outbox_engine.refuse(
        'parameters without a template', 'Name the template that the parameters belong to.');
    end if;
  elsif r.body is not null then
    perform outbox_engine.refuse('body and template are both given', 'Give one of them.');
  end if;
  if char_length(r.body) > 2000 then
    perform outbox_engine.refuse(format('body has %s characters, 2000 are allowed', char_length(r.body)));
  end if;

  if ascii(r.idempotency_key) not between 33 and 126 and outbox_engine.is_blank(r.idempotency_key) then
    perform outbox_engine.refuse(
      'idempotency_key is empty', 'Leave it out, or null, for a message without a key.');
  -- The check constraint on the column refuses it too, but in less helpful words.
  elsif char_length(r.idempotency_key) > 255 then
    perform outbox_engine.refuse(
      format('idempotency_key %L has %s characters, 255 are allowed',
        left(r.idempotency_key, 20) || '…', char_length(r.idempotency_key)),
      'A digest of what it is made of is as good.');
  end if;

  if r.sender is not null and not outbox_engine.is_sender(r.sender) then
    perform outbox_engine.refuse(
      format('sender %L is not a sender', r.sender),
      'A number, a short code, or at most 11 letters and digits with a letter among them.');
  elsif r.sender ~ '^\+?[1-9][0-9]{1,2}0' and r.campaign is null then
    perform outbox_engine.refuse_sender_with_zero(r.sender);
  end if;

  -- The quick comparison spares most rows the call.
  if least(r.send_at, r.expires_at) < timestamptz '1970-01-01 00:00+00'
    or greatest(r.send_at, r.expires_at) >= timestamptz '2200-01-01 00:00+00' then
    perform outbox_engine.check_times(r.send_at, r.expires_at);
  end if;
  if r.expires_at <= greatest(r.send_at, p_now) then
    perform outbox_engine.refuse(
      format('expires_at %s is not after %s', r.expires_at,
        case when r.send_at > p_now then format('send_at %s', r.send_at) else 'now' end),
      'Leave expires_at out for three days after send_at.');
  end if;
end
$$;

-- Runs before every insert, by any role. Checks the row and fills in defaults. Null means the default in
-- every column of the app, because a bulk insert sends nulls for keys that only some of its rows have. A row
-- that was sent before must not become pending, so a row with an outcome is refused, and one whose key was
-- erased is skipped.
create function outbox_engine.before_insert() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  if num_nonnulls(new.status, new.batch_id, new.sent_at, new.finalized_at, new.dispatch_id) > 0 then
    perform outbox_engine.refuse(
      format('the row brings its own %s', case when new.status is not null then 'status' else 'outcome' end),
      'Leave status, batch_id, sent_at, finalized_at and dispatch_id out to send a new message. Rows of a '
        || 'backup keep their statuses if session_replication_role is replica while they are inserted.');
  end if;
  -- The quick comparison spares most rows the call.
  if rtrim(new.recipient, '0123456789') <> '+' then
    new.recipient := outbox_engine.read_recipient(new.recipient);
  end if;
  new.created_at := v_now;
  new.secret := coalesce(new.secret, false);
  new.send_at := coalesce(new.send_at, v_now);
  -- Not beyond the end of the calendar.
  new.expires_at := coalesce(
    new.expires_at,
    least(greatest(new.send_at, v_now), timestamptz '2199-12-28 23:59:59.999999+00')
      + case when new.secret then outbox_engine.secret_lifetime() else '3 days' end);
  new.priority := coalesce(new.priority, case when new.secret then 0 else 100 end);
  if (new.channel = 'sms' and new.media_url is null) is not true then
    new.channel := outbox_engine.checked_channel(new);
  end if;
  perform outbox_engine.check_message(new, v_now);
  -- A condition of its own: one with a query in it would run the query's executor for rows without a key too.
  if new.idempotency_key is not null then
    -- The rule of `is_erased_key`, written out: the call takes three times as long.
    if exists (select from outbox_engine.erased_keys) and exists (
      select
      from outbox_engine.installation i
      join outbox_engine.erased_keys e
        on e.digest = sha256(convert_to(i.digest_key || 'key ' || new.idempotency_key, 'UTF8'))
    ) then
      -- Skipped as `on conflict do nothing` skips it. An error would refuse the statement's other rows too.
      return null;
    end if;
  end if;
  new.send_at := greatest(new.send_at, v_now);
  -- The rule that most inserts bring no trace, written out: the call takes longer.
  if new.trace_context is not null
    or strpos(current_setting('request.headers', true), '"traceparent"') > 0 then
    new.trace_context := outbox_engine.trace_context_of(new.trace_context);
  end if;
  -- The members of campaigns were checked when they were written. A second check would make a campaign of
  -- 100,000 members take three times as long.
  if new.template is not null and new.campaign is null then
    -- Not null, because null says that retention deleted the values.
    new.parameters := jsonb_strip_nulls(coalesce(new.parameters, '{}'));
    perform outbox_engine.check_template_use(new.template, new.parameters);
  end if;

  -- The rule of `has_routes`, written out: this spares the call where there is no route.
  new.route := case when pg_sequence_last_value('outbox_engine.route_ids') is null then 0
    else outbox_engine.route_for(new.channel, new.recipient, new.priority, new.campaign) end;
  new.attempts := 0;
  new.due_at := outbox_engine.queued_due_at(new.route, new.priority, new.send_at);
  if new.send_at > v_now then
    new.status := 'scheduled';
    new.queue := 'w';
  else
    new.status := 'pending';
    new.queue := 'r';
    -- The condition of `tell_sleepers`, which spares the call where no process sleeps.
    if pg_sequence_last_value('outbox_engine.asleep_until') > date_part('epoch', clock_timestamp()) * 1000
    then
      perform outbox_engine.tell_sleepers();
    end if;
  end if;
  return new;
end
$$;
create trigger outbox_2_insert before insert on public.outbox for each row
  execute function outbox_engine.before_insert();

-- Runs before the trigger above, for the roles of the API. Refuses columns that only the engine writes. A
-- server may name the owner of a message; a signed-in user is the owner. Not security definer, because
-- `current_user` must be the caller.
create function outbox_engine.before_app_insert() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if num_nonnulls(
    new.campaign, new.status, new.status_code, new.batch_id, new.attempts, new.error, new.parts,
    new.created_at, new.sent_at, new.finalized_at, new.queue, new.due_at, new.dispatch_id, new.reported_rank,
    new.reported_at, new.cancel_requested_at, new.sends_alone
  ) > 0 or new.route <> 0 or new.owner_id is not null and current_user <> 'service_role' then
    raise exception using errcode = '42501',
      message = 'a column that only the engine writes was given a value: ' || (
        select string_agg(c.key, ', ' order by c.key)
        from jsonb_each(jsonb_strip_nulls(to_jsonb(new))) c
        where c.key not in ('id', 'recipient', 'body', 'template', 'parameters', 'sender', 'send_at',
            'expires_at', 'priority', 'idempotency_key', 'metadata', 'secret', 'media_url', 'channel',
            'trace_context')
          and (c.key, c.value) <> ('route', '0'::jsonb)
          and (c.key <> 'owner_id' or current_user <> 'service_role')
      ),
      hint = 'Leave it out. Apps insert recipient, body, template, parameters, sender, send_at, expires_at, '
        || 'priority, idempotency_key, metadata, secret, media_url, channel, trace_context, '
        || 'and servers owner_id.';
  end if;
  if current_user = 'authenticated' then
    new.owner_id := outbox_engine.caller_id();
  end if;
  return new;
end
$$;
create trigger outbox_1_app_insert before insert on public.outbox for each row
  when (current_user in ('anon', 'authenticated', 'service_role'))
  execute function outbox_engine.before_app_insert();
