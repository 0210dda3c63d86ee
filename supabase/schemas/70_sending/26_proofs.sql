-- Proofs: what shows that a request came to nothing, so that its message may go to another plan of its route.
-- A move takes the plan out of the message's route for good, so no plan gets a message back that it refused.
-- docs/failover.md says what may move and why.

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

-- Called by `seed`. The class of an outcome of each provider that the engine knows.
create function outbox_engine.seed_move_proofs() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.move_proofs (provider, outcome, code, class)
  values ('sinch', 'refused', 0, 'refused'), ('vonage', 'refused', 0, 'refused')
  on conflict (provider, outcome, code) do update set class = excluded.class;
  perform outbox_engine.seed_sinch_proofs();
  perform outbox_engine.seed_vonage_proofs();
end
$$;

-- Sinch says where each status stops a message (SMS API, delivery report statuses and error codes): Aborted
-- before the network, Failed, Rejected, Deleted and Expired in it. Without a row: 405 and 407, because a
-- template's mistake goes along and a person cancelled; MMS codes; Unknown.
create function outbox_engine.seed_sinch_proofs() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.move_proofs (provider, outcome, code, class)
  select 'sinch', 'aborted', unnest(array[402, 403, 404, 406, 408, 410, 411, 412, 413]), 'stopped'
  union all
  select 'sinch', unnest(array['failed', 'rejected', 'deleted', 'expired']), 0, 'network'
  union all
  select 'sinch', unnest(array['aborted', 'failed', 'rejected']), 257, 'barred'
  on conflict (provider, outcome, code) do update set class = excluded.class
$$;

-- Vonage does not say where a code stops a message (Messages API, x-errors; our reading is in
-- jobs/providers/vonage/codes.py). Without a row, of those that stop it: 1470 and 1472 to 1476, which are
-- filters that protect the account and its owner. Of those of the network: 1170, 1190, 1300 and 1310, which
-- say that the number is of no use; 1241, 1270, 1461 and 1483, which spare the recipient; 1320 to 1360, 1490
-- and what is not listed anywhere, of which nobody knows whether the text arrived.
create function outbox_engine.seed_vonage_proofs() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.move_proofs (provider, outcome, code, class)
  select 'vonage', 'aborted', unnest(array[
      1000, 1010, 1020, 1021, 1022, 1040, 1060, 1070, 1080, 1090, 1100, 1120, 1130, 1140, 1150, 1160, 1242,
      1380, 1381, 1382, 1400, 1410, 1420, 1430, 1431, 1440, 1450, 1451
    ]), 'stopped'
  union all
  select 'vonage', 'failed', unnest(array[
      1180, 1200, 1210, 1220, 1230, 1250, 1251, 1260, 1280, 1282, 1290, 1460, 1480, 1481, 1482, 1484
    ]), 'network'
  union all
  select 'vonage', 'rejected', unnest(array[1050, 1240]), 'barred'
  on conflict (provider, outcome, code) do update set class = excluded.class
$$;

-- The class of an outcome, null where it is listed nowhere.
create function outbox_engine.proof_class(p_provider text, p_outcome text, p_code integer) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select p.class
    from outbox_engine.move_proofs p
    where p.provider = p_provider and p.outcome = p_outcome and p.code in (p_code, 0)
    order by p.code = 0
    limit 1
  );
end
$$;

-- Whether a message can have another plan at all. Asked first, because it is cheap.
create function outbox_engine.may_have_other_plans() returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return outbox_engine.has_routes()
    or (select count(*) from (select from outbox_engine.plans limit 2) p) > 1;
end
$$;

-- The plans of one route or detour, as configured. `route_members` has those of all, with their weights.
create function outbox_engine.plans_of_route(p_route smallint)
returns table (provider text, plan text, place smallint)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_way constant record := outbox_engine.detour_of(p_route);
begin
  return query
  select m.*
  from (
    select x.provider, x.plan, x.position from public.outbox_route_plans x where x.route = v_way.route
    union all
    select p.provider, p.plan, coalesce(p.position, 0::smallint)
    from outbox_engine.plans p
    where v_way.route = 0 and not exists (select from public.outbox_route_plans x where x.route = 0)
  ) m (provider, plan, place)
  where outbox_engine.plan_name(m.provider, m.plan) <> all (v_way.without);
end
$$;

-- Those that a process claimed for in the last `p_within`. One that is paused or out of its rate counts: it
-- may send again.
create function outbox_engine.plans_with_process(p_route smallint, p_within interval, p_now timestamptz)
returns table (provider text, plan text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select m.provider, m.plan
  from outbox_engine.plans_of_route(p_route) m
  where exists (
    select from outbox_engine.heartbeats h
    where h.job = 'dispatch' and h.provider = m.provider and h.plan = m.plan and h.at > p_now - p_within
  );
end
$$;

-- The detour of a route or detour without this plan. Null where no other plan of it had a running process in
-- the last day: the message would wait for nobody.
create function outbox_engine.detour_without(
  p_route smallint, p_provider text, p_plan text, p_now timestamptz
) returns smallint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_name constant text := outbox_engine.plan_name(p_provider, p_plan);
  v_way record;
begin
  select * into v_way from outbox_engine.detour_of(p_route);
  if v_name = any (v_way.without) then
    return p_route;
  elsif not exists (
    select from outbox_engine.plans_with_process(p_route, '1 day', p_now) x
    where (x.provider, x.plan) <> (p_provider, p_plan)
  ) then
    return null;
  end if;
  return outbox_engine.make_detour(v_way.route, v_way.without || v_name, v_way.country);
end
$$;

-- What the history says of a message that moves: what the plan of its request did to it.
create function outbox_engine.moved_because(p_dispatch outbox_engine.dispatches, p_what text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format('%s %s (%s): goes on without that plan',
    outbox_engine.plan_name(p_dispatch.provider, p_dispatch.plan), p_what, p_dispatch.error)
$$;

-- Takes this plan out of the routes of messages, so that they wait for their other plans; not of those that
-- have none, that expired, or whose cancellation was requested. Returns the ids of those that moved. The
-- caller locked the messages, which wait or are in a request that certainly came to nothing.
create function outbox_engine.move_messages(
  p_ids bigint[], p_provider text, p_plan text, p_why text, p_now timestamptz
) returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_way record;
  v_detour smallint;
  v_moved bigint[] := '{}';
  v_changes outbox_engine.status_change[];
begin
  if cardinality(p_ids) > 0 is not true or not outbox_engine.may_have_other_plans() then
    return v_moved;
  end if;
  for v_way in
    select outbox_engine.present_route(o) as route, array_agg(o.id) as ids
    from public.outbox o
    where o.id = any (p_ids) and o.cancel_requested_at is null and o.expires_at > p_now
    group by 1
    order by 1
  loop
    v_detour := outbox_engine.detour_without(v_way.route, p_provider, p_plan, p_now);
    if v_detour is not null then
      update public.outbox set route = v_detour where id = any (v_way.ids);
      v_moved := v_moved || v_way.ids;
    end if;
  end loop;
  perform outbox_engine.return_messages(array(
    select o.id from public.outbox o where o.id = any (v_moved) and o.status = 'sending'));
  select array_agg(row(o.id, 'moved', p_why, least(o.due_at, p_now), null, null)::outbox_engine.status_change)
  into v_changes
  from public.outbox o
  where o.id = any (v_moved);
  perform outbox_engine.change_statuses(v_changes, 'engine', p_now);
  delete from outbox_engine.held_messages where outbox_id = any (v_moved);
  return v_moved;
end
$$;
