-- The claim's first stages: pick ready rows, make their texts, and judge each.

-- Locks up to `p_rows` ready rows of a priority below `p_priority_below`, in their order, beginning at the queue
-- bounds. Rows that another claim holds are left to it. `again` are those that a campaign made and that were in
-- a request before: a dispatch_id, batch_id or error marks an earlier attempt.
--
-- A statement of its own. Called within another statement it would see rows that were committed since that one
-- began and that it cannot change; they were sent twice (docs/decisions/0006-plans-that-do-not-age.md).
create function outbox_engine.pick(
  p_bounds outbox_engine.queue_bounds, p_rows integer, p_priority_below integer, out ids bigint[], out again bigint[]
)
language sql
set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
  select coalesce(array_agg(id), '{}'), array_agg(id) filter (where again)
  from (
    select r.id, r.again
    from unnest(p_bounds.priorities, p_bounds.ready_from) f (priority, ready_from)
    cross join lateral (
      select o.id, o.campaign is not null and num_nonnulls(o.dispatch_id, o.batch_id, o.error) > 0 as again
      from public.outbox o
      where o.queue = 'r' and o.priority = f.priority and o.due_at >= f.ready_from
      order by o.due_at, o.id
      limit p_rows
      for update skip locked
    ) r
    where f.priority < p_priority_below
    limit p_rows
  ) x
$$;

-- Picked rows with their texts. A text of an earlier attempt is made anew; it stays where its template is gone.
-- `text` is null where the template gives none. The rows are locked, so they stay where they are: `row_at` finds
-- them again without an index.
create function outbox_engine.rendered_rows(p_ids bigint[])
returns table (
  id bigint, row_at tid, recipient text, sender text, text text, template text, parameters jsonb, campaign text,
  priority smallint, due_at timestamptz, expires_at timestamptz, batch_id text, sends_alone boolean,
  cancel_requested boolean
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with picked as materialized (
    select o.id, o.ctid as row_at, o.recipient, o.sender, o.body, o.template, o.parameters, o.campaign, o.priority,
      o.due_at, o.expires_at, o.batch_id, o.sends_alone, o.cancel_requested_at is not null as cancel_requested
    from public.outbox o
    where o.id = any (p_ids)
  ),
  forms as materialized (
    select f.*
    from outbox_engine.template_forms(array(select distinct p.template from picked p where p.template is not null)) f
  )
  select p.id, p.row_at, p.recipient, p.sender,
    case
      when f.name is null then p.body
      else outbox_engine.fill_template(
        f.pieces, f.placeholders, f.defaults || jsonb_strip_nulls(coalesce(p.parameters, '{}')), f.plain)
    end,
    p.template, p.parameters, p.campaign, p.priority, p.due_at, p.expires_at, p.batch_id, p.sends_alone,
    p.cancel_requested
  from picked p
  left join forms f on f.name = p.template
$$;

-- Judges picked rows: one verdict for each. `status` is the final status of a row that must not go out, with the
-- reason in `error`; else `held_until` is until when it waits, with the reason; else it goes. Of those that go,
-- at most `p_most` (null is all) are returned, and nothing of what comes after the last of them: no limit has
-- been applied to those rows yet. `counted` parts, on `counted_day`, belong to an attempt that was never
-- accepted.
create function outbox_engine.judge_rows(p_ids bigint[], p_allowed_countries text[], p_most integer, p_now timestamptz)
returns table (
  id bigint, row_at tid, recipient text, sender text, text text, campaign text, priority smallint,
  due_at timestamptz, expires_at timestamptz, batch_id text, sends_alone boolean, status text, error text,
  held_until timestamptz, goes boolean, counted integer, counted_day date
)
language sql
set search_path = pg_catalog, pg_temp
as $$
  with candidates as materialized (
    select r.*, row_number() over () as place from outbox_engine.rendered_rows(p_ids) r
  ),
  -- What stops any message, whoever made it.
  stopped as materialized (
    select j.*
    from (
      select array_agg(c.recipient order by c.place) as recipients, array_agg(c.text is not null order by c.place) as have_text,
        array_agg(c.cancel_requested order by c.place) as cancel_requested,
        array_agg(c.expires_at order by c.place) as expires_at
      from candidates c
    ) a
    cross join lateral outbox_engine.judge_messages(
      a.recipients, a.have_text, a.cancel_requested, a.expires_at, p_allowed_countries, p_now) j
  ),
  -- What a campaign, its windows and its limits say to the rest. Without rows of campaigns it costs nothing.
  of_campaigns as materialized (
    select j.*
    from (
      select array_agg(c.id order by c.id) as ids, array_agg(outbox_engine.parts_of(c.text) order by c.id) as parts
      from candidates c
      left join stopped s on s.place = c.place
      where c.campaign is not null and s.place is null
    ) a
    cross join lateral outbox_engine.judge_campaign_rows(a.ids, a.parts, p_now) j
  ),
  verdicts as materialized (
    select c.id, c.row_at, c.recipient, c.sender, c.text, c.campaign, c.priority, c.due_at,
      coalesce(j.expires_at, c.expires_at) as expires_at, c.batch_id, c.sends_alone,
      coalesce(s.status, j.status) as status,
      case
        when s.status = 'failed' and c.text is null then outbox_engine.template_row_problem(c.template, c.parameters)
        else coalesce(s.error, j.error)
      end as error,
      j.due_at as held_until, coalesce(s.status, j.status) is null and j.due_at is null as goes, j.counted, j.counted_day
    from candidates c
    left join stopped s on s.place = c.place
    left join of_campaigns j on j.outbox_id = c.id
  )
  select v.* from verdicts v where p_most is null
  union all
  select n.id, n.row_at, n.recipient, n.sender, n.text, n.campaign, n.priority, n.due_at, n.expires_at, n.batch_id,
    n.sends_alone, n.status, n.error, n.held_until, n.goes, n.counted, n.counted_day
  from (
    select v.*, count(*) filter (where v.goes) over (order by v.priority, v.due_at, v.id) as nth
    from verdicts v
    where p_most is not null
  ) n
  where n.nth < p_most or n.nth = p_most and n.goes
$$;
