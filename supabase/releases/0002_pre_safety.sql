-- Messages that leave the outbox (90_operators/08_removed.sql).
create table outbox_engine.emptied_dispatches (
  id uuid primary key,
  delete_at timestamptz not null
);
alter table outbox_engine.emptied_dispatches enable row level security;
create index emptied_dispatches_due on outbox_engine.emptied_dispatches (delete_at);
create type outbox_engine.removed_message as (
  id bigint,
  campaign text,
  recipient text,
  status text,
  status_code integer,
  error text,
  parts smallint,
  sent_at timestamptz,
  is_waiting boolean
);
-- What the dispatch job counts of the messages of a dispatch.
create type outbox_engine.claimed_message as (
  dispatch_id uuid, priority smallint, due_at timestamptz, trace_context text
);
-- Lookups ask whether a report without a reference names a number of their dispatch.
create index waiting_reports_unreferenced on outbox_engine.waiting_reports (((report).recipient))
  where reference is null;
-- A report on a request of this database that it does not know shows that it was restored.
alter table outbox_engine.waiting_reports add column is_unknown boolean;
create index waiting_reports_unknown on outbox_engine.waiting_reports (received_at) where is_unknown;
-- One row. A backup holds it, so a restored database recognizes the requests made since that backup.
create table outbox_engine.installation (
  only_row boolean primary key default true check (only_row),
  -- 48 random bits in hexadecimal: the beginning of each dispatch's id.
  id text not null default left(replace(gen_random_uuid()::text, '-', ''), 12)
    check (id ~ '^[0-9a-f]{12}$'),
  -- The ids that it had before `outbox bind` moved it to another project.
  earlier_ids text[] not null default '{}',
  -- The hosts of SUPABASE_URL that it sends from. The first claim writes the first one.
  hosts text[] not null default '{}',
  -- Whether requests with an earlier id that it does not know show that it was restored: since a move, until
  -- an operator ends that pause.
  asks_earlier boolean not null default false,
  -- The key of all digests of what was erased (`keyed_digest`).
  digest_key text not null default gen_random_uuid()::text || gen_random_uuid()::text
);
alter table outbox_engine.installation enable row level security;

-- The timelines of a plan but for the first. Each begins where an operator ended the pause of a restored
-- database: what processes saw in an earlier one is adopted since.
create table outbox_engine.timelines (
  provider text not null,
  plan text not null,
  number integer not null,
  id uuid not null default gen_random_uuid(),
  -- When an operator ended the pause without adopting what was sent.
  dismissed_at timestamptz,
  primary key (provider, plan, number)
);
alter table outbox_engine.timelines enable row level security;

-- What the database says to a claim, which the process compares with what it has seen. `lacks_token`
-- and the others are true only where it named one.
create type outbox_engine.database_state as (
  hosts text[],
  timeline text,
  heartbeat_at timestamptz,
  lacks_timeline boolean,
  has_unknown_reports boolean,
  lacks_token boolean,
  lacks_dispatch boolean,
  lacks_heartbeat boolean
);

-- The kind `restored` is new.
alter table outbox_engine.plan_pauses drop constraint plan_pauses_kind_check;
alter table outbox_engine.plan_pauses add constraint plan_pauses_kind_check check (kind in (
  'throttled', 'unreachable', 'account', 'setting', 'operator', 'restored'
)) not valid;

-- Messages that `outbox adopt` remembers.
create table outbox_engine.adopted_messages (
  provider text not null,
  plan text not null,
  batch_id text not null,
  reference uuid not null,
  -- Empty for one that cannot be read: it may be any number.
  recipient text not null,
  -- The MD5 of the text. Null where the provider's list does not give it.
  digest uuid,
  -- The `letters_digest` of the text: the provider's list may show it with other marks and spaces.
  letters uuid,
  sent_at timestamptz not null,
  -- The message that the claim holds because of this one, and when an operator had that one sent.
  outbox_id bigint,
  released_at timestamptz,
  -- The provider's list shows the batch no longer.
  kept_until timestamptz not null,
  primary key (reference, batch_id, recipient)
);
alter table outbox_engine.adopted_messages enable row level security;

