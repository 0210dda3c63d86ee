-- Which rows of the history announce what, and the payloads of events.

-- The types of events, and whether an endpoint that names none gets them.
create view outbox_engine.event_types (name, by_default) as
values
  ('message.sent', false), ('message.delivered', true), ('message.failed', true),
  ('message.cancelled', true), ('message.suppressed', true), ('reply.received', true),
  ('recipient.opted_out', true), ('recipient.opted_in', true), ('plan.paused', true),
  ('plan.resumed', true), ('alarm.raised', true), ('webhook.test', true);

-- The type of the event that tells this status of a message. Null where none does.
create function outbox_engine.event_type_of(p_status text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return case
    when p_status in ('sent', 'delivered', 'cancelled', 'suppressed') then 'message.' || p_status
    when p_status in ('failed', 'rejected', 'aborted', 'expired', 'deleted', 'unknown') then 'message.failed'
  end;
end
$$;

-- The final status that a row of the history announces, null where it announces none: `p_event` and `p_row`
-- are the row's, `p_status` and `p_rank` the message's status and reported rank as they are now, and
-- `p_is_current` says that the row is about the message's latest request. Most often the row says what the
-- message is. Otherwise it is a report that the message should be sent again, which it was not, or a report
-- that ended a wait for that.
create function outbox_engine.announced_status(
  p_event text, p_row text, p_status text, p_rank smallint, p_is_current boolean
) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return case
    when p_status in ('scheduled', 'pending', 'sending', 'sent', 'dispatched') then null
    -- They say what the message was, and change nothing.
    when p_event in ('accepted', 'changed', 'cancel_requested', 'cancel_too_late') then null
    when p_row = p_status then p_status
    when p_event <> 'report' or p_is_current is not true then null
    when p_status in ('expired', 'cancelled') and outbox_engine.rank_of(p_row) = p_rank then p_status
    when p_status = 'aborted' and outbox_engine.says_handed_on(p_row)
      and p_rank = outbox_engine.rank_of('aborted') then p_status
  end;
end
$$;

-- Whether a message went on between these two rows of its history, so that the same status again is news.
create function outbox_engine.went_on(p_outbox_id bigint, p_after bigint, p_before bigint) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select
    from public.outbox_events e
    where e.outbox_id = p_outbox_id and e.id > p_after and e.id < p_before
      and e.event <> 'report'
      and e.status in ('scheduled', 'pending', 'sending', 'sent', 'dispatched')
  );
end
$$;

-- A number that can be recognized but not dialled.
create function outbox_engine.masked_number(p_number text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return case
    when length(p_number) >= 12 then left(p_number, 5) || '•••' || right(p_number, 4)
    else left(p_number, 3) || '•••' || right(p_number, 2)
  end;
end
$$;

-- The body of an event's requests.
create function outbox_engine.event_body(p_type text, p_at timestamptz, p_data json) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return json_build_object(
    'type', p_type,
    'timestamp', to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'data', p_data);
end
$$;

-- The same for an event of a message: that it has `p_status`, by this row of its history. A code and an error
-- are told with the status that they belong to only. Never the text. Of a secret message nothing but the
-- status.
create function outbox_engine.message_body(
  p_message public.outbox, p_row public.outbox_events, p_status text, p_include_recipient boolean
) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  m public.outbox := p_message;
  v_is_now constant boolean := m.status = p_status;
  v_type constant text := outbox_engine.event_type_of(p_status);
  v_at constant timestamptz := coalesce(p_row.occurred_at, p_row.at);
  v_provider constant text := (
    select d.provider
    from outbox_engine.dispatches d
    where d.id = coalesce(p_row.dispatch_id, m.dispatch_id));
  v_body text;
begin
  if m.secret then
    return outbox_engine.event_body(
      v_type, v_at, json_build_object('id', m.id, 'kind', 'secret', 'status', p_status));
  end if;
  for v_attempt in 1 .. 2 loop
    v_body := outbox_engine.event_body(v_type, v_at, json_build_object(
      'id', m.id,
      'idempotency_key', m.idempotency_key,
      'metadata', m.metadata,
      'metadata_omitted', v_attempt = 2,
      'campaign', m.campaign,
      'attempt', m.attempts,
      'status', p_status,
      'status_code', case when v_is_now then m.status_code else p_row.status_code end,
      'error', case when v_is_now then outbox_engine.without_numbers(left(m.error, 1000)) end,
      'batch_id', coalesce(p_row.batch_id, m.batch_id),
      'recipient', case
        when p_include_recipient then m.recipient else outbox_engine.masked_number(m.recipient)
      end,
      'channel', m.channel,
      'provider', v_provider));
    exit when octet_length(v_body) < 20000;
    m.metadata := null;
  end loop;
  return v_body;
end
$$;

-- The same for a notice.
create function outbox_engine.notice_body(p_notice outbox_engine.notices, p_include_recipient boolean)
returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return outbox_engine.event_body(p_notice.type, p_notice.at, (case
    when p_notice.recipient is null then p_notice.data
    else p_notice.data || jsonb_build_object('recipient', case
      when p_include_recipient then p_notice.recipient
      else outbox_engine.masked_number(p_notice.recipient)
    end)
  end)::json);
end
$$;
