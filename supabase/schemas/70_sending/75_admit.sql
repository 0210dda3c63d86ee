-- Admission: what a plan may send now, by its pauses, its message rate, its request limit and the daily cap.

-- What the dispatch job asks a claim for; the same for the whole call.
create type outbox_engine.claim_request as (
  claim_id uuid,
  worker text,
  provider text,
  plan text,
  host text,
  credential text,
  lease interval,
  deadline interval,
  max_dispatches integer,
  max_recipients integer,
  max_rows integer,
  allowed_countries text[],
  share_texts boolean
);

create type outbox_engine.admission as (
  -- Null where something may be sent; else what the claim answers: `paused` with its `reason`, or `limited`
  -- by which limit, and `wait_seconds`.
  refusal jsonb,
  -- The pause that lets one probe through, or null.
  probed_pause text,
  -- Messages and requests that may go. Null messages: no limit.
  messages integer,
  requests integer,
  tokens double precision,
  requests_left integer
);

-- Called by the claim, which holds the plan. Due lookups are served before sending, so their requests are
-- subtracted.
create function outbox_engine.admit(
  p_plan outbox_engine.plans, p_host text, p_credential text, p_max_dispatches integer, p_now timestamptz
) returns outbox_engine.admission
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_pause outbox_engine.plan_pauses;
  v_admission outbox_engine.admission;
  v_left_today bigint;
begin
  v_pause := outbox_engine.current_pause(p_plan.provider, p_plan.plan, p_credential, p_now);
  if v_pause.until > p_now then
    if v_pause.replaced then
      -- A process still uses the credential that another one replaced.
      update outbox_engine.plan_pauses
      set replaced = false
      where provider = p_plan.provider and plan = p_plan.plan and kind = v_pause.kind
        and credential = v_pause.credential;
    end if;
    v_admission.refusal := jsonb_build_object(
      'paused', v_pause.kind, 'reason', v_pause.reason,
      'wait_seconds', extract(epoch from v_pause.until - p_now));
    return v_admission;
  end if;

  v_admission.probed_pause := v_pause.kind;
  v_admission.tokens := outbox_engine.tokens_now(p_plan, p_now);
  v_admission.messages := floor(v_admission.tokens)::integer;
  if v_pause.kind is not null then
    v_admission.messages := least(v_admission.messages, 1);
  end if;
  if p_plan.messages_per_day is not null then
    v_left_today := outbox_engine.messages_left_today(p_plan, p_now);
    if v_left_today = 0 then
      v_admission.refusal := outbox_engine.refuse_over_cap(p_plan, p_now);
      return v_admission;
    end if;
    v_admission.messages := least(v_admission.messages, v_left_today);
  end if;
  v_admission.requests_left := greatest(0, outbox_engine.requests_left(p_plan, p_now)
    - outbox_engine.lookups_due(p_plan.provider, p_plan.plan, p_host, p_now));
  v_admission.requests := least(p_max_dispatches, v_admission.requests_left);
  if v_admission.messages = 0 then
    v_admission.refusal := jsonb_build_object(
      'limited', 'messages_per_second',
      'wait_seconds', (1 - v_admission.tokens) / p_plan.messages_per_second);
  elsif v_admission.requests = 0 then
    v_admission.refusal := jsonb_build_object('limited', 'requests_per_minute', 'wait_seconds', 1);
  end if;
  return v_admission;
end
$$;

-- Called by the claim after it made dispatches: takes what they use from the plan's limits. A probe is out:
-- the next one waits for its answer, or for the time that a pause of this kind takes.
create function outbox_engine.charge_plan(
  p_plan outbox_engine.plans, p_credential text, p_admission outbox_engine.admission, p_requests integer,
  p_messages integer, p_now timestamptz
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_plan.messages_per_second is not null then
    update outbox_engine.plans
    set tokens = p_admission.tokens - p_messages, refilled_at = p_now
    where provider = p_plan.provider and plan = p_plan.plan;
  end if;
  perform outbox_engine.count_requests(p_plan.provider, p_plan.plan, 'send', p_requests, p_now);
  if p_messages > 0 then
    -- By the clock of now, which may have passed midnight since: a message must not count for an earlier day
    -- than the one for which it is returned.
    perform outbox_engine.count_messages(p_plan, p_messages, outbox_engine.now());
  end if;
  if p_admission.probed_pause is not null and p_requests > 0 then
    update outbox_engine.plan_pauses
    set until = greatest(
      until, p_now + make_interval(secs => outbox_engine.pause_seconds(p_admission.probed_pause, tries)))
    where provider = p_plan.provider and plan = p_plan.plan and kind = p_admission.probed_pause
      and credential in ('', p_credential);
  end if;
end
$$;

-- How many rows a claim takes at most. While rows more urgent than the default (priority below 100) keep
-- coming, others are claimed 500 at a time, so that no urgent row waits behind a claim of thousands; but only
-- as long as the plan has requests to spare for smaller dispatches.
create function outbox_engine.claim_size(
  p_plan outbox_engine.plans, p_is_urgent boolean, p_max_rows integer, p_requests_left integer,
  p_now timestamptz
) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_is_urgent and coalesce(p_plan.urgent_at < p_now - interval '1 second', true) then
    update outbox_engine.plans set urgent_at = p_now where provider = p_plan.provider and plan = p_plan.plan;
  elsif not p_is_urgent and p_plan.urgent_at > p_now - interval '5 seconds'
    and 2 * p_requests_left > p_plan.requests_per_minute then
    return least(p_max_rows, 500);
  end if;
  return p_max_rows;
end
$$;

-- What a claim answers that finds no row which the plan may take: its weight may be what holds it back. Its
-- rate is not, whatever it was when there were more rows.
create function outbox_engine.refuse_over_share(
  p_request outbox_engine.claim_request, p_position smallint, p_bounds outbox_engine.queue_bounds,
  p_shares outbox_engine.route_share[], p_priority_below integer
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if p_priority_below > 100 and (p_position is not null or p_shares is not null) then
    update outbox_engine.plans
    set spent_since = null
    where provider = p_request.provider and plan = p_request.plan and spent_since is not null;
  end if;
  if exists (
    select from outbox_engine.next_ready(p_bounds, p_priority_below, outbox_engine.shares_used_up(p_shares))
  ) then
    return jsonb_build_object('more', true, 'limited', 'weight', 'wait_seconds', 0.1);
  end if;
  return '{}';
end
$$;