-- By the end of the number: a provider may write its beginning in another way.
create index adopted_messages_recipient on outbox_engine.adopted_messages (right(recipient, 8))
  where released_at is null;
create index adopted_messages_held on outbox_engine.adopted_messages (outbox_id)
  where outbox_id is not null and released_at is null;

create type outbox_engine.listed_batch as (
  batch_id text,
  reference text,
  created_at timestamptz,
  -- Empty where one cannot be read.
  recipients text[],
  digests uuid[],
  letters uuid[]
);
-- Refused contents and the messages that are held.

-- One row for each content that was refused and not accepted since: of a sender and a text, or of a sender
-- alone, which counts the texts that were refused.
create table outbox_engine.refused_contents (
  provider text not null,
  plan text not null,
  content uuid not null,
  sender text,
  is_sender boolean not null default false,
  -- How many requests of one message were refused alike in a row (of a sender: how many texts), the key that
  -- they have in common, and the provider's latest words.
  refusals smallint not null,
  refusal_key text not null,
  error text not null,
  last_content uuid,
  refused_at timestamptz not null,
  -- When the first of these requests was claimed. The acceptance of an earlier one does not end the hold.
  claimed_at timestamptz not null,
  -- Since when its messages are held. Null while refusals are only counted.
  held_since timestamptz,
  -- Held because of its sender, or of a setting of a process. An acceptance of the sender ends that.
  by_sender boolean not null default false,
  -- When the next message is sent as a probe, how many were, and which message is the latest.
  probe_at timestamptz,
  probes smallint not null default 0,
  probe_id bigint,
  -- The hold is over, and claims let its messages go, some thousands at a time.
  is_lifted boolean not null default false,
  primary key (provider, plan, content)
);
alter table outbox_engine.refused_contents enable row level security;

-- The messages that are held, and when each was a probe.
create table outbox_engine.held_messages (
  outbox_id bigint primary key,
  provider text not null,
  plan text not null,
  content uuid not null,
  probed_at timestamptz
);
alter table outbox_engine.held_messages enable row level security;

create index held_messages_content
  on outbox_engine.held_messages (provider, plan, content, probed_at nulls first, outbox_id);

-- The clocks of the database, the provider and the processes may differ, and step.
alter table outbox_engine.plans add column seen_at timestamptz;
alter table outbox_engine.plans add column messages_per_day bigint;
alter table outbox_engine.plans add column messages_day date;
alter table outbox_engine.plans add column messages_today bigint not null default 0;
alter table outbox_engine.heartbeats add column was_at timestamptz;
alter table outbox_engine.heartbeats add column ended_at timestamptz;
alter table outbox_engine.heartbeats add column credential text;
alter table outbox_engine.dispatches add column missed_provider_at timestamptz;
alter table outbox_engine.dispatches add column other_batches text[];

create table outbox_engine.clocks_off (
  clock text not null check (clock in ('database', 'provider', 'worker')),
  name text not null default '',
  seconds double precision not null,
  since timestamptz not null,
  at timestamptz not null,
  alarmed_seconds double precision not null,
  primary key (clock, name)
);
alter table outbox_engine.clocks_off enable row level security;

create or replace view outbox_engine.unlogged_alarms as
select id,
  case
    when offered_until <= outbox_engine.now() + interval '1 minute' then offered_until
    else '-infinity'
  end as free_at
from outbox_engine.alarms
where acknowledged_at is null;

create view outbox_engine.waiting_held as
select o.id
from (
  select outbox_id from outbox_engine.held_messages
  union all
  select outbox_id from outbox_engine.adopted_messages where outbox_id is not null and released_at is null
) h
join public.outbox o on o.id = h.outbox_id
where o.queue = 'w';
-- Until when some process sleeps, which inserts have to tell.
create sequence outbox_engine.asleep_until minvalue 0 start 0;

