-- Claiming: due rows become dispatches, written down before anything is sent.

-- A dispatch as the scheduler sees it. `lease_seconds` is what was left of its lease when this was said.
create function outbox_engine.dispatch_json(p_dispatch outbox_engine.dispatches, p_wait_seconds double precision)
returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'dispatch_id', p_dispatch.id,
    'lease_token', p_dispatch.lease_token::text,
    'sender', p_dispatch.sender,
    'body', p_dispatch.body,
    'expire_at', p_dispatch.expire_at,
    'wait_seconds', p_wait_seconds,
    'recipients', (
      select jsonb_agg(m.recipient order by m.outbox_id)
      from outbox_engine.dispatch_members m
      where m.dispatch_id = p_dispatch.id
    )
  )
$$;

-- Moves rows whose time has come from waiting to ready.
create function outbox_engine.wake_due(p_now timestamptz, p_most integer) returns void
language sql set search_path = ''
as $$
  update public.outbox
  set queue = 'r', status = 'pending'
  where id in (
    select id from public.outbox
    where queue = 'w' and due_at <= p_now
    order by due_at, priority, id
    limit p_most
    for update skip locked
  )
$$;

-- Which pause holds this plan, if any. An account or setting pause that has run its time lets one probe through.
create function outbox_engine.pause_of(p_provider text, p_plan text, p_credential text, p_now timestamptz)
returns outbox_engine.plan_pauses
language sql stable set search_path = ''
as $$
  select p.*
  from outbox_engine.plan_pauses p
  where p.provider = p_provider and p.plan = p_plan
    and p.credential in ('', p_credential)
    and (p.until > p_now or p.kind in ('account', 'setting'))
  order by p.until > p_now desc, p.until desc
  limit 1
$$;

-- The instant after which the provider must not deliver a row. Three days after it was sent is as far as Sinch lets a message
-- live and no request may ask for more: two hours less, so that clocks which differ never make one refuse the other's request.
create function outbox_engine.provider_expiry(p_expires_at timestamptz, p_now timestamptz) returns timestamptz
language sql immutable set search_path = ''
as $$
  select least(p_expires_at, p_now + interval '2 days 22 hours')
$$;

-- Rows whose expiry falls in the same hour (minute, when under two hours ahead) may share a request.
create function outbox_engine.expiry_hour(p_expires_at timestamptz, p_now timestamptz) returns timestamptz
language sql immutable set search_path = ''
as $$
  select date_trunc(
    case when p_expires_at < p_now + interval '2 hours' then 'minute' else 'hour' end,
    outbox_engine.provider_expiry(p_expires_at, p_now), 'UTC')
$$;

-- A row's text from its template as it is now, or what is wrong with it.
create function outbox_engine.render_row(p_template text, p_parameters jsonb, out body text, out problem text)
language plpgsql stable set search_path = ''
as $$
declare
  v_template public.templates;
  v_values jsonb;
  v_missing text;
begin
  select * into v_template from public.templates where name = p_template;
  if not found then
    problem := format('template %L does not exist any more', p_template);
    return;
  end if;
  v_values := outbox_engine.values_of(v_template.defaults, p_parameters);
  v_missing := outbox_engine.missing_placeholder(v_template.body, v_values);
  if v_missing is not null then
    problem := format('placeholder {{%s}} of template %L has no value', v_missing, p_template);
    return;
  end if;
  body := outbox_engine.render(v_template.body, v_values);
  if v_template.plain then
    body := outbox_engine.plain_text(body);
  end if;
  if char_length(body) not between 1 and 2000 then
    problem := format('template %L became a text of %s characters, 1 to 2000 are allowed', p_template, char_length(body));
    body := null;
  end if;
end
$$;

