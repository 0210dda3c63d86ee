-- Delivery figures: the sums by hour or day, with the share that arrived and how long it took.

-- The time within which the share `p_share` of messages arrived, in seconds, from their counts by bucket.
-- Within a bucket they are taken to be spread evenly. In the last one, which has no end, it is the beginning.
create function outbox_engine.delay_quantile(p_counts bigint[], p_share double precision)
returns double precision
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  with bounds as (
    select outbox_engine.delay_bounds() as upper
  ),
  buckets as (
    select c.place, c.messages, sum(c.messages) over (order by c.place) as up_to,
      sum(c.messages) over () * p_share as wanted
    from unnest(p_counts) with ordinality c (messages, place)
    where c.messages > 0
  )
  select lower.bound + coalesce(
    (b.upper[k.place] - lower.bound) * (k.wanted - (k.up_to - k.messages)) / k.messages, 0)
  from buckets k
  cross join bounds b
  cross join lateral (select coalesce(b.upper[k.place - 1], 0) as bound) lower
  where k.up_to >= k.wanted
  order by k.place
  limit 1
$$;

-- The sums of `hourly_figures` in these hours, by the beginning of the hour or day (`p_since` for all), what
-- `p_by` names, status and bucket.
create function outbox_engine.summed_figures(
  p_since timestamptz, p_until timestamptz, p_unit text, p_by text, p_zone text
) returns table (at timestamptz, by text, status text, delay smallint, messages bigint, parts bigint)
language sql stable set search_path = pg_catalog, pg_temp set jit = off
as $$
  select
    case p_unit when 'all' then p_since when 'day' then date_trunc('day', h.hour, p_zone) else h.hour end,
    case p_by
      when 'country' then h.country
      when 'plan' then h.plan
      when 'code' then h.status_code::text
      when 'status' then h.status
    end,
    h.status, h.delay, sum(h.messages)::bigint, sum(h.parts)::bigint
  from outbox_engine.hourly_figures h
  where h.hour >= date_trunc('hour', p_since, 'UTC') and h.hour < p_until
  group by 1, 2, 3, 4
$$;

-- Called by the dashboard. The messages that were to go out in each hour or day of `[p_since, p_until)`, or
-- in all of it, by country, plan, code or status, or together where `p_by` is null. Hours are whole hours of
-- UTC, days those of the time zone `p_zone`. `statuses` counts by status; messages that are not sent yet are
-- `waiting`.
-- `delivery_rate` is the share of delivered messages among those whose outcome is known and that were not
-- cancelled or suppressed; `p50` and `p95` are seconds from acceptance to delivery. The upkeep job keeps the
-- figures: they are some minutes old.
create function public.outbox_delivery_figures(
  p_since timestamptz, p_until timestamptz, p_unit text, p_by text default null, p_zone text default 'UTC'
) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if p_unit is null or p_unit not in ('hour', 'day', 'all') then
    perform outbox_engine.refuse(format('%L is not a unit', p_unit), 'Use hour, day or all.');
  elsif p_by not in ('country', 'plan', 'code', 'status') then
    perform outbox_engine.refuse(
      format('figures cannot be split by %L', p_by), 'Use country, plan, code or status.');
  end if;
  return (
    with figures as materialized (
      select *
      from outbox_engine.summed_figures(p_since, p_until, p_unit, p_by, coalesce(p_zone, 'UTC'))
    ),
    statuses as (
      select x.at, x.by, jsonb_object_agg(x.status, x.messages) as statuses, sum(x.messages) as messages,
        sum(x.parts) as parts,
        coalesce(sum(x.messages) filter (where x.status = 'delivered'), 0) as delivered,
        sum(x.messages) filter (where x.status in (
          'delivered', 'failed', 'rejected', 'aborted', 'expired', 'deleted')) as ended
      from (
        select at, by, status, sum(messages) as messages, sum(parts) as parts
        from figures group by at, by, status
      ) x
      group by x.at, x.by
    ),
    delays as (
      select at, by, array[
        sum(messages) filter (where delay = 0), sum(messages) filter (where delay = 1),
        sum(messages) filter (where delay = 2), sum(messages) filter (where delay = 3),
        sum(messages) filter (where delay = 4), sum(messages) filter (where delay = 5),
        sum(messages) filter (where delay = 6), sum(messages) filter (where delay = 7),
        sum(messages) filter (where delay = 8), sum(messages) filter (where delay = 9)
      ] as counts
      from figures
      group by at, by
    )
    select coalesce(jsonb_agg(jsonb_build_object(
      'at', s.at, 'by', s.by, 'messages', s.messages, 'parts', s.parts, 'statuses', s.statuses,
      'delivery_rate', round(s.delivered / s.ended, 4),
      'p50', outbox_engine.delay_quantile(d.counts::bigint[], 0.5),
      'p95', outbox_engine.delay_quantile(d.counts::bigint[], 0.95)
    ) order by s.at, s.messages desc, s.by), '[]')
    from statuses s
    join delays d on d.at = s.at and coalesce(d.by, '') = coalesce(s.by, '')
  );
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_delivery_figures from public, anon, authenticated, service_role;
grant execute on function public.outbox_delivery_figures to service_role;
