-- Which other jobs have work. The claim answers it, so that an idle process makes one call a second.

-- True while the upkeep job has work: waiting rows that expired, alarms to raise, unconfirmed duplicate
-- sends, secret texts that have to go, or reports that arrived at the same moment as the acceptance of their
-- batch.
create function outbox_engine.upkeep_due(p_now timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
begin
  return exists (
      select from outbox_engine.expiring_messages where expires_at <= p_now order by expires_at limit 1)
    or exists (
      select from outbox_engine.unlogged_alarms where free_at <= p_now)
    or exists (select from outbox_engine.duplicate_sends where confirmed_at is null)
    or exists (select from outbox_engine.secret_messages where blank_at <= p_now)
    or exists (select from outbox_engine.waiting_reports where received_at > p_now - interval '1 hour')
    or outbox_engine.health_due(p_now);
end
$$;

-- The names of the jobs that have work now. Each check is a few steps into an index.
create function outbox_engine.jobs_due(
  p_provider text, p_plan text, p_host text, p_now timestamptz
) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return array_remove(array[
    case when outbox_engine.lookups_due(p_provider, p_plan, p_host, p_now) > 0 then 'recover' end,
    case when exists (
      select from outbox_engine.dispatches
      where provider = p_provider and plan = p_plan and reconcile_at <= p_now
    ) then 'reconcile' end,
    case when outbox_engine.campaigns_due(p_now) then 'campaigns' end,
    case when outbox_engine.upkeep_due(p_now) then 'upkeep' end
  ], null);
end
$$;
