-- Messages that go to another plan (70_sending/26_proofs.sql).
-- One row for each proof. What has no row moves nothing. `outcome` is `refused` (code: the HTTP status) or
-- the status of a delivery report (code: the report's). Code 0 is every code of the outcome that has no row
-- of its own. The classes:
--
-- - `refused`: the provider certainly did not take the request
--
-- - `stopped`: the provider took it, and reports that the text never left for the network
--
-- - `network`: the network or the phone refused it, if the receipt is true. Moves where the route says so
--
-- - `barred`: the recipient opted out or may not be sent to. Nothing that is reported besides moves it
create table outbox_engine.move_proofs (
  provider text not null,
  outcome text not null,
  code integer not null,
  class text not null check (class in ('refused', 'stopped', 'network', 'barred')),
  primary key (provider, outcome, code)
);
alter table outbox_engine.move_proofs enable row level security;

-- functions

-- A message of status `status` has status `becomes` after the event. A silent event leaves no row in the
-- history. `reported` and `reported_retry` are delivery reports.
create or replace view outbox_engine.transitions (event, status, becomes, is_silent) as
select t.event, s.status, t.becomes, t.is_silent
from (values
  ('due', array['scheduled'], 'pending', true),
  ('held', array['pending'], 'scheduled', false),
  ('claimed', array['pending'], 'sending', true),
  ('accepted', array['scheduled', 'pending', 'sending'], 'sent', false),
  ('requeued', array['sending'], 'pending', true),
  ('moved', array['scheduled', 'pending', 'sending'], 'pending', false),
  ('refused', array['sending'], 'failed', false),
  ('failed', array['scheduled', 'pending'], 'failed', false),
  ('suppressed', array['scheduled', 'pending'], 'suppressed', false),
  ('expired', array['scheduled', 'pending', 'sending'], 'expired', false),
  ('cancelled', array['scheduled', 'pending', 'sending'], 'cancelled', false),
  ('unknown', array['sending', 'sent', 'dispatched'], 'unknown', false),
  ('revived', array['cancelled'], 'pending', false),
  ('revived_for_later', array['cancelled'], 'scheduled', false)
) t (event, statuses, becomes, is_silent)
cross join lateral unnest(t.statuses) s (status)
union all
-- A report that the message should be sent again, by its plan or another one, and what the message turns
-- into.
select 'reported_retry', s.status, r.becomes, true
from unnest(array[
  'scheduled', 'pending', 'sent', 'dispatched', 'unknown', 'expired', 'cancelled', 'deleted', 'aborted',
  'rejected', 'failed'
]) s (status)
cross join unnest(array['pending', 'expired', 'cancelled']) r (becomes)
union all
-- An earlier attempt of an ended message turned out to be accepted, or an operator has it sent again.
select e.event, s.status, case
    when e.event = 'retried' then 'pending'
    when s.status = 'delivered' then 'delivered'
    else 'sent'
  end, false
from unnest(array['accepted', 'retried']) e (event)
cross join unnest(array[
  'suppressed', 'unknown', 'expired', 'cancelled', 'deleted', 'aborted', 'rejected', 'failed', 'delivered'
]) s (status)
union all
-- A report only ever raises the rank.
select 'reported', s.status, r.becomes, true
from unnest(array[
  'scheduled', 'pending', 'sending', 'suppressed', 'sent', 'dispatched', 'unknown', 'expired', 'cancelled',
  'deleted', 'aborted', 'rejected', 'failed'
]) s (status)
cross join unnest(array[
  'dispatched', 'unknown', 'expired', 'cancelled', 'deleted', 'aborted', 'rejected', 'failed', 'delivered'
]) r (becomes)
-- As `rank_of`, with the list computed once for all pairs: changes of statuses join with this.
cross join lateral (select outbox_engine.statuses_by_rank() as ranks) l
where array_position(l.ranks, r.becomes) > coalesce(array_position(l.ranks, s.status), 0);
