-- What the claim asks of rows that a campaign made.

-- Messages that differ from what their member and campaign are now, with the present values. An expiry that
-- an operator set by a retry stays.
create function outbox_engine.rows_behind_campaign(p_ids bigint[]) returns table (
  id bigint, recipient text, parameters jsonb, template text, sender text, priority smallint,
  expires_at timestamptz
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select o.id, m.recipient, m.parameters, c.template, c.sender, c.priority, e.expires_at
  from public.outbox o
  join public.outbox_campaign_occurrences oc on oc.outbox_id = o.id
  join public.outbox_campaign_members m on m.campaign = oc.campaign and m.external_id = oc.external_id
  join public.outbox_campaigns c on c.name = oc.campaign
  cross join lateral (
    select case
      when c.schedule = 'reminder' and m.changed_at > oc.created_at
        and not exists (
          select from public.outbox_events r
          where r.outbox_id = o.id and r.event = 'retried' and r.at >= m.changed_at)
      then outbox_engine.message_expiry(o.send_at, oc.occurs_at, m.event_at)
      else o.expires_at
    end as expires_at
  ) e
  where o.id = any (p_ids) and oc.outbox_id = any (p_ids)
    and (o.recipient, o.parameters, o.template, o.sender, o.priority, o.expires_at)
      is distinct from (m.recipient, m.parameters, c.template, c.sender, c.priority, e.expires_at)
$$;

-- Called by the claim for rows that were in a request before: they take the present values of their member
-- and campaign. An edit changes waiting rows only, and these may not have been waiting then.
create function outbox_engine.refresh_from_campaign(p_ids bigint[]) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update public.outbox o
  set recipient = n.recipient, parameters = n.parameters, template = n.template, sender = n.sender,
    priority = n.priority, expires_at = n.expires_at
  from outbox_engine.rows_behind_campaign(p_ids) n
  where o.id = any (p_ids) and o.id = n.id
$$;

-- Rows that a campaign made, with what `judge_times` and `judge_limits` need to know of their campaign and
-- member.
create function outbox_engine.campaign_context(p_ids bigint[], p_parts smallint[])
returns table (
  id bigint, recipient text, campaign text, priority smallint, due_at timestamptz, send_at timestamptz,
  expires_at timestamptz, occurs_at timestamptz, parts integer, counted integer, counted_day date,
  campaign_status text, is_unchecked boolean, is_member boolean, lost_time boolean, member_changed boolean,
  zone text
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select o.id, o.recipient, o.campaign, o.priority, o.due_at, o.send_at, o.expires_at, oc.occurs_at,
    p.parts::integer, o.counted, (o.counted_at at time zone coalesce(c.timezone, 'UTC'))::date,
    c.status, coalesce(c.recheck_after < o.id, false), m.external_id is not null,
    -- Only a change since the row was made can have lost its time. Waiting rows of an edited campaign were
    -- checked when it was edited; a row that was in a request was not waiting then.
    coalesce(
      m.changed_at > oc.created_at and c.schedule = 'reminder'
        or c.activated_at > oc.created_at and o.was_in_request, false)
      and not coalesce(
        outbox_engine.is_campaign_time(c, m.event_at, coalesce(m.timezone, c.timezone), oc.occurs_at), false),
    coalesce(m.changed_at > oc.created_at, false),
    coalesce(m.timezone, c.timezone, 'UTC')
  from unnest(p_ids, p_parts) p (id, parts)
  join outbox_engine.messages_with_counts o on o.id = p.id
  left join public.outbox_campaigns c on c.name = o.campaign
  left join public.outbox_campaign_occurrences oc on oc.outbox_id = o.id
  left join public.outbox_campaign_members m on m.campaign = oc.campaign and m.external_id = oc.external_id
$$;

-- Claims of several plans take turns with rows of campaigns, so that none of them spends what another is just
-- spending. Called before such rows are judged, in a statement of its own: the next one sees what the others
-- spent, and who opted out meanwhile.
create function outbox_engine.hold_campaign_claims() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock(hashtext('outbox campaign claims'));
end
$$;

-- Called by the claim for the rows it picked and would send, and when a refused dispatch gives rows back.
-- Returns, for rows that a campaign made, the verdicts of `judge_times` and `judge_limits`: a final status
-- and the reason when the row never goes; `due_at` and the reason when it waits; else the latest instant of
-- delivery. `counted` parts, on `counted_day`, are those of an attempt that was never accepted. The caller
-- holds `hold_campaign_claims`.
create function outbox_engine.judge_campaign_rows(p_ids bigint[], p_parts smallint[], p_now timestamptz)
returns table (
  outbox_id bigint, status text, error text, due_at timestamptz, expires_at timestamptz,
  counted integer, counted_day date
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_ids is null then
    return;
  end if;
  return query
  with picked as materialized (
    select r.*, row_number() over (order by r.priority, r.due_at, r.id) as place
    from outbox_engine.campaign_context(p_ids, p_parts) r
  ),
  timed as materialized (
    select t.*
    from (
      select array_agg(
        row(p.place, p.campaign, p.campaign_status, p.is_unchecked, p.is_member, p.lost_time,
          p.member_changed, p.zone, p_now, p.occurs_at, p.send_at, p.expires_at)
          ::outbox_engine.campaign_message
      ) as messages
      from picked p
    ) a
    cross join lateral outbox_engine.judge_times(a.messages) t
  ),
  limited as materialized (
    select l.*
    from (
      select array_agg(
        row(p.place, p.campaign, p.id, p.recipient, p.zone, p_now, p.parts, p.counted, p.counted_day)
          ::outbox_engine.limited_message
      ) as messages
      from picked p
      join timed t on t.place = p.place
      where t.status is null and t.due_at is null
    ) a
    cross join lateral outbox_engine.judge_limits(a.messages) l
  )
  select p.id, coalesce(t.status, case when l.problem is not null then 'suppressed' end),
    coalesce(l.problem, t.error), t.due_at, t.expires_at, p.counted, p.counted_day
  from picked p
  join timed t on t.place = p.place
  left join limited l on l.place = p.place;
end
$$;
