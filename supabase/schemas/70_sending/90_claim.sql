-- Claiming: due rows become dispatches, as far as the plan's limits and pauses let them.

-- Moves rows whose time has come from waiting to ready, the most urgent first: a one-time code is not woken
-- after a campaign that came due a moment earlier. Where several routes have due rows of a priority, each is
-- given the same part of `p_most`. The ids go through an array: the planner cannot know that few rows are
-- due, and would walk over the whole table at each claim.
create function outbox_engine.wake_due(
  p_bounds outbox_engine.queue_bounds, p_now timestamptz, p_most integer
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
declare
  v_rows integer[];
  v_writer text := current_setting('outbox.writer', true);
  v_outer constant text := coalesce(v_writer, '');
begin
  if outbox_engine.has_several_routes(p_bounds) then
    v_rows := array(
      select p_most / nullif(count(d.id) over (partition by f.priority), 0) + 1
      from unnest(p_bounds.routes, p_bounds.priorities, p_bounds.waiting_from) with ordinality
        f (route, priority, waiting_from, nth)
      left join lateral (
        select o.id from public.outbox o
        where o.queue = 'w' and o.route = f.route and o.priority = f.priority
          and o.due_at >= f.waiting_from and o.due_at <= p_now
        order by o.due_at, o.id
        limit 1
      ) d on true
      order by f.nth);
  end if;
  v_writer := set_config('outbox.writer', pg_trigger_depth()::text, true);
  update public.outbox
  set queue = 'r', status = 'pending'
  where id = any (array(
    select due.id
    from unnest(p_bounds.routes, p_bounds.priorities, p_bounds.waiting_from, v_rows)
      f (route, priority, waiting_from, rows)
    cross join lateral (
      select o.id from public.outbox o
      where o.queue = 'w' and o.route = f.route and o.priority = f.priority
        and o.due_at >= f.waiting_from and o.due_at <= p_now
      order by o.due_at, o.id
      limit coalesce(f.rows, p_most)
      for update skip locked
    ) due
    limit p_most
  ));
  v_writer := set_config('outbox.writer', v_outer, true);
end
$$;

-- These locked rows without those of which an earlier attempt turned up since `close_already_sent` ran: they
-- are sent already.
create function outbox_engine.without_unconfirmed_duplicates(p_ids bigint[]) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from outbox_engine.duplicate_sends where confirmed_at is null) then
    return array(
      select u.id from unnest(p_ids) with ordinality u (id, place)
      where not exists (
        select from outbox_engine.duplicate_sends x where x.outbox_id = u.id and x.confirmed_at is null)
      order by u.place);
  end if;
  return p_ids;
end
$$;

-- The dispatches of a claim that was made before, whose answer may have been lost.
create function outbox_engine.claimed_before(p_claim_id uuid) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_agg(outbox_engine.dispatch_answer(d, 0) order by d.lease_token)
  from outbox_engine.dispatches d
  where d.claim_id = p_claim_id and d.state = 'claimed' and d.parent_id is null
$$;

