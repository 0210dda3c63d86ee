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

-- The characters that commands remove from both ends of a number: those of Python's `str.strip`.
create function outbox_engine.blanks() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select E' \t\n\u000b\f\r\u001c\u001d\u001e\u001f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005'
    || E'\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'
$$;

-- Whether a number has a zero in brackets behind its country code: +39 (0)6. In some countries, such as
-- Italy, it belongs to the number, and in most it does not.
create function outbox_engine.has_bracketed_zero(p_written text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select strpos(p_written, '(') > 0
    and regexp_replace(
        btrim(p_written, outbox_engine.blanks()), '[-.) \u00a0\u2009\u202f\u2010-\u2015]', '', 'g')
      ~ '^\(*(\+|00)\(*[1-9][0-9]{0,2}\(+0(?!0)'
$$;

-- The recipient as E.164, whichever way people write it: with spaces, dashes, dots or brackets, and with 00
-- for the +. Others are returned as they are written, for the callers to refuse. jobs/runtime/phone.py reads
-- files by the same rules, and a test holds the two together.
create function outbox_engine.read_recipient(p_written text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_bare constant text := regexp_replace(
    regexp_replace(
      btrim(p_written, outbox_engine.blanks()), '[-.() \u00a0\u2009\u202f\u2010-\u2015]', '', 'g'),
    '^00', '+');
begin
  if v_bare ~ outbox_engine.e164_pattern()
    and not outbox_engine.has_bracketed_zero(p_written)
    and v_bare !~ outbox_engine.trunk_zero_pattern() then
    return v_bare;
  end if;
  return p_written;
end
$$;

-- A pattern for one character that cannot be seen, or not told from a blank, and belongs to no number.
create function outbox_engine.invisible_pattern() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select '(?![ \u00a0\u2009\u202f])' || outbox_engine.blank_pattern()
$$;

-- An invisible character by its code, and by its Unicode name if it is a common one.
create function outbox_engine.character_name(p_character text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case when x.name is null then x.code else format('%s (%s)', x.name, x.code) end
  from (
    select 'U+' || upper(lpad(to_hex(ascii(p_character)), 4, '0')) as code,
      case p_character
        when E'\u00ad' then 'SOFT HYPHEN'
        when E'\u061c' then 'ARABIC LETTER MARK'
        when E'\u2003' then 'EM SPACE'
        when E'\u2007' then 'FIGURE SPACE'
        when E'\u200b' then 'ZERO WIDTH SPACE'
        when E'\u200c' then 'ZERO WIDTH NON-JOINER'
        when E'\u200d' then 'ZERO WIDTH JOINER'
        when E'\u200e' then 'LEFT-TO-RIGHT MARK'
        when E'\u200f' then 'RIGHT-TO-LEFT MARK'
        when E'\u202a' then 'LEFT-TO-RIGHT EMBEDDING'
        when E'\u202b' then 'RIGHT-TO-LEFT EMBEDDING'
        when E'\u202c' then 'POP DIRECTIONAL FORMATTING'
        when E'\u202d' then 'LEFT-TO-RIGHT OVERRIDE'
        when E'\u202e' then 'RIGHT-TO-LEFT OVERRIDE'
        when E'\u2060' then 'WORD JOINER'
        when E'\u2066' then 'LEFT-TO-RIGHT ISOLATE'
        when E'\u2067' then 'RIGHT-TO-LEFT ISOLATE'
        when E'\u2068' then 'FIRST STRONG ISOLATE'
        when E'\u2069' then 'POP DIRECTIONAL ISOLATE'
        when E'\u3000' then 'IDEOGRAPHIC SPACE'
        when E'\ufeff' then 'ZERO WIDTH NO-BREAK SPACE'
      end as name
  ) x
$$;

-- How to write a recipient that is no E.164 number.
create function outbox_engine.recipient_hint(p_recipient text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_code constant text := outbox_engine.trunk_zero_code(
    regexp_replace(regexp_replace(p_recipient, '[^+0-9]', '', 'g'), '^00', '+'));
  v_invisible constant text := substring(
    btrim(p_recipient, outbox_engine.blanks()) from outbox_engine.invisible_pattern());
begin
  return case
    when v_invisible is not null
      then format('Remove the invisible character %s.', outbox_engine.character_name(v_invisible))
    when v_code is not null then format('Leave out the zero after %s.', v_code)
    when outbox_engine.has_bracketed_zero(p_recipient)
      then 'Write it without brackets, as it is dialled from another country: some countries keep the zero, '
        || 'such as Italy.'
    else 'Write it with + and the country code, digits only, such as +14155550123.'
  end;
end
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
    outbox_engine.recipient_problem(p_recipient), outbox_engine.recipient_hint(p_recipient))
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
