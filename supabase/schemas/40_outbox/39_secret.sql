-- Secret messages, such as one-time codes: their texts go soon after they expire, whatever became of them
-- (90_operators/09_secret_texts.sql), and no command shows them.

-- The secret messages whose texts are still to be removed or to be recognized. A table of its own, because
-- an index of the outbox would have to be built over all its rows.
create table outbox_engine.secret_messages (
  outbox_id bigint primary key,
  -- When the text goes at the latest. Null once it is gone.
  blank_at timestamptz,
  -- The `letters_digest` of a text that is gone, while the outcome of its request is unknown: a lookup
  -- recognizes it in the provider's list.
  letters uuid
);
alter table outbox_engine.secret_messages enable row level security;

create index secret_messages_due on outbox_engine.secret_messages (blank_at) where blank_at is not null;

-- How long a secret message is worth sending where the app does not say. A code that comes later has been
-- asked for again.
create function outbox_engine.secret_lifetime() returns interval
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select interval '15 minutes'
$$;

-- Runs for each secret message that is inserted, or whose expiry may have changed.
create function outbox_engine.after_secret_message() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.secret_messages (outbox_id, blank_at)
  values (new.id, new.expires_at)
  on conflict (outbox_id) do update set blank_at = excluded.blank_at;
  return null;
end
$$;
-- Also of `send_at`, which an expiry may follow.
create trigger outbox_c_secret after insert or update of send_at, expires_at, secret on public.outbox
  for each row
  when (new.secret)
  execute function outbox_engine.after_secret_message();
