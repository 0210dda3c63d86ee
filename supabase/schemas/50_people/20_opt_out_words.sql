-- Opt-out words: words in replies that stop messages, start them again or ask for help. Polite words and
-- negations stand beside them, because they decide whether a reply is certain.

-- A row with an empty sender counts for all senders. A row for one sender takes precedence there; the
-- effect 'none' makes the word an ordinary one for that sender.
create table public.outbox_opt_out_words (
  word text not null,
  sender text not null default '',
  language text not null default '',
  effect text not null,
  reply text,
  source text,
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
comment on column public.outbox_opt_out_words.source is
  'Where a default comes from; null for a word of the project';

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
-- compared, so an operator can write them in any form. A word of the project replaces the default of the same
-- name: a script that inserts it was written before it was a default.
create function outbox_engine.before_word_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.word := outbox_engine.normalized_word(new.word);
  new.sender := coalesce(outbox_engine.normalized_sender(new.sender), '');
  new.language := coalesce(new.language, '');
  if new.word = '' then
    perform outbox_engine.refuse('word has no letter or digit');
  elsif new.effect is null
    or new.effect not in ('stop', 'start', 'help', 'polite', 'negation', 'none') then
    perform outbox_engine.refuse(
      format('effect %L is not stop, start, help, polite, negation or none', new.effect));
  elsif new.reply is not null and (
    new.effect <> 'help' or outbox_engine.is_blank(new.reply) or char_length(new.reply) > 2000
  ) then
    perform outbox_engine.refuse('only a help word has a reply, of 1 to 2000 characters');
  elsif new.sender <> '' and not outbox_engine.is_sender(new.sender) then
    perform outbox_engine.refuse(
      format('sender %L is not a sender', new.sender),
      'The number or short code that people write to, or nothing for all of them.');
  elsif tg_op = 'INSERT' or new.sender <> old.sender then
    perform outbox_engine.refuse_sender_with_zero(new.sender);
  end if;
  if tg_op = 'INSERT' and new.source is null then
    delete from public.outbox_opt_out_words
    where word = new.word and sender = new.sender and source is not null;
  end if;
  return new;
end
$$;
create trigger outbox_opt_out_words_change before insert or update on public.outbox_opt_out_words for each row
  execute function outbox_engine.before_word_change();

-- The words that count for replies to this sender. Senders are compared without their plus.
create function outbox_engine.words_for(p_to text) returns table (word text, effect text, reply text)
language sql stable set search_path = pg_catalog, pg_temp rows 300
as $$
  with own as materialized (
    select w.word, w.effect, w.reply
    from public.outbox_opt_out_words w
    where w.sender <> '' and ltrim(w.sender, '+') = ltrim(p_to, '+')
  )
  select o.word, o.effect, o.reply
  from own o
  where o.effect <> 'none'
  union all
  select w.word, w.effect, w.reply
  from public.outbox_opt_out_words w
  where w.sender = '' and w.effect <> 'none' and w.word <> all (array(select o.word from own o))
$$;

create policy outbox_opt_out_words_server on public.outbox_opt_out_words for all to service_role
  using (true) with check (true);

revoke all on public.outbox_opt_out_words from public, anon, authenticated, service_role;
grant select, insert, update, delete on public.outbox_opt_out_words to service_role;
