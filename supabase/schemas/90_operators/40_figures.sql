-- Figures: how many messages had which status, by day (UTC) of their send_at, country and provider code.

-- For apps and dashboards with the server's key, and for `outbox status`. Filter by day
-- (`?day=gte.2027-01-01`). The country of a number is that of its longest known prefix. Joins look it up,
-- because a function call for each row takes ten times as long.
create view public.outbox_figures with (security_invoker = true) as
select
  (o.send_at at time zone 'UTC')::date as day,
  coalesce(r8.region, r7.region, r6.region, r5.region, r4.region, r3.region, r2.region, r1.region) as country,
  o.status,
  o.status_code,
  count(*) as messages,
  coalesce(sum(o.parts), 0) as parts
from public.outbox o
left join outbox_engine.number_regions r8 on r8.prefix = substr(o.recipient, 2, 8)
left join outbox_engine.number_regions r7 on r7.prefix = substr(o.recipient, 2, 7)
left join outbox_engine.number_regions r6 on r6.prefix = substr(o.recipient, 2, 6)
left join outbox_engine.number_regions r5 on r5.prefix = substr(o.recipient, 2, 5)
left join outbox_engine.number_regions r4 on r4.prefix = substr(o.recipient, 2, 4)
left join outbox_engine.number_regions r3 on r3.prefix = substr(o.recipient, 2, 3)
left join outbox_engine.number_regions r2 on r2.prefix = substr(o.recipient, 2, 2)
left join outbox_engine.number_regions r1 on r1.prefix = substr(o.recipient, 2, 1)
group by 1, 2, 3, 4;

comment on view public.outbox_figures is
  'Messages and parts by day (UTC), country, status and the provider''s code.';

-- Called by `outbox status` for the last `p_days` days, today included. Where the planner expects more than
-- a million messages, it returns fewer days and says how many. `asked` is `p_days`.
create function public.outbox_daily_figures(p_days integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_today constant date := (outbox_engine.now() at time zone 'UTC')::date;
  v_days integer := greatest(p_days, 1);
  v_plan json;
  v_rows jsonb;
begin
  loop
    execute format(
      'explain (format json) select from public.outbox o'
        || ' where (o.send_at at time zone ''UTC'')::date between %L and %L',
      v_today - v_days + 1, v_today)
    into v_plan;
    exit when v_days = 1 or (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint <= 1000000;
    v_days := v_days / 2;
  end loop;

  select coalesce(
    jsonb_agg(to_jsonb(f) order by f.day desc, f.messages desc, f.country, f.status, f.status_code), '[]')
  into v_rows
  from (
    select *
    from public.outbox_figures
    where day between v_today - v_days + 1 and v_today
    order by day desc, messages desc
    limit 2000
  ) f;
  return jsonb_build_object('days', v_days, 'asked', p_days, 'figures', v_rows);
end
$$;

revoke all on public.outbox_figures from public, anon, authenticated, service_role;
grant select on public.outbox_figures to service_role;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_daily_figures
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_daily_figures
to service_role;
