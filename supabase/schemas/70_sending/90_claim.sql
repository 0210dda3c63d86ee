-- Claiming: due rows become dispatches, as far as the plan's limits and pauses let them.

-- Waiting rows that expired, alarms nobody has passed on, and what was found out or reported a moment too
-- late to be acted on.
create function outbox_engine.upkeep_due(p_now timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
begin
  return exists (
      select from public.outbox
      where queue is not null and expires_at <= p_now
        and expires_at >= coalesce((select expiring_from from outbox_engine.queue_bounds), '-infinity')
      order by expires_at
      limit 1)
    or exists (select from outbox_engine.alarms where acknowledged_at is null and coalesce(offered_until <= p_now, true))
    or exists (select from outbox_engine.duplicate_sends where confirmed_at is null)
    or exists (select from outbox_engine.waiting_reports where received_at > p_now - interval '1 hour');
end
$$;

-- The names of the jobs that would find something to do now. A few steps into an index each.
create function outbox_engine.jobs_due(p_provider text, p_plan text, p_host text, p_now timestamptz) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return array_remove(array[
    case when outbox_engine.lookups_due(p_provider, p_plan, p_host, p_now) > 0 then 'recover' end,
    case when exists (
      select from outbox_engine.dispatches where provider = p_provider and plan = p_plan and reconcile_at <= p_now
    ) then 'reconcile' end,
    case when outbox_engine.campaigns_due(p_now) then 'campaigns' end,
    case when outbox_engine.upkeep_due(p_now) then 'upkeep' end
  ], null);
end
$$;

-- Moves rows whose time has come from waiting to ready, the most urgent first: a campaign that came due a
-- moment before a one-time code is not woken before it. The ids go through an array, or the planner, who
-- cannot know that few are due, walks over the whole table at every tick.
create function outbox_engine.wake_due(p_bounds outbox_engine.queue_bounds, p_now timestamptz, p_most integer) returns void
language sql set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
  update public.outbox
  set queue = 'r', status = 'pending'
  where id = any (array(
    select due.id
    from unnest(p_bounds.priorities, p_bounds.waiting_from) f (priority, waiting_from)
    cross join lateral (
      select o.id from public.outbox o
      where o.queue = 'w' and o.priority = f.priority and o.due_at >= f.waiting_from and o.due_at <= p_now
      order by o.due_at, o.id
      limit p_most
      for update skip locked
    ) due
    limit p_most
  ))
$$;

-- Those of these locked rows of which no earlier attempt turned up: others came back since `sent_after_all`
-- looked, which makes them sent.
create function outbox_engine.without_unconfirmed_duplicates(p_ids bigint[]) returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from outbox_engine.duplicate_sends where confirmed_at is null) then
    return array(
      select u.id from unnest(p_ids) with ordinality u (id, place)
      where not exists (select from outbox_engine.duplicate_sends x where x.outbox_id = u.id and x.confirmed_at is null)
      order by u.place);
  end if;
  return p_ids;
end
$$;

-- The dispatches of a claim that was made before and whose answer may have been lost.
create function outbox_engine.claimed_before(p_claim_id uuid) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_agg(outbox_engine.dispatch_answer(d, 0) order by d.lease_token)
  from outbox_engine.dispatches d
  where d.claim_id = p_claim_id and d.state = 'claimed' and d.parent_id is null
$$;

