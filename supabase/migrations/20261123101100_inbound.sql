-- What recipients write to us. The latest word of a number decides, whatever the order of arrival.

-- Waiting messages to a number that opted out end at once; the claim checks again.
create function outbox_engine.after_suppression() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  with stopped as (
    update public.outbox
    set status = 'suppressed', error = 'the recipient opted out: ' || new.reason, queue = null, finalized_at = outbox_engine.now()
    where recipient = new.recipient and queue is not null
    returning id, status, error
  )
  insert into public.outbox_events (outbox_id, at, source, event, status, detail)
  select id, outbox_engine.now(), 'engine', 'suppressed', status, error from stopped;
  return null;
end
$$;
create trigger outbox_suppressions_stop_waiting after insert or update on public.outbox_suppressions for each row
  execute function outbox_engine.after_suppression();

-- An operator who lifts suppressions, by whatever role, has the latest word, so that polling an old STOP does not bring them back.
create function outbox_engine.note_lifted(p_recipients text[]) returns void
language sql set search_path = ''
as $$
  insert into outbox_engine.consents as c (recipient, opted_out, decided_at)
  select r, false, outbox_engine.now()
  from unnest(p_recipients) r
  order by r
  on conflict (recipient) do update
  set opted_out = false, decided_at = excluded.decided_at, inbound_id = null
  where c.decided_at < excluded.decided_at
$$;

-- Only heed_replies lifts one for a START, and says so: there the time of the START counts.
create function outbox_engine.after_suppression_lifted() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform outbox_engine.note_lifted(array[old.recipient]);
  return null;
end
$$;
create trigger outbox_suppressions_lifted after delete on public.outbox_suppressions for each row
  when (current_setting('outbox_engine.lifted_by', true) is distinct from 'start')
  execute function outbox_engine.after_suppression_lifted();
create trigger outbox_suppressions_replaced after update on public.outbox_suppressions for each row
  when (old.recipient <> new.recipient)
  execute function outbox_engine.after_suppression_lifted();

-- The dashboard's table editor deletes all rows by emptying the table.
create function outbox_engine.before_suppressions_emptied() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform outbox_engine.note_lifted(array(select recipient from public.outbox_suppressions));
  return null;
end
$$;
create trigger outbox_suppressions_emptied before truncate on public.outbox_suppressions for each statement
  execute function outbox_engine.before_suppressions_emptied();

-- What a reply asks for: `stop`, `start`, `help`, or null for an ordinary message, and the answer to it where there is one. Case,
-- accents, spaces and punctuation are forgiven. Numbers are compared without their plus.
create function outbox_engine.word_effect(p_body text, p_to text, out effect text, out reply text)
language sql stable set search_path = ''
as $$
  select nullif(w.effect, 'none'), w.reply
  from public.outbox_opt_out_words w
  where w.word = outbox_engine.bare_word(left(p_body, 200)) and (w.sender = '' or ltrim(w.sender, '+') = ltrim(p_to, '+'))
  order by w.sender = ''
  limit 1
$$;

-- The latest word of each number among these (of two at one instant, the one that stops), if it is newer than what is known, becomes its consent.
create function outbox_engine.heed_replies(p_ids text[]) returns void
language plpgsql set search_path = ''
as $$
declare
  v_reply record;
begin
  for v_reply in
    select distinct on (i.sender) i.sender, i.id, i.received_at, w.effect
    from public.outbox_inbound i
    cross join lateral outbox_engine.word_effect(i.body, i.recipient) w
    where i.id = any (p_ids) and w.effect in ('stop', 'start') and i.sender ~ '^\+[1-9][0-9]{6,14}$'
    order by i.sender, i.received_at desc, w.effect desc, i.id desc
  loop
    insert into outbox_engine.consents as c (recipient, opted_out, decided_at, inbound_id)
    values (v_reply.sender, v_reply.effect = 'stop', v_reply.received_at, v_reply.id)
    on conflict (recipient) do update
    set opted_out = excluded.opted_out, decided_at = excluded.decided_at, inbound_id = excluded.inbound_id
    where c.decided_at < excluded.decided_at or (c.decided_at = excluded.decided_at and excluded.opted_out and not c.opted_out);
    continue when not found;

    if v_reply.effect = 'stop' then
      insert into public.outbox_suppressions (recipient, reason, by_engine)
      values (v_reply.sender, 'replied STOP', true)
      on conflict do nothing;
    else
      perform set_config('outbox_engine.lifted_by', 'start', true);
      delete from public.outbox_suppressions where recipient = v_reply.sender and by_engine;
      perform set_config('outbox_engine.lifted_by', '', true);
    end if;
  end loop;
