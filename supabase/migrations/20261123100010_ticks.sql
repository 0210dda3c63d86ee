-- When each job last looked for work, so that an operator sees what stands still. Written inside calls that the jobs make
-- anyway, at most once in ten seconds each.

create table outbox_engine.ticks (
  job text not null,
  provider text not null default '',
  plan text not null default '',
  -- The process, where the call names it; '' where it does not.
  worker text not null default '',
  since timestamptz not null,
  at timestamptz not null,
  primary key (job, provider, plan, worker)
) with (fillfactor = 50);
alter table outbox_engine.ticks enable row level security;

-- Called first thing by the functions that the jobs call at each tick. Waits for nobody: while another transaction is writing this
-- tick down, however long that takes to commit, it is left to that one.
create function outbox_engine.note_tick(p_job text, p_provider text, p_plan text, p_worker text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  if exists (
    select from outbox_engine.ticks
    where job = p_job and provider = p_provider and plan = p_plan and worker = p_worker and at > v_now - interval '10 seconds'
  ) or not pg_try_advisory_xact_lock(hashtext(format('outbox tick %s %s %s %s', p_job, p_provider, p_plan, p_worker))) then
    return;
  end if;

  insert into outbox_engine.ticks (job, provider, plan, worker, since, at)
  values (p_job, p_provider, p_plan, p_worker, v_now, v_now)
  on conflict (job, provider, plan, worker) do update set at = excluded.at;
end
$$;

notify pgrst, 'reload schema';