-- Called by the dispatch job at every tick. Answers the dispatches that are now the caller's to send, each at
-- most once; why there are none where a limit or a pause is the reason; whether more rows are ready (`more`),
-- and whether it is worth claiming again at once although nothing goes (`passed`); and which other jobs have
-- something to do (`due`). Asked again with the same `p_claim_id`, it answers the same dispatches and takes
-- nothing more. With `p_urgent_only` all of this is about rows more urgent than the default: for whoever has
-- no room for others just now. Compiling the claim's plan would take twice its running, and no call of the
-- processes may ever walk over a table, whatever its statistics say: so for the other calls as well.
create function public.outbox_claim(
  p_claim_id uuid, p_worker text, p_provider text, p_plan text, p_host text, p_credential text,
  p_lease_seconds double precision, p_deadline_seconds double precision,
  p_max_dispatches smallint, p_max_recipients smallint, p_max_rows integer,
  p_messages_per_second double precision, p_requests_per_minute integer, p_allowed_countries text[], p_share_texts boolean,
  p_urgent_only boolean default false
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_plan outbox_engine.plans;
  v_pause outbox_engine.plan_pauses;
  v_tokens double precision;
  v_requests integer;
  v_rows integer := p_max_rows;
  v_most integer;
  v_looked integer;
  v_bounds outbox_engine.queue_bounds;
  v_first record;
  v_picked record;
  v_next_id bigint;
  v_urgent boolean;
  v_under integer := case when p_urgent_only then 100 else 32768 end;
  v_below integer;
  v_dispatches integer := p_max_dispatches;
  v_made jsonb;
  v_count integer;
  v_recipients integer;
begin
  -- The first call with this id may be running still.
  perform pg_advisory_xact_lock(hashtextextended(p_claim_id::text, 0));
  perform outbox_engine.record_heartbeat('dispatch', p_provider, p_plan, p_worker, p_allowed_countries);
  perform outbox_engine.reset_queue_bounds_after_clock_step();
  v_bounds := outbox_engine.current_queue_bounds();
  perform outbox_engine.wake_due(v_bounds, v_now, 5000);
  perform outbox_engine.try_new_credential(p_provider, p_plan, p_credential, v_now);
  if exists (select from outbox_engine.first_ready(v_bounds, v_under)) then
    v_plan := outbox_engine.lock_plan(p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute);
  end if;
  v_made := outbox_engine.claimed_before(p_claim_id);
  if v_made is not null then
    return jsonb_build_object('dispatches', v_made, 'more', true);
  end if;
  if v_plan.plan is null then
    return jsonb_build_object('dispatches', '[]'::jsonb, 'more', false,
      'due', outbox_engine.jobs_due(p_provider, p_plan, p_host, v_now));
  end if;

  -- Waiting for the plan took time.
  v_now := outbox_engine.now();
  v_pause := outbox_engine.current_pause(p_provider, p_plan, p_credential, v_now);
  if v_pause.until > v_now then
    if v_pause.replaced then
      -- Somebody works with that credential after all.
      update outbox_engine.plan_pauses
      set replaced = false
      where provider = p_provider and plan = p_plan and kind = v_pause.kind and credential = v_pause.credential;
    end if;
    return jsonb_build_object('dispatches', '[]'::jsonb, 'more', true,
      'paused', v_pause.kind, 'reason', v_pause.reason, 'wait_seconds', extract(epoch from v_pause.until - v_now),
      'due', outbox_engine.jobs_due(p_provider, p_plan, p_host, v_now));
  end if;

  v_tokens := outbox_engine.tokens_now(v_plan, v_now);
  v_requests := greatest(0,
    outbox_engine.requests_left(v_plan, v_now) - outbox_engine.lookups_due(p_provider, p_plan, p_host, v_now));
  v_most := floor(v_tokens)::integer;
  v_dispatches := least(v_dispatches, v_requests);
  if v_pause.kind is not null then
    v_most := least(v_most, 1);
  end if;
  if v_most = 0 or v_dispatches = 0 then
    return jsonb_build_object('dispatches', '[]'::jsonb, 'more', true,
      'limited', case when v_most = 0 then 'messages_per_second' else 'requests_per_minute' end,
      'wait_seconds', case when v_most = 0 then (1 - v_tokens) / v_plan.messages_per_second else 1 end,
      'due', outbox_engine.jobs_due(p_provider, p_plan, p_host, v_now));
  end if;

  -- What turned out to have been accepted while a later attempt was under way, and came back from that one,
  -- is not sent again.
  if exists (select from outbox_engine.duplicate_sends where confirmed_at is null) then
    perform outbox_engine.close_already_sent(v_now);
  end if;
  -- What is more urgent than the default does not wait until thousands of others are made ready to go along
  -- with it; and while such rows keep coming, nor behind a claim of thousands, as long as the plan has
  -- requests to spare for smaller ones.
  select * into v_first from outbox_engine.first_ready(v_bounds, v_under);
  v_urgent := coalesce(v_first.priority < 100, false);
  if v_urgent and coalesce(v_plan.urgent_at < v_now - interval '1 second', true) then
    update outbox_engine.plans set urgent_at = v_now where provider = p_provider and plan = p_plan;
  elsif not v_urgent and v_plan.urgent_at > v_now - interval '5 seconds' and 2 * v_requests > p_requests_per_minute then
    v_rows := least(v_rows, 500);
  end if;
  foreach v_below in array case when v_urgent and not p_urgent_only then array[100, 32768] else array[v_under] end loop
    -- No more rows are looked at than may go, unless none of them goes: what is closed or put off costs no
    -- message of the rate.
    v_looked := least(v_rows, v_most);
    loop
      v_picked := outbox_engine.pick(v_bounds, v_looked, v_below);
      if v_picked.again is not null then
        perform outbox_engine.refresh_from_campaign(v_picked.again);
      end if;
      select jsonb_agg(d.dispatch), count(*), coalesce(sum(d.recipients), 0)
      into v_made, v_count, v_recipients
      from outbox_engine.claim_rows(
        outbox_engine.without_unconfirmed_duplicates(v_picked.ids), p_claim_id, p_worker, p_provider, p_plan, p_host, p_credential,
        make_interval(secs => p_lease_seconds), make_interval(secs => p_deadline_seconds),
        v_dispatches, p_max_recipients, v_most, p_allowed_countries, p_share_texts, v_pause.kind is not null, v_now
      ) d;
      exit when v_count > 0 or v_looked = v_rows
        or not exists (select from outbox_engine.first_ready(v_bounds, v_below));
      v_looked := least(v_rows, 10 * v_looked);
    end loop;
    exit when v_count > 0;
  end loop;

  if v_plan.messages_per_second is not null then
    update outbox_engine.plans
    set tokens = v_tokens - v_recipients, refilled_at = v_now
    where provider = p_provider and plan = p_plan;
  end if;
  perform outbox_engine.count_requests(p_provider, p_plan, 'send', v_count, v_now);
  if v_pause.kind is not null and v_count > 0 then
    -- The probe is out; the next one waits for its answer or for the time a pause of this kind takes.
    update outbox_engine.plan_pauses
    set until = greatest(until, v_now + make_interval(secs => least(300, 10 * 2 ^ least(tries, 5))))
    where provider = p_provider and plan = p_plan and kind = v_pause.kind and credential = v_pause.credential;
  end if;

  v_next_id := (select id from outbox_engine.first_ready(v_bounds, v_under));
  if v_next_id is distinct from v_first.id then
    perform outbox_engine.advance_queue_bounds(v_recipients);
  end if;
  return jsonb_build_object(
    'dispatches', coalesce(v_made, '[]'),
    'more', v_next_id is not null,
    -- Rows were closed or put off, so that the next claim looks at others.
    'passed', v_next_id is distinct from v_first.id,
    'due', outbox_engine.jobs_due(p_provider, p_plan, p_host, v_now)
  );
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_claim
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_claim
to service_role;
