-- What a reply asks for. Docs: "Replies" in docs/operating.md; docs/decisions/0019-replies.md says why.

-- A pattern for letters of scripts that put no blanks between words, or glue endings to them.
create function outbox_engine.unspaced_letters() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select '\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17b3\u3040-\u30ff\u3400-\u9fff'
$$;

-- How many words a token counts for: two letters of a script without blanks make one.
create function outbox_engine.words_in(p_token text) returns integer
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_token ~ ('[' || outbox_engine.unspaced_letters() || ']') then (char_length(p_token) + 1) / 2
    else 1
  end
$$;

-- The words of a folded text in order, and after which of them a comma, dash or line break stands or the text
-- ends. At most 400 words.
create function outbox_engine.tokens_of(p_folded text, out tokens text[], out cuts integer[])
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_line text;
begin
  tokens := '{}';
  foreach v_line in array string_to_array(left(p_folded, 2000), E'\n') loop
    tokens := (tokens || array_remove(string_to_array(v_line, ' '), ''))[:400];
    cuts := cuts || cardinality(tokens);
  end loop;
end
$$;

-- The words as one, where a word that is repeated at once counts once ("stop stop").
create function outbox_engine.without_repetitions(p_words text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select string_agg(w.word, '' order by w.place)
  from unnest(p_words) with ordinality w (word, place)
  where char_length(w.word) = 1 or w.word is distinct from p_words[w.place - 1]
$$;

-- A pattern for the polite words of these that are long enough to be told where no blank stands beside them.
create function outbox_engine.polite_pattern(p_words text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select '(?:' || string_agg(w, '|' order by w) || ')+'
  from unnest(p_words) w
  where char_length(w) >= 5 or w ~ ('[' || outbox_engine.unspaced_letters() || ']')
$$;

-- Whether a text holds a negation of a script without blanks, also inside a word.
create function outbox_engine.holds_negation(p_text text, p_to text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_text ~ ('[' || outbox_engine.unspaced_letters() || ']') then
    return exists (
      select from outbox_engine.words_for(p_to) w
      where w.effect = 'negation'
        and w.word ~ ('[' || outbox_engine.unspaced_letters() || ']')
        and strpos(p_text, w.word) > 0
    );
  end if;
  return false;
end
$$;

-- What a reply asks for. `p_readings` has the words of each reading in a line, and the parts of the text end
-- where `p_cuts` says. `effect` is null where it is not certain; `may_stop` says that it holds a stop word.
--
-- A reply is certain where, without polite words, it is one phrase of the list, which may be repeated. After
-- the phrase of an opt-out a comma, dash or line break and at most three more words may stand, a signature,
-- but no negation and no word with another effect: "Stop, John". A START or HELP has no signature, because
-- what is not certain must send nothing.
create function outbox_engine.read_words(
  p_readings text[], p_cuts integer[], p_to text, out effect text, out reply text, out may_stop boolean
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_count constant integer := array_length(p_readings, 2);
begin
  with words as materialized (select * from outbox_engine.words_for(p_to)),
  tokens as materialized (
    select (t.at - 1) / v_count as reading, ((t.at - 1) % v_count + 1)::integer as place, t.token
    from unnest(p_readings) with ordinality t (token, at) limit 1600
  ),
  -- Phrases are compared without their blanks, so "S T O P" is one of four words.
  hits as materialized (
    select distinct t.place as first, t.place + n.words - 1 as last, w.effect
    from (
      select t.place, array_agg(t.token) over (
        partition by t.reading order by t.place rows between current row and 7 following) as following
      from tokens t
    ) t
    cross join generate_series(1, 8) n (words)
    join words w on w.word = array_to_string(t.following[:n.words], '')
    where n.words <= cardinality(t.following)
  ),
  places as materialized (
    select t.place, t.token, exists (
        select from hits h where h.effect = 'polite' and t.place between h.first and h.last
      ) as is_polite
    from tokens t
    where t.reading = 0
  ),
  -- Where the phrase may end: at the end of the text, or before a signature.
  cuts as materialized (
    select c.cut, c.cut = v_count as is_end,
      coalesce(sum(outbox_engine.words_in(p.token)) filter (where not p.is_polite), 0) <= 3
        and not exists (
          select from hits h where h.last > c.cut and h.effect in ('negation', 'start', 'help'))
        and not outbox_engine.holds_negation(string_agg(p.token, ' '), p_to) as is_signed
    from (select distinct x.cut from unnest(p_cuts) x (cut) where x.cut >= v_count - 16) c
    left join places p on p.place > c.cut
    group by c.cut
  ),
  phrases as materialized (
    select c.is_end, c.is_signed, b.bare, x.whole,
      regexp_replace(regexp_replace(b.bare, '^' || w.polite, ''), w.polite || '$', '') as trimmed
    from cuts c
    cross join (
      select outbox_engine.polite_pattern(array_agg(word)) as polite from words where words.effect = 'polite'
    ) w
    cross join lateral (
      select
        string_agg(t.token, '' order by t.place) as whole,
        array_agg(t.token order by t.place) filter (where not p.is_polite) as words
      from tokens t join places p on p.place = t.place
      where t.place <= c.cut
      group by t.reading
    ) x
    cross join lateral outbox_engine.without_repetitions(x.words) b (bare)
    where c.is_end or c.is_signed
  ),
  certain as (
    select w.effect, w.reply
    from phrases p
    join words w on w.word in (p.whole, p.bare, p.trimmed)
    where w.effect = 'stop' and p.is_signed or w.effect in ('start', 'help') and p.is_end
    order by w.effect = 'stop' desc
    limit 1
  )
  select c.effect, c.reply, exists (select from hits h where h.effect = 'stop') or exists (
      select from words s
      where s.effect = 'stop'
        and s.word ~ ('[' || outbox_engine.unspaced_letters() || ']')
        and strpos(array_to_string(p_readings[1:1], ''), s.word) > 0
    )
  into effect, reply, may_stop
  from (select) one
  left join certain c on true;
end
$$;

-- What a reply to a sender asks for: `effect` is `stop`, `start` or `help`, or null for any other message;
-- for a help word `reply` is the text to answer with, or null. `unclear` says that it holds a stop word and
-- is not certain, so a person has to read it. Planning the statement in `read_words` takes longer than
-- running it, so it is planned once.
create function outbox_engine.read_reply(
  p_body text, p_to text, out effect text, out reply text, out unclear boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off set plan_cache_mode = force_generic_plan
as $$
declare
  v_alike record;
  v_read record;
begin
  unclear := false;
  -- A sign that looks like a letter may join words, so readings may have other words.
  for v_alike in
    select array_agg(t.tokens) as readings, t.cuts
    from unnest(outbox_engine.readings(left(p_body, 10000))) r (folded)
    cross join lateral outbox_engine.tokens_of(r.folded) t
    where t.tokens <> '{}'
    group by t.cuts
  loop
    -- Most replies hold no word of the list, not even inside other words.
    continue when not exists (
      select from outbox_engine.words_for(p_to) w
      where w.effect in ('stop', 'start', 'help')
        and strpos(array_to_string(v_alike.readings, ''), w.word) > 0
    );
    v_read := outbox_engine.read_words(v_alike.readings, v_alike.cuts, p_to);
    unclear := unclear or v_read.may_stop;
    if v_read.effect = 'stop' or effect is null then
      effect := v_read.effect;
      reply := v_read.reply;
    end if;
  end loop;
  unclear := unclear and effect is null;
end
$$;
