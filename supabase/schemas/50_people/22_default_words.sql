-- The words that a new database begins with. docs/operating.md names the sources and what was left out.

-- Words with one of these sources stop messages in the rules of a country or a provider's list; `language`
-- says that the word means stop or unsubscribe in its language. `seed` is the release's list: a list is
-- inserted once, so a later release adds a new one.
create function outbox_engine.default_stop_words()
returns table (seed text, language text, effect text, source text, words text)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  values
    ('opt_out_words', '', 'stop', 'FCC', 'STOP'),
    ('opt_out_words', 'en', 'stop', 'FCC', 'UNSUBSCRIBE|CANCEL|END|QUIT|REVOKE|OPT OUT'),
    ('opt_out_words', 'en', 'stop', 'Twilio', 'STOP ALL'),
    ('opt_out_words', 'fr', 'stop', 'CWTA', 'ARRÊT'),
    ('opt_out_words', 'en', 'start', 'Sinch', 'START|UNSTOP'),
    ('opt_out_words', 'fr', 'start', 'Sinch', 'NONARRET'),
    ('opt_out_words', 'en', 'help', 'CWTA', 'HELP'),
    ('opt_out_words', 'fr', 'help', 'CWTA', 'AIDE'),
    ('opt_out_words_2', 'en', 'stop', 'AWS', 'REMOVE'),
    ('opt_out_words_2', 'en', 'stop', 'Twilio', 'UNSUB'),
    ('opt_out_words_2', 'zh', 'stop', 'AWS', 'TD'),
    ('opt_out_words_2', 'fr', 'stop', 'Twilio', 'ARRÊTE|ARRETT'),
    ('opt_out_words_2', 'fr', 'stop', 'language', 'ARRÊTER|ARRÊTEZ|DÉSABONNER|DÉSINSCRIRE'),
    ('opt_out_words_2', 'es', 'stop', 'Sinch', 'DETENER|SALIR'),
    ('opt_out_words_2', 'es', 'stop', 'language', 'ALTO|BAJA|DAR DE BAJA|NO MÁS|DESUSCRIBIR'),
    ('opt_out_words_2', 'pt', 'stop', 'Sinch', 'PARAR|CANCELAR'),
    ('opt_out_words_2', 'pt', 'stop', 'language', 'SAIR|DESCADASTRAR'),
    ('opt_out_words_2', 'ca', 'stop', 'language', 'ATURAR|BAIXA'),
    ('opt_out_words_2', 'it', 'stop', 'language', 'BASTA|CANCELLAMI|DISISCRIVIMI'),
    ('opt_out_words_2', 'de', 'stop', 'language', 'STOPP|ABMELDEN|ABBESTELLEN'),
    ('opt_out_words_2', 'nl', 'stop', 'language', 'STOPPEN|AFMELDEN|UITSCHRIJVEN'),
    ('opt_out_words_2', 'sv', 'stop', 'language', 'AVSLUTA|AVREGISTRERA'),
    ('opt_out_words_2', 'da', 'stop', 'language', 'AFMELD|AVMELD'),
    ('opt_out_words_2', 'fi', 'stop', 'language', 'LOPETA'),
    ('opt_out_words_2', 'pl', 'stop', 'language', 'WYPISZ|ZATRZYMAJ'),
    ('opt_out_words_2', 'cs', 'stop', 'language', 'ZRUŠIT|ODHLÁSIT'),
    ('opt_out_words_2', 'hu', 'stop', 'language', 'LEÁLLÍT|LEIRATKOZÁS'),
    ('opt_out_words_2', 'ro', 'stop', 'language', 'OPREȘTE|DEZABONARE'),
    ('opt_out_words_2', 'hr', 'stop', 'language', 'ODJAVA|PRESTANI'),
    ('opt_out_words_2', 'ru', 'stop', 'language', 'СТОП|ОТПИСАТЬСЯ|ОТПИСКА'),
    ('opt_out_words_2', 'uk', 'stop', 'language', 'ВІДПИСАТИСЯ|ВІДПИСКА'),
    ('opt_out_words_2', 'el', 'stop', 'language', 'ΣΤΟΠ|ΔΙΑΓΡΑΦΗ'),
    ('opt_out_words_2', 'tr', 'stop', 'language', 'DURDUR|İPTAL'),
    ('opt_out_words_2', 'ar', 'stop', 'language', 'توقف|إيقاف|إلغاء|إلغاء الاشتراك'),
    ('opt_out_words_2', 'fa', 'stop', 'language', 'لغو'),
    ('opt_out_words_2', 'he', 'stop', 'language', 'הסר|הסרה'),
    ('opt_out_words_2', 'hi', 'stop', 'language', 'रोकें|बंद करें'),
    ('opt_out_words_2', 'zh', 'stop', 'language', '停止|退订|退訂'),
    ('opt_out_words_2', 'ja', 'stop', 'language', 'ストップ|配信停止'),
    ('opt_out_words_2', 'ko', 'stop', 'language', '수신거부|중지'),
    ('opt_out_words_2', 'th', 'stop', 'language', 'หยุด|ยกเลิก'),
    ('opt_out_words_2', 'vi', 'stop', 'language', 'NGỪNG|TỪ CHỐI'),
    ('opt_out_words_2', 'id', 'stop', 'language', 'BERHENTI')
$$;

