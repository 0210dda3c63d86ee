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
-- Lookups ask whether a report without a reference names a number of their dispatch.
create index waiting_reports_unreferenced on outbox_engine.waiting_reports (((report).recipient))
  where reference is null;
-- functions
create trigger outbox_9_removed after delete on public.outbox
  referencing old table as removed for each statement
  execute function outbox_engine.after_messages_removed();
create trigger outbox_a_before_emptied before truncate on public.outbox for each statement
  execute function outbox_engine.before_outbox_emptied();
create trigger outbox_b_emptied after truncate on public.outbox for each statement
  execute function outbox_engine.after_outbox_emptied();
create trigger outbox_campaign_members_emptied before truncate on public.outbox_campaign_members
  for each statement execute function outbox_engine.before_members_emptied();
