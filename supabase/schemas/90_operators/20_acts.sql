-- What operators do with messages: send them again, or cancel them. Each call returns an outcome for each
-- thing it was asked for, as a code that the command puts into words, and writes an event for each change.

-- Called by `outbox retry` and `outbox cancel` for all messages that match. No index serves such a
-- question, so a call reads one stretch of the table and returns the matching ids, oldest first, at most
-- `p_most`. `after` is where the next call goes on, null at the end. `p_since` is compared with the time a
-- message became final, or was inserted if it is not final.
create function public.outbox_select(
  p_statuses text[], p_campaign text, p_since timestamptz, p_after bigint, p_stretch integer, p_most integer
) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  with stretch as materialized (
    select id, status, campaign, coalesce(finalized_at, created_at) as at
    from public.outbox
    where id > p_after
    order by id
    limit p_stretch
  ),
  matching as materialized (
    select id
    from stretch
    where (p_statuses is null or status = any (p_statuses))
      and (p_campaign is null or campaign = p_campaign)
      and (p_since is null or at >= p_since)
    order by id
    limit p_most
  ),
  progress as (
    select case
      when (select count(*) from matching) = p_most then (select max(id) from matching)
      else (select max(id) from stretch)
    end as read_to
  )
  select jsonb_build_object(
    'ids', coalesce((select jsonb_agg(id order by id) from matching), '[]'),
    'after', progress.read_to,
    'last', (select max(id) from public.outbox)
  )
  from progress
$$;

