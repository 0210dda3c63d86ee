-- Lookups: the recover job searches the provider's list of batches for requests whose outcome is unknown. A
-- message is never sent again on a guess: only after two complete lookups, a settling time apart, found no
-- batch, and never where the provider cannot prove absence (05_engine/80_providers.sql).

-- How many lookups the recover job can make at this host now, at most 100 of each kind: of ambiguous
-- dispatches, and of claimed ones whose worker fell silent. The claim leaves requests for them. A batch
-- exists at one host of the provider only, so other hosts cannot find it.
create function outbox_engine.lookups_due(p_provider text, p_plan text, p_host text, p_now timestamptz)
returns integer
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select count(*)
    from (
      select from outbox_engine.dispatches
      where provider = p_provider and plan = p_plan and host = p_host and lookup_at <= p_now
      limit 100
    ) ambiguous
  )::integer + (
    select count(*)
    from (
      select from outbox_engine.claimed_dispatches
      where provider = p_provider and plan = p_plan and host = p_host and silent_at <= p_now
      limit 100
    ) silent
  )::integer;
end
$$;

-- Why the messages of a dispatch that was given up end as unknown.
create function outbox_engine.given_up_error(p_provider outbox_engine.providers) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return case
    when p_provider.proves_absence then 'the outcome of the request could not be found out'
    else format(
      'no callback and no lookup showed within %s hours whether the provider took the request',
      round(extract(epoch from p_provider.gives_up_after) / 3600))
  end;
end
$$;

-- Called by the recover and upkeep jobs. The messages of a dispatch that is about to leave the provider's
-- list, or that no callback is to be expected of any more, end as unknown and are never sent again by the
-- engine.
create function outbox_engine.give_up_old_lookups(p_provider text, p_plan text, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_provider constant outbox_engine.providers := outbox_engine.provider_of(p_provider);
  v_old constant uuid[] := array(
    select id
    from outbox_engine.dispatches
    where provider = p_provider
      and plan = p_plan
      and lookup_at is not null
      and claimed_at <= p_now - v_provider.gives_up_after
  );
  v_given_up uuid[];
  v_ids bigint[];
begin
  if v_old = '{}' then
    return;
  end if;
  perform outbox_engine.lock_dispatches(v_old);
  with closed as (
    update outbox_engine.dispatches
    set
      state = case state when 'ambiguous' then 'given_up' else state end,
      closed_at = p_now, lookup_at = null, body = null, media_url = null
    where id = any (v_old) and lookup_at is not null
    returning id, state
  )
  select array_agg(id)
  into v_given_up
  from closed
  where state = 'given_up';
  if v_given_up is null then
    return;
  end if;

  perform outbox_engine.hold_plan(p_provider, p_plan);
  v_ids := outbox_engine.lock_attached(v_given_up);
  perform outbox_engine.change_statuses(
    array_agg(row(id, 'unknown', outbox_engine.given_up_error(v_provider), null, null, null)
      ::outbox_engine.status_change),
    'engine', p_now)
  from unnest(v_ids) id;
  perform outbox_engine.keep_occurrences(v_ids);
  perform outbox_engine.decide_halves(v_given_up, null, null);
end
$$;

-- Marks claimed dispatches as ambiguous whose worker fell silent.
create function outbox_engine.mark_silent_claims(p_provider text, p_plan text, p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from outbox_engine.claimed_dispatches
    where provider = p_provider and plan = p_plan and silent_at <= p_now
  ) then
    return;
  end if;
  -- Refusals hold the plan when they count failed requests too.
  perform outbox_engine.hold_plan(p_provider, p_plan);
  -- Lease tokens are drawn in the order of the ids, so that a simulated history repeats exactly.
  perform outbox_engine.mark_ambiguous(
    x.id, outbox_engine.silence_error(), nextval('outbox_engine.lease_tokens'), p_now)
  from (
    select id
    from outbox_engine.claimed_dispatches
    where provider = p_provider and plan = p_plan and silent_at <= p_now
    order by id
    for update skip locked
  ) x;
end
$$;

-- The start of the window in which a dispatch is looked up, days before its claim: the list is filtered by
-- the dispatch's id, so a wide window costs nothing, and the clocks of database and provider may have
-- differed by hours. The provider's list reaches back fourteen days.
create function outbox_engine.lookup_since(p_claimed_at timestamptz, p_now timestamptz) returns timestamptz
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select greatest(
    least(p_claimed_at, p_now) - interval '7 days',
    least(p_now - interval '13 days', p_claimed_at - interval '12 hours'))
$$;

-- Reports that wait and may be about this dispatch: each came since the claim, names one of its numbers, and
-- shows neither a batch that is known nor a reference. Not those on its `other_batches`. `letters` is the
-- digest of the text that was sent to the number, also where a secret text is gone. A clock that was set
-- back since the claim dates the report before it; the hour is for the time that has passed since.
create function outbox_engine.unexplained_reports(p_dispatch outbox_engine.dispatches)
returns table (batch_id text, recipient text, letters uuid)
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return query
  select w.batch_id, m.recipient, coalesce(outbox_engine.letters_digest(o.body), s.letters)
  from outbox_engine.dispatch_members m
  join outbox_engine.waiting_reports w on (w.report).recipient = m.recipient
  left join public.outbox o on o.id = m.outbox_id and o.dispatch_id = m.dispatch_id
  left join outbox_engine.secret_messages s on s.outbox_id = o.id
  where m.dispatch_id = p_dispatch.id
    and w.reference is null
    and w.batch_id <> all (coalesce(p_dispatch.other_batches, '{}'))
    and w.received_at >= least(p_dispatch.claimed_at, outbox_engine.now()) - interval '1 hour'
    and not exists (select from outbox_engine.dispatches d where d.batch_id = w.batch_id);
end
$$;

-- The same as JSON, once for each batch and at most twenty, the newest. None once the dispatch is given up.
create function outbox_engine.unexplained_json(p_dispatch outbox_engine.dispatches) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(u) order by u.batch_id), '[]')
    from (
      select distinct on (x.batch_id) x.*
      from outbox_engine.unexplained_reports(p_dispatch) x
      where p_dispatch.state = 'ambiguous'
      order by x.batch_id desc, x.recipient
      limit 20
    ) u
  );
