-- Delivery figures: the sums by hour or day, with the share that arrived and how long it took.

-- The time within which the share `p_share` of messages arrived, in seconds, from their counts by bucket.
-- Within a bucket they are taken to be spread evenly. In the last one, which has no end, it is the beginning.
create function outbox_engine.delay_quantile(p_counts bigint[], p_share double precision)
returns double precision
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_upper constant double precision[] := outbox_engine.delay_bounds();
  v_lower double precision := 0;
  v_all double precision := 0;
  v_up_to double precision := 0;
begin
  for n in 1 .. cardinality(p_counts) loop
    v_all := v_all + coalesce(p_counts[n], 0);
  end loop;
  for n in 1 .. cardinality(p_counts) loop
    if p_counts[n] > 0 then
      v_up_to := v_up_to + p_counts[n];
      if v_up_to >= v_all * p_share then
        return v_lower + coalesce(
          (v_upper[n] - v_lower) * (v_all * p_share - (v_up_to - p_counts[n])) / p_counts[n], 0);
      end if;
    end if;
    v_lower := v_upper[n];
  end loop;
  return null;
end
$$;

-- The sums of `hourly_figures` in these hours for each of `p_splits`, of which the table is read once. A
-- split is 'all' or 'time' (the beginning of the hour or day), and after a space 'country', 'plan' or
-- 'code', which `by` has then. `at` is `p_since` where the split has no time.
create function outbox_engine.summed_figures(
  p_since timestamptz, p_until timestamptz, p_unit text, p_zone text, p_splits text[]
) returns table (
  split text, at timestamptz, by text, status text, delay smallint, messages bigint, parts bigint
)
language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off
as $$
begin
  return query execute
    'with h as materialized ('
    || ' select case $3 when ''day'' then date_trunc(''day'', x.hour, $4) else x.hour end as at, x.country,'
    || '  x.plan, x.status_code, x.status, x.delay, x.messages, x.parts'
    || ' from outbox_engine.hourly_figures x'
    || ' where x.hour >= date_trunc(''hour'', $1, ''UTC'') and x.hour < $2'
    -- All hours together are few rows, from which the splits without a time are made.
    || '), a as materialized ('
    || ' select $1 as at, h.country, h.plan, h.status_code, h.status, h.delay,'
    || '  sum(h.messages)::bigint as messages, sum(h.parts)::bigint as parts'
    || ' from h group by 2, 3, 4, 5, 6'
    || ') ' || (
      select string_agg(format(
        'select %L, x.at, %s, x.status, x.delay, sum(x.messages)::bigint, sum(x.parts)::bigint'
          || ' from %s x group by 1, 2, 3, 4, 5',
        s,
        case split_part(s, ' ', 2)
          when 'country' then 'x.country' when 'plan' then 'x.plan' when 'code' then 'x.status_code::text'
          else 'null::text'
        end,
        case when s like 'time%' then 'h' else 'a' end), ' union all ')
      from unnest(p_splits) s
    )
  using p_since, p_until, p_unit, p_zone;
end
$$;

