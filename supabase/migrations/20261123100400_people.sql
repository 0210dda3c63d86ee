-- People: who wants no messages, what they wrote to us, and the campaigns that remind them.

create table public.outbox_suppressions (
  recipient text primary key,
  reason text not null default 'operator',
  created_at timestamptz not null default outbox_engine.now(),
  by_engine boolean not null default false,
  constraint outbox_suppressions_recipient_is_e164 check (recipient ~ '^\+[1-9][0-9]{6,14}$')
);
alter table public.outbox_suppressions enable row level security;
comment on table public.outbox_suppressions is 'Numbers that get no messages. Deleting a row lifts it.';
comment on column public.outbox_suppressions.by_engine is 'Engine: the recipient asked for it, so that a START lifts it';

create table public.outbox_inbound (
  id text primary key,
  provider text not null,
  kind text not null,
  sender text not null,
  recipient text not null,
  body text,
  received_at timestamptz not null,
  recorded_at timestamptz not null default outbox_engine.now(),
  reference text,
  raw jsonb not null
);
alter table public.outbox_inbound enable row level security;
create index outbox_inbound_sender on public.outbox_inbound (sender, received_at);
create index outbox_inbound_recorded on public.outbox_inbound (recorded_at);
comment on table public.outbox_inbound is 'What recipients sent us.';

-- The latest word of each number about messages as such. Outlives the messages themselves, so that an old STOP that a poll
-- brings up again neither undoes a newer START nor an operator's decision.
create table outbox_engine.consents (
  recipient text primary key,
  opted_out boolean not null,
  decided_at timestamptz not null,
  inbound_id text
);
alter table outbox_engine.consents enable row level security;

-- Every inbound id that has had its effect, kept when the message itself is pruned.
create table outbox_engine.inbounds_seen (
  id text primary key,
  seen_at timestamptz not null
);
alter table outbox_engine.inbounds_seen enable row level security;

-- When each number was last answered to HELP: once a day at most, whatever it asks for.
create table outbox_engine.help_answers (
  recipient text primary key,
  answered_at timestamptz not null
);
alter table outbox_engine.help_answers enable row level security;

-- Words that stop and start messages. An empty sender is for every sender; a row for one sender goes before, and may say that the
-- word means nothing there.
create table public.outbox_opt_out_words (
  word text not null,
  sender text not null default '',
  language text not null default '',
  effect text not null,
  reply text,
  primary key (word, sender)
);
alter table public.outbox_opt_out_words enable row level security;

-- A word as it is compared: upper case and without accents (Latin, Greek, Cyrillic, Arabic, Hebrew), whatever stands between,
-- before and after its letters and digits. A database's locale may know no letters but English ones, or Turkish rules for them,
-- so the others are named here.
create function outbox_engine.bare_word(p_text text) returns text
language sql immutable set search_path = ''
as $$
  select upper(translate(
    regexp_replace(
      normalize(coalesce(p_text, ''), nfkd),
      '['
        -- Signs of ASCII and Latin-1, modifier letters, accents.
        || '\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u00d7\u00f7\u02b9-\u036f\u0483-\u0489'
        -- Armenian, Hebrew with its points, Arabic with its vowels, Indic, Thai, Burmese, Ethiopic, Khmer and Mongolian signs, fillers.
        || '\u055a-\u055f\u0589\u058a\u0591-\u05c7\u05f3\u05f4\u060c\u060d\u061b-\u061f\u0640\u064b-\u065f\u066a-\u066d\u0670\u06d4'
        || '\u0964\u0965\u0e5a\u0e5b\u104a\u104b\u115f\u1160\u1361-\u1368\u17d4-\u17d6\u1800-\u180e'
        -- Punctuation and symbols, those of East Asia, selectors and marks that nobody sees, pictures.
        || '\u2000-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\u3030\u303d\u30a0\u30fb\u3164'
        || '\ufe00-\ufe6f\ufeff\ufff9-\ufffd\U0001f000-\U0001fbff\U000e0000-\U000e01ef]', '', 'g'),
    'iıłøđðħŧæœþŋəßабвгдежзиклмнопрстуфхцчшщъыьэюяієґђјљњћџѕәғқңөұүһαβγδεζηθικλμνξοπρσςτυφχψωաբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ'
      || 'ŁØĐÐĦŦẞ',
    'IILODDHTÆŒÞŊƏßАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯІЄҐЂЈЉЊЋЏЅӘҒҚҢӨҰҮҺΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΣΤΥΦΧΨΩԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ'
      || 'LODDHTß'))
