-- Campaigns, their members, and what became of each occurrence, which is a time at which a campaign has a
-- message for a member.

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
  -- After an edit: the last waiting message and the last member that the campaigns job brought up to date.
  -- Null means all are.
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
    rtrim(recipient, '0123456789') = '+'
    and octet_length(recipient) between 8 and 16
    and recipient >= '+1' collate "C"
  ),
  constraint outbox_campaign_members_parameters_are_an_object check (jsonb_typeof(parameters) = 'object')
);
alter table public.outbox_campaign_members enable row level security;

create index outbox_campaign_members_due on public.outbox_campaign_members (campaign, next_at)
  where next_at is not null;
create index outbox_campaign_members_recipient on public.outbox_campaign_members (recipient);

-- One row for each occurrence, kept for ever: its key is why no member gets a message for one time twice. It
-- outlives its member, so it has no foreign key.
create table public.outbox_campaign_occurrences (
  campaign text not null,
  external_id text not null,
  occurs_at timestamptz not null,
  outbox_id bigint,
  reason text,
  created_at timestamptz not null default outbox_engine.now(),
  -- Local time for cron, so that the time stays the same in another zone; UTC for the other schedules.
  stands_for timestamp not null,
  -- Its message was withdrawn unsent, so another one may be made for the same time.
  taken_back boolean not null default false,
  primary key (campaign, external_id, stands_for)
);
alter table public.outbox_campaign_occurrences enable row level security;

create index outbox_campaign_occurrences_message on public.outbox_campaign_occurrences (outbox_id)
  where outbox_id is not null;

comment on table public.outbox_campaign_occurrences is
  'What became of each time a campaign stood for: the outbox row it made, or the reason it made none.';

-- Members that were erased with a person (90_operators/65_erasing.sql). Their occurrences stay, with a digest
-- for the id of the member, so that a member who is imported again gets no past message a second time.
create table outbox_engine.erased_members (
  campaign text not null,
  -- An `erased_external_id`.
  external_id text not null,
  primary key (campaign, external_id)
);
alter table outbox_engine.erased_members enable row level security;

-- What stands for the id of an erased member.
create function outbox_engine.erased_external_id(p_external_id text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select 'erased:' || encode(outbox_engine.keyed_digest('member ' || p_external_id), 'hex')
$$;

-- The id under which the occurrences of an erased member of a campaign stand, if a member with this id was
-- erased; null otherwise.
create function outbox_engine.erased_member(p_campaign text, p_external_id text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from outbox_engine.erased_members e where e.campaign = p_campaign) then
    return (
      select e.external_id
      from outbox_engine.erased_members e
      where e.campaign = p_campaign and e.external_id = outbox_engine.erased_external_id(p_external_id));
  end if;
  return null;
end
$$;

-- Whether this time is decided for a member with this id who was erased since.
create function outbox_engine.is_erased_occurrence(
  p_campaign text, p_external_id text, p_stands_for timestamp
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_erased constant text := outbox_engine.erased_member(p_campaign, p_external_id);
begin
  return v_erased is not null and exists (
    select from public.outbox_campaign_occurrences o
    where o.campaign = p_campaign and o.external_id = v_erased and o.stands_for = p_stands_for);
end
$$;

-- Messages of campaigns that were claimed, for caps and budgets. A message that is claimed again, because no
-- earlier attempt was accepted, counts once: with its latest parts, on its latest day.
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

-- The parts that each campaign spent, by day in the campaign's zone.
create table outbox_engine.campaign_spend (
  campaign text not null,
  day date not null,
  parts bigint not null,
  primary key (campaign, day)
);
alter table outbox_engine.campaign_spend enable row level security;

-- Imports of members from a file, and their lines until they become members.
create table outbox_engine.campaign_imports (
  id uuid primary key,
  campaign text not null,
  -- Of the campaign and template that the lines were checked against (`import_digest`).
  digest text not null,
  started_at timestamptz not null,
  -- The transaction in which the lines become members. It does not check them again.
  committing xid8 unique,
  -- How many lines were added, changed and unchanged so far, null before the first became members.
  result jsonb,
  -- The last line that became a member.
  written_to integer not null default 0
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

-- Changes of a campaign's counts, which the campaigns job adds up. Counting in the campaign's own row would
-- make transactions that add members wait for each other. The key is for logical replication, which refuses
-- to delete rows of a table without one.
create table outbox_engine.campaign_changes (
  id bigint generated always as identity primary key,
  campaign text not null,
  members integer not null,
  messages integer not null
);
alter table outbox_engine.campaign_changes enable row level security;

-- Members whose message came back unsent, for the campaigns job, which makes them due again. A transaction
-- that cancels a message cannot do that itself: it holds the message, and an edit of the member that waits
-- for the message holds the member. The key is for logical replication.
create table outbox_engine.campaign_returns (
  id bigint generated always as identity primary key,
  campaign text not null,
  external_id text not null
);
alter table outbox_engine.campaign_returns enable row level security;

-- Messages that were part of a request, and whose occurrence was given to another message since. The
-- occurrence itself names only its latest message.
create table outbox_engine.reassigned_occurrences (
  outbox_id bigint primary key,
  campaign text not null,
  external_id text not null,
  stands_for timestamp not null
);
alter table outbox_engine.reassigned_occurrences enable row level security;

-- Counts of messages that retention deleted, for the campaign report. `sent_on` is a day in UTC, 'infinity'
-- for messages that were never sent; `country` is '' where it is unknown. `opted_out` counts recipients who
-- opted out after a message, each once.
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

-- The round in which the campaigns job last handled a chunk of each campaign. Campaigns take turns, so that
-- none waits for the hundred thousand members of another.
create table outbox_engine.campaign_turns (
  campaign text primary key references public.outbox_campaigns (name) on delete cascade,
  round bigint not null
);
alter table outbox_engine.campaign_turns enable row level security;

create policy outbox_campaigns_server on public.outbox_campaigns for all to service_role
  using (true) with check (true);
create policy outbox_campaign_members_server on public.outbox_campaign_members for all to service_role
  using (true) with check (true);
create policy outbox_campaign_occurrences_server on public.outbox_campaign_occurrences for select
  to service_role using (true);

revoke all on public.outbox_campaigns, public.outbox_campaign_members, public.outbox_campaign_occurrences
  from public, anon, authenticated, service_role;
grant select, delete on public.outbox_campaigns to service_role;
grant
  insert (name, template, sender, priority, schedule, starts_at, cron_expression, timezone, offsets,
    window_start, window_end, window_days, late_policy, late_limit, daily_cap, weekly_cap, budget_parts,
    daily_budget_parts, status),
  update (name, template, sender, priority, schedule, starts_at, cron_expression, timezone, offsets,
    window_start, window_end, window_days, late_policy, late_limit, daily_cap, weekly_cap, budget_parts,
    daily_budget_parts, status)
  on public.outbox_campaigns to service_role;
grant select, delete on public.outbox_campaign_members to service_role;
grant
  insert (campaign, external_id, recipient, timezone, event_at, parameters),
  update (campaign, external_id, recipient, timezone, event_at, parameters)
  on public.outbox_campaign_members to service_role;
grant select on public.outbox_campaign_occurrences to service_role;