-- Those sums as the dashboard gets them, a list for each split.
create function outbox_engine.figures_json(
  p_since timestamptz, p_until timestamptz, p_unit text, p_zone text, p_splits text[]
) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp set jit = off
as $$
  with figures as materialized (
    select * from outbox_engine.summed_figures(p_since, p_until, p_unit, coalesce(p_zone, 'UTC'), p_splits)
  ),
  statuses as (
    select x.split, x.at, x.by, jsonb_object_agg(x.status, x.messages) as statuses,
      sum(x.messages) as messages, sum(x.parts) as parts,
      coalesce(sum(x.messages) filter (where x.status = 'delivered'), 0) as delivered,
      sum(x.messages) filter (where x.status in (
        'delivered', 'failed', 'rejected', 'aborted', 'expired', 'deleted')) as ended
    from (
      select split, at, by, status, sum(messages) as messages, sum(parts) as parts
      from figures group by split, at, by, status
    ) x
    group by x.split, x.at, x.by
  ),
  delays as (
    select split, at, by, array[
      sum(messages) filter (where delay = 0), sum(messages) filter (where delay = 1),
      sum(messages) filter (where delay = 2), sum(messages) filter (where delay = 3),
      sum(messages) filter (where delay = 4), sum(messages) filter (where delay = 5),
      sum(messages) filter (where delay = 6), sum(messages) filter (where delay = 7),
      sum(messages) filter (where delay = 8), sum(messages) filter (where delay = 9)
    ] as counts
    from figures
    group by split, at, by
  ),
  rows as (
    select s.split, jsonb_agg(jsonb_build_object(
      'at', s.at, 'by', s.by, 'messages', s.messages, 'parts', s.parts, 'statuses', s.statuses,
      'delivery_rate', round(s.delivered / s.ended, 4),
      'p50', outbox_engine.delay_quantile(d.counts::bigint[], 0.5),
      'p95', outbox_engine.delay_quantile(d.counts::bigint[], 0.95)
    ) order by s.at, s.messages desc, s.by) as figures
    from statuses s
    join delays d on d.split = s.split and d.at = s.at and coalesce(d.by, '') = coalesce(s.by, '')
    group by s.split
  )
  select jsonb_object_agg(p.split, coalesce(r.figures, '[]'))
  from unnest(p_splits) p (split)
  left join rows r on r.split = p.split
$$;

-- Called by the dashboard and for metrics. The messages that were to go out in each hour or day of `[p_since,
-- p_until)`, or in all of it, by country, plan or code, or together where `p_by` is null. Hours are whole
-- hours of UTC, days those of the time zone `p_zone`. `statuses` counts by status; messages that are not sent
-- yet are `waiting`.
-- `delivery_rate` is the share of delivered messages among those whose outcome is known and that were not
-- cancelled or suppressed; `p50` and `p95` are seconds from acceptance to delivery. The upkeep job keeps the
-- figures: they are some minutes old.
create function public.outbox_delivery_figures(
  p_since timestamptz, p_until timestamptz, p_unit text, p_by text default null, p_zone text default 'UTC'
) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_split constant text := case p_unit when 'all' then 'all' else 'time' end || coalesce(' ' || p_by, '');
begin
  if p_unit is null or p_unit not in ('hour', 'day', 'all') then
    perform outbox_engine.refuse(format('%L is not a unit', p_unit), 'Use hour, day or all.');
  elsif p_by not in ('country', 'plan', 'code') then
    perform outbox_engine.refuse(
      format('figures cannot be split by %L', p_by), 'Use country, plan or code.');
  end if;
  return outbox_engine.figures_json(p_since, p_until, p_unit, p_zone, array[v_split]) -> v_split;
end
$$;

-- Called by the dashboard. The same figures in one pass: `all`, `time` (by hour or day), and all by
-- `country`, `plan` and `code`. `counted_at`: they have all that happened until then, null where nothing was
-- counted.
create function public.outbox_delivery_report(
  p_since timestamptz, p_until timestamptz, p_unit text, p_zone text
) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_found jsonb;
begin
  if p_unit is null or p_unit not in ('hour', 'day') then
    perform outbox_engine.refuse(format('%L is not a unit', p_unit), 'Use hour or day.');
  end if;
  v_found := outbox_engine.figures_json(
    p_since, p_until, p_unit, p_zone, '{all,time,all country,all plan,all code}');
  return jsonb_build_object(
    'counted_at', (select w.complete_at from outbox_engine.figures_follow w),
    'all', v_found -> 'all', 'time', v_found -> 'time', 'country', v_found -> 'all country',
    'plan', v_found -> 'all plan', 'code', v_found -> 'all code');
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_delivery_figures,
  public.outbox_delivery_report
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_delivery_figures,
  public.outbox_delivery_report
to service_role;