$$;

-- A sender as it is compared: a number with its plus and nothing between its digits, all else as it stands.
create function outbox_engine.bare_sender(p_sender text) returns text
language sql immutable set search_path = ''
as $$
  select case
    when x.number ~ '^(\+|00)?[1-9][0-9]{6,14}$' then '+' || regexp_replace(x.number, '^(\+|00)', '')
    when x.number ~ '^\+?[1-9][0-9]{2,5}$' then ltrim(x.number, '+')
    else btrim(p_sender)
  end
  from (select translate(p_sender, E' -.()\u00a0', '') as number) x
$$;

-- Words are kept the way they are compared, so nobody needs to know how that is.
create function outbox_engine.before_word_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.word := outbox_engine.bare_word(new.word);
  new.sender := coalesce(outbox_engine.bare_sender(new.sender), '');
  new.language := coalesce(new.language, '');
  if new.word = '' then
    perform outbox_engine.refuse('word has no letter or digit');
  elsif new.effect is null or new.effect not in ('stop', 'start', 'help', 'none') then
    perform outbox_engine.refuse(format('effect %L is not stop, start, help or none', new.effect));
  elsif new.reply is not null and (new.effect <> 'help' or btrim(new.reply, E' \t\r\n') = '' or char_length(new.reply) > 2000) then
    perform outbox_engine.refuse('only a help word has a reply, of 1 to 2000 characters');
  elsif new.sender <> '' and not outbox_engine.is_sender(new.sender) then
    perform outbox_engine.refuse(
      format('sender %L is not a sender', new.sender),
      'The number or short code that people write to, or nothing for all of them.');
  end if;
  return new;
end
$$;
create trigger outbox_opt_out_words_change before insert or update on public.outbox_opt_out_words for each row
  execute function outbox_engine.before_word_change();

insert into public.outbox_opt_out_words (word, language, effect) values
  ('STOP', '', 'stop'), ('STOPALL', 'en', 'stop'), ('UNSUBSCRIBE', 'en', 'stop'), ('CANCEL', 'en', 'stop'), ('END', 'en', 'stop'),
  ('QUIT', 'en', 'stop'), ('REVOKE', 'en', 'stop'), ('OPTOUT', 'en', 'stop'), ('ARRET', 'fr', 'stop'),
  ('START', 'en', 'start'), ('UNSTOP', 'en', 'start'), ('NONARRET', 'fr', 'start'), ('HELP', 'en', 'help'), ('AIDE', 'fr', 'help');
comment on table public.outbox_opt_out_words is 'Words in a reply that stop messages, start them again or ask for help, by sender.';
comment on column public.outbox_opt_out_words.sender is 'The number or code they were sent to; empty for all';
comment on column public.outbox_opt_out_words.language is 'For those who read the list: the words of all languages are heeded';
comment on column public.outbox_opt_out_words.reply is 'For help words: the text to answer with, null for none';

-- A list of suppressions that somebody brings along is told in words what is wrong with it. The engine never changes a row, so a
-- change is an operator's decision, which no START takes back, whoever put the number on the list.
create function outbox_engine.before_suppression() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.reason := coalesce(new.reason, 'operator');
  new.by_engine := new.by_engine and tg_op = 'INSERT';
  if new.recipient is null or new.recipient !~ '^\+[1-9][0-9]{6,14}$' then
    perform outbox_engine.refuse(format('recipient %s is not an E.164 number', coalesce(quote_literal(new.recipient), 'null')),
      'Write it with + and the country code, digits only, such as +14155550123.');
  end if;
  return new;
end
$$;
create trigger outbox_suppressions_change before insert or update on public.outbox_suppressions for each row
  execute function outbox_engine.before_suppression();

create table public.outbox_campaigns (
  name text primary key,
  template text not null references public.outbox_templates (name) on update cascade,
  sender text,
  priority smallint not null default 200,
  schedule text not null check (schedule in ('once', 'cron', 'reminder')),
  starts_at timestamptz,
  cron_expression text,
  timezone text,
  offsets interval[],
  window_start time,
  window_end time,
  window_days smallint[],
  late_policy text not null default 'send' check (late_policy in ('send', 'skip')),
  late_limit interval not null default '1 hour',
  daily_cap integer check (daily_cap > 0),
  weekly_cap integer check (weekly_cap > 0),
  budget_parts integer check (budget_parts >= 0),
  daily_budget_parts integer check (daily_budget_parts >= 0),
  status text not null default 'draft' check (status in ('draft', 'active', 'paused', 'ended')),
  next_at timestamptz,
  member_count integer not null default 0,
  message_count integer not null default 0,
  created_at timestamptz not null default outbox_engine.now(),
  constraint outbox_campaigns_name_length check (char_length(name) <= 200),
  constraint outbox_campaigns_schedule_is_complete check (case schedule
    when 'once' then starts_at is not null
    when 'cron' then cron_expression is not null
    else cardinality(offsets) > 0
  end),
  constraint outbox_campaigns_window_is_complete check ((window_start is null) = (window_end is null))
);
alter table public.outbox_campaigns enable row level security;
create index outbox_campaigns_template on public.outbox_campaigns (template);
create index outbox_campaigns_due on public.outbox_campaigns (next_at) where status = 'active';

