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

-- Called first thing by the functions that the jobs call at each tick. Waits for nobody: who finds the row locked leaves it.
create function outbox_engine.note_tick(p_job text, p_provider text, p_plan text, p_worker text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := outbox_engine.now();
begin
  if exists (
    select from outbox_engine.ticks
    where job = p_job and provider = p_provider and plan = p_plan and worker = p_worker and at > v_now - interval '10 seconds'
  ) then
    return;
  end if;

  perform from outbox_engine.ticks
  where job = p_job and provider = p_provider and plan = p_plan and worker = p_worker
  for update skip locked;
  if found then
    update outbox_engine.ticks
    set at = v_now
    where job = p_job and provider = p_provider and plan = p_plan and worker = p_worker;
  else
    insert into outbox_engine.ticks (job, provider, plan, worker, since, at)
    values (p_job, p_provider, p_plan, p_worker, v_now, v_now)
    on conflict do nothing;
  end if;
end
$$;

notify pgrst, 'reload schema';
