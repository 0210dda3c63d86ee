-- Changes: what an app may change of a message that waits. docs/decisions/0024-changing-rows.md

-- The columns that an app may change.
create function outbox_engine.changeable_columns() returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array[
    'send_at', 'expires_at', 'body', 'parameters', 'recipient', 'priority', 'metadata', 'media_url'
  ]
$$;

-- The columns in which two versions of a message differ, by name. PL/pgSQL, because a statement that changes
-- many messages calls it for each.
create function outbox_engine.changed_columns(p_old public.outbox, p_new public.outbox) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_old constant jsonb := to_jsonb(p_old);
begin
  return array(
    select n.key from jsonb_each(to_jsonb(p_new)) n where n.value <> v_old -> n.key order by n.key);
end
$$;

-- Why an app may not change these columns of a message, as a code, or null where it may. What is in a request
-- that the provider never answered may arrive yet, so the message keeps its content: it would be recorded as
-- sent with another one.
create function outbox_engine.change_problem(p_message public.outbox, p_columns text[]) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_message.id is null then
    return 'missing';
  elsif p_message.campaign is not null then
    return 'campaign';
  elsif p_message.status = 'cancelled' then
    return 'cancelled';
  elsif p_message.status not in ('scheduled', 'pending') then
    return 'too_late';
  elsif p_columns && array['body', 'parameters', 'recipient', 'media_url'] and exists (
    select
    from outbox_engine.dispatch_members m
    join outbox_engine.dispatches d on d.id = m.dispatch_id
    where m.outbox_id = p_message.id and d.state not in ('accepted', 'refused', 'released')
  ) then
    return 'in_doubt';
  end if;
  return null;
end
$$;

-- What `change_problem` and `revival_problem` return, in words for the app, and what the app can do.
create function outbox_engine.change_problem_words(
  p_problem text, p_message public.outbox, out message text, out hint text
)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select
    case p_problem
      when 'missing' then 'there is no such message'
      when 'campaign' then format('message %s belongs to campaign %L', m.id, m.campaign)
      when 'cancelled' then format('message %s is cancelled', m.id)
      when 'too_late' then format('message %s is %s: it is too late to change it', m.id, m.status)
      when 'in_doubt' then format(
        'a request with message %s was never answered: the provider may still send what it said', m.id)
      when 'was_in_request' then format('message %s was in a request before it was cancelled', m.id)
      when 'text_removed' then format('the text of message %s was removed', m.id)
    end,
    case p_problem
      when 'missing' then 'Retention deletes messages some time after their end. Insert a new one.'
      when 'campaign' then 'Change the member in outbox_campaign_members: its messages follow.'
      when 'cancelled' then 'outbox_reschedule revives a cancelled message that was never in a request.'
      when 'too_late' then 'Only messages that are scheduled or pending can change. Add .in(''status'', '
        || '[''scheduled'', ''pending'']) to an update, and ignoreDuplicates to an upsert, to leave others '
        || 'out.'
      when 'in_doubt' then 'Change its time, expiry, priority or metadata, or cancel it and insert a new one.'
      when 'was_in_request' then 'Insert a new message with a key of its own.'
      when 'text_removed' then 'Give it a new one.'
    end
  from (select p_message.id, p_message.campaign, p_message.status) m
$$;

-- The expiry of a message whose app gives none. `before_insert` has this rule too, written out.
create function outbox_engine.default_expiry(
  p_send_at timestamptz, p_secret boolean, p_now timestamptz
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  -- Not beyond the end of the calendar.
  return least(greatest(p_send_at, p_now), timestamptz '2199-12-28 23:59:59.999999+00')
    + case when p_secret then outbox_engine.secret_lifetime() else interval '3 days' end;
end
$$;

-- What an app writes, without what changes nothing. An upsert brings the values that an insert makes of those
-- of the app, also when it is repeated after the message was sent: a `send_at` that has passed means now, as
-- the one before it does; an expiry that is the default follows it; the text of a template is the engine's.
create function outbox_engine.without_repeats(
  p_old public.outbox, p_new public.outbox, p_now timestamptz
) returns public.outbox
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  r public.outbox := p_new;
  v_send_at constant timestamptz := coalesce(p_new.send_at, p_now);
begin
  if p_old.send_at <= p_now and v_send_at between timestamptz '1970-01-01 00:00+00' and p_now then
    r.send_at := p_old.send_at;
    if p_old.expires_at = outbox_engine.default_expiry(p_old.send_at, p_old.secret, p_old.send_at)
      and (r.expires_at = outbox_engine.default_expiry(v_send_at, r.secret, v_send_at)) is not false then
      r.expires_at := p_old.expires_at;
    end if;
  end if;
  if r.template is not null then
    r.body := coalesce(r.body, p_old.body);
  end if;
  return r;
end
$$;

-- A message with the changes that an app makes: checked as on insert, with null as the default of each
-- column. An expiry that is the default follows `send_at`; one that the app chose stays. A text that an
-- earlier attempt made of a template goes with the parameters it was made of. `before_requeue` queues the
-- message for its time.
create function outbox_engine.checked_change(
  p_old public.outbox, p_new public.outbox, p_now timestamptz
) returns public.outbox
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  r public.outbox := p_new;
  v_checked public.outbox;
begin
  r.send_at := coalesce(r.send_at, p_now);
  if r.send_at <> p_old.send_at then
    if r.send_at < p_now and r.send_at >= timestamptz '1970-01-01 00:00+00' then
      r.send_at := p_now;
    end if;
    if r.status in ('scheduled', 'pending') then
      r.status := case when r.send_at > p_now then 'scheduled' else 'pending' end;
    end if;
    if r.expires_at = p_old.expires_at
      and r.expires_at = outbox_engine.default_expiry(p_old.send_at, r.secret, p_old.send_at) then
      r.expires_at := null;
    end if;
  end if;
  r.expires_at := coalesce(r.expires_at, outbox_engine.default_expiry(r.send_at, r.secret, p_now));
  r.priority := coalesce(r.priority, case when r.secret then 0 else 100 end);
  if rtrim(r.recipient, '0123456789') <> '+' then
    r.recipient := outbox_engine.read_recipient(r.recipient);
  end if;
  if r.media_url is distinct from p_old.media_url then
    r.channel := case when r.media_url is null then 'sms' else 'mms' end;
    r.channel := outbox_engine.checked_channel(r);
  end if;

  v_checked := r;
  if r.template is not null then
    if r.body is distinct from p_old.body then
      perform outbox_engine.refuse(
        format('message %s has template %L, which makes its text', r.id, r.template),
        'Change parameters instead, or cancel the message and insert a new one.');
    end if;
    v_checked.body := null;
  end if;
  -- An app cannot change these. Release 0.1.0 took some that are refused now.
  v_checked.idempotency_key := null;
  v_checked.sender := null;
  perform outbox_engine.check_message(v_checked, p_now);
  -- Edits of a template check the messages that wait, so not one that was cancelled.
  if r.template is not null
    and (r.parameters is distinct from p_old.parameters or p_old.status = 'cancelled') then
    r.parameters := jsonb_strip_nulls(coalesce(r.parameters, '{}'));
    perform outbox_engine.check_template_use(r.template, r.parameters);
    r.body := null;
  end if;
  return r;
end
$$;