create table public.outbox_campaign_members (
  campaign text not null references public.outbox_campaigns (name) on update cascade on delete cascade,
  external_id text not null,
  recipient text not null,
  timezone text,
  event_at timestamptz,
  parameters jsonb not null default '{}',
  changed_at timestamptz not null default outbox_engine.now(),
  next_at timestamptz,
  primary key (campaign, external_id),
  constraint outbox_campaign_members_external_id_length check (char_length(external_id) <= 200),
  constraint outbox_campaign_members_recipient_is_e164 check (
    rtrim(recipient, '0123456789') = '+' and octet_length(recipient) between 8 and 16 and recipient >= '+1' collate "C"
  ),
  constraint outbox_campaign_members_parameters_are_an_object check (jsonb_typeof(parameters) = 'object')
);
alter table public.outbox_campaign_members enable row level security;
create index outbox_campaign_members_due on public.outbox_campaign_members (campaign, next_at) where next_at is not null;
create index outbox_campaign_members_recipient on public.outbox_campaign_members (recipient);

-- The permanent proof: one row for each (campaign, member, time it stands for). It outlives the member, hence no foreign key.
create table public.outbox_campaign_occurrences (
  campaign text not null,
  external_id text not null,
  occurs_at timestamptz not null,
  outbox_id bigint,
  reason text,
  created_at timestamptz not null default outbox_engine.now(),
  primary key (campaign, external_id, occurs_at)
);
alter table public.outbox_campaign_occurrences enable row level security;
create index outbox_campaign_occurrences_message on public.outbox_campaign_occurrences (outbox_id) where outbox_id is not null;
comment on table public.outbox_campaign_occurrences is
  'What became of each time a campaign stood for: the outbox row it made, or the reason it made none.';

revoke all on public.outbox_suppressions, public.outbox_inbound, public.outbox_opt_out_words, public.outbox_campaigns, public.outbox_campaign_members,
  public.outbox_campaign_occurrences from anon, authenticated, service_role;
revoke all on all tables in schema outbox_engine from anon, authenticated, service_role;
grant select, insert, update, delete on public.outbox_opt_out_words to service_role;
grant select, delete on public.outbox_campaign_members to service_role;
grant insert (campaign, external_id, recipient, timezone, event_at, parameters),
  update (campaign, external_id, recipient, timezone, event_at, parameters) on public.outbox_campaign_members to service_role;
grant select, insert (recipient, reason), update (recipient, reason), delete on public.outbox_suppressions to service_role;
grant select on public.outbox_inbound, public.outbox_campaign_occurrences, public.outbox_campaigns to service_role;
grant insert (name, template, sender, priority, schedule, starts_at, cron_expression, timezone, offsets, window_start,
  window_end, window_days, late_policy, late_limit, daily_cap, weekly_cap, budget_parts, daily_budget_parts, status),
  update (name, template, sender, priority, schedule, starts_at, cron_expression, timezone, offsets, window_start,
  window_end, window_days, late_policy, late_limit, daily_cap, weekly_cap, budget_parts, daily_budget_parts, status)
  on public.outbox_campaigns to service_role;
grant delete on public.outbox_campaigns to service_role;

create policy outbox_suppressions_server on public.outbox_suppressions for all to service_role using (true) with check (true);
create policy outbox_inbound_server on public.outbox_inbound for select to service_role using (true);
create policy outbox_opt_out_words_server on public.outbox_opt_out_words for all to service_role using (true) with check (true);
create policy outbox_campaigns_server on public.outbox_campaigns for all to service_role using (true) with check (true);
create policy outbox_campaign_members_server on public.outbox_campaign_members for all to service_role using (true) with check (true);
create policy outbox_campaign_occurrences_server on public.outbox_campaign_occurrences for select to service_role using (true);

notify pgrst, 'reload schema';