create table outbox_engine.returned_messages (
  id bigint generated always as identity primary key,
  provider text not null,
  plan text not null,
  day date not null,
  messages integer not null
);
alter table outbox_engine.returned_messages enable row level security;

-- Secret messages (40_outbox/39_secret.sql).
alter table public.outbox add column secret boolean not null default false;
alter table public.outbox drop constraint outbox_has_a_text;
alter table public.outbox add constraint outbox_has_a_text check (
  body is not null or template is not null or finalized_at is not null or secret
) not valid;
comment on column public.outbox.secret is
  'A one-time code or the like: no command shows its text, which is removed once it has expired';
grant insert (secret) on public.outbox to service_role;
create table outbox_engine.secret_messages (
  outbox_id bigint primary key,
  -- When the text goes at the latest. Null once it is gone.
  blank_at timestamptz,
  -- The `letters_digest` of a text that is gone, while the outcome of its request is unknown: a lookup
  -- recognizes it in the provider's list.
  letters uuid
);
alter table outbox_engine.secret_messages enable row level security;
create index secret_messages_due on outbox_engine.secret_messages (blank_at) where blank_at is not null;

-- MMS (40_outbox/38_media.sql).
alter table public.outbox add column media_url text;
alter table public.outbox add column channel text not null default 'sms';
comment on column public.outbox.media_url is
  'Makes the message an MMS: the https URL of a picture or another file, to which body is the caption';
comment on column public.outbox.channel is
  'sms, or mms where media_url is given';
grant insert (media_url, channel) on public.outbox to service_role;
alter table outbox_engine.dispatches add column media_url text;
-- The countries to whose numbers a provider sends MMS. A project may add and delete rows.
create table outbox_engine.mms_countries (
  provider text not null,
  country text not null,
  primary key (provider, country)
);
alter table outbox_engine.mms_countries enable row level security;

-- Words that come with the outbox, and replies that a person decides.
alter table public.outbox_opt_out_words add column source text;
alter table public.outbox_inbound add column effect text;
alter table public.outbox_inbound add column unclear boolean not null default false;
alter table public.outbox_inbound add column decided_at timestamptz;
comment on column public.outbox_opt_out_words.source is
  'Where a default comes from; null for a word of the project';
comment on column public.outbox_inbound.effect is 'stop, start or help; null for any other message';
comment on column public.outbox_inbound.unclear is
  'It may be an opt-out, and waits for a person: outbox replies --unclear';
comment on column public.outbox_inbound.decided_at is 'When a person decided what it is';

-- Members of an import are written some thousands in each call.
create type outbox_engine.import_counts as (added integer, changed integer, unchanged integer);
alter table outbox_engine.campaign_imports add column written_to integer not null default 0;

-- With `exists` it read the events of all users.
drop policy outbox_events_own on public.outbox_events;
create policy outbox_events_own on public.outbox_events for select to authenticated
  using (outbox_id = any (array(
    select o.id from public.outbox o where o.owner_id = (select outbox_engine.caller_id())
  )));

-- Messages with a template are checked against these. A template of 0.1.0 gets its row in the post file.
create table outbox_engine.template_bounds (
  template text primary key references public.outbox_templates (name) on update cascade on delete cascade,
  names text[] not null,
  required text[] not null,
  literal_length integer not null,
  growth integer not null
);
alter table outbox_engine.template_bounds enable row level security;

-- What remains of erased persons, and walks of retention.
create table outbox_engine.erased_keys (
  digest bytea primary key,
  -- When it was erased, or when its message would have expired, if that is later. Kept for as long after it
  -- as a message is kept after its end.
  kept_from timestamptz not null
);
alter table outbox_engine.erased_keys enable row level security;
create index erased_keys_kept_from on outbox_engine.erased_keys (kept_from);
create table outbox_engine.erased_members (
  campaign text not null,
  -- An `erased_external_id`.
  external_id text not null,
  primary key (campaign, external_id)
);
alter table outbox_engine.erased_members enable row level security;
create table outbox_engine.walks (
  name text primary key,
  position text,
  began_at timestamptz not null
);
alter table outbox_engine.walks enable row level security;

