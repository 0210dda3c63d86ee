-- Texts that look empty.

-- A pattern for one character that shows nothing: blanks of all widths, control characters, and invisible
-- characters of Unicode. Immutable, so that plans hold it as a constant.
create function outbox_engine.blank_pattern() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select '[\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f'
    || '\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb'
    || '\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]'
$$;

-- Whether a text has no character that can be seen. Null for null. Hot paths ask first whether it
-- begins with a visible character of ASCII, `ascii(…) between 33 and 126`, which spares most texts the call.
create function outbox_engine.is_blank(p_text text) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return p_text ~ ('^' || outbox_engine.blank_pattern() || '*$');
end
$$;