end
$$;

-- Opt-outs that somebody else tells of, each number once, with the instant it was said: suppressed where nothing newer is known of
-- the number, which may be a START or an operator's decision. Answers how many are new on the list.
create function outbox_engine.heed_opt_outs(p_recipients text[], p_reasons text[], p_ats timestamptz[]) returns integer
language sql set search_path = ''
as $$
  with decided as (
    insert into outbox_engine.consents as c (recipient, opted_out, decided_at)
    select x.recipient, true, x.at
    from unnest(p_recipients, p_ats) x (recipient, at)
    order by x.recipient
    on conflict (recipient) do update
    set opted_out = true, decided_at = excluded.decided_at, inbound_id = null
    where c.decided_at < excluded.decided_at or (c.decided_at = excluded.decided_at and not c.opted_out)
    returning recipient
  ),
  added as (
    insert into public.outbox_suppressions (recipient, reason, by_engine)
    select d.recipient, x.reason, true
    from decided d
    join unnest(p_recipients, p_reasons) x (recipient, reason) using (recipient)
    on conflict do nothing
    returning recipient
  )
  select count(*)::integer from added
$$;

-- Answers those of these messages that ask for help, where a text is set: each number once a day, and none that opted out. A
-- question that was found a day late is left alone. The answer is a row like any other: it goes out from the number that was
-- written to, and the claim checks it. One that cannot be made is an alarm, for the words of others came in the same call.
create function outbox_engine.answer_help(p_ids text[]) returns void
language plpgsql set search_path = ''
as $$
declare
  v_asked record;
begin
  for v_asked in
    select distinct on (i.sender) i.sender, i.recipient, w.reply
    from public.outbox_inbound i
    cross join lateral outbox_engine.word_effect(i.body, i.recipient) w
    where i.id = any (p_ids) and w.effect = 'help' and w.reply is not null and i.sender ~ '^\+[1-9][0-9]{6,14}$'
      and i.received_at > outbox_engine.now() - interval '1 day'
      and not exists (select from public.outbox_suppressions s where s.recipient = i.sender)
    order by i.sender, i.received_at, i.id
  loop
    begin
      insert into outbox_engine.help_answers as h (recipient, answered_at)
      values (v_asked.sender, outbox_engine.now())
      on conflict (recipient) do update
      set answered_at = excluded.answered_at
      where h.answered_at <= excluded.answered_at - interval '1 day';
      continue when not found;

      insert into public.outbox (recipient, body, sender, priority, expires_at)
      values (v_asked.sender, v_asked.reply, case when outbox_engine.is_sender(v_asked.recipient) then v_asked.recipient end, 50,
        outbox_engine.now() + interval '1 day');
    exception
      when transaction_rollback then
        -- Passing trouble, such as a deadlock: the whole call comes again.
        raise;
      when others then
        perform outbox_engine.alarm('help.unanswered', jsonb_build_object('error', sqlerrm, 'code', sqlstate));
    end;
  end loop;
end
$$;

-- Called by the webhook app for a group of callbacks and by the inbound job for a page. Arrays of one length, '' for what is
-- missing. Each id acts once, also after retention. Answers how many were new.
create function public.outbox_record_inbounds(
  p_source text, p_providers text[], p_ids text[], p_kinds text[], p_senders text[], p_recipients text[], p_bodies text[],
  p_received_ats text[], p_references text[], p_raws text[]
) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_new text[];
begin
  with seen as (
    insert into outbox_engine.inbounds_seen (id, seen_at)
    select distinct x.id, outbox_engine.now() from unnest(p_ids) x (id)
    order by x.id
    on conflict do nothing
    returning id
  ),
  kept as (
    insert into public.outbox_inbound (id, provider, kind, sender, recipient, body, received_at, reference, raw)
    select distinct on (x.id) x.id, x.provider, x.kind, x.sender, x.recipient, nullif(x.body, ''), x.received_at::timestamptz,
      nullif(x.reference, ''), x.raw::jsonb
    from unnest(p_providers, p_ids, p_kinds, p_senders, p_recipients, p_bodies, p_received_ats, p_references, p_raws)
      x (provider, id, kind, sender, recipient, body, received_at, reference, raw)
    join seen using (id)
    returning id
  )
  select array_agg(id) into v_new from kept;
  perform outbox_engine.heed_replies(v_new);
  perform outbox_engine.answer_help(v_new);
  return coalesce(cardinality(v_new), 0);
end
$$;

notify pgrst, 'reload schema';
