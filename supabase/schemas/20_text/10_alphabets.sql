-- Alphabets on the air, and how many parts a text takes.

-- The characters of the GSM-7 extension table (3GPP TS 23.038), as part of a pattern. Each takes two septets.
create function outbox_engine.gsm7_extension() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select E'|^€{}~\\\\\\[\\]\f'
$$;

-- A pattern for one character that is not in GSM-7: neither in the default alphabet nor in the extension
-- table.
create function outbox_engine.beyond_gsm7() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select '[^'
    || E'@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà'
    || outbox_engine.gsm7_extension()
    || '-]'
$$;

-- The text with typographic look-alikes (quotes, dashes, blanks, dots) replaced by characters of GSM-7.
-- Letters stay, but combining accents join their letter. The joiners of scripts and of emoji families stay
-- too, and the point of Catalan l·l, which belongs to a letter.
create function outbox_engine.without_look_alikes(p_text text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := normalize(p_text, nfc);
begin
  -- Single quotes, double quotes, dashes and dots, blanks; then invisible characters, which go. `translate`
  -- would compare each character with all of these.
  v_text := regexp_replace(v_text, '[\u2018-\u201b\u2032\u00b4\u0060\u2039\u203a]', '''', 'g');
  v_text := regexp_replace(v_text, '[\u201c-\u201f\u2033\u00ab\u00bb]', '"', 'g');
  v_text := regexp_replace(v_text, '[\u2010-\u2015\u2212\u2022]', '-', 'g');
  if strpos(v_text, E'\u00b7') > 0 then
    v_text := regexp_replace(v_text, '(?<![lL])\u00b7|\u00b7(?![lL])', '-', 'g');
  end if;
  v_text := regexp_replace(v_text, '[\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\t]', ' ', 'g');
  v_text := regexp_replace(v_text, '[\u200b\u2060\ufeff\u00ad]+', '', 'g');
  return replace(v_text, E'\u2026', '...');
end
$$;

-- Called by the claim for each text. The parts that a text takes. GSM-7 (TS 23.038) has 160 septets in a
-- single part and 153 in each of several, because each then carries a header (TS 23.040). A character of the
-- extension table takes two septets, which are not split between parts. Other texts are UCS-2, with 70 and 67
-- UTF-16 units.
create function outbox_engine.parts_of(p_text text) returns smallint
language plpgsql immutable strict set search_path = pg_catalog, pg_temp
as $$
declare
  v_units integer := char_length(p_text);
  v_septets text;
  v_at integer := 1;
  v_parts smallint := 0;
begin
  if p_text ~ outbox_engine.beyond_gsm7() then
    -- Characters above U+FFFF take two UTF-16 units.
    v_units := v_units + char_length(regexp_replace(p_text, E'[\\u0001-\\uffff]+', '', 'g'));
    return case when v_units <= 70 then 1 else ceil(v_units / 67.0) end;
  elsif p_text !~ ('[' || outbox_engine.gsm7_extension() || ']') then
    return case when v_units <= 160 then 1 else ceil(v_units / 153.0) end;
  end if;
  v_septets := regexp_replace(p_text, '[' || outbox_engine.gsm7_extension() || ']', E'\u001b\\&', 'g');
  v_units := char_length(v_septets);
  if v_units <= 160 then
    return 1;
  end if;
  while v_at <= v_units loop
    v_parts := v_parts + 1;
    -- An escape in the last septet of a part moves to the next part, with its character.
    v_at := v_at + case when substr(v_septets, v_at + 152, 1) = E'\u001b' then 152 else 153 end;
  end loop;
  return v_parts;
end
$$;

-- Called for each text of a template with `plain`. Replaces look-alikes only where that saves a part: where
-- the whole text then is in GSM-7 and takes fewer parts. Most texts need nothing, and the first check is
-- cheap: up to 70 characters of GSM-7 or UCS-2 are one part anyway.
create function outbox_engine.plain_text(p_text text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_plain text;
  -- In UCS-2. A text with characters above U+FFFF is not in GSM-7 without its look-alikes either.
  v_parts constant integer := ceil(char_length(p_text) / 67.0);
begin
  if char_length(p_text) <= 70 or p_text !~ outbox_engine.beyond_gsm7() then
    return p_text;
  end if;
  v_plain := outbox_engine.without_look_alikes(p_text);
  return case
    -- Three dots instead of one may make the text too long.
    when char_length(v_plain) > 2000 or v_plain ~ outbox_engine.beyond_gsm7() then p_text
    when outbox_engine.parts_of(v_plain) < v_parts then v_plain
    else p_text
  end;
end
$$;

-- The MD5 of the ASCII letters and digits of a text. Where these differ, no rewriting makes two texts the
-- same. The recover job and `outbox adopt` compute it of the provider's texts.
create function outbox_engine.letters_digest(p_text text) returns uuid
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select md5(lower(regexp_replace(p_text, '[^A-Za-z0-9]', '', 'g') collate "C"))::uuid
$$;

-- Called by apps that want to know what a text costs before it is sent: its parts, its alphabet, the
-- characters that are not in GSM-7, and the text that a template with `plain` makes of it.
create function public.outbox_text(p_body text) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'characters', char_length(p_body),
    'parts', outbox_engine.parts_of(p_body),
    'alphabet', case when p_body ~ outbox_engine.beyond_gsm7() then 'UCS-2' else 'GSM-7' end,
    'beyond_gsm7', (
      select coalesce(jsonb_agg(distinct m[1]), '[]')
      from regexp_matches(p_body, outbox_engine.beyond_gsm7(), 'g') m
    ),
    'plain', outbox_engine.plain_text(p_body),
    'plain_parts', outbox_engine.parts_of(outbox_engine.plain_text(p_body)))
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_text
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_text
to service_role;
