-- What passed between us and one number, and the text of one message.

-- The messages and replies of a number before a cursor, the newest first. The messages come in the order of
-- their ids: one that seems newer than a message with a higher id counts as old as that.
create function outbox_engine.exchanges_of(
  p_recipient text, p_message_before bigint, p_reply_before timestamptz, p_reply_id text, p_most integer
) returns table (at timestamptz, message_id bigint, reply_id text, reply_at timestamptz)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select x.at, x.message_id, x.reply_id, x.reply_at
  from (
    select min(m.created_at) over (order by m.id desc) as at, m.id as message_id, null::text as reply_id,
      null::timestamptz as reply_at
    from (
      select o.id, o.created_at
      from public.outbox o
      where o.recipient = p_recipient and o.id < p_message_before
      order by o.id desc
      limit p_most
    ) m
    union all
    select r.received_at, null, r.id, r.received_at
    from (
      select i.id, i.received_at
      from public.outbox_inbound i
      where i.sender = p_recipient and (i.received_at, i.id) < (p_reply_before, p_reply_id)
      order by i.received_at desc, i.id desc
      limit p_most
    ) r
  ) x
  order by x.at desc, x.message_id desc nulls last, x.reply_id desc
  limit p_most
$$;

-- One entry of a conversation. Texts are included only with `p_texts`, and never that of a secret message.
create function outbox_engine.exchange_json(
  p_at timestamptz, p_message_id bigint, p_reply_id text, p_texts boolean
) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'at', p_at,
    'message', (select outbox_engine.listed_message(o) from public.outbox o where o.id = p_message_id),
    'reply', (
      select jsonb_build_object(
        'id', i.id, 'sender', i.sender, 'recipient', i.recipient, 'body', null,
        'received_at', i.received_at, 'recorded_at', i.recorded_at, 'effect', i.effect,
        'unclear', i.unclear, 'decided_at', i.decided_at)
      from public.outbox_inbound i
      where i.id = p_reply_id
    ),
    'text', case when p_texts then coalesce(
      (select o.body from public.outbox o where o.id = p_message_id and not o.secret),
      (select i.body from public.outbox_inbound i where i.id = p_reply_id)) end)
$$;

-- Called by the dashboard. A page of a conversation, the newest first, before the cursor `p_before` (null for
-- the first page). `before` is the next cursor, null at the end. With `p_texts` it has the texts, and the
-- audit says so.
create function public.outbox_conversation(
  p_recipient text, p_before text, p_most integer, p_texts boolean default false
) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_recipient constant text := (outbox_engine.read_filter(
    jsonb_build_object('recipients', jsonb_build_array(p_recipient)))).recipients[1];
  v_most constant integer := least(greatest(p_most, 1), 500);
  v_cursor jsonb := coalesce(
    p_before::jsonb, '{"message": 9223372036854775807, "reply_at": "infinity", "reply": ""}');
  v_answer record;
begin
  select
    coalesce(jsonb_agg(
      outbox_engine.exchange_json(e.at, e.message_id, e.reply_id, p_texts)
      order by e.at desc, e.message_id desc nulls last, e.reply_id desc), '[]') as entries,
    count(*) as entries_count, min(e.message_id) as message,
    (array_agg(e.reply_at order by e.reply_at, e.reply_id) filter (where e.reply_id is not null))[1]
      as reply_at,
    (array_agg(e.reply_id order by e.reply_at, e.reply_id) filter (where e.reply_id is not null))[1] as reply
  into v_answer
  from outbox_engine.exchanges_of(
    v_recipient, (v_cursor ->> 'message')::bigint, (v_cursor ->> 'reply_at')::timestamptz,
    v_cursor ->> 'reply', v_most) e;
  if p_texts then
    perform outbox_engine.audit_change('conversation', '…' || right(v_recipient, 2), jsonb_build_object(
      'entries', v_answer.entries_count));
  end if;
  if v_answer.message is not null then
    v_cursor := v_cursor || jsonb_build_object('message', v_answer.message);
  end if;
  if v_answer.reply is not null then
    v_cursor := v_cursor || jsonb_build_object('reply_at', v_answer.reply_at, 'reply', v_answer.reply);
  end if;
  return jsonb_build_object(
    'entries', v_answer.entries,
    'before', case when v_answer.entries_count = v_most then v_cursor::text end);
end
$$;

-- Called by the dashboard when an operator asks for the text of a message; null if there is none. The audit
-- says who read it. Refuses secret messages.
create function public.outbox_show_text(p_id bigint) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  o public.outbox;
begin
  select * into o from public.outbox where id = p_id;
  if not found then
    return null;
  elsif o.secret then
    perform outbox_engine.refuse(
      format('message %s is secret', p_id), 'Its text is for its recipient only.');
  end if;
  perform outbox_engine.audit_change('show_text', p_id::text);
  return jsonb_build_object('body', o.body, 'parameters', o.parameters, 'media_url', o.media_url);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_conversation,
  public.outbox_show_text
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_conversation,
  public.outbox_show_text
to service_role;
