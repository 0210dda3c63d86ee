-- What the figures job does for the dashboard.

-- Called by the figures job: goes on with a bulk action whose driver was silent
-- for 30 seconds, counts blocks that changed, and deletes what is older than `p_days` says, which has
-- `figures` and `audit`. Returns whether another call has work to do: `bulk`, and `figures`.
create function public.outbox_tend_dashboard(p_days text, p_most integer) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_days constant jsonb := p_days;
  v_figures_before constant timestamptz := outbox_engine.remove_before(v_days, 'figures', v_now);
  v_audit_before constant timestamptz := outbox_engine.remove_before(v_days, 'audit', v_now);
  b outbox_engine.bulk_actions;
  v_figures boolean;
begin
  -- First, because nothing is locked yet and it waits for messages. An action goes on in steps until its end,
  -- so it stays with the job that took it over.
  select * into b
  from outbox_engine.bulk_actions
  where ended_at is null and worked_at < v_now - interval '30 seconds'
  order by worked_at
  limit 1
  for update skip locked;
  if found then
    begin
      b := outbox_engine.work_on_bulk(b, least(p_most, 500));
      -- Its driver is silent, so it stays due.
      update outbox_engine.bulk_actions set worked_at = v_now - interval '31 seconds'
      where id = b.id and ended_at is null;
    exception
      when data_exception or integrity_constraint_violation then
        -- It would fail each time, and hold up all that the job does.
        update outbox_engine.bulk_actions
        set is_stopped = true, ended_at = v_now, filter = outbox_engine.ended_filter(filter)
        where id = b.id;
        b.ended_at := v_now;
    end;
  end if;
  v_figures := outbox_engine.tend_figures(20);
  delete from outbox_engine.hourly_figures where hour < v_figures_before;
  delete from outbox_engine.bulk_actions where ended_at < v_audit_before;
  perform outbox_engine.prune_audit(v_audit_before, p_most);
  return jsonb_build_object('bulk', b.id is not null and b.ended_at is null, 'figures', v_figures);
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_tend_dashboard from public, anon, authenticated, service_role;
grant execute on function public.outbox_tend_dashboard to service_role;