-- Locks these messages, all or none: it never waits for one while it holds another. An app that cancels
-- several messages locks them in an order that no function of ours can know, and would deadlock with a
-- caller that waits in order. After ten attempts it waits all the same. Called before anything else is
-- locked.
create function outbox_engine.lock_all_or_none(p_ids bigint[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_id bigint;
begin
  for v_attempt in 1 .. 10 loop
    begin
      perform from public.outbox where id = any (p_ids) order by id for update nowait;
      return;
    exception
      when lock_not_available then
        -- The exception released the messages that were locked until then.
        null;
    end;
    foreach v_id in array p_ids loop
      begin
        perform from public.outbox where id = v_id for update;
        raise exception using errcode = 'OBX01';
      exception
        when sqlstate 'OBX01' then
          -- No other transaction holds this message now, and neither does this one.
          null;
      end;
    end loop;
  end loop;
  perform from public.outbox where id = any (p_ids) order by id for update;
end
$$;

-- Why a message is not sent again, as a code, or null where it may be.
create function outbox_engine.retry_problem(
  o public.outbox, p_is_open boolean, p_force boolean, p_gets_expiry boolean, p_now timestamptz
) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when o.id is null then 'missing'
    when o.finalized_at is null then 'not_final'
    when p_is_open then 'request_open'
    when o.secret then 'secret'
    when o.body is null and o.parameters is null then 'text_blanked'
    when o.status = 'delivered' and not p_force then 'delivered'
    when o.status = 'unknown' and not p_force then 'may_have_arrived'
    when o.cancel_requested_at is not null and not p_force then 'cancelled_on_request'
    when o.status = 'expired' and not p_force then 'expired'
    when o.expires_at <= p_now and not p_gets_expiry then 'expiry_passed'
  end
$$;

-- Whether the text of an ended message may have arrived although its status says otherwise: the provider has
-- a second batch of it, or accepted one of its requests of which no report says that it came to nothing, or
-- of which one report says that it was stopped and another one that it was handed on. After an operator had
-- it sent again, only what was heard since counts.
create function outbox_engine.may_have_arrived_after_all(p_id bigint) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_retried constant bigint := outbox_engine.last_retried(p_id);
begin
  return exists (select from outbox_engine.duplicate_sends x where x.outbox_id = p_id) or exists (
    select
    from public.outbox_events a
    cross join lateral (
      select bool_or(e.status in ('failed', 'rejected', 'deleted', 'cancelled')) as is_ended,
        bool_or(e.status = 'aborted') as is_stopped,
        bool_or(outbox_engine.says_handed_on(e.status)) as is_handed_on
      from public.outbox_events e
      where e.outbox_id = p_id and e.event = 'report' and e.dispatch_id = a.dispatch_id and e.id > v_retried
    ) r
    where a.outbox_id = p_id and a.event = 'accepted' and a.id > v_retried
      and r.is_ended is not true and (r.is_stopped and not r.is_handed_on) is not true
  );
end
$$;

-- Called by `outbox retry`. Final messages become a new attempt at their time, with the count of attempts at
-- zero; the claim checks again what it always checks (opt-out, window, campaign, country). Later reports on
-- the earlier attempt only become events, but for `delivered`. Plans that refused it may take it. An attempt
-- that the provider may yet prove to have taken stays attached, so that it can be adopted before the new one
-- goes out. `p_expires_in_seconds` is the new expiry of messages whose own has passed. With `p_dry_run`
-- nothing changes. The outcome of a message is `retried` or what `retry_problem` returns.
create function public.outbox_retry(
  p_ids bigint[], p_force boolean, p_expires_in_seconds double precision, p_dry_run boolean
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz;
  v_answer jsonb;
  v_changes outbox_engine.status_change[];
begin
  if p_expires_in_seconds <= 0 then
    perform outbox_engine.refuse('a new expiry must lie ahead');
  end if;
  perform outbox_engine.lock_all_or_none(p_ids);
  v_now := outbox_engine.now();

  with judged as materialized (
    select a.id, o.status, o.attempts, o.error, d.batch_id is not null as was_accepted,
      coalesce(
        outbox_engine.retry_problem(
          o, coalesce(outbox_engine.is_open(d.state), false), p_force, p_expires_in_seconds is not null,
          v_now),
        case
          when not p_force and outbox_engine.may_have_arrived_after_all(a.id) then 'may_have_arrived'
        end
      ) as problem
    from (select distinct unnest(p_ids) as id) a
    left join public.outbox o on o.id = a.id
    left join outbox_engine.dispatches d on d.id = o.dispatch_id
  ),
  retried as (
    update public.outbox o
    set
      attempts = 0, status_code = null, reported_rank = null, reported_at = null, cancel_requested_at = null,
      dispatch_id = case when j.was_accepted then null else o.dispatch_id end,
      route = case
        when outbox_engine.has_routes() then (outbox_engine.detour_of(o.route)).route else o.route
      end,
      expires_at = case
        when o.expires_at <= v_now then v_now + make_interval(secs => p_expires_in_seconds)
        else o.expires_at
      end
    from judged j
    where not p_dry_run and j.problem is null and o.id = j.id
    returning o.id, greatest(v_now, o.send_at) as due_at,
      concat_ws(': ', format('%s after %s attempts', j.status, j.attempts), j.error) as detail
  ),
  -- The time of a campaign that was free again is the message's once more.
  occurrences as (
    update public.outbox_campaign_occurrences o
    set taken_back = false, reason = null
    from retried r
    where o.outbox_id = r.id and (o.taken_back or o.reason is not null)
  ),
  changes as (
    select array_agg(row(id, 'retried', 'an operator has it sent again', due_at, null, detail)
      ::outbox_engine.status_change) as changes
    from retried
  )
  select
    coalesce(
      jsonb_agg(
        jsonb_build_object(
          'id', j.id, 'was', j.status, 'done', j.problem is null, 'outcome', coalesce(j.problem, 'retried'))
        order by j.id
      ),
      '[]'
    ),
    (select changes from changes)
  into v_answer, v_changes
  from judged j;

  perform outbox_engine.change_statuses(v_changes, 'operator', v_now);
  perform pg_notify('outbox', '');
  if not p_dry_run then
    perform outbox_engine.audit_outcomes('retry', v_answer);
  end if;
  return v_answer;
end
$$;

-- Called by `outbox cancel`. The outcome of each message: `cancelled` at once, if it waited;
-- `cancel_requested`, if it is in a request: it ends as cancelled if it comes back; `already_cancelled`;
-- `too_late`; `missing`. All but the last and `already_cancelled` become an event. With `p_dry_run` nothing
-- changes.
create function public.outbox_cancel(p_ids bigint[], p_dry_run boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz;
  v_answer jsonb;
  v_changes outbox_engine.status_change[];
begin
  perform outbox_engine.lock_all_or_none(p_ids);
  v_now := outbox_engine.now();

  with judged as materialized (
    select a.id, o.status as was,
      case
        when o.id is null then 'missing'
        when o.status in ('scheduled', 'pending') then 'cancelled'
        when o.status = 'cancelled' then 'already_cancelled'
        when o.status = 'sending' then 'cancel_requested'
        else 'too_late'
      end as outcome
    from (select distinct unnest(p_ids) as id) a
    left join public.outbox o on o.id = a.id
  ),
  requested as (
    update public.outbox o
    set cancel_requested_at = v_now
    from judged j
    where not p_dry_run and j.outcome in ('cancelled', 'cancel_requested') and o.id = j.id
  ),
  history as (
    insert into public.outbox_events (outbox_id, at, source, event, status)
    select id, v_now, 'operator', case outcome when 'too_late' then 'cancel_too_late' else outcome end, was
    from judged
    where not p_dry_run and outcome in ('cancel_requested', 'too_late')
    order by id
  )
  select
    coalesce(
      jsonb_agg(
        jsonb_build_object(
          'id', j.id, 'was', j.was,
          'done', j.outcome in ('cancelled', 'already_cancelled', 'cancel_requested'),
          'outcome', j.outcome)
        order by j.id
      ),
      '[]'
    ),
    array_agg(row(j.id, 'cancelled', null, null, null, null)::outbox_engine.status_change)
      filter (where not p_dry_run and j.outcome = 'cancelled')
  into v_answer, v_changes
  from judged j;
  perform outbox_engine.change_statuses(v_changes, 'operator', v_now);
  if not p_dry_run then
    perform outbox_engine.audit_outcomes('cancel', v_answer);
  end if;
  return v_answer;
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_select,
  public.outbox_retry,
  public.outbox_cancel
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_select,
  public.outbox_retry,
  public.outbox_cancel
to service_role;
