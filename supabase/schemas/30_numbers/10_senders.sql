-- What counts as a recipient, and what as a sender.

-- A pattern for a whole E.164 number. Immutable, so that plans hold it as a constant. Check constraints have
-- it written out, because they run with the rights of the role that writes.
create function outbox_engine.e164_pattern() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select '^\+[1-9][0-9]{6,14}$'
$$;

-- The country code, with +, of a number or a beginning that fits `trunk_zero_pattern`; null for others.
create function outbox_engine.trunk_zero_code(p_number text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select left(substring(p_number from outbox_engine.trunk_zero_pattern()), -2)
$$;

-- Says why a recipient is no E.164 number. The callers compare it with `e164_pattern` and, where the number
-- is new, with `trunk_zero_pattern` themselves: a call for each message would slow inserts down.
create function outbox_engine.recipient_problem(p_recipient text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format(
    case
      when p_recipient ~ outbox_engine.trunk_zero_pattern()
        then 'recipient %s is not an E.164 number: the zero is dialled inside the country only'
      else 'recipient %s is not an E.164 number'
    end,
    coalesce(quote_literal(p_recipient), 'null'))
$$;

-- Called before a message or a suppression is written. Raises the error for a recipient that is no E.164
-- number.
create function outbox_engine.refuse_recipient(p_recipient text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.refuse(
    outbox_engine.recipient_problem(p_recipient),
    case
      when p_recipient ~ outbox_engine.trunk_zero_pattern()
        then format('Leave out the zero after %s.', outbox_engine.trunk_zero_code(p_recipient))
      else 'Write it with + and the country code, digits only, such as +14155550123.'
    end)
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

-- Called where a message, a campaign or a word gets a sender. Raises the error for a number with the zero
-- that is dialled inside its country only. Digits without + may be a short code, which has at most eight.
create function outbox_engine.refuse_sender_with_zero(p_sender text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_code constant text := outbox_engine.trunk_zero_code('+' || ltrim(p_sender, '+'));
begin
  if v_code is not null and (p_sender like '+%' or length(p_sender) > 8) then
    perform outbox_engine.refuse(
      format('sender %L is not an E.164 number: the zero is dialled inside the country only', p_sender),
      format('Leave out the zero after %s.', v_code));
  end if;
end
$$;
