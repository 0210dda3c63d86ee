-- What can become of a refused dispatch: its messages fail, wait again, go to another plan, or go into
-- smaller dispatches.

-- Messages that are still attached to a dispatch end as failed; as cancelled, where their cancellation was
-- requested.
create function outbox_engine.fail_attached(p_dispatch uuid, p_error text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant bigint[] := outbox_engine.lock_attached(array[p_dispatch]);
  v_changes outbox_engine.status_change[];
begin
  with counted as (
    update public.outbox
    set attempts = attempts + 1
    where id = any (v_ids)
    returning id, cancel_requested_at is not null as is_cancelled
  ),
  changes as (
    select array_agg(row(
      id, case when is_cancelled then 'cancelled' else 'refused' end, p_error, null, 'refused', null
    )::outbox_engine.status_change) as c
    from counted
  )
  select c into v_changes from changes;
  perform outbox_engine.change_statuses(v_changes, 'engine', outbox_engine.now());
end
$$;

-- A message that was refused alone, attached to this dispatch, goes to another plan of its route. Without one
-- it ends as `fail_attached` says.
create function outbox_engine.move_or_fail(p_dispatch outbox_engine.dispatches) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_moved bigint[];
begin
  if outbox_engine.may_have_other_plans()
    and outbox_engine.proof_class(p_dispatch.provider, 'refused', p_dispatch.http_status) = 'refused' then
    v_moved := outbox_engine.move_messages(
      outbox_engine.lock_attached(array[p_dispatch.id]), p_dispatch.provider, p_dispatch.plan,
      outbox_engine.moved_because(p_dispatch, 'refused it'), outbox_engine.now());
    update public.outbox set attempts = attempts + 1 where id = any (v_moved);
  end if;
  perform outbox_engine.fail_attached(p_dispatch.id, p_dispatch.error);
end
$$;

-- Closes a refused dispatch. Its messages have failed, wait again, or are in other dispatches.
create function outbox_engine.close_refused(p_dispatch uuid) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.dispatches
  set state = 'refused', closed_at = outbox_engine.now(), body = null, media_url = null
  where id = p_dispatch
$$;

-- Messages of a refused dispatch wait again and the dispatch is closed. Those of a probe wait five minutes,
-- so that the next probe is another message; not where another plan can send them now.
create function outbox_engine.requeue_refused(
  p_dispatch outbox_engine.dispatches, p_event text, p_error text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_waits constant boolean := p_dispatch.is_probe and not (
    outbox_engine.may_have_other_plans() and exists (
      select from public.outbox o
      where o.id = any (outbox_engine.lock_attached(array[p_dispatch.id]))
        and outbox_engine.has_other_plan(o.route, p_dispatch.provider, p_dispatch.plan, v_now)));
begin
  perform outbox_engine.requeue_attached(array[p_dispatch.id], p_event, p_error,
    case when v_waits then interval '5 minutes' else interval '0' end);
  perform outbox_engine.close_refused(p_dispatch.id);
end
$$;

-- Checks again what the claim checks, because a half may have waited for minutes. Messages that must not go
-- out now go back, where the claim closes them or puts them off: cancelled, expired or suppressed ones,
-- those that their campaign stops, changed or holds back, and those of which an earlier attempt turned up.
-- Returns how many messages stay attached.
create function outbox_engine.release_unsendable(p_dispatch uuid, p_error text) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant bigint[] := outbox_engine.lock_attached(array[p_dispatch]);
  v_now timestamptz;
  v_unsendable text[];
  v_left integer;
begin
  if exists (select from public.outbox where id = any (v_ids) and campaign is not null) then
    perform outbox_engine.hold_campaign_claims();
  end if;
  v_now := outbox_engine.now();
  with attached as materialized (
    select o.id, o.recipient, o.campaign, o.parts, o.expires_at,
      o.cancel_requested_at is not null as cancel_requested
    from public.outbox o
    where o.id = any (v_ids)
  ),
  campaign_rows as materialized (
    select array_agg(a.id order by a.id) as ids, array_agg(a.parts order by a.id) as parts
    from attached a
    where a.campaign is not null
    having count(*) > 0
  ),
  stopped as materialized (
    select j.place as id
    from (
      select array_agg(
        row(a.id, a.recipient, null, null, a.cancel_requested, a.expires_at)::outbox_engine.outgoing_message
      ) as messages
      from attached a
    ) m
    cross join lateral outbox_engine.judge_messages(m.messages, null, v_now) j
    union
    select j.outbox_id
    from campaign_rows c
    cross join lateral outbox_engine.judge_campaign_rows(c.ids, c.parts, v_now) j
    where j.status is not null or j.due_at is not null
    union
    select b.id
    from campaign_rows c
    cross join lateral outbox_engine.rows_behind_campaign(c.ids) b
  ),
  checked as (
    select a.recipient,
      a.id in (select s.id from stopped s)
        or exists (
          select from outbox_engine.duplicate_sends x where x.outbox_id = a.id and x.confirmed_at is null
        ) as is_unsendable
    from attached a
  )
  select array_agg(recipient) filter (where is_unsendable), count(*) filter (where not is_unsendable)
  into v_unsendable, v_left
  from checked;

  if v_unsendable is not null then
    perform outbox_engine.requeue_attached(
      array[p_dispatch], null, p_error, p_recipients => v_unsendable);
  end if;
  return v_left;
end
$$;

-- Closes a refused dispatch. Its messages of held contents go to another plan of their routes; without one
-- they wait until they expire or the hold ends. The others wait again. A refused probe delays the next one.
-- The caller holds the plan.
create function outbox_engine.hold_attached(p_dispatch outbox_engine.dispatches) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_ids constant bigint[] := outbox_engine.lock_attached(array[p_dispatch.id]);
  v_moved constant bigint[] := outbox_engine.move_held(v_ids, p_dispatch.provider, p_dispatch.plan, v_now);
  v_held text[];
begin
  with held as materialized (
    select c.id, c.content, r.probe_id
    from outbox_engine.contents_of(v_ids) c
    join outbox_engine.refused_contents r
      on r.provider = p_dispatch.provider and r.plan = p_dispatch.plan and r.content = c.content
        and r.held_since is not null
  ),
  remembered as (
    insert into outbox_engine.held_messages as h (outbox_id, provider, plan, content, probed_at)
    select id, p_dispatch.provider, p_dispatch.plan, content, case when id = probe_id then v_now end
    from held
    where id <> all (v_moved)
    on conflict (outbox_id) do update
    set
      provider = excluded.provider, plan = excluded.plan, content = excluded.content,
      probed_at = coalesce(excluded.probed_at, h.probed_at)
  ),
  probed as (
    update outbox_engine.refused_contents r
    set
      error = p_dispatch.error, refused_at = v_now,
      probe_at = v_now + outbox_engine.probe_wait(r.probes)
    from held h
    where r.provider = p_dispatch.provider and r.plan = p_dispatch.plan and r.content = h.content
      and r.probe_id = h.id
  )
  select array_agg(m.recipient)
  into v_held
  from held h
  join outbox_engine.dispatch_members m on m.dispatch_id = p_dispatch.id and m.outbox_id = h.id
  where h.id <> all (v_moved);

  if v_held is not null then
    perform outbox_engine.requeue_attached(
      array[p_dispatch.id], 'held', p_dispatch.error, interval '1 minute', v_held);
    update public.outbox
    set due_at = expires_at
    where id = any (v_ids) and queue = 'w';
  end if;
  perform outbox_engine.requeue_attached(array[p_dispatch.id], 'refused', p_dispatch.error);
  perform outbox_engine.close_refused(p_dispatch.id);
end
$$;

-- A new dispatch for these messages of a refused one, leased to the same worker. Returns it as the dispatch
-- job gets it, with the wait that the plan's limit on requests asks for.
create function outbox_engine.make_part(
  p_dispatch outbox_engine.dispatches, p_ids bigint[], p_split text, p_error text, p_worker text,
  p_lease_seconds double precision, p_wait_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_part outbox_engine.dispatches := p_dispatch;
begin
  v_part.id := outbox_engine.new_dispatch_id();
  insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)
  select v_part.id, m.recipient, m.outbox_id
  from outbox_engine.dispatch_members m
  where m.dispatch_id = p_dispatch.id and m.outbox_id = any (p_ids);
  update public.outbox
  set dispatch_id = v_part.id
  where id = any (p_ids);

  v_part.recipients := cardinality(p_ids);
  v_part.worker := p_worker;
  v_part.state := 'claimed';
  v_part.lease_token := nextval('outbox_engine.lease_tokens');
  v_part.lease_until := v_now + make_interval(secs => p_lease_seconds);
  v_part.claimed_at := v_now;
  v_part.parent_id := coalesce(p_dispatch.parent_id, p_dispatch.id);
  v_part.split := p_split;
  v_part.split_error := p_error;
  v_part.http_status := null;
  v_part.error := null;
  insert into outbox_engine.dispatches select v_part.*;
  return outbox_engine.dispatch_answer(v_part, p_wait_seconds);
end
$$;

-- Whether a pause keeps the parts of a refused dispatch from being sent now.
create function outbox_engine.is_paused(p_dispatch outbox_engine.dispatches, p_now timestamptz)
returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_pause constant outbox_engine.plan_pauses := outbox_engine.current_pause(
    p_dispatch.provider, p_dispatch.plan, p_dispatch.credential, p_now);
begin
  return coalesce(v_pause.until > p_now, false);
end
$$;

-- Closes a refused dispatch and makes `p_slices` new ones of the messages that are still attached to it.
-- Each waits until the plan allows one more request. While the plan is paused there are none: the messages
-- wait again. Returns the new dispatches. The caller holds the plan.
create function outbox_engine.split_dispatch(
  p_dispatch outbox_engine.dispatches, p_slices integer, p_split text, p_error text, p_worker text,
  p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_plan outbox_engine.plans;
  v_ids bigint[];
  v_slice bigint[];
  v_made jsonb := '[]';
begin
  if outbox_engine.is_paused(p_dispatch, v_now) then
    perform outbox_engine.requeue_attached(array[p_dispatch.id], 'refused', p_error);
    perform outbox_engine.close_refused(p_dispatch.id);
    return v_made;
  end if;

  select *
  into v_plan
  from outbox_engine.plans
  where provider = p_dispatch.provider and plan = p_dispatch.plan;
  v_ids := outbox_engine.lock_attached(array[p_dispatch.id]);
  for v_slice in
    select array_agg(u.id order by u.id)
    from (
      select id, ntile(p_slices) over (order by id) as slice
      from unnest(v_ids) id
    ) u
    group by u.slice
    order by u.slice
  loop
    v_made := v_made || outbox_engine.make_part(
      p_dispatch, v_slice, p_split, p_error, p_worker, p_lease_seconds,
      outbox_engine.reserve_request(v_plan, v_now));
  end loop;
  perform outbox_engine.close_refused(p_dispatch.id);
  return v_made;
end
$$;
