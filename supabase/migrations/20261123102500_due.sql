-- What there is to do besides sending. The claim says it along with its answer, so that the other jobs need not ask every few
-- seconds whether they are wanted: an idle process makes one small call a second.

-- Campaigns whose members come up within a minute, are to be looked at again, or whose counts changed.
create function outbox_engine.campaigns_due(p_now timestamptz) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return exists (select from outbox_engine.campaign_changes)
    or exists (select from outbox_engine.campaign_returns)
    or exists (select from public.outbox_campaigns c where c.recheck_after is not null or c.replan_after is not null)
    or exists (
      select from public.outbox_campaigns c
      where c.status = 'active' and exists (
        select from public.outbox_campaign_members m where m.campaign = c.name and m.next_at <= p_now + interval '1 minute'));
end
$$;

-- Waiting rows that expired, alarms nobody has passed on, and what was found out or reported a moment too late to be acted on.
create function outbox_engine.upkeep_due(p_now timestamptz) returns boolean
language plpgsql stable set search_path = '' set enable_sort = off
as $$
begin
  return exists (
      select from public.outbox
      where queue is not null and expires_at <= p_now
        and expires_at >= coalesce((select expiring_from from outbox_engine.floors), '-infinity')
      order by expires_at
      limit 1)
    or exists (select from outbox_engine.alarms where told_at is null and coalesce(offered_until <= p_now, true))
    or exists (select from outbox_engine.doubles where confirmed_at is null)
    or exists (select from outbox_engine.waiting_reports where received_at > p_now - interval '1 hour');
end
$$;

-- The names of the jobs that would find something to do now. A few steps into an index each.
create function outbox_engine.jobs_due(p_provider text, p_plan text, p_host text, p_now timestamptz) returns text[]
language plpgsql stable set search_path = ''
as $$
begin
  return array_remove(array[
    case when outbox_engine.looks_due(p_provider, p_plan, p_host, p_now) > 0 then 'recover' end,
    case when exists (
      select from outbox_engine.dispatches where provider = p_provider and plan = p_plan and ask_at <= p_now
    ) then 'reconcile' end,
    case when outbox_engine.campaigns_due(p_now) then 'campaigns' end,
    case when outbox_engine.upkeep_due(p_now) then 'upkeep' end
  ], null);
end
$$;

notify pgrst, 'reload schema';
