-- What counts as a recipient, and what as a sender.

-- A pattern for a whole E.164 number. Immutable, so that plans hold it as a constant. Check constraints have
-- it written out, because they run with the rights of the role that writes.
create function outbox_engine.e164_pattern() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select '^\+[1-9][0-9]{6,14}$'
$$;

-- A number, a short code, or at most 11 letters, digits and blanks with a letter among them. Null means the
-- default sender and is valid.
create function outbox_engine.is_sender(p_sender text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_sender is null
    or p_sender ~ '^\+?[1-9][0-9]{2,14}$'
    or (p_sender ~ '^[A-Za-z0-9 ]{1,11}$' and p_sender ~ '[A-Za-z]')
$$;