-- Claims ready rows of a priority below `p_priority_below`. No more rows are picked than may go, unless none
-- of them goes: a row that is closed or held costs no message of the rate, so ten times as many are picked
-- then, up to `p_rows`. Returns the dispatches with their number and their messages.
create function outbox_engine.take_ready(
  p_request outbox_engine.claim_request, p_admission outbox_engine.admission,
  p_bounds outbox_engine.queue_bounds, p_shares outbox_engine.route_share[],
  p_priority_below integer, p_rows integer, p_now timestamptz,
  out dispatches jsonb, out requests integer, out messages integer
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := p_now;
  v_rows integer := least(p_rows, p_admission.messages);
  v_picked record;
  v_writer text := current_setting('outbox.writer', true);
  v_outer constant text := coalesce(v_writer, '');
begin
  loop
    v_picked := outbox_engine.pick_ready(p_bounds, v_rows, p_priority_below, p_shares);
    if v_picked.again is not null then
      perform outbox_engine.refresh_from_campaign(v_picked.again);
    end if;
    if v_picked.has_campaigns then
      perform outbox_engine.hold_campaign_claims();
      v_now := outbox_engine.now();
    end if;
    v_picked.ids := outbox_engine.hold_adopted(v_picked.ids, v_now);
    v_writer := set_config('outbox.writer', pg_trigger_depth()::text, true);
    select jsonb_agg(d.dispatch), count(*), coalesce(sum(d.recipients), 0)
    into dispatches, requests, messages
    from outbox_engine.claim_rows(
      outbox_engine.without_held(outbox_engine.without_unconfirmed_duplicates(v_picked.ids),
        p_request.provider, p_request.plan, v_now),
      p_request, p_admission.requests, p_admission.messages, p_admission.probed_pause is not null, v_now) d;
    v_writer := set_config('outbox.writer', v_outer, true);
    exit when requests > 0 or v_rows = p_rows
      or not exists (select from outbox_engine.next_ready(p_bounds, p_priority_below, p_shares));
    v_rows := least(p_rows, 10 * v_rows);
  end loop;
end
$$;

-- Claims for a plan that may send now, and charges it with what it claimed. `p_plan` is locked by the caller.
create function outbox_engine.take_admitted(
  p_request outbox_engine.claim_request, p_plan outbox_engine.plans, p_admission outbox_engine.admission,
  p_bounds outbox_engine.queue_bounds, p_shares outbox_engine.route_share[], p_priority_below integer,
  p_now timestamptz
) returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_first record;
  v_rows integer;
  v_level integer;
  v_claimed record;
  v_next_id bigint;
begin
  -- A row whose earlier attempt turned out to have been accepted is not sent again.
  if exists (select from outbox_engine.duplicate_sends where confirmed_at is null) then
    perform outbox_engine.close_already_sent(p_now);
  end if;
  -- Urgent rows are claimed alone: they do not wait until thousands of others are made ready to go with them.
  select * into v_first from outbox_engine.next_ready(p_bounds, p_priority_below, p_shares);
  v_rows := outbox_engine.claim_size(
    p_plan, coalesce(v_first.priority < 100, false), p_request.max_rows, p_admission.requests_left, p_now);
  foreach v_level in array case
    when v_first.priority < 100 and p_priority_below > 100 then array[100, p_priority_below]
    else array[p_priority_below] end
  loop
    v_claimed := outbox_engine.take_ready(
      p_request, p_admission, p_bounds, p_shares, v_level, v_rows, p_now);
    exit when v_claimed.requests > 0;
  end loop;
  perform outbox_engine.charge_plan(
    p_plan, p_request.credential, p_admission, v_claimed.requests, v_claimed.messages, p_now);
  if p_plan.asked_at is not null and v_claimed.requests > 0 then
    perform outbox_engine.record_shares(p_shares, p_plan.provider, p_plan.plan, v_claimed.dispatches, p_now);
  end if;

  v_next_id := (select id from outbox_engine.next_ready(p_bounds, p_priority_below, p_shares));
  if v_next_id is distinct from v_first.id then
    perform outbox_engine.advance_queue_bounds(v_claimed.messages);
  end if;
  if p_plan.asked_at is not null then
    perform outbox_engine.note_spent(p_plan, v_next_id is not null and (
      v_claimed.messages >= p_admission.messages or v_claimed.requests >= p_admission.requests_left
      -- A claim of few rows does not show that the rate suffices.
      or p_plan.spent_since is not null
        and p_admission.tokens - v_claimed.messages < p_plan.messages_per_second / 2
    ), p_now);
  end if;
  return jsonb_build_object(
      'dispatches', coalesce(v_claimed.dispatches, '[]'),
      'more', v_next_id is not null,
      'passed', v_next_id is distinct from v_first.id,
      'due', outbox_engine.jobs_due(p_request.provider, p_request.plan, p_request.host, p_now))
    -- What is ready is in the claim of another plan at this moment, and may be left by it.
    || case
      when p_plan.asked_at is not null and v_claimed.requests = 0 and v_next_id = v_first.id
        then jsonb_build_object('limited', 'weight', 'wait_seconds', 0.1)
      else '{}'
    end;
end
$$;

-- Claims for a plan that has something to send, as far as it may send now. `p_plan` is locked by the caller,
-- so what it took of its routes cannot change any more.
create function outbox_engine.admit_and_take(
  p_request outbox_engine.claim_request, p_plan outbox_engine.plans,
  p_bounds outbox_engine.queue_bounds, p_shares outbox_engine.route_share[], p_priority_below integer,
  p_now timestamptz
) returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_admission constant outbox_engine.admission := outbox_engine.admit(
    p_plan, p_request.host, p_request.credential, p_request.max_dispatches, p_now);
  v_shares outbox_engine.route_share[];
begin
  if v_admission.refusal is not null then
    if p_plan.asked_at is not null and v_admission.refusal ? 'limited' then
      perform outbox_engine.note_spent(
        p_plan, v_admission.refusal ->> 'limited' <> 'messages_per_day', p_now);
    end if;
    return jsonb_build_object('dispatches', '[]'::jsonb, 'more', true,
        'due', outbox_engine.jobs_due(p_plan.provider, p_plan.plan, p_request.host, p_now))
      || v_admission.refusal;
  end if;
  if p_shares is not null then
    v_shares := outbox_engine.shares_of(p_plan.provider, p_plan.plan, p_now);
  end if;
  return outbox_engine.take_admitted(
    p_request, p_plan, v_admission, p_bounds, v_shares, p_priority_below, p_now);
end
$$;

-- Called with the answer of a claim. With `p_sleep_seconds` the process is going to wait for notices, for
-- as long at most: if the claim brings nothing, it falls asleep, and rows of which it was not told are
-- looked for once more. They are of transactions that ended since the claim looked, and saw nobody sleep.
-- Returns what the answer then says of `more` and `passed`. A plan that is paused or at its limit needs no
-- notices.
create function outbox_engine.sleep_or_wake(
  p_answer jsonb, p_bounds outbox_engine.queue_bounds, p_shares outbox_engine.route_share[],
  p_priority_below integer, p_sleep_seconds double precision
) returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_first bigint;
begin
  if p_answer -> 'dispatches' <> '[]' then
    perform outbox_engine.wake_up();
  elsif p_sleep_seconds is not null and not p_answer ?| array['paused', 'limited'] then
    if (p_answer -> 'more')::boolean then
      v_first := (select id from outbox_engine.next_ready(p_bounds, p_priority_below, p_shares));
    end if;
    perform outbox_engine.fall_asleep(p_sleep_seconds);
    if (select id from outbox_engine.next_ready(p_bounds, p_priority_below, p_shares))
      is distinct from v_first then
      return '{"more": true, "passed": true}';
    end if;
  end if;
  return '{}';
end
$$;

-- Called by the dispatch job, about once a second when idle: wakes due rows, admits, then claims (pick,
-- judge, pack, write). A repeated call with the same `p_claim_id` returns the same dispatches and claims
-- nothing more. With `p_urgent_only` all of this is about rows more urgent than the default: used when only
-- urgent slots are free. `p_schema_version` is the newest schema version that the process knows. If a newer
-- one is breaking, the call takes no lock and changes nothing. Null claims in any case. `p_project` is the
-- host of the process's SUPABASE_URL, and the last four say what the process has seen of the database, and in
-- which timeline (`check_database`). `p_sleep_seconds` says that it listens for notices and is not going to
-- look for rows by itself before its next tick, which comes sooner than that. `p_messages_per_day` is the
-- daily cap of all plans together. `p_position` is the place of the account in the process's order of all, 0
-- first, and `p_tick_seconds` the time between two ticks, null in a single run. Returns jsonb with these
-- keys:
--
-- - `dispatches`: those that are now the caller's to send, each at most once
--
-- - `paused` and `reason`, or `limited`, and `wait_seconds`: why there are none, if a pause or a limit is
--   the reason
--
-- - `unbound`: the hosts that the database sends from, if the process's host is not among them
--
-- - `more`: whether more rows are ready
--
-- - `passed`: whether rows were closed or held, so that another claim at once finds others
--
-- - `due`: which other jobs have work
--
-- - `schema_version`: the newest version of the schema
--
-- - `heartbeat_at`: when this process's heartbeat was last recorded, for its next claim
-- - `timeline`: the plan's present timeline, for the same
-- - `now`: the database's clock
--
-- - `schema`: instead of `schema_version`, `passed` and `due`, the breaking version that the process does not
--   know, with its release
--
-- Compiling the plan would take twice its running time, and no call of the processes may scan a table,
-- whatever its statistics say: hence jit and enable_seqscan are off, here and in the other calls. Generic
-- plans: planning for the values of each call took a third of the time of a claim of one row.
create function public.outbox_claim_due(
  p_claim_id uuid, p_worker text, p_provider text, p_plan text, p_host text, p_credential text,
  p_lease_seconds double precision, p_deadline_seconds double precision,
  p_max_dispatches smallint, p_max_recipients smallint, p_max_rows integer,
  p_messages_per_second double precision, p_requests_per_minute integer, p_allowed_countries text[],
  p_share_texts boolean, p_urgent_only boolean default false, p_schema_version integer default null,
  p_project text default null, p_highest_lease_token text default null, p_known_dispatch uuid default null,
  p_heartbeat_at timestamptz default null, p_timeline text default null,
  p_sleep_seconds double precision default null, p_messages_per_day bigint default null,
  p_position smallint default null, p_tick_seconds double precision default null
) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_request constant outbox_engine.claim_request := row(
    p_claim_id, p_worker, p_provider, p_plan, p_host, p_credential, make_interval(secs => p_lease_seconds),
    make_interval(secs => p_deadline_seconds), p_max_dispatches, p_max_recipients, p_max_rows,
    p_allowed_countries, p_share_texts);
  v_schema constant integer := (select max(version) from outbox_engine.schema_versions);
  v_priority_below constant integer := case when p_urgent_only then 100 else 32768 end;
  v_now timestamptz := outbox_engine.now();
  v_bounds outbox_engine.queue_bounds;
  v_shares outbox_engine.route_share[];
  v_plan outbox_engine.plans;
  v_answer jsonb;
  v_state jsonb;
begin
  v_answer := case when v_schema > p_schema_version then outbox_engine.breaking_version(p_schema_version) end;
  if v_answer is not null then
    return jsonb_build_object('dispatches', '[]'::jsonb, 'more', false, 'schema', v_answer);
  end if;
  -- The first call with this id may still be running.
  perform pg_advisory_xact_lock(hashtextextended(p_claim_id::text, 0));
  v_state := jsonb_build_object('schema_version', v_schema, 'now', v_now) || outbox_engine.check_database(
    p_provider, p_plan, p_worker, p_project, p_highest_lease_token::bigint, p_known_dispatch, p_heartbeat_at,
    p_timeline);
  perform outbox_engine.record_heartbeat('dispatch', p_provider, p_plan, p_worker, p_allowed_countries,
    p_schema_version);
  perform outbox_engine.note_credential(p_provider, p_plan, p_worker, p_credential);
  if v_state ? 'dispatches' then
    return v_state || jsonb_build_object('due',
      case when v_state ? 'paused' then outbox_engine.jobs_due(p_provider, p_plan, p_host, v_now) end);
  end if;
  perform outbox_engine.reset_queue_bounds_after_clock_step();
  v_bounds := outbox_engine.current_queue_bounds();
  perform outbox_engine.tend_held_messages(p_provider, p_plan, v_now);
  perform outbox_engine.wake_due(v_bounds, v_now, 5000);
  perform outbox_engine.try_new_credential(p_provider, p_plan, p_credential, v_now);
  v_shares := outbox_engine.shares_for_claim(p_provider, p_plan, p_host, p_messages_per_second,
    p_requests_per_minute, p_position, p_tick_seconds, v_now);
  if exists (select from outbox_engine.next_ready(v_bounds, v_priority_below, v_shares)) then
    v_plan := outbox_engine.lock_plan(
      p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute);
    v_plan := outbox_engine.follow_clock(outbox_engine.set_daily_cap(v_plan, p_messages_per_day));
  end if;
  v_answer := outbox_engine.claimed_before(p_claim_id);
  if v_answer is not null then
    return jsonb_build_object('dispatches', v_answer, 'more', true) || v_state;
  end if;
  -- Waiting for the plan took time.
  v_now := outbox_engine.now();
  if v_plan.plan is null then
    perform outbox_engine.add_idle_plan(
      p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute);
    v_answer := jsonb_build_object('dispatches', '[]'::jsonb, 'more', false,
        'due', outbox_engine.jobs_due(p_provider, p_plan, p_host, v_now))
      || outbox_engine.refuse_over_share(v_request, p_position, v_bounds, v_shares, v_priority_below);
  else
    v_answer := outbox_engine.admit_and_take(v_request, v_plan, v_bounds, v_shares, v_priority_below, v_now);
  end if;
  return v_answer
    || outbox_engine.sleep_or_wake(v_answer, v_bounds, v_shares, v_priority_below, p_sleep_seconds)
    || v_state;
end
$$;

-- Called by a process that listens, many times a second while it works: whether a row may be ready to be
-- claimed; with `p_urgent_only`, one more urgent than the default.
create function public.outbox_has_ready(p_urgent_only boolean) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select exists (
    select from outbox_engine.next_ready(
      outbox_engine.current_queue_bounds(), case when p_urgent_only then 100 else 32768 end))
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_claim_due, public.outbox_has_ready
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_claim_due, public.outbox_has_ready
to service_role;
