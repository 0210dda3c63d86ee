-- When each job last looked for work, so that an operator sees what stands still. Written inside calls that
-- the jobs make anyway, at most once in ten seconds each.

create table outbox_engine.heartbeats (
  job text not null,
  provider text not null default '',
  plan text not null default '',
  -- The process, where the call names it; '' where it does not.
  worker text not null default '',
  -- Of the first one, or of the first after a day without any.
  since timestamptz not null,
  at timestamptz not null,
  -- Of the dispatch job: the countries its process may send to, sorted; null is all. Remembered for previews
  -- alone.
  allowed_countries text[],
  primary key (job, provider, plan, worker)
) with (fillfactor = 50);
alter table outbox_engine.heartbeats enable row level security;

-- Called first thing by the functions that the jobs call at each tick. Waits for nobody: while another
-- transaction is writing this tick down, however long that takes to commit, it is left to that one. A process
-- keeps its settings as long as it lives.
create function outbox_engine.record_heartbeat(
  p_job text, p_provider text, p_plan text, p_worker text, p_allowed_countries text[] default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  if exists (
    select from outbox_engine.heartbeats
    where job = p_job and provider = p_provider and plan = p_plan and worker = p_worker and at > v_now - interval '10 seconds'
  ) or not pg_try_advisory_xact_lock(hashtext(format('outbox tick %s %s %s %s', p_job, p_provider, p_plan, p_worker))) then
    return;
  end if;

  insert into outbox_engine.heartbeats as t (job, provider, plan, worker, since, at, allowed_countries)
  values (p_job, p_provider, p_plan, p_worker, v_now, v_now, (select array_agg(c order by c) from unnest(p_allowed_countries) c))
  on conflict (job, provider, plan, worker) do update
  set
    at = excluded.at, allowed_countries = excluded.allowed_countries,
    since = case when t.at < excluded.at - interval '1 day' then excluded.since else t.since end;
end
$$;

-- The lists of countries that the processes which are running may send to, each once; those of the last ones,
-- where none is running. Of a plan, they are the processes that looked for work in its last minute; a plan
-- that was left alone for a day longer than another is given up.
create function outbox_engine.reported_countries() returns table (allowed_countries text[])
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with plans as (
    select provider, plan, max(at) as last_at, max(max(at)) over () as last_of_all
    from outbox_engine.heartbeats
    where job = 'dispatch'
    group by provider, plan
  )
  select distinct t.allowed_countries
  from plans p
  join outbox_engine.heartbeats t on t.job = 'dispatch' and t.provider = p.provider and t.plan = p.plan
  where p.last_at > p.last_of_all - interval '1 day' and t.at > p.last_at - interval '1 minute'
$$;

-- Called by readiness checks: the database answers and its functions are there.
create function public.outbox_ping() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select 'ok'
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_ping
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_ping
to service_role;
