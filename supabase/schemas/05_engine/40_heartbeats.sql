-- Heartbeats: when each job last ran, so that operators see which one stands still. Calls that the jobs
-- make anyway record them, at most once in ten seconds each.

create table outbox_engine.heartbeats (
  job text not null,
  provider text not null default '',
  plan text not null default '',
  -- The process. Empty where the call does not name it.
  worker text not null default '',
  -- The first heartbeat, or the first after a day without any.
  since timestamptz not null,
  -- The latest heartbeat.
  at timestamptz not null,
  -- Dispatch job only: the countries its process may send to, and the beginnings of numbers, sorted; null
  -- means all. Campaign previews read it.
  allowed_countries text[],
  -- Dispatch job only: the newest schema version that its process knows. Post files wait for old processes.
  schema_version integer,
  -- A later heartbeat, by a clock that was set back since. Its process may remember that one.
  was_at timestamptz,
  -- When the process said that it has ended.
  ended_at timestamptz,
  -- Dispatch job only: the fingerprint of the credential that its process uses.
  credential text,
  primary key (job, provider, plan, worker)
) with (fillfactor = 50);
alter table outbox_engine.heartbeats enable row level security;

-- Processes that send for a plan: their heartbeat is of the last minute, and they have not ended.
create view outbox_engine.running_dispatchers as
select provider, plan, worker
from outbox_engine.heartbeats
where job = 'dispatch' and at > outbox_engine.now() - interval '1 minute' and ended_at is null;

-- Called first by the functions that jobs call at each interval. Never waits: while another transaction
-- writes the same heartbeat, this one is skipped, however long that transaction stays open. A process keeps
-- its settings until it ends. A heartbeat of the future is of a clock that was set back since.
create function outbox_engine.record_heartbeat(
  p_job text, p_provider text, p_plan text, p_worker text, p_allowed_countries text[] default null,
  p_schema_version integer default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  if exists (
      select from outbox_engine.heartbeats
      where job = p_job and provider = p_provider and plan = p_plan and worker = p_worker
        and at > v_now - interval '10 seconds' and at <= v_now
    )
    or not pg_try_advisory_xact_lock(
      hashtext(format('outbox heartbeat %s %s %s %s', p_job, p_provider, p_plan, p_worker))) then
    return;
  end if;

  insert into outbox_engine.heartbeats as h (
    job, provider, plan, worker, since, at, allowed_countries, schema_version)
  values (p_job, p_provider, p_plan, p_worker, v_now, v_now,
    (select array_agg(c order by c) from unnest(p_allowed_countries) c), p_schema_version)
  on conflict (job, provider, plan, worker) do update
  set
    at = excluded.at,
    allowed_countries = excluded.allowed_countries,
    schema_version = excluded.schema_version,
    ended_at = null,
    was_at = case when greatest(h.at, h.was_at) > excluded.at then greatest(h.at, h.was_at) end,
    since = case
      when h.at < excluded.at - interval '1 day' then excluded.since
      else least(h.since, excluded.since)
    end;
end
$$;

-- Called by the claim after its heartbeat: notes the fingerprint of the credential. Never waits.
create function outbox_engine.note_credential(
  p_provider text, p_plan text, p_worker text, p_credential text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  update outbox_engine.heartbeats h
  set credential = p_credential
  from (
    select x.provider, x.plan, x.worker
    from outbox_engine.heartbeats x
    where x.job = 'dispatch' and x.provider = p_provider and x.plan = p_plan and x.worker = p_worker
      and x.credential is distinct from p_credential
    for update skip locked
  ) free
  where h.job = 'dispatch' and h.provider = free.provider and h.plan = free.plan and h.worker = free.worker;
end
$$;

-- Whether an upkeep job has run for an hour. After a downtime, processes have that long to come back before
-- it ends what nobody looks after.
create function outbox_engine.upkeep_ran_for_an_hour(p_now timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from outbox_engine.heartbeats where job = 'upkeep' and since < p_now - interval '1 hour');
end
$$;

-- Called by a dispatch job that may not claim yet, such as with a wrong token: its turns are a sign of life.
-- They count for no process, because routes, texts and previews ask which processes claim.
create function public.outbox_note_waiting(p_provider text, p_plan text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.record_heartbeat('waiting', p_provider, p_plan, '')
$$;

-- Called by a process that ends in order, after its last claim.
create function public.outbox_end_process(p_worker text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.heartbeats
  set ended_at = outbox_engine.now()
  where worker = p_worker and p_worker <> ''
$$;

-- Called by the upkeep job. Heartbeats of processes that have ended count from now where a clock that was
-- set back would keep them in the future. Skips heartbeats that another transaction writes.
create function outbox_engine.end_future_heartbeats(p_now timestamptz) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.heartbeats h
  set at = p_now, since = least(h.since, p_now), was_at = greatest(h.at, h.was_at)
  from (
    select job, provider, plan, worker
    from outbox_engine.heartbeats
    where at > p_now + interval '10 seconds'
    for update skip locked
  ) f
  where (h.job, h.provider, h.plan, h.worker) = (f.job, f.provider, f.plan, f.worker)
$$;

-- Called by campaign previews. The different lists of countries that the running processes may send to.
-- The processes of a plan are those with a heartbeat in the last minute of that plan, so that a system
-- that stands still keeps its last lists. A plan whose last heartbeat is a day older than that of another
-- plan is left out.
create function outbox_engine.reported_countries() returns table (allowed_countries text[])
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with plans as (
    select provider, plan, max(at) as last_at, max(max(at)) over () as last_of_all
    from outbox_engine.heartbeats
    where job = 'dispatch'
    group by provider, plan
  )
  select distinct h.allowed_countries
  from plans p
  join outbox_engine.heartbeats h on h.job = 'dispatch' and h.provider = p.provider and h.plan = p.plan
  where p.last_at > p.last_of_all - interval '1 day' and h.at > p.last_at - interval '1 minute'
$$;

-- Called by `outbox_schema_version`. Dispatch processes that know fewer versions than the database has:
-- how many had a heartbeat in the last minute and have not ended, and the seconds since the latest heartbeat
-- of one, null for none. A process that cron starts every few minutes shows in the second only. A process
-- that does not name its version counts.
create function outbox_engine.old_processes(out running bigint, out seconds_ago double precision)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select count(*) filter (where h.at > n.at - interval '1 minute' and h.ended_at is null),
    extract(epoch from n.at - max(h.at))
  from (select outbox_engine.now() as at) n
  left join outbox_engine.heartbeats h on h.job = 'dispatch'
    and coalesce(h.schema_version, 0) < (select max(version) from outbox_engine.schema_versions)
  group by n.at
$$;

-- Called by readiness checks. An answer shows that the database is reachable and has our functions.
create function public.outbox_ping() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select 'ok'
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_ping,
  public.outbox_note_waiting,
  public.outbox_end_process
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_ping,
  public.outbox_note_waiting,
  public.outbox_end_process
to service_role;
