-- Transitions: which event turns which status into which, the one function that changes statuses, and the
-- guard that lets no other change pass.
--
-- Four statements do not call that function, because they change every message that is sent and a second
-- update of each would cost too much: `wake_due`, `claim_rows`, `mark_sent` and `advance_statuses`. They make
-- the same transitions, and the guard holds them to it.
--
-- All five mark what they write: while one of their statements runs, the setting `outbox.writer` is the depth
-- of triggers at which it runs, 0 outside of triggers. A status that changes without that mark was changed by
-- hand (`before_app_update`).

-- A message of status `status` has status `becomes` after the event. A silent event leaves no row in the
-- history. `reported` and `reported_retry` are delivery reports.
create view outbox_engine.transitions (event, status, becomes, is_silent) as
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

-- What happens to a message, for `change_statuses`. `event` as in `transitions`; the history has `logged_as`
-- and `detail` in place of `event` and `error` where they are given. An error of null keeps the one it has.
create type outbox_engine.status_change as (
  outbox_id bigint,
  event text,
  error text,
  due_at timestamptz,
  logged_as text,
  detail text
);

-- Called by whatever changes the status of messages outside the four statements named above. Each message is
-- given once and locked by the caller. Writes the status and what depends on it alone (queue, time, error,
-- end), and the history. Raises an error for an event that a message of this status cannot have.
create function outbox_engine.change_statuses(
  p_changes outbox_engine.status_change[], p_source text, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_writer text := current_setting('outbox.writer', true);
  v_outer constant text := coalesce(v_writer, '');
  v_changed bigint;
begin
  v_writer := set_config('outbox.writer', pg_trigger_depth()::text, true);
  with changes as materialized (
    select c.*, o.row_at, o.status, t.becomes, t.is_silent,
      t.becomes not in ('scheduled', 'pending', 'sending', 'sent', 'dispatched') as is_end
    from unnest(p_changes) c
    -- By index for each, whatever the planner believes of the table's size.
    cross join lateral (
      select x.ctid as row_at, x.status from public.outbox x where x.id = c.outbox_id limit 1
    ) o
    join outbox_engine.transitions t on t.event = c.event and t.status = o.status
  ),
  changed as (
    update public.outbox o
    set
      status = c.becomes,
      queue = case
        when c.becomes = 'scheduled' or c.becomes = 'pending' and c.due_at > p_now then 'w'
        when c.becomes = 'pending' then 'r'
      end::"char",
      due_at = coalesce(c.due_at, o.due_at),
      error = case when c.event <> 'accepted' then coalesce(c.error, o.error) end,
      finalized_at = case when c.becomes = c.status then o.finalized_at when c.is_end then p_now end
    from changes c
    where o.ctid = c.row_at
    returning o.id, o.batch_id, o.dispatch_id, c.event, c.becomes, c.status as was, c.logged_as, c.is_silent,
      coalesce(c.detail, c.error) as detail
  ),
  history as (
    insert into public.outbox_events (outbox_id, at, source, event, status, batch_id, dispatch_id, detail)
    select id, p_now, p_source, coalesce(logged_as, event), becomes,
      case when event = 'accepted' then batch_id end,
      case when event = 'accepted' or was = 'sending' then dispatch_id end,
      detail
    from changed
    where logged_as is not null or not is_silent
    order by id
  )
  select count(*) into v_changed from changed;
  v_writer := set_config('outbox.writer', v_outer, true);
  if v_changed <> cardinality(p_changes) then
    raise exception 'only % of these messages may have this event: %', v_changed, (
      select jsonb_agg(jsonb_build_object('id', o.id, 'status', o.status, 'event', c.event))
      from unnest(p_changes) c
      left join public.outbox o on o.id = c.outbox_id);
  end if;
end
$$;

-- Runs before an update that changes a status. Refuses what no transition allows.
create function outbox_engine.before_transition() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from outbox_engine.transitions t where t.status = old.status and t.becomes = new.status
  ) then
    raise exception 'message % cannot turn from % into %', old.id, old.status, new.status;
  end if;
  return new;
end
$$;
-- What happens to most messages is let pass here, because the call would cost more than the update.
create trigger outbox_8_transition before update on public.outbox for each row
  when (new.status <> old.status and old.status || '>' || new.status not in (
    'pending>sending', 'sending>sent', 'sent>delivered', 'sent>dispatched', 'dispatched>delivered',
    'scheduled>pending', 'pending>scheduled', 'pending>cancelled', 'scheduled>cancelled'
  ))
  execute function outbox_engine.before_transition();