-- Why a row that came up must not go out, as the final status it gets and the reason; nulls when it may.
create function outbox_engine.verdict(
  p_recipient text, p_cancel_requested_at timestamptz, p_expires_at timestamptz, p_suppressed text, p_problem text,
  p_allowed_countries text[], p_now timestamptz, out status text, out error text
)
language sql stable set search_path = ''
as $$
  select
    case
      when p_cancel_requested_at is not null then 'cancelled'
      when p_expires_at <= p_now then 'expired'
      when p_suppressed is not null then 'suppressed'
      when p_problem is not null then 'failed'
      when c.country is not null then 'failed'
    end,
    case
      when p_cancel_requested_at is not null then null
      when p_expires_at <= p_now then 'expired before it could be sent'
      when p_suppressed is not null then 'the recipient opted out: ' || p_suppressed
      when p_problem is not null then p_problem
      when c.country is not null then format('country %s is not in ALLOWED_COUNTRIES', c.country)
    end
  from (
    select case
      when p_allowed_countries is not null and not coalesce(outbox_engine.country_of(p_recipient) = any (p_allowed_countries), false)
      then coalesce(outbox_engine.country_of(p_recipient), 'unknown')
    end as country
  ) c
$$;

-- Takes up to `p_rows` ready rows, closes those that must not go out, and makes dispatches of the rest: one for each sender,
-- text and hour of expiry, at most `p_recipients` numbers each and no number twice. One statement, so a claim is one moment.
create function outbox_engine.claim_rows(
  p_claim_id uuid, p_worker text, p_provider text, p_plan text, p_host text, p_credential text,
  p_lease interval, p_deadline interval, p_dispatches integer, p_recipients integer, p_rows integer,
  p_allowed_countries text[], p_is_probe boolean, p_now timestamptz
) returns setof outbox_engine.dispatches
language sql set search_path = ''
as $$
  with picked as materialized (
    select o.id, o.recipient, o.body, o.template, o.parameters, o.sender, o.expires_at, o.priority, o.due_at, o.cancel_requested_at,
      o.campaign, o.batch_id
    from public.outbox o
    where o.queue = 'r'
    order by o.priority, o.due_at, o.id
    limit p_rows
    for update skip locked
  ),
  written as materialized (
    -- A text of an earlier attempt is made anew; it stays where its template is gone.
    select p.*, coalesce(r.body, p.body) as text, case when p.body is null then r.problem end as problem
    from picked p
    left join lateral outbox_engine.render_row(p.template, p.parameters) r on p.template is not null
  ),
  ruled as materialized (
    select w.*, v.status as verdict, v.error
    from written w
    left join public.suppressions s on s.recipient = w.recipient
    cross join lateral outbox_engine.verdict(
      w.recipient, w.cancel_requested_at, w.expires_at, s.reason, w.problem, p_allowed_countries, p_now) v
  ),
  held as materialized (
    select h.*
    from (
      select array_agg(r.id order by r.id) as ids, array_agg(outbox_engine.parts_of(r.text) order by r.id) as parts
      from ruled r
      where r.verdict is null and r.campaign is not null
    ) c
    cross join lateral outbox_engine.hold_back(c.ids, c.parts, p_now) h
  ),
  judged as materialized (
    select r.id, r.recipient, r.sender, r.text, r.priority, r.due_at, r.campaign, r.batch_id,
      coalesce(h.expires_at, r.expires_at) as expires_at, coalesce(r.verdict, h.status) as verdict, coalesce(h.error, r.error) as error,
      h.due_at as held_until
    from ruled r
    left join held h on h.outbox_id = r.id
  ),
  put_off as (
    update public.outbox o
    set status = 'scheduled', queue = 'w', due_at = j.held_until
    from judged j
    where j.verdict is null and j.held_until is not null and o.id = j.id
    returning o.id, j.error
  ),
  put_off_trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select id, p_now, 'engine', 'held', 'scheduled', error from put_off
  ),
  closed as (
    update public.outbox o
    set status = j.verdict, error = j.error, queue = null, finalized_at = p_now
    from judged j
    where j.verdict is not null and o.id = j.id
    returning o.id, o.status, o.error
  ),
  closed_trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select id, p_now, 'engine', status, status, error from closed
  ),
  kinds as (
    select j.*,
      dense_rank() over (order by j.sender, j.text, h.hour) as kind,
      h.hour
    from judged j
    cross join lateral (select outbox_engine.expiry_hour(j.expires_at, p_now) as hour) h
    where j.verdict is null and j.held_until is null
  ),
  copies as (
    select k.*, row_number() over (partition by k.kind, k.recipient order by k.priority, k.due_at, k.id) as copy
    from kinds k
  ),
  cut as materialized (
    select c.*,
      (row_number() over (partition by c.kind, c.copy order by c.priority, c.due_at, c.id) - 1) / p_recipients as slice
    from copies c
  ),
  planned as materialized (
    select gen_random_uuid() as dispatch_id, kind, copy, slice, min(sender) as sender, min(text) as text,
      min(expires_at) as earliest, max(expires_at) as latest, count(*) as recipients, outbox_engine.parts_of(min(text)) as parts
    from cut
    group by kind, copy, slice
    order by min(priority), min(due_at), min(id)
    limit p_dispatches
  ),
  members as (
    insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)
    select p.dispatch_id, c.recipient, c.id
    from planned p
    join cut c using (kind, copy, slice)
    order by p.dispatch_id, c.recipient
  ),
  counted as (
    insert into outbox_engine.campaign_sends as s (outbox_id, campaign, recipient, parts, at, batch_id)
    select c.id, c.campaign, c.recipient, p.parts, p_now, c.batch_id
    from cut c
    join planned p using (kind, copy, slice)
    where c.campaign is not null
    on conflict (outbox_id) do update
    set parts = excluded.parts, at = excluded.at, batch_id = excluded.batch_id
    where s.batch_id is distinct from excluded.batch_id
    returning campaign, parts
  ),
  spent as (
    insert into outbox_engine.campaign_spend as s (campaign, day, parts)
    select x.campaign, (p_now at time zone coalesce(k.timezone, 'UTC'))::date, sum(x.parts)
    from counted x
    join public.campaigns k on k.name = x.campaign
    group by 1, 2
    order by 1
    on conflict (campaign, day) do update set parts = s.parts + excluded.parts
  ),
  sending as (
    update public.outbox o
    set
      status = 'sending', queue = null, dispatch_id = p.dispatch_id, body = p.text, parts = p.parts,
      reported_rank = null, reported_at = null, status_code = null, error = null
    from cut c
    join planned p using (kind, copy, slice)
    where o.id = c.id
  )
  insert into outbox_engine.dispatches (
    id, claim_id, worker, provider, plan, host, credential, sender, body, expire_at, expires_at, recipients, state,
    lease_token, lease_until, deadline, is_probe, claimed_at
  )
  select
    dispatch_id, p_claim_id, p_worker, p_provider, p_plan, p_host, p_credential, sender, text,
    outbox_engine.provider_expiry(earliest, p_now), latest, recipients, 'claimed',
    nextval('outbox_engine.lease_tokens'), p_now + p_lease, p_deadline, p_is_probe, p_now
  from planned
  returning *