end
$$;

-- What the recover job gets to look a dispatch up at a provider that cannot prove absence: the time when the
-- request may have been made, with an hour for clocks that differ, and the number that it went to. The
-- records are searched by them, and each that is read costs money. Null at other providers.
create function outbox_engine.lookup_bounds(p_dispatch outbox_engine.dispatches) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if (outbox_engine.provider_of(p_dispatch.provider)).proves_absence then
    return null;
  end if;
  return jsonb_build_object(
    'since', p_dispatch.claimed_at - interval '1 hour',
    'until',
      least(p_dispatch.ambiguous_at, p_dispatch.lease_until + p_dispatch.deadline) + interval '1 hour',
    'recipients', (
      select jsonb_agg(m.recipient)
      from outbox_engine.dispatch_members m
      where m.dispatch_id = p_dispatch.id and p_dispatch.recipients = 1
    ));
end
$$;

-- Called by the recover job. Returns the dispatches to look up, leased to the caller by a new token, with
-- the time since when the provider's list may show them, the database's clock (`now`), and the batches that
-- reports without a reference name (`reported`); `until` and `recipients` only where `lookup_bounds` gives
-- them. Draws the requests from the plan.
create function public.outbox_claim_lookups(
  p_provider text, p_plan text, p_host text, p_lease_seconds double precision, p_limit smallint
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_allowed integer;
  v_lookups jsonb;
begin
  perform outbox_engine.record_heartbeat('recover', p_provider, p_plan, '');
  perform outbox_engine.give_up_old_lookups(p_provider, p_plan, v_now);
  perform outbox_engine.mark_silent_claims(p_provider, p_plan, v_now);
  v_allowed := outbox_engine.draw_requests(p_provider, p_plan, 'lookup',
    least(p_limit, outbox_engine.lookups_due(p_provider, p_plan, p_host, v_now)));

  with due as materialized (
    select id, nextval('outbox_engine.lease_tokens') as lease_token
    from (
      select id
      from outbox_engine.dispatches
      where provider = p_provider and plan = p_plan and host = p_host and lookup_at <= v_now
      order by lookup_at, claimed_at, id
      limit v_allowed
      for update skip locked
    ) x
  ),
  leased as (
    update outbox_engine.dispatches d
    set lookup_at = v_now + make_interval(secs => p_lease_seconds), lease_token = due.lease_token
    from due
    where d.id = any (array(select id from due)) and d.id = due.id
    returning d.id, d.lease_token, d.claimed_at, outbox_engine.unexplained_json(d) as reported,
      outbox_engine.lookup_bounds(d) as bounds
  )
  select jsonb_agg(
    jsonb_build_object(
      'dispatch_id', id,
      'lease_token', lease_token::text,
      'since', outbox_engine.lookup_since(claimed_at, v_now),
      'now', v_now,
      'reported', reported
    ) || coalesce(bounds, '{}')
    order by claimed_at, id
  )
  into v_lookups
  from leased;
  return coalesce(v_lookups, '[]');
end
$$;

-- Raises an alarm: lookups have not told for a long time whether the provider took a request. At most every
-- six hours for a plan. Where the provider cannot prove absence that is usual, so one a day has to do.
create function outbox_engine.alarm_undecided(
  p_dispatch outbox_engine.dispatches, p_why text, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_provider constant outbox_engine.providers := outbox_engine.provider_of(p_dispatch.provider);
begin
  perform outbox_engine.alarm_at_most(
    'lookup.undecided',
    jsonb_build_object(
      'plan', p_dispatch.plan, 'dispatch', p_dispatch.id, 'messages', p_dispatch.recipients,
      'since', p_dispatch.ambiguous_at, 'why', p_why)
    || case
      when v_provider.proves_absence then '{}'
      else jsonb_build_object('until', p_dispatch.claimed_at + v_provider.gives_up_after)
    end,
    jsonb_build_object('plan', p_dispatch.plan),
    case when v_provider.proves_absence then interval '6 hours' else interval '24 hours' end, p_now);
end
$$;

-- A lookup proved nothing: it failed, or what it found cannot be excluded. It is repeated after `p_least`,
-- and ever later the longer that goes on: every ten minutes at the rarest, every hour where no lookup can
-- rule the request out. After an hour it raises an alarm.
create function outbox_engine.lookup_failed(
  p_dispatch outbox_engine.dispatches, p_why text, p_least interval, p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_for constant interval := p_now - coalesce(p_dispatch.closed_at, p_dispatch.ambiguous_at, p_now);
  v_most constant interval := case
    when (outbox_engine.provider_of(p_dispatch.provider)).proves_absence then '10 minutes'
    else '1 hour'
  end;
begin
  update outbox_engine.dispatches
  set lookup_at = p_now + greatest(p_least, least(v_for / 8, v_most))
  where id = p_dispatch.id;

  if p_dispatch.state = 'ambiguous' and v_for >= interval '1 hour' then
    perform outbox_engine.alarm_undecided(p_dispatch, p_why, p_now);
  end if;
end
$$;

-- Called by the recover job when a lookup proved nothing, and why (`p_why`). It decides nothing and is
-- repeated, at the earliest after `p_seconds`.
create function public.outbox_record_failed_lookup(
  p_dispatch_id uuid, p_lease_token text, p_why text, p_seconds double precision
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatch outbox_engine.dispatches;
begin
  select *
  into v_dispatch
  from outbox_engine.dispatches
  where id = p_dispatch_id and lease_token = p_lease_token::bigint and lookup_at is not null
  for update;
  if found then
    perform outbox_engine.lookup_failed(
      v_dispatch, p_why, make_interval(secs => p_seconds), outbox_engine.now());
  end if;
end
$$;

-- Called by the recover job when the plan's limits leave no request for the rest of a list: the lookup is
-- repeated after `p_seconds`. Returns false if the lookup is no longer the caller's.
create function public.outbox_postpone_lookup(
  p_dispatch_id uuid, p_lease_token text, p_seconds double precision
) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with postponed as (
    update outbox_engine.dispatches
    set lookup_at = outbox_engine.now() + make_interval(secs => p_seconds)
    where id = p_dispatch_id and lease_token = p_lease_token::bigint and lookup_at is not null
    returning id
  )
  select exists (select from postponed)
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_claim_lookups,
  public.outbox_postpone_lookup,
  public.outbox_record_failed_lookup
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_claim_lookups,
  public.outbox_postpone_lookup,
  public.outbox_record_failed_lookup
to service_role;
