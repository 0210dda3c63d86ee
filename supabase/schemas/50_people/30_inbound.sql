-- What recipients write to us. The latest word of a number decides, whatever the order of arrival.

create table public.outbox_inbound (
  id text primary key,
  provider text not null,
  kind text not null,
  sender text not null,
  recipient text not null,
  body text,
  received_at timestamptz not null,
  recorded_at timestamptz not null default outbox_engine.now(),
  reference text,
  raw jsonb not null
);
alter table public.outbox_inbound enable row level security;

create index outbox_inbound_sender on public.outbox_inbound (sender, received_at);
create index outbox_inbound_recorded on public.outbox_inbound (recorded_at);

comment on table public.outbox_inbound is 'What recipients sent us.';

-- Every inbound id that has had its effect, kept when the message itself is pruned.
create table outbox_engine.inbounds_seen (
  id text primary key,
  seen_at timestamptz not null
);
alter table outbox_engine.inbounds_seen enable row level security;

-- When each number was last answered to HELP: once a day at most, whatever it asks for.
create table outbox_engine.help_answers (
  recipient text primary key,
  reconciled_at timestamptz not null
);
alter table outbox_engine.help_answers enable row level security;

-- The latest word of each number among these (of two at one instant, the one that stops), if it is newer than
-- what is known, becomes its consent.
create function outbox_engine.apply_replies(p_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
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

-- Answers those of these messages that ask for help, where a text is set: each number once a day, and none
-- that opted out. A question that was found a day late is left alone. The answer is a row like any other: it
-- goes out from the number that was written to, and the claim checks it. One that cannot be made is an alarm,
-- for the words of others came in the same call.
create function outbox_engine.answer_help(p_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
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
      insert into outbox_engine.help_answers as h (recipient, reconciled_at)
      values (v_asked.sender, outbox_engine.now())
      on conflict (recipient) do update
      set reconciled_at = excluded.reconciled_at
      where h.reconciled_at <= excluded.reconciled_at - interval '1 day';
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

-- Called by the webhook app for a group of callbacks and by the inbound job for a page. Arrays of one length,
-- '' for what is missing. Each id acts once, also after retention. Answers how many were new.
create function public.outbox_record_inbounds(
  p_source text, p_providers text[], p_ids text[], p_kinds text[], p_senders text[], p_recipients text[], p_bodies text[],
  p_received_ats text[], p_references text[], p_raws text[]
) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
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
  perform outbox_engine.apply_replies(v_new);
  perform outbox_engine.answer_help(v_new);
  return coalesce(cardinality(v_new), 0);
end
$$;

create policy outbox_inbound_server on public.outbox_inbound for select to service_role using (true);

revoke all on public.outbox_inbound from public, anon, authenticated, service_role;
grant select on public.outbox_inbound to service_role;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_record_inbounds
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_record_inbounds
to service_role;
