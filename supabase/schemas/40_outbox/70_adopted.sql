-- Messages that the provider accepted and a restored database does not know.

-- One row for each message of a batch that `outbox adopt` found no message of the database for: its row was
-- inserted after the backup, or its text cannot be made again. An app may insert it once more, so the claim
-- holds the next message with this number and text (`hold_adopted`). No text is kept, only its digest.
create table outbox_engine.adopted_messages (
  provider text not null,
  plan text not null,
  batch_id text not null,
  reference uuid not null,
  -- Empty for one that cannot be read: it may be any number.
  recipient text not null,
  -- The MD5 of the text. Null where the provider's list does not give it.
  digest uuid,
  -- The `letters_digest` of the text: the provider's list may show it with other marks and spaces.
  letters uuid,
  sent_at timestamptz not null,
  -- The message that the claim holds because of this one, and when an operator had that one sent.
  outbox_id bigint,
  released_at timestamptz,
  -- The provider's list shows the batch no longer.
  kept_until timestamptz not null,
  primary key (reference, batch_id, recipient)
);
alter table outbox_engine.adopted_messages enable row level security;

-- By the end of the number: a provider may write its beginning in another way.
create index adopted_messages_recipient on outbox_engine.adopted_messages (right(recipient, 8))
  where released_at is null;
create index adopted_messages_held on outbox_engine.adopted_messages (outbox_id)
  where outbox_id is not null and released_at is null;

-- A batch of the provider's list, as `outbox adopt` passes it on. `digests` are the MD5s of the recipients'
-- texts, null where the list does not give a text, and `letters` their `letters_digest`s.
create type outbox_engine.listed_batch as (
  batch_id text,
  reference text,
  created_at timestamptz,
  -- Empty where one cannot be read.
  recipients text[],
  digests uuid[],
  letters uuid[]
);

-- How far a provider's clock may be off where its times decide which messages a batch can hold.
create function outbox_engine.adoption_margin() returns interval
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select interval '15 minutes'
$$;

-- Stands for the reference of a batch whose own the provider's list does not show. It may be another
-- application's, so it holds messages with its text only.
create function outbox_engine.stand_in_reference(p_batch_id text) returns uuid
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select md5('batch ' || p_batch_id)::uuid
$$;

-- Whether the database knows this batch, if not by its reference.
create function outbox_engine.is_known_batch(p_batch_id text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (select from outbox_engine.dispatches d where d.batch_id = p_batch_id)
    or exists (select from outbox_engine.duplicate_sends x where x.batch_id = p_batch_id)
    or exists (
      select from outbox_engine.adopted_messages a
      where a.reference = outbox_engine.stand_in_reference(p_batch_id) and a.batch_id = p_batch_id);
end
$$;

-- Whether a message that waits may be one that the provider accepted at `p_sent_at`: it has the same text, as
-- far as its letters tell, or it waited then and its text may have been another one, because its template has
-- changed since. Without any letters two texts are the same only for a message that waited then.
-- `p_due_at` is the time for which the message was made.
create function outbox_engine.may_be_adopted(
  p_digest uuid, p_letters uuid, p_sent_at timestamptz, p_text text, p_has_template boolean,
  p_due_at timestamptz
) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(p_digest = md5(p_text)::uuid, false)
    or coalesce(l.is_same and p_letters <> outbox_engine.letters_digest(''), false)
    or (p_has_template or p_digest is null or l.is_same)
      and p_due_at <= p_sent_at + outbox_engine.adoption_margin()
  from (select p_letters = outbox_engine.letters_digest(p_text)) l (is_same)
$$;
