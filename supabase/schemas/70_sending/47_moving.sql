-- Moving by report: a message that the provider took, and of which a report proves that nothing came of it.
-- And messages that moved and now wait for nobody.

-- Whether a report on an earlier request of a message says that it was handed on, although the message left
-- that request because it was stopped. One that failed in the network was handed on before.
create function outbox_engine.may_have_arrived(
  o public.outbox, p_report public.outbox_events, p_class text
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return outbox_engine.says_handed_on(p_report.status) and p_class is distinct from 'stopped'
    and not (outbox_engine.is_after_network_failure(o.route) and exists (
      select
      from public.outbox_events e
      join outbox_engine.dispatches d on d.id = e.dispatch_id
      where e.outbox_id = o.id and e.dispatch_id = p_report.dispatch_id and e.event = 'report'
        and outbox_engine.proof_class(d.provider, e.status, e.status_code) = 'network'));
end
$$;

-- Whether something that was heard of a message speaks against a move by a proof of this class on its present
-- request, whatever the times of the two are: a report on any of its requests, of which one is wrong then, or
-- a second batch. After an operator had it sent again, only what was heard since counts, and who is barred.
create function outbox_engine.has_report_against_move(o public.outbox, p_class text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_retried constant bigint := outbox_engine.last_retried(o.id);
begin
  return exists (
    select from outbox_engine.duplicate_sends x where x.outbox_id = o.id
  ) or exists (
    select
    from public.outbox_events e
    join outbox_engine.dispatches d on d.id = e.dispatch_id
    cross join lateral (
      select outbox_engine.proof_class(d.provider, e.status, e.status_code) as class,
        e.dispatch_id is not distinct from o.dispatch_id as is_present
    ) p
    where e.outbox_id = o.id and e.event = 'report' and (
      p.class = 'barred'
      or (p.is_present or e.id > v_retried) and (
        -- An outcome that is no proof, and not the usual one of a text that is on its way.
        p.class is null and e.status not in ('sent', 'dispatched')
        or lower(e.report ->> 'status') = 'undeliverable')
      or p.is_present and p_class = 'stopped' and p.class is distinct from 'stopped'
        and outbox_engine.says_handed_on(e.status)
      or not p.is_present and p.class = 'network' and (
        p_class = 'network'
        -- No proof on this route.
        or e.id > v_retried and (o.parts = 1 and outbox_engine.is_after_network_failure(o.route)) is not true)
      or not p.is_present and e.id > v_retried and outbox_engine.may_have_arrived(o, e, p.class)
    )
  );
end
$$;

-- Whether nothing that is known of a message speaks against a move by a report of this class on its present
-- request. The caller locked it, and stored the report in its history.
create function outbox_engine.may_move(
  o public.outbox, p_class text, p_now timestamptz
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_route constant smallint := outbox_engine.present_route(o);
begin
  -- A secret text that comes late has been asked for again.
  if o.cancel_requested_at is not null or o.expires_at <= p_now or o.body is null and o.template is null
    or o.secret and p_now > o.sent_at + interval '1 minute'
    or o.finalized_at is not null and o.reported_rank is distinct from outbox_engine.rank_of(o.status) then
    return false;
  elsif p_class = 'network'
    and (o.parts = 1 and outbox_engine.is_after_network_failure(v_route)) is not true then
    return false;
  end if;
  return not outbox_engine.has_report_against_move(o, p_class);
end
$$;

-- Called when new reports are about to be applied to their messages, which the caller locked. Returns, for
-- each report, the detour on which its message goes on if the report decides; null where it proves nothing,
-- where the route has no other plan, or where something speaks against it. A message whose plan failed for
-- the moment only is tried again instead where no other plan can send now: it might wait for one that is away
-- for good. Not a secret one, nor at its fifth attempt, because those are not tried again. Null where no
-- report moves anything.
create function outbox_engine.find_moves(
  p_outbox_ids bigint[], p_dispatches uuid[], p_providers text[], p_statuses text[], p_codes integer[],
  p_now timestamptz
) returns smallint[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_way record;
  v_detour smallint;
  v_place bigint;
  v_detours smallint[];
begin
  if p_statuses <@ array['delivered', 'dispatched', 'sent']
    or not outbox_engine.may_have_other_plans() then
    return null;
  end if;
  for v_way in
    select w.route, d.provider, d.plan, t.is_for_now, array_agg(n.place) as places
    from unnest(p_outbox_ids, p_dispatches, p_providers, p_statuses, p_codes)
      with ordinality n (outbox_id, dispatch_id, provider, status, code, place)
    cross join lateral (select outbox_engine.proof_class(n.provider, n.status, n.code) as class) p
    cross join lateral (select x.* from public.outbox x where x.id = n.outbox_id limit 1) o
    cross join lateral (
      select x.provider, x.plan from outbox_engine.dispatches x where x.id = n.dispatch_id limit 1
    ) d
    cross join lateral (select outbox_engine.present_route(o) as route) w
    left join outbox_engine.report_codes c on c.provider = n.provider and c.code = n.code
    cross join lateral (
      select coalesce(n.status = 'aborted' and c.effect in ('retry', 'retry_unless_dispatched')
        and not o.secret and o.attempts < 5, false) as is_for_now
    ) t
    where p.class in ('stopped', 'network') and o.dispatch_id = n.dispatch_id
      and outbox_engine.may_move(o, p.class, p_now)
    group by w.route, d.provider, d.plan, t.is_for_now
    order by w.route, d.provider, d.plan, t.is_for_now
  loop
    continue when v_way.is_for_now
      and not outbox_engine.has_other_plan(v_way.route, v_way.provider, v_way.plan, p_now);
    v_detour := outbox_engine.detour_without(v_way.route, v_way.provider, v_way.plan, p_now);
    continue when v_detour is null;
    v_detours := coalesce(v_detours, array_fill(null::smallint, array[cardinality(p_statuses)]));
    foreach v_place in array v_way.places loop
      v_detours[v_place] := v_detour;
    end loop;
  end loop;
  return v_detours;
end
$$;

-- Whether a message left one of its requests because a report was a proof, and no operator had it sent again
-- since.
create function outbox_engine.moved_by_report(p_outbox_id bigint) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return exists (
    select
    from public.outbox_events e
    join outbox_engine.dispatches d on d.id = e.dispatch_id and d.batch_id is not null
    where e.outbox_id = p_outbox_id and e.event = 'moved'
      and not exists (
        select from public.outbox_events r
        where r.outbox_id = p_outbox_id and r.event = 'retried' and r.id > e.id)
      and exists (
        select from public.outbox_events r
        where r.outbox_id = p_outbox_id and r.dispatch_id = d.id and r.event = 'report'
          and outbox_engine.proof_class(d.provider, r.status, r.status_code) in ('stopped', 'network')));
end
$$;

-- Of these messages, those that wait because a report on one of their requests was a proof, although
-- something speaks against it by now.
create function outbox_engine.moves_in_doubt(p_ids bigint[]) returns bigint[]
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return (
    select array_agg(o.id order by o.id)
    from unnest(p_ids) n (id)
    cross join lateral (select x.* from public.outbox x where x.id = n.id limit 1) o
    where o.status in ('pending', 'scheduled') and outbox_engine.moved_by_report(o.id)
      and outbox_engine.has_report_against_move(o, coalesce(
        (
          select outbox_engine.proof_class(
            d.provider, (outbox_engine.statuses_by_rank())[o.reported_rank], o.status_code)
          from outbox_engine.dispatches d
          where d.id = o.dispatch_id
        ),
        'stopped')));
end
$$;

-- Called when new reports are about to be applied. Returns the messages that wait for another plan although
-- one of these reports speaks against it. Null where there are none.
create function outbox_engine.find_ended_moves(p_outbox_ids bigint[], p_statuses text[]) returns bigint[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if p_statuses <@ array['delivered', 'sent'] or not outbox_engine.has_routes() then
    return null;
  end if;
  return outbox_engine.moves_in_doubt(array(select distinct id from unnest(p_outbox_ids) id));
end
$$;

-- Of these messages, those that wait again although something that was heard of another of their requests
-- speaks against it end as the best report says, or were sent by a second batch. Called behind whatever has
-- messages wait again.
create function outbox_engine.end_waits_in_doubt(p_ids bigint[], p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  if outbox_engine.has_routes() then
    perform outbox_engine.end_waiting(outbox_engine.moves_in_doubt(p_ids), p_now);
  end if;
  perform outbox_engine.end_waiting(outbox_engine.retries_in_doubt(p_ids), p_now);
  perform outbox_engine.adopt_second_batches(p_ids, p_now);
end
$$;

-- Called where the latest request of messages came to nothing, so that they wait again: while it was open, a
-- report may have said that an earlier one did not, or a second batch of it may have been found.
create function outbox_engine.end_moves_in_doubt(p_dispatches uuid[], p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  perform outbox_engine.end_waits_in_doubt(array(
    select m.outbox_id from outbox_engine.dispatch_members m where m.dispatch_id = any (p_dispatches)
  ), p_now);
end
$$;

-- Writes into the history of the messages of these reports which of them moved, once since an operator had
-- them sent again: `moved_by_report` asks for moves since then.
create function outbox_engine.log_moves(
  p_outbox_ids bigint[], p_dispatches uuid[], p_detours smallint[], p_now timestamptz
) returns void
language sql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  insert into public.outbox_events (outbox_id, at, source, event, status, status_code, dispatch_id, detail)
  select o.id, p_now, 'engine', 'moved', 'pending', o.status_code, d.id,
    format('%s %s; goes on without that plan', outbox_engine.plan_name(d.provider, d.plan), o.error)
  from (
    select distinct n.outbox_id, n.dispatch_id
    from unnest(p_outbox_ids, p_dispatches, p_detours) n (outbox_id, dispatch_id, detour)
    where n.detour is not null
  ) m
  cross join lateral (select x.* from public.outbox x where x.id = m.outbox_id limit 1) o
  cross join lateral (select x.* from outbox_engine.dispatches x where x.id = m.dispatch_id limit 1) d
  where o.dispatch_id = m.dispatch_id and o.status = 'pending'
    and outbox_engine.plan_name(d.provider, d.plan) = any ((outbox_engine.detour_of(o.route)).without)
    and not exists (
      select from public.outbox_events e
      where e.outbox_id = o.id and e.dispatch_id = d.id and e.event = 'moved'
        and e.id > outbox_engine.last_retried(o.id))
  order by o.id
$$;

-- A route or detour in words: `codes without sinch p`.
create function outbox_engine.route_name(p_id smallint) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_way constant record := outbox_engine.detour_of(p_id);
begin
  return concat_ws(' ',
    case
      when v_way.route = 0 then 'default'
      else coalesce((select r.name from public.outbox_routes r where r.id = v_way.route), 'a deleted route')
    end,
    'in ' || v_way.country,
    'without ' || nullif(array_to_string(v_way.without, ', '), ''));
end
$$;

-- Called by the upkeep job. Messages that a plan refused, that are due, and whose other plans are gone, end
-- as failed, at most `p_most`: the configuration changed, or no process of any of them ran for a day. An
-- upkeep job that has run for an hour shows that not all processes were away. Messages that another
-- transaction holds keep for the next call. Returns how many ended.
create function outbox_engine.end_stranded(p_now timestamptz, p_most integer) returns integer
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_runs_for_an_hour constant boolean := outbox_engine.upkeep_ran_for_an_hour(p_now);
  v_empty smallint[];
  v_changes outbox_engine.status_change[];
begin
  if not outbox_engine.has_routes()
    or exists (select from outbox_engine.plan_pauses where kind = 'restored') then
    return 0;
  end if;
  v_empty := array(
    select d.id
    from outbox_engine.detours d
    where d.without <> '{}'
      and not exists (select from outbox_engine.plans_with_process(d.id, '1 day', p_now))
      and (v_runs_for_an_hour
        or not exists (select from outbox_engine.plans_of_route(d.id))));
  if v_empty = '{}' then
    return 0;
  end if;
  select array_agg(row(
    x.id, case when x.cancel_requested_at is null then 'failed' else 'cancelled' end,
    'no plan is left to send it' || coalesce(': ' || x.error, ''), null, null, null
  )::outbox_engine.status_change)
  into v_changes
  from (
    select o.id, o.cancel_requested_at, o.error
    from public.outbox o
    where o.queue is not null and o.due_at <= p_now
      -- By the indexes of the two queues. With both in one condition, all that waits would be read.
      and o.id = any (
        array(select r.id from public.outbox r
          where r.queue = 'r' and r.route = any (v_empty) and r.due_at <= p_now limit p_most)
        || array(select w.id from public.outbox w
          where w.queue = 'w' and w.route = any (v_empty) and w.due_at <= p_now limit p_most))
    limit p_most
    for update skip locked
  ) x;
  perform outbox_engine.change_statuses(v_changes, 'engine', p_now);
  return coalesce(cardinality(v_changes), 0);
end
$$;

-- Called by the upkeep job. Raises an alarm, at most once an hour for each route: messages have waited for a
-- minute in which none of its plans had a running process, while others had.
create function outbox_engine.alarm_without_plans(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_since constant timestamptz := p_now - interval '1 minute';
  v_route smallint;
begin
  if not outbox_engine.has_routes() or not exists (
    select from outbox_engine.heartbeats h where h.job = 'dispatch' and h.at > v_since
  ) then
    return;
  end if;
  for v_route in
    select w.id
    from (
      select 0::smallint as id
      union all
      select r.id from public.outbox_routes r
      union all
      select d.id from outbox_engine.detours d
    ) w
    where (exists (select from public.outbox o where o.queue = 'r' and o.route = w.id and o.due_at <= v_since)
        or exists (
          select from public.outbox o where o.queue = 'w' and o.route = w.id and o.due_at <= v_since))
      and not exists (select from outbox_engine.plans_with_process(w.id, '1 minute', p_now))
    order by w.id
  loop
    perform outbox_engine.alarm_at_most('route.without_plans',
      jsonb_build_object(
        'route', outbox_engine.route_name(v_route),
        'plans', (
          select coalesce(jsonb_agg(outbox_engine.plan_name(m.provider, m.plan) order by m.place), '[]')
          from outbox_engine.plans_of_route(v_route) m)),
      jsonb_build_object('route', outbox_engine.route_name(v_route)), interval '1 hour', p_now);
  end loop;
end
$$;
