-- Inbound messages: what recipients reply. The latest reply of a number decides, in whatever order replies
-- arrive.

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
  raw jsonb not null,
  effect text,
  unclear boolean not null default false,
  decided_at timestamptz
);
alter table public.outbox_inbound enable row level security;

create index outbox_inbound_sender on public.outbox_inbound (sender, received_at);
create index outbox_inbound_recorded on public.outbox_inbound (recorded_at);
create index outbox_inbound_unclear on public.outbox_inbound (recorded_at, id) where unclear;

comment on table public.outbox_inbound is 'What recipients sent us.';
comment on column public.outbox_inbound.effect is 'stop, start or help; null for any other message';
comment on column public.outbox_inbound.unclear is
  'It may be an opt-out, and waits for a person: outbox replies --unclear';
comment on column public.outbox_inbound.decided_at is 'When a person decided what it is';

-- The ids of all inbound messages that had their effect. Kept when retention deletes the message, so that a
-- provider which repeats it has no effect twice.
create table outbox_engine.inbounds_seen (
  id text primary key,
  seen_at timestamptz not null
);
alter table outbox_engine.inbounds_seen enable row level security;

-- When each number last got an answer to HELP: at most one a day.
create table outbox_engine.help_answers (
  recipient text primary key,
  answered_at timestamptz not null
);
alter table outbox_engine.help_answers enable row level security;

