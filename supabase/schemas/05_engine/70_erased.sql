-- Digests of what was erased with a person (90_operators/65_erasing.sql). They stop a second send, and tell
-- nothing to who has the digest alone.

-- The idempotency keys of messages that were erased. An insert with such a key is skipped.
create table outbox_engine.erased_keys (
  digest bytea primary key,
  -- When it was erased, or when its message would have expired, if that is later. Kept for as long after it
  -- as a message is kept after its end.
  kept_from timestamptz not null
);
alter table outbox_engine.erased_keys enable row level security;

create index erased_keys_kept_from on outbox_engine.erased_keys (kept_from);

-- The SHA-256 of a value behind the random key of this installation. Without the key, values that are easy to
-- guess, such as ids that count up, cannot be found out by trying.
create function outbox_engine.keyed_digest(p_value text) returns bytea
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return sha256(convert_to((select i.digest_key from outbox_engine.installation i) || p_value, 'UTF8'));
end
$$;

-- Whether a message with this idempotency key was erased. The trigger of inserts has the same rule.
create function outbox_engine.is_erased_key(p_key text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from outbox_engine.erased_keys e where e.digest = outbox_engine.keyed_digest('key ' || p_key));
end
$$;