-- What each provider can do. Seeded at the end of this file, with the other rows of the engine.
create table outbox_engine.providers (
  name text primary key,
  -- Whether two complete lookups that found nothing, a settling time apart, prove that a request never
  -- arrived.
  proves_absence boolean not null,
  -- Without that proof: how long after a request it is looked up, in ascending order. Each lookup can find
  -- the request, and none can rule it out.
  lookup_after interval[],
  -- How long after a request its messages end as unknown, if its outcome could not be found out.
  gives_up_after interval not null,
  -- How far back the provider's list or its callbacks show requests.
  listed_for interval not null,
  check (proves_absence = (lookup_after is null) and cardinality(lookup_after) is distinct from 0),
  -- Reports of the last week show whether the database was restored.
  check (listed_for >= greatest(gives_up_after, interval '14 days'))
);
alter table outbox_engine.providers enable row level security;

-- The effect `retry_unless_dispatched` is new.
alter table outbox_engine.report_codes drop constraint report_codes_effect_check;
alter table outbox_engine.report_codes add constraint report_codes_effect_check check (effect in (
  'retry', 'retry_unless_dispatched', 'account', 'opt_out'
)) not valid;

-- functions
create trigger outbox_c_secret after insert or update of send_at, expires_at, secret on public.outbox
  for each row
  when (new.secret)
  execute function outbox_engine.after_secret_message();
create trigger outbox_d_times before update of send_at, expires_at on public.outbox for each row
  when (least(new.send_at, new.expires_at) < timestamptz '1970-01-01 00:00+00'
    or greatest(new.send_at, new.expires_at) >= timestamptz '2200-01-01 00:00+00')
  execute function outbox_engine.before_times_change();
create trigger outbox_e_media before update of media_url, channel, secret on public.outbox for each row
  when (new.media_url is not null or new.channel <> 'sms' and new.finalized_at is null)
  execute function outbox_engine.before_media_change();
create trigger outbox_templates_changed after insert or update on public.outbox_templates for each row
  execute function outbox_engine.after_template_change();
create trigger outbox_9_removed after delete on public.outbox
  referencing old table as removed for each statement
  execute function outbox_engine.after_messages_removed();
create trigger outbox_a_before_emptied before truncate on public.outbox for each statement
  execute function outbox_engine.before_outbox_emptied();
create trigger outbox_b_emptied after truncate on public.outbox for each statement
  execute function outbox_engine.after_outbox_emptied();
create trigger audit_unchanged before update or delete or truncate on outbox_engine.audit
  for each statement execute function outbox_engine.before_audit_change();
create trigger outbox_g_counted after delete on public.outbox
  referencing old table as removed for each statement
  execute function outbox_engine.after_counted_removed();
create trigger outbox_h_emptied after truncate on public.outbox for each statement
  execute function outbox_engine.after_counted_emptied();
create trigger outbox_campaign_members_emptied before truncate on public.outbox_campaign_members
  for each statement execute function outbox_engine.before_members_emptied();
-- Suppressions of before stop the other forms of their numbers too.
insert into outbox_engine.consents (recipient, opted_out, decided_at)
select t.number, c.opted_out, c.decided_at
from outbox_engine.consents c
cross join lateral outbox_engine.twin_of(c.recipient) t (number)
where t.number is not null
on conflict do nothing;
insert into public.outbox_suppressions (recipient, reason, by_engine)
select t.number, s.reason, s.by_engine
from public.outbox_suppressions s
cross join lateral outbox_engine.twin_of(s.recipient) t (number)
where t.number is not null
on conflict do nothing;
