-- Messages that the provider has accepted already, as far as a restored database can know.

-- Whether the batch of a remembered message had a message for this number, as far as its numbers can be read;
-- or has held one.
create function outbox_engine.is_in_adopted_batch(
  p_adopted outbox_engine.adopted_messages, p_recipient text
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
      select from outbox_engine.adopted_messages a
      where (a.reference, a.batch_id, a.recipient) = (p_adopted.reference, p_adopted.batch_id, p_recipient))
    or exists (
      select from outbox_engine.dispatch_members m
      where m.dispatch_id = p_adopted.reference and m.recipient = p_recipient);
end
$$;

-- Which of these ready messages may be one that `outbox adopt` remembers, each with the remembered one. In
-- the order of `p_ids`, the oldest remembered message first; several may be given for one message. Without
-- messages that have expired. A remembered message whose number cannot be read may be each of them that its
-- batch does not name, once: it is given with that number. One with the same text may have been for a number
-- that ends alike and that its batch does not name: a provider may write numbers in another way.
create function outbox_engine.suspected_messages(p_ids bigint[], p_now timestamptz) returns table (
  outbox_id bigint, expires_at timestamptz, adopted outbox_engine.adopted_messages
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_suspects constant bigint[] := array(
    select u.id
    from unnest(p_ids) with ordinality u (id, place)
    join public.outbox o on o.id = u.id
    where o.expires_at > p_now and exists (
      select from outbox_engine.adopted_messages a
      where right(a.recipient, 8) in (right(o.recipient, 8), '')
        and a.released_at is null
        and coalesce(a.outbox_id, o.id) = o.id)
    order by u.place
  );
begin
  return query
  select r.id, r.expires_at,
    row(
      a.provider, a.plan, a.batch_id, a.reference, coalesce(nullif(a.recipient, ''), r.recipient), a.digest,
      a.letters, a.sent_at, r.id, null, a.kept_until
    )::outbox_engine.adopted_messages
  from outbox_engine.rendered_messages(v_suspects) r
  join public.outbox o on o.id = r.id
  left join public.outbox_campaign_occurrences oc on o.campaign is not null and oc.outbox_id = o.id
  join outbox_engine.adopted_messages a
    on right(a.recipient, 8) in (right(r.recipient, 8), '') and a.released_at is null
  where (
      a.outbox_id = r.id
      or a.outbox_id is null and outbox_engine.may_be_adopted(
        a.digest, a.letters, a.sent_at, r.text,
        r.template is not null and a.reference <> outbox_engine.stand_in_reference(a.batch_id),
        coalesce(oc.occurs_at, o.send_at))
    )
    and (a.recipient in (r.recipient, '') or coalesce(
      a.digest = md5(r.text)::uuid or coalesce(a.letters = outbox_engine.letters_digest(r.text), false),
      true))
    and (a.recipient = r.recipient or a.outbox_id = r.id
      or not outbox_engine.is_in_adopted_batch(a, r.recipient))
  order by r.place, a.outbox_id is null, a.recipient = '', a.recipient <> r.recipient,
    a.digest is distinct from md5(r.text)::uuid, a.sent_at;
end
$$;

-- Called by the claim for the messages that it picked. Holds those that the provider accepted already, as far
-- as `outbox adopt` remembers, until an operator decides (`outbox held`) or they expire. Each remembered
-- message holds one. Raises an alarm, at most once an hour. Returns the others.
create function outbox_engine.hold_adopted(p_ids bigint[], p_now timestamptz) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  s record;
  v_held bigint[] := '{}';
  v_changes outbox_engine.status_change[] := '{}';
begin
  if not exists (select from outbox_engine.adopted_messages where released_at is null) then
    return p_ids;
  end if;
  for s in select * from outbox_engine.suspected_messages(p_ids, p_now) loop
    continue when s.outbox_id = any (v_held);
    insert into outbox_engine.adopted_messages as a select (s.adopted).*
    on conflict (reference, batch_id, recipient) do update
    set outbox_id = s.outbox_id
    where coalesce(a.outbox_id, s.outbox_id) = s.outbox_id;
    continue when not found;
    v_held := v_held || s.outbox_id;
    v_changes := v_changes || row(
      s.outbox_id, 'held', null, s.expires_at, null,
      format('held: before the restore the provider accepted this text or another one for this number, in '
        || 'batch %s at %s', (s.adopted).batch_id, (s.adopted).sent_at)
    )::outbox_engine.status_change;
  end loop;
  perform outbox_engine.change_statuses(v_changes, 'engine', p_now);
  if v_held <> '{}' then
    perform outbox_engine.alarm_at_most(
      'message.held', jsonb_build_object('outbox_ids', to_jsonb(v_held)), '{}', interval '1 hour', p_now);
  end if;
  return array(
    select u.id from unnest(p_ids) with ordinality u (id, place) where u.id <> all (v_held) order by u.place);
end
$$;
