-- The form in which replies and the words of the list are compared. It is made here only, so that callbacks,
-- polling, and words that an operator writes are read alike.

-- A text in upper case, without accents (Latin, Greek, Cyrillic, Arabic, Hebrew) and invisible marks. Commas,
-- dashes and line breaks become line breaks; blanks, other punctuation and pictures become blanks.
-- `upper` follows the locale of the database, which may know only English letters or use Turkish rules, so
-- the other letters are listed here. Persian letters become the Arabic ones that look like them.
create function outbox_engine.folded_text(p_text text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select upper(translate(
    regexp_replace(
      regexp_replace(
        regexp_replace(
          -- Apostrophes go first: the decomposition makes a blank and an accent of some. So do signs and
          -- emoji of which it makes letters.
          normalize(
            translate(
              regexp_replace(p_text, '[\u2120\u2122\u2139\u3297\u3299\U0001f200-\U0001f265]', ' ', 'g'),
              E'\'\u2018\u2019\u201a\u201b\u2032\u00b4\u0060\uff07', ''),
            nfkd),
          -- Invisible marks, accents, modifier letters, characters that stand for nothing.
          '['
            || '\u0001-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u02b9-\u036f\u0483-\u0489'
            || '\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0600-\u0605\u0610-\u061a\u061c\u0640'
            || '\u064b-\u065f\u0670\u06d6-\u06e4\u06e7\u06e8\u06ea-\u06ed\u070f\u0711\u0730-\u074a'
            || '\u07a6-\u07b0\u07eb-\u07f3\u07fd\u0816-\u0819\u081b-\u0823\u0825-\u0827\u0829-\u082d'
            || '\u0859-\u085b\u0890-\u089f\u08ca-\u08ff\u115f\u1160\u17b4\u17b5\u180b-\u180f\u1ab0-\u1aff'
            || '\u1dc0-\u1dff\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\u3164\ua66f-\ua672'
            || '\ua67c\ua67d\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\uffa0'
            || '\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3'
            || '\U0001d165-\U0001d1ad\U0001f3fb-\U0001f3ff\U0001fffe\U0001ffff\U000e0000-\U0010ffff]+',
          '', 'g'),
        -- Commas, dashes and line breaks of all scripts.
        '[-,\n\r\f\u000b\u0085\u055d\u058a\u05be\u060c\u1363\u1400\u1802\u1806\u1808\u2010-\u2015\u2028'
          || '\u2029\u2053\u207b\u208b\u2212\u2e17\u2e1a\u2e32\u2e34\u2e3a\u2e3b\u2e40\u2e41\u2e49\u2e5d'
          || '\u3001\u301c\u3030\u30a0\ua4fe\ua60d\ua6f5\ufe10\ufe11\ufe31\ufe32\ufe50\ufe51\ufe58\ufe63'
          || '\uff0c\uff0d\uff64\U00010ead]+',
        E'\n', 'g'),
      '['
        || '\u0009\u0020-\u002b\u002e\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007e\u00a0-\u00bf\u00d7\u00f7'
        || '\u055a-\u055c\u055e\u055f\u0589\u05c0\u05c3\u05c6\u05f3\u05f4\u0606-\u060b\u060d-\u060f\u061b'
        || '\u061d-\u061f\u066a-\u066d\u06d4\u0964\u0965\u0e3f\u0e4f\u0e5a\u0e5b\u104a\u104b\u1361\u1362'
        || '\u1364-\u1368\u1680\u16eb-\u16ed\u17d4-\u17d6\u1800\u1801\u1803-\u1805\u1807\u1809\u180a'
        || '\u2000-\u200a\u2016-\u2027\u202f-\u2052\u2054-\u205f\u2070-\u207a\u207c-\u208a'
        || '\u208c-\u20cf\u2100-\u2211\u2213-\u2bff\u2e00-\u2e16\u2e18\u2e19\u2e1b-\u2e31\u2e33'
        || '\u2e35-\u2e39\u2e3c-\u2e3f\u2e42-\u2e48'
        || '\u2e4a-\u2e5c\u2e5e-\u2e7f\u3000\u3002-\u3004\u3008-\u301b\u301d-\u3020\u303d\u30fb\ua4ff'
        || '\ua60e\ua60f\ufe12-\ufe19\ufe30\ufe33-\ufe4f\ufe52-\ufe57\ufe59-\ufe62\ufe64-\ufe6b\uff61\uff65'
        || '\ufffc\ufffd\U0001f000-\U0001fbff]+',
      ' ', 'g'),
    'iıłøđðħŧæœþŋəßŁØĐÐĦŦẞکیى'
      || 'абвгдежзиклмнопрстуфхцчшщъыьэюяієґђјљњћџѕәғқңөұүһ'
      || 'αβγδεζηθικλμνξοπρσςτυφχψω'
      || 'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ',
    'IILODDHTÆŒÞŊƏßLODDHTßكيي'
      || 'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯІЄҐЂЈЉЊЋЏЅӘҒҚҢӨҰҮҺ'
      || 'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΣΤΥΦΧΨΩ'
      || 'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ'
  ))
$$;

-- A word or phrase of the list in the form in which it is stored and compared.
create function outbox_engine.normalized_word(p_text text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select translate(outbox_engine.folded_text(coalesce(p_text, '')), E' \n', '')
$$;

-- A text with the signs and pictures that stand for a Latin letter replaced by it. Otherwise they part words.
create function outbox_engine.signs_as_letters(p_text text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select translate(
    p_text,
    '$@|'
      || '🅐🅑🅒🅓🅔🅕🅖🅗🅘🅙🅚🅛🅜🅝🅞🅟🅠🅡🅢🅣🅤🅥🅦🅧🅨🅩'
      || '🅰🅱🅲🅳🅴🅵🅶🅷🅸🅹🅺🅻🅼🅽🅾🅿🆀🆁🆂🆃🆄🆅🆆🆇🆈🆉'
      || '🇦🇧🇨🇩🇪🇫🇬🇭🇮🇯🇰🇱🇲🇳🇴🇵🇶🇷🇸🇹🇺🇻🇼🇽🇾🇿',
    'SAL' || repeat('ABCDEFGHIJKLMNOPQRSTUVWXYZ', 3)
  )
$$;

-- A text with the signs, digits and letters of other scripts that look like a Latin letter replaced by it
-- (confusables of Unicode TS 39, the common ones). Small letters by the shape of the small letter: a small
-- Greek nu looks like v, the capital like N. Runs of three and more of one letter become one ("STOOOP").
create function outbox_engine.as_latin(p_text text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select regexp_replace(
    translate(
      normalize(outbox_engine.signs_as_letters(p_text), nfd),
      'АВЕЅІЈКМНОРСТУХҺӀԚԜѴЬ' || 'авгеѕіјкмнопрстухһӏԛԝѵьԁц'
        || 'ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ' || 'αβγεηικμνορςστυχωϲϳ'
        || 'ՏՕՍհոսօցյզ' || 'ⲤⲞⲢⲦⲥⲟⲣⲧ'
        || 'ᎪᏴᏟᎠᎬᎻᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃᎾ' || 'ꓮꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ'
        || 'ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɑɡɩ' || 'ᴩᔕᑭႽჿⵔ' || '0135',
      'ABESIJKMHOPCTYXHIQWVB' || 'abresijkmhonpctyxhlqwvbdu'
        || 'ABEZHIKMNOPTYXCJ' || 'abyenikuvopsotuxwcj'
        || 'SOUhnuogjq' || 'COPTcopt'
        || 'ABCDEHJKLMPRSTVWZO' || 'ABCDEFGHIJKLMNOPRSTUVWXYZ'
        || 'ABCDEFGHIJKLMNOPRSTUVWYZagi' || 'PSPSoO' || 'OIES'
    ),
    '([A-Za-z])\1{2,}', '\1', 'gi')
$$;

-- The readings of a reply, each folded: as it is written; with signs as letters; with look-alikes as Latin
-- letters; where scripts are mixed, with Latin letters as the Cyrillic or Greek ones that look like them; and
-- with an apostrophe in a word as a blank ("d'arrêter"). A word of the list is looked for in all of them, so
-- a word in its own script goes on matching, also beside a disguised one ("$TOP пожалуйста"). Most texts
-- have English letters and no more, and one reading.
create function outbox_engine.readings(p_body text) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array(
    select distinct outbox_engine.folded_text(x.text)
    from unnest(array[
      p_body,
      outbox_engine.signs_as_letters(p_body),
      case when p_body ~ '[^A-Za-z\s.,;:!?''()-]|([A-Za-z])\1\1' then outbox_engine.as_latin(p_body) end,
      case when p_body ~ '[A-Za-z]' and p_body ~ '[\u0400-\u04ff]' then
        translate(p_body, 'ABCEHIKMOPTXYSJaceikmopstxyj', 'АВСЕНІКМОРТХУЅЈасеікморѕтхуј') end,
      case when p_body ~ '[A-Za-z]' and p_body ~ '[\u0370-\u03ff]' then
        translate(p_body, 'ABEHIKMNOPTXYZaeiknoptuvwxy', 'ΑΒΕΗΙΚΜΝΟΡΤΧΥΖαεικηορτυνωχγ') end,
      case when p_body ~ '\S[''\u2018\u2019\u02bc\uff07]\S' then
        translate(p_body, E'\'\u2018\u2019\u02bc\uff07', '     ') end
    ]) x (text)
    where x.text is not null
  )
$$;