-- What each number asks for in these inbound messages: its latest STOP or START. Of two at one instant,
-- STOP counts. The word counts as it was read, or as a person decided. None counts as later than it was
-- recorded, whatever the provider says: the next START or STOP
-- would come too early. A STOP of more than fourteen days ago, which the provider's list does not reach, has
-- a wrong time and counts from when it was recorded.
create function outbox_engine.latest_replies(p_ids text[])
returns table (recipient text, opts_out boolean, received_at timestamptz, inbound_id text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select distinct on (n.number) n.number, i.effect = 'stop', t.received_at, i.id
  from public.outbox_inbound i
  cross join lateral unnest(outbox_engine.with_twins(array[i.sender])) n (number)
  cross join lateral (
    select case
      when i.effect = 'stop' and i.received_at < i.recorded_at - interval '14 days' then i.recorded_at
      else least(i.received_at, i.recorded_at)
    end as received_at
  ) t
  where i.id = any (p_ids)
    and i.effect in ('stop', 'start')
    and i.sender ~ outbox_engine.e164_pattern()
  order by n.number, t.received_at desc, i.effect desc, i.id desc
$$;

-- Called for new inbound messages. A reply that is newer than what is known of its number becomes the
-- number's consent: STOP suppresses it, START lifts the suppression that an earlier STOP made.
create function outbox_engine.apply_replies(p_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_senders constant text[] := array(select r.recipient from outbox_engine.latest_replies(p_ids) r);
  v_stopped text[];
  v_started text[];
begin
  if v_senders = '{}' then
    return;
  end if;
  perform outbox_engine.lock_suppressions(v_senders);

  with decided as (
    insert into outbox_engine.consents as c (recipient, opted_out, decided_at, inbound_id)
    select r.recipient, r.opts_out, r.received_at, r.inbound_id
    from outbox_engine.latest_replies(p_ids) r
    order by r.recipient
    on conflict (recipient) do update
    set
      opted_out = excluded.opted_out,
      decided_at = excluded.decided_at,
      inbound_id = excluded.inbound_id
    where c.decided_at < excluded.decided_at
      or (c.decided_at = excluded.decided_at and excluded.opted_out and not c.opted_out)
    returning recipient, opted_out
  )
  select
    array_agg(recipient order by recipient) filter (where opted_out),
    array_agg(recipient) filter (where not opted_out)
  into v_stopped, v_started
  from decided;

  insert into public.outbox_suppressions (recipient, reason, by_engine)
  select r, 'replied STOP', true
  from unnest(v_stopped) r
  on conflict do nothing;

  if v_started is not null then
    -- Tells the triggers that no operator lifts these.
    perform set_config('outbox_engine.lifted_by', 'start', true);
    delete from public.outbox_suppressions where recipient = any (v_started) and by_engine;
    perform set_config('outbox_engine.lifted_by', '', true);
  end if;
end
$$;

-- Called for new inbound messages. Answers requests for help where the word has a reply: at most once a day
-- for each number, never a number that opted out, and no request that is found more than a day late. The
-- answer is a message like any other, from the number that was written to; the claim checks it. An answer
-- that cannot be inserted raises an alarm and does not stop the call, which carries replies of other
-- numbers.
create function outbox_engine.answer_help(p_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_request record;
begin
  for v_request in
    select distinct on (i.sender) i.sender, i.recipient, w.reply
    from public.outbox_inbound i
    cross join lateral outbox_engine.read_reply(i.body, i.recipient) w
    where i.id = any (p_ids)
      and i.effect = 'help'
      and i.recipient <> ''
      and w.reply is not null
      and i.sender ~ outbox_engine.e164_pattern()
      and i.received_at > v_now - interval '1 day'
      and not exists (select from public.outbox_suppressions s where s.recipient = i.sender)
    order by i.sender, i.received_at, i.id
  loop
    begin
      insert into outbox_engine.help_answers as h (recipient, answered_at)
      values (v_request.sender, v_now)
      on conflict (recipient) do update
      set answered_at = excluded.answered_at
      -- A time of more than a minute ahead is of a clock that was set back since.
      where h.answered_at <= excluded.answered_at - interval '1 day'
        or h.answered_at > excluded.answered_at + interval '1 minute';
      continue when not found;

      insert into public.outbox (recipient, body, sender, priority, expires_at)
      values (
        v_request.sender,
        v_request.reply,
        case when outbox_engine.is_sender(v_request.recipient) then v_request.recipient end,
        50,
        v_now + interval '1 day'
      );
    exception
      when transaction_rollback then
        -- A deadlock or the like: the caller repeats the whole call.
        raise;
      when others then
        perform outbox_engine.alarm('help.unanswered', jsonb_build_object(
          'error', outbox_engine.without_numbers(sqlerrm), 'code', sqlstate));
    end;
  end loop;
end
$$;

-- Called where a new reply is unclear, and by upkeep while one waits. Raises an alarm, unless one was raised
-- in the last `p_every`.
create function outbox_engine.alarm_unclear(p_every interval, p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from public.outbox_inbound where unclear) then
    perform outbox_engine.alarm_at_most(
      'reply.unclear',
      jsonb_build_object('replies', (
        select count(*) from (select from public.outbox_inbound where unclear limit 1000) x)),
      '{}', p_every, p_now);
  end if;
end
$$;

-- Called by the webhook app for a group of callbacks and by the inbound job for a page of the provider's
-- list. Takes arrays of one length, with '' for missing values, and returns how many messages are new. Each
-- id has its effect once, also after retention deleted the message. A message without a time counts from its
-- arrival. One that is no number's cannot be decided, so it is never unclear.
create function public.outbox_record_inbounds(
  p_source text, p_providers text[], p_ids text[], p_kinds text[], p_senders text[], p_recipients text[],
  p_bodies text[], p_received_ats text[], p_references text[], p_raws text[]
) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_new text[];
  v_unclear boolean;
begin
  with seen as (
    insert into outbox_engine.inbounds_seen (id, seen_at)
    select distinct x.id, v_now
    from unnest(p_ids) x (id)
    order by x.id
    on conflict do nothing
    returning id
  ),
  stored as (
    insert into public.outbox_inbound (
      id, provider, kind, sender, recipient, body, received_at, reference, raw, effect, unclear
    )
    select distinct on (x.id)
      x.id, x.provider, x.kind, x.sender, x.recipient, nullif(x.body, ''),
      coalesce(nullif(x.received_at, '')::timestamptz, v_now), nullif(x.reference, ''), x.raw::jsonb,
      r.effect, r.unclear and x.sender ~ outbox_engine.e164_pattern()
    from unnest(
      p_providers, p_ids, p_kinds, p_senders, p_recipients, p_bodies, p_received_ats, p_references, p_raws
    ) x (provider, id, kind, sender, recipient, body, received_at, reference, raw)
    join seen using (id)
    cross join lateral outbox_engine.read_reply(x.body, x.recipient) r
    returning id, unclear
  )
  select array_agg(id), bool_or(unclear)
  into v_new, v_unclear
  from stored;

  perform outbox_engine.apply_replies(v_new);
  perform outbox_engine.answer_help(v_new);
  if v_unclear then
    perform outbox_engine.alarm_unclear('6 hours', v_now);
  end if;
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