$$;

-- The dispatches of a claim that was made before and whose answer may have been lost.
create function outbox_engine.claimed_before(p_claim_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_agg(outbox_engine.dispatch_json(d, 0) order by d.lease_token)
  from outbox_engine.dispatches d
  where d.claim_id = p_claim_id and d.state = 'claimed' and d.parent_id is null
$$;

-- Called by the dispatch job at every tick. Answers the dispatches that are now the caller's to send, each at most once; why
-- there are none where a limit or a pause is the reason; and whether more rows are ready. Asked again with the same
-- `p_claim_id`, it answers the same dispatches and takes nothing more.
create function public.outbox_claim(
  p_claim_id uuid, p_worker text, p_provider text, p_plan text, p_host text, p_credential text,
  p_lease_seconds double precision, p_deadline_seconds double precision,
  p_max_dispatches smallint, p_max_recipients smallint, p_max_rows integer,
  p_messages_per_second double precision, p_requests_per_minute integer, p_allowed_countries text[]
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_plan outbox_engine.plans;
  v_pause outbox_engine.plan_pauses;
  v_tokens double precision;
  v_requests integer;
  v_rows integer := p_max_rows;
  v_dispatches integer := p_max_dispatches;
  v_made jsonb;
  v_count integer;
  v_recipients integer;
begin
  perform outbox_engine.note_tick('dispatch', p_provider, p_plan, p_worker);
  v_made := outbox_engine.claimed_before(p_claim_id);
  if v_made is not null then
    return jsonb_build_object('dispatches', v_made, 'more', true);
  end if;

  perform outbox_engine.wake_due(v_now, 5000);
  if not exists (select from public.outbox where queue = 'r') then
    return jsonb_build_object('dispatches', '[]'::jsonb, 'more', false,
      'looks_due', outbox_engine.looks_due(p_provider, p_plan, v_now));
  end if;

  v_plan := outbox_engine.hold_plan(p_provider, p_plan, p_host, p_messages_per_second, p_requests_per_minute);
  -- Waiting for the plan took time.
  v_now := outbox_engine.now();
  v_pause := outbox_engine.pause_of(p_provider, p_plan, p_credential, v_now);
  if v_pause.until > v_now then
    return jsonb_build_object('dispatches', '[]'::jsonb, 'more', true,
      'paused', v_pause.kind, 'reason', v_pause.reason, 'wait_seconds', extract(epoch from v_pause.until - v_now),
      'looks_due', outbox_engine.looks_due(p_provider, p_plan, v_now));
  end if;

  v_tokens := outbox_engine.tokens_now(v_plan, v_now);
  v_requests := greatest(0,
    outbox_engine.requests_left(v_plan, v_now) - outbox_engine.looks_due(p_provider, p_plan, v_now));
  v_rows := least(v_rows, coalesce(floor(v_tokens)::integer, v_rows));
  v_dispatches := least(v_dispatches, v_requests);
  if v_pause.kind is not null then
    v_rows := least(v_rows, 1);
  end if;
  if v_rows = 0 or v_dispatches = 0 then
    return jsonb_build_object('dispatches', '[]'::jsonb, 'more', true,
      'limited', case when v_rows = 0 then 'messages_per_second' else 'requests_per_minute' end,
      'wait_seconds', case when v_rows = 0 then (1 - v_tokens) / v_plan.messages_per_second else 1 end,
      'looks_due', outbox_engine.looks_due(p_provider, p_plan, v_now));
  end if;

  select count(*), coalesce(sum(d.recipients), 0)
  into v_count, v_recipients
  from outbox_engine.claim_rows(
    p_claim_id, p_worker, p_provider, p_plan, p_host, p_credential,
    make_interval(secs => p_lease_seconds), make_interval(secs => p_deadline_seconds),
    v_dispatches, p_max_recipients, v_rows, p_allowed_countries, v_pause.kind is not null, v_now
  ) d;

  if v_plan.messages_per_second is not null then
    update outbox_engine.plans
    set tokens = v_tokens - v_recipients, refilled_at = v_now
    where provider = p_provider and plan = p_plan;
  end if;
  perform outbox_engine.count_requests(p_provider, p_plan, 'send', v_count, v_now);
  if v_pause.kind is not null and v_count > 0 then
    -- The probe is out; the next one waits for its answer or for the time a pause of this kind takes.
    update outbox_engine.plan_pauses
    set until = v_now + make_interval(secs => least(300, 10 * 2 ^ least(tries, 5)))
    where provider = p_provider and plan = p_plan and kind = v_pause.kind and credential = v_pause.credential;
  end if;

  return jsonb_build_object(
    'dispatches', coalesce(outbox_engine.claimed_before(p_claim_id), '[]'),
    'more', exists (select from public.outbox where queue = 'r'),
    'looks_due', outbox_engine.looks_due(p_provider, p_plan, v_now)
  );
end
$$;

notify pgrst, 'reload schema';
