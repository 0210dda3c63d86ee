-- Senders.

-- A number, a short code, or at most 11 letters and digits with a letter among them. Null is the default
-- sender.
create function outbox_engine.is_sender(p_sender text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_sender is null or p_sender ~ '^\+?[1-9][0-9]{2,14}$' or (p_sender ~ '^[A-Za-z0-9 ]{1,11}$' and p_sender ~ '[A-Za-z]')
$$;
