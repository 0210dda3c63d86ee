-- Campaigns, their members, and the proof of what became of each time.

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
  activated_at timestamptz,
  -- How far the rows and the members of an edited campaign were looked at again; null is all.
  recheck_after bigint,
  replan_after text,
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
  handled_until timestamptz,
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

-- The permanent proof: one row for each (campaign, member, time it stands for). It outlives the member, hence
-- no foreign key.
create table public.outbox_campaign_occurrences (
  campaign text not null,
  external_id text not null,
  occurs_at timestamptz not null,
  outbox_id bigint,
  reason text,
  created_at timestamptz not null default outbox_engine.now(),
  -- The key: for cron the local time, for the others the instant in UTC.
  stands_for timestamp not null,
  -- Withdrawn before it was sent, so the same time may be used again.
  taken_back boolean not null default false,
  primary key (campaign, external_id, stands_for)
);
alter table public.outbox_campaign_occurrences enable row level security;

create index outbox_campaign_occurrences_message on public.outbox_campaign_occurrences (outbox_id) where outbox_id is not null;

comment on table public.outbox_campaign_occurrences is
  'What became of each time a campaign stood for: the outbox row it made, or the reason it made none.';

-- What was claimed for campaigns, for caps and budgets. When a row is claimed again after an attempt that was
-- never accepted, that one is given back and the new one counts, so that what it costs now is what counts, on
-- the day it goes.
create table outbox_engine.campaign_sends (
  outbox_id bigint primary key,
  campaign text not null,
  recipient text not null,
  parts integer not null,
  at timestamptz not null,
  batch_id text
);
alter table outbox_engine.campaign_sends enable row level security;

create index campaign_sends_recipient on outbox_engine.campaign_sends (recipient, at);

create table outbox_engine.campaign_spend (
  campaign text not null,
  day date not null,
  parts bigint not null,
  primary key (campaign, day)
);
alter table outbox_engine.campaign_spend enable row level security;

create table outbox_engine.campaign_imports (
  id uuid primary key,
  campaign text not null,
  -- What the lines were checked against. Should it change before the end, they must be checked anew.
  basis text not null,
  started_at timestamptz not null,
  -- The transaction in which the lines become members: they were checked already, so its inserts are not
  -- checked again.
  committing xid8 unique,
  result jsonb
);
alter table outbox_engine.campaign_imports enable row level security;

create index campaign_imports_started on outbox_engine.campaign_imports (started_at);

create table outbox_engine.campaign_import_lines (
  import_id uuid not null references outbox_engine.campaign_imports (id) on delete cascade,
  line integer not null,
  external_id text not null,
  recipient text not null,
  timezone text,
  event_at timestamptz,
  parameters jsonb not null,
  primary key (import_id, line),
  unique (import_id, external_id)
);
alter table outbox_engine.campaign_import_lines enable row level security;

-- How many members came and went, for the counts of their campaign; added up when there is nothing better to
-- do, because a count kept in the campaign itself would make everyone who adds members wait for each other.
create table outbox_engine.campaign_changes (
  campaign text not null,
  members integer not null,
  messages integer not null
);
alter table outbox_engine.campaign_changes enable row level security;

-- Members whose message came back unsent. The campaigns job looks at them anew; whoever cancels the message
-- has its row locked and would wait here for someone who changes the member and waits for that row.
create table outbox_engine.campaign_returns (
  campaign text not null,
  external_id text not null
);
alter table outbox_engine.campaign_returns enable row level security;

-- Messages that were in a request once and whose time was given to another. The occurrence knows only who has
-- it now.
create table outbox_engine.reassigned_occurrences (
  outbox_id bigint primary key,
  campaign text not null,
  external_id text not null,
  stands_for timestamp not null
);
alter table outbox_engine.reassigned_occurrences enable row level security;

-- `sent_on` is a day in UTC, 'infinity' where the message was never sent; `country` is '' where it is not
-- known. `opted_out` recipients did so after a message, counted with the last of theirs.
create table outbox_engine.campaign_totals (
  campaign text not null,
  sent_on date not null,
  status text not null,
  reason text not null,
  country text not null,
  messages bigint not null,
  parts bigint not null,
  opted_out bigint not null,
  primary key (campaign, sent_on, status, reason, country)
);
alter table outbox_engine.campaign_totals enable row level security;

-- In which round each campaign last had a chunk. Campaigns take turns, so that none waits for another's
-- hundred thousand members.
create table outbox_engine.campaign_turns (
  campaign text primary key references public.outbox_campaigns (name) on delete cascade,
  round bigint not null
);
alter table outbox_engine.campaign_turns enable row level security;

create policy outbox_campaigns_server on public.outbox_campaigns for all to service_role using (true) with check (true);
create policy outbox_campaign_members_server on public.outbox_campaign_members for all to service_role using (true) with check (true);
create policy outbox_campaign_occurrences_server on public.outbox_campaign_occurrences for select to service_role using (true);

revoke all on public.outbox_campaigns, public.outbox_campaign_members, public.outbox_campaign_occurrences
  from public, anon, authenticated, service_role;
grant select, delete on public.outbox_campaigns to service_role;
grant
  insert (name, template, sender, priority, schedule, starts_at, cron_expression, timezone, offsets, window_start,
    window_end, window_days, late_policy, late_limit, daily_cap, weekly_cap, budget_parts, daily_budget_parts, status),
  update (name, template, sender, priority, schedule, starts_at, cron_expression, timezone, offsets, window_start,
    window_end, window_days, late_policy, late_limit, daily_cap, weekly_cap, budget_parts, daily_budget_parts, status)
  on public.outbox_campaigns to service_role;
grant select, delete on public.outbox_campaign_members to service_role;
grant
  insert (campaign, external_id, recipient, timezone, event_at, parameters),
  update (campaign, external_id, recipient, timezone, event_at, parameters)
  on public.outbox_campaign_members to service_role;
grant select on public.outbox_campaign_occurrences to service_role;