-- Words that may stand around an opt-out without making it uncertain.
create function outbox_engine.default_polite_words()
returns table (seed text, language text, effect text, source text, words text)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 'opt_out_words_2', v.language, 'polite', 'language', v.words
  from (values
    ('en', 'PLEASE|PLS|PLZ|THANKS|THANK YOU|THX|TY|KINDLY'), ('de', 'BITTE|DANKE'),
    ('fr', 'MERCI|SVP|STP|S''IL VOUS PLAÎT|S''IL TE PLAÎT'), ('es', 'POR FAVOR|GRACIAS'),
    ('pt', 'OBRIGADO|OBRIGADA'), ('it', 'PER FAVORE|GRAZIE'), ('ca', 'SI US PLAU|GRÀCIES'),
    ('nl', 'ALSTUBLIEFT|ALSJEBLIEFT|AUB|DANK U|DANK JE|BEDANKT'), ('sv', 'TACK|SNÄLLA'),
    ('da', 'TAK|VENLIGST'), ('no', 'TAKK|VENNLIGST'), ('fi', 'KIITOS'), ('pl', 'PROSZĘ|DZIĘKUJĘ'),
    ('cs', 'PROSÍM|DĚKUJI'), ('hu', 'KÉREM|KÖSZÖNÖM'), ('ro', 'VĂ ROG|MULȚUMESC'), ('hr', 'MOLIM|HVALA'),
    ('ru', 'ПОЖАЛУЙСТА|СПАСИБО'), ('uk', 'БУДЬ ЛАСКА|ДЯКУЮ'), ('el', 'ΠΑΡΑΚΑΛΩ|ΕΥΧΑΡΙΣΤΩ'),
    ('tr', 'LÜTFEN|TEŞEKKÜRLER'), ('ar', 'من فضلك|لو سمحت|شكرا'), ('fa', 'لطفا|ممنون'), ('he', 'בבקשה|תודה'),
    ('hi', 'कृपया|धन्यवाद'), ('zh', '请|請|谢谢|謝謝'), ('ja', 'お願いします|してください|ありがとう'), ('ko', '해주세요|부탁합니다|감사합니다'),
    ('th', 'กรุณา|ขอบคุณ|ครับ|ค่ะ'), ('vi', 'XIN|CẢM ƠN'), ('id', 'TOLONG|TERIMA KASIH')
  ) v (language, words)
$$;

-- Words that say no. Names that are negations in another language ("Mai", "Nu") are left out.
create function outbox_engine.default_negations()
returns table (seed text, language text, effect text, source text, words text)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 'opt_out_words_2', v.language, 'negation', 'language', v.words
  from (values
    ('en', 'NO|NOT|NEVER|DON''T|WON''T|CAN''T|CANNOT|DIDN''T|DOESN''T|ISN''T|WASN''T|WOULDN''T|NOR'),
    ('de', 'NICHT|KEIN|KEINE|KEINEN|NIE|NEIN'), ('fr', 'NE|PAS|NON|JAMAIS'), ('es', 'NUNCA|TAMPOCO'),
    ('pt', 'NÃO'), ('nl', 'NIET|GEEN|NOOIT|NEE'), ('sv', 'INTE|ALDRIG|NEJ'), ('da', 'IKKE|ALDRI|NEI'),
    ('fi', 'EI|ÄLÄ'), ('pl', 'NIGDY'), ('hu', 'NEM'), ('ru', 'НЕ|НЕТ|НИКОГДА'), ('uk', 'НІ|НІКОЛИ'),
    ('el', 'ΜΗΝ|ΔΕΝ|ΟΧΙ'), ('tr', 'HAYIR|DEĞİL'), ('ar', 'لا|ليس|لن'), ('fa', 'نه|نکن'), ('he', 'לא|אל'),
    ('hi', 'मत|नहीं'), ('zh', '不|不要|别|別'), ('ja', 'しないで|ない'), ('ko', '하지마|하지마세요|않아'),
    ('th', 'ไม่|อย่า'), ('vi', 'KHÔNG|ĐỪNG'), ('id', 'JANGAN|TIDAK')
  ) v (language, words)
$$;

-- Called by `seed`. Each list is inserted once and never replaces a row, so the words of a project and its
-- removals stay, also when a backup brings the rows of both tables. Rows of release 0.1.0 get their source,
-- and words that it stored in another form get today's.
create function outbox_engine.seed_opt_out_words() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update public.outbox_opt_out_words w
  set word = outbox_engine.normalized_word(w.word)
  where w.word <> outbox_engine.normalized_word(w.word)
    and not exists (
      select from public.outbox_opt_out_words x
      where x.word = outbox_engine.normalized_word(w.word) and x.sender = w.sender
    );

  with defaults as materialized (
    select d.seed, d.language, d.effect, d.source, outbox_engine.normalized_word(x.word) as word
    from (
      select * from outbox_engine.default_stop_words()
      union all
      select * from outbox_engine.default_polite_words()
      union all
      select * from outbox_engine.default_negations()
    ) d
    cross join lateral unnest(string_to_array(d.words, '|')) x (word)
    where not exists (select from outbox_engine.seeds s where s.name = 'opt_out_words_2')
  ),
  tagged as (
    update public.outbox_opt_out_words w
    set source = d.source
    from defaults d
    where w.word = d.word and w.sender = '' and w.effect = d.effect and w.source is null
  )
  insert into public.outbox_opt_out_words (word, language, effect, source)
  select d.word, d.language, d.effect, d.source
  from defaults d
  where not exists (select from outbox_engine.seeds s where s.name = d.seed)
  on conflict do nothing;

  insert into outbox_engine.seeds (name)
  values ('opt_out_words'), ('opt_out_words_2')
  on conflict do nothing
$$;
