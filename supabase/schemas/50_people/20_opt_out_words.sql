-- Opt-out words: words in replies that stop messages, start them again or ask for help.

-- A row with an empty sender counts for all senders. A row for one sender takes precedence there; the
-- effect 'none' makes the word an ordinary one for that sender.
create table public.outbox_opt_out_words (
  word text not null,
  sender text not null default '',
  language text not null default '',
  effect text not null,
  reply text,
  primary key (word, sender)
);
alter table public.outbox_opt_out_words enable row level security;

comment on table public.outbox_opt_out_words is
  'Words in a reply that stop messages, start them again or ask for help, by sender.';
comment on column public.outbox_opt_out_words.sender is
  'The number or short code that recipients write to; empty for all';
comment on column public.outbox_opt_out_words.language is
  'For people who read the list: the engine matches the words of all languages';
comment on column public.outbox_opt_out_words.reply is
  'For help words: the text to answer with, null for none';

-- A text in the form in which words are compared: upper case, without accents (Latin, Greek, Cyrillic,
-- Arabic, Hebrew), spaces and punctuation. `upper` follows the locale of the database, which may know only
-- English letters or use Turkish rules, so the other letters are listed here.
create function outbox_engine.normalized_word(p_text text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select upper(translate(
    regexp_replace(
      normalize(coalesce(p_text, ''), nfkd),
      '['
        -- Signs of ASCII and Latin-1, modifier letters, accents.
        || '\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u00d7\u00f7\u02b9-\u036f\u0483-\u0489'
        -- Armenian, Hebrew with its points, Arabic with its vowels.
        || '\u055a-\u055f\u0589\u058a\u0591-\u05c7\u05f3\u05f4\u060c\u060d\u061b-\u061f\u0640\u064b-\u065f'
        || '\u066a-\u066d\u0670\u06d4'
        -- Indic, Thai, Burmese, Ethiopic, Khmer and Mongolian signs, fillers.
        || '\u0964\u0965\u0e5a\u0e5b\u104a\u104b\u115f\u1160\u1361-\u1368\u17d4-\u17d6\u1800-\u180e'
        -- Punctuation and symbols, those of East Asia, variation selectors and invisible marks, pictures.
        || '\u2000-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\u3030\u303d\u30a0\u30fb\u3164'
        || '\ufe00-\ufe6f\ufeff\ufff9-\ufffd\U0001f000-\U0001fbff\U000e0000-\U000e01ef]',
      '',
      'g'
    ),
    'iıłøđðħŧæœþŋəßŁØĐÐĦŦẞ'
      || 'абвгдежзиклмнопрстуфхцчшщъыьэюяієґђјљњћџѕәғқңөұүһ'
      || 'αβγδεζηθικλμνξοπρσςτυφχψω'
      || 'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ',
    'IILODDHTÆŒÞŊƏßLODDHTß'
      || 'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯІЄҐЂЈЉЊЋЏЅӘҒҚҢӨҰҮҺ'
      || 'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΣΤΥΦΧΨΩ'
      || 'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ'
  ))
$$;

-- A sender in the form in which senders are compared: a number gets its plus and loses what separates its
-- digits; anything else stays as it is, so `is_sender` refuses it. That includes a number with a zero in
-- brackets, which is dialled inside the country only. Processes read numbers by the same rule.
create function outbox_engine.normalized_sender(p_sender text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_sender ~ '\(\s*0(?!0)' then btrim(p_sender)
    when x.number ~ '^(\+|00)?[1-9][0-9]{6,14}$' then '+' || regexp_replace(x.number, '^(\+|00)', '')
    when x.number ~ '^\+?[1-9][0-9]{2,5}$' then ltrim(x.number, '+')
    else btrim(p_sender)
  end
  from (select translate(p_sender, E' -.()\u00a0', '') as number) x
$$;

-- Runs before a word is inserted or updated. Words and senders are stored in the form in which they are
-- compared, so an operator can write them in any form.
create function outbox_engine.before_word_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.word := outbox_engine.normalized_word(new.word);
  new.sender := coalesce(outbox_engine.normalized_sender(new.sender), '');
  new.language := coalesce(new.language, '');
  if new.word = '' then
    perform outbox_engine.refuse('word has no letter or digit');
  elsif new.effect is null or new.effect not in ('stop', 'start', 'help', 'none') then
    perform outbox_engine.refuse(format('effect %L is not stop, start, help or none', new.effect));
  elsif new.reply is not null and (
    new.effect <> 'help' or btrim(new.reply, E' \t\r\n') = '' or char_length(new.reply) > 2000
  ) then
    perform outbox_engine.refuse('only a help word has a reply, of 1 to 2000 characters');
  elsif new.sender <> '' and not outbox_engine.is_sender(new.sender) then
    perform outbox_engine.refuse(
      format('sender %L is not a sender', new.sender),
      'The number or short code that people write to, or nothing for all of them.');
  elsif tg_op = 'INSERT' or new.sender <> old.sender then
    perform outbox_engine.refuse_sender_with_zero(new.sender);
  end if;
  return new;
end
$$;
create trigger outbox_opt_out_words_change before insert or update on public.outbox_opt_out_words for each row
  execute function outbox_engine.before_word_change();

-- The effect of a reply to a sender: `stop`, `start`, `help`, or null for an ordinary message; and for a
-- help word the text to answer with, or null. Case, accents, spaces and punctuation of the reply do not
-- matter. Senders are compared without their plus.
create function outbox_engine.word_effect(p_body text, p_to text, out effect text, out reply text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select nullif(w.effect, 'none'), w.reply
  from public.outbox_opt_out_words w
  where w.word = outbox_engine.normalized_word(left(p_body, 200))
    and (w.sender = '' or ltrim(w.sender, '+') = ltrim(p_to, '+'))
  order by w.sender = ''
  limit 1
$$;

create policy outbox_opt_out_words_server on public.outbox_opt_out_words for all to service_role
  using (true) with check (true);

-- Called by `seed`. Only the first run inserts words, so a word that a project deleted stays deleted.
create function outbox_engine.seed_opt_out_words() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into public.outbox_opt_out_words (word, language, effect)
  select w.word, w.language, w.effect
  from (values
    ('STOP', '', 'stop'), ('STOPALL', 'en', 'stop'), ('UNSUBSCRIBE', 'en', 'stop'), ('CANCEL', 'en', 'stop'),
    ('END', 'en', 'stop'), ('QUIT', 'en', 'stop'), ('REVOKE', 'en', 'stop'), ('OPTOUT', 'en', 'stop'),
    ('ARRET', 'fr', 'stop'),
    ('START', 'en', 'start'), ('UNSTOP', 'en', 'start'), ('NONARRET', 'fr', 'start'),
    ('HELP', 'en', 'help'), ('AIDE', 'fr', 'help')
  ) w (word, language, effect)
  where not exists (select from outbox_engine.seeds s where s.name = 'opt_out_words')
  on conflict do nothing;

  insert into outbox_engine.seeds (name) values ('opt_out_words') on conflict do nothing;
$$;

revoke all on public.outbox_opt_out_words from public, anon, authenticated, service_role;
grant select, insert, update, delete on public.outbox_opt_out_words to service_role;
