-- Notices: events that are not in the history of messages. They are rare, so triggers write them, and only
-- while an endpoint is enabled.

-- Notes an event for all endpoints.
create function outbox_engine.notice(p_type text, p_recipient text, p_data jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.notices (at, type, recipient, data)
  values (outbox_engine.now(), p_type, p_recipient, p_data);
end
$$;

-- Runs after replies were recorded.
create function outbox_engine.after_replies() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if outbox_engine.has_event_endpoints() then
    perform outbox_engine.notice('reply.received', r.sender, jsonb_build_object(
      'id', r.id, 'effect', r.effect, 'unclear', r.unclear))
    from recorded r
    order by r.recorded_at, r.id;
  end if;
  return null;
end
$$;
create trigger outbox_inbound_notices after insert on public.outbox_inbound
  referencing new table as recorded for each statement
  execute function outbox_engine.after_replies();

-- Runs after suppressions were inserted. The recipient opted out, unless an import says so. Of two forms of
-- one number the first is told.
create function outbox_engine.after_opt_outs() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if pg_trigger_depth() = 1
    and current_setting('outbox_engine.suppressed_by', true) is distinct from 'import'
    and exists (select from recorded where by_engine) and outbox_engine.has_event_endpoints() then
    perform outbox_engine.notice('recipient.opted_out', s.recipient, jsonb_build_object('reason', s.reason))
    from recorded s
    where s.by_engine
      and not exists (
        select from recorded t
        where t.recipient = outbox_engine.twin_of(s.recipient) and t.recipient < s.recipient)
    order by s.recipient;
  end if;
  return null;
end
$$;
create trigger outbox_suppressions_notices after insert on public.outbox_suppressions
  referencing new table as recorded for each statement
  execute function outbox_engine.after_opt_outs();

-- Runs after suppressions were deleted: `apply_replies` does that for a START, and says so.
create function outbox_engine.after_opt_ins() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('outbox_engine.lifted_by', true) = 'start' and outbox_engine.has_event_endpoints() then
    perform outbox_engine.notice(
      'recipient.opted_in', s.recipient, jsonb_build_object('reason', 'replied START'))
    from lifted s
    where not exists (
      select from lifted t
      where t.recipient = outbox_engine.twin_of(s.recipient) and t.recipient < s.recipient)
    order by s.recipient;
  end if;
  return null;
end
$$;
create trigger outbox_suppressions_lifted_notices after delete on public.outbox_suppressions
  referencing old table as lifted for each statement
  execute function outbox_engine.after_opt_ins();

-- Runs after a plan was paused, or a pause ended. Short pauses of a provider that throttles or does not
-- answer end by themselves and are no news.
create function outbox_engine.after_pause() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  p constant outbox_engine.plan_pauses := case when tg_op = 'DELETE' then old else new end;
begin
  if outbox_engine.has_event_endpoints() then
    perform outbox_engine.notice(
      case when tg_op = 'DELETE' then 'plan.resumed' else 'plan.paused' end, null, jsonb_build_object(
        'provider', p.provider, 'plan', p.plan, 'kind', p.kind,
        'reason', outbox_engine.without_numbers(p.reason),
        'until', case when p.kind = 'operator' then nullif(p.until, outbox_engine.endless()) end));
  end if;
  return null;
end
$$;
create trigger plan_pauses_notices after insert on outbox_engine.plan_pauses for each row
  when (new.kind in ('account', 'operator', 'restored'))
  execute function outbox_engine.after_pause();
create trigger plan_pauses_ended_notices after delete on outbox_engine.plan_pauses for each row
  when (old.kind in ('account', 'operator', 'restored'))
  execute function outbox_engine.after_pause();

-- The detail of an alarm without phone numbers.
create function outbox_engine.masked_detail(p_detail jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(d.key, case
    when jsonb_typeof(d.value) = 'string'
    then to_jsonb(outbox_engine.without_numbers(left(d.value #>> '{}', 1000)))
    when octet_length(d.value::text) > 2000 then to_jsonb('left out: too long'::text)
    -- Not numbers, which are ids and counts.
    else regexp_replace(d.value::text, '\+[0-9]{7,}', '•••', 'g')::jsonb
  end), '{}')
  from jsonb_each(p_detail) d
$$;

-- Runs after an alarm was raised.
create function outbox_engine.after_alarm() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if outbox_engine.has_event_endpoints() then
    perform outbox_engine.notice('alarm.raised', null, jsonb_build_object(
      'id', new.id, 'kind', new.kind, 'detail', outbox_engine.masked_detail(new.detail)));
  end if;
  return null;
end
$$;
create trigger alarms_notices after insert on outbox_engine.alarms for each row
  execute function outbox_engine.after_alarm();
