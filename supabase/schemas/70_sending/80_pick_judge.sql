-- The claim's first stages: pick ready rows, make their texts, and judge each.

-- Ready rows of one route and priority, of which a claim may take some.
create type outbox_engine.queue_part as (
  route smallint,
  priority smallint,
  ready_from timestamptz,
  rows integer
);

-- Called by `pick_ready`. The queues that have ready rows, the most urgent first, each with the number that
-- its route may send.
create function outbox_engine.ready_queues(
  p_bounds outbox_engine.queue_bounds, p_rows integer, p_priority_below integer,
  p_shares outbox_engine.route_share[]
) returns outbox_engine.queue_part[]
language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
begin
  return array(
    select row(k.route, k.priority, k.ready_from, least(s.most, p_rows))::outbox_engine.queue_part
    from unnest(p_bounds.routes, p_bounds.priorities, p_bounds.ready_from) k (route, priority, ready_from)
    left join unnest(p_shares) s on s.route = k.route
    cross join lateral (
      select
      from public.outbox o
      where o.queue = 'r' and o.route = k.route and o.priority = k.priority and o.due_at >= k.ready_from
      order by o.due_at, o.id
      limit 1
    ) r
    where k.priority < p_priority_below
      and (p_shares is null or s.route is not null and coalesce(s.most, 1) > 0)
    order by k.priority, k.route
  );
end
$$;

-- Called by `pick_ready`. How many rows of each queue are among the first `p_rows` of all of them: the most
-- urgent first, then the oldest, and of each route no more than it may send. Nothing is locked, so another
-- claim may hold some of these rows. Where one route has rows there is nothing to divide: `rows` is null, and
-- `most` is what it may send.
create function outbox_engine.divide_ready(
  p_queues outbox_engine.queue_part[], p_rows integer,
  out routes smallint[], out priorities smallint[], out ready_from timestamptz[], out rows integer[],
  out most integer
)
language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
declare
  v_priority smallint;
  v_parts outbox_engine.queue_part[] := '{}';
  v_left integer := p_rows;
begin
  select array_agg(q.route), array_agg(q.priority), array_agg(q.ready_from), max(q.rows)
  into routes, priorities, ready_from, most
  from unnest(p_queues) q;
  if routes[1] = all (routes) then
    return;
  end if;
  for v_priority in select distinct p.priority from unnest(priorities) p (priority) order by 1 loop
    v_parts := v_parts || array(
      select row(f.route, f.priority, f.ready_from, count(*))::outbox_engine.queue_part
      from (
        select q.*
        from unnest(p_queues) q
        cross join lateral (
          select o.due_at, o.id
          from public.outbox o
          where o.queue = 'r' and o.route = q.route and o.priority = q.priority and o.due_at >= q.ready_from
          order by o.due_at, o.id
          limit least(
            v_left, q.rows - (select coalesce(sum(t.rows), 0) from unnest(v_parts) t where t.route = q.route))
        ) r
        where q.priority = v_priority
        order by r.due_at, r.id
        limit v_left
      ) f
      group by f.route, f.priority, f.ready_from
    );
    v_left := p_rows - (select coalesce(sum(t.rows), 0) from unnest(v_parts) t);
    exit when v_left = 0;
  end loop;
  select array_agg(t.route), array_agg(t.priority), array_agg(t.ready_from), array_agg(t.rows), sum(t.rows)
  into routes, priorities, ready_from, rows, most
  from unnest(v_parts) t;
end
$$;

-- Locks up to `p_rows` ready rows of a priority below `p_priority_below`, the most urgent first, then the
-- oldest, beginning at the queue bounds: of each route in `p_shares` at most as many as it says, or of all
-- routes where that is null. Rows that another claim holds are left to it. `again` are those that a campaign
-- made and that were in a request before.
--
-- A statement of its own. Called within another statement it would see rows that were committed since that
-- one began and that it cannot change; they were sent twice (docs/decisions/0006-plans-that-do-not-age.md).
create function outbox_engine.pick_ready(
  p_bounds outbox_engine.queue_bounds, p_rows integer, p_priority_below integer,
  p_shares outbox_engine.route_share[] default null,
  out ids bigint[], out again bigint[], out has_campaigns boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp set enable_sort = off
as $$
declare
  v_divides constant boolean := p_shares is not null or outbox_engine.has_several_routes(p_bounds);
  v_queues outbox_engine.queue_part[];
  v_routes smallint[] := p_bounds.routes;
  v_priorities smallint[] := p_bounds.priorities;
  v_ready_from timestamptz[] := p_bounds.ready_from;
  v_rows integer[];
  v_most integer := p_rows;
begin
  if v_divides then
    v_queues := outbox_engine.ready_queues(p_bounds, p_rows, p_priority_below, p_shares);
  end if;
  loop
    if v_divides then
      select * into v_routes, v_priorities, v_ready_from, v_rows, v_most
      from outbox_engine.divide_ready(v_queues, p_rows);
    end if;
    select coalesce(array_agg(x.id order by x.priority, x.due_at, x.id), '{}'),
      array_agg(x.id) filter (where x.of_campaign and x.was_in_request),
      coalesce(bool_or(x.of_campaign), false)
    into ids, again, has_campaigns
    from (
      select r.*
      from unnest(v_routes, v_priorities, v_ready_from, v_rows) f (route, priority, ready_from, rows)
      cross join lateral (
        select o.id, o.priority, o.due_at, o.campaign is not null as of_campaign, o.was_in_request
        from outbox_engine.messages o
        where o.queue = 'r' and o.route = f.route and o.priority = f.priority and o.due_at >= f.ready_from
        order by o.due_at, o.id
        limit coalesce(f.rows, v_most)
        for update skip locked
      ) r
      where f.priority < p_priority_below
      limit v_most
    ) x;
    exit when not v_divides or ids <> '{}' or v_routes is null;
    -- Other claims hold all of these. The other queues may have rows that nobody holds.
    v_queues := array(
      select q from unnest(v_queues) q
      where (q.route, q.priority) not in (select * from unnest(v_routes, v_priorities)));
  end loop;
end
$$;

-- Picked rows with their texts; `place` is their order in `p_ids`. A text of an earlier attempt is made anew;
-- it stays where its template is gone. `text` is null where the template gives none. The rows are locked, so
-- they stay where they are: `row_at` finds them again without an index.
create function outbox_engine.rendered_messages(p_ids bigint[])
returns table (
  place bigint, id bigint, row_at tid, recipient text, sender text, text text, template text,
  parameters jsonb, campaign text, priority smallint, expires_at timestamptz, batch_id text,
  sends_alone boolean, cancel_requested boolean, media_url text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with forms as materialized (
    select f.*
    from outbox_engine.template_forms(array(
      select distinct o.template from public.outbox o where o.id = any (p_ids) and o.template is not null)) f
  )
  select u.place, o.id, o.ctid, o.recipient, o.sender,
    case
      when f.name is null then o.body
      else outbox_engine.fill_template(
        -- `template_values`, written out: its call for each row takes 3 % of a claim.
        f.pieces, f.placeholders, f.defaults || jsonb_strip_nulls(coalesce(o.parameters, '{}')), f.plain)
    end,
    o.template, o.parameters, o.campaign, o.priority, o.expires_at, o.batch_id, o.sends_alone,
    o.cancel_requested_at is not null, o.media_url
  from public.outbox o
  join unnest(p_ids) with ordinality u (id, place) on u.id = o.id
  left join forms f on f.name = o.template
  where o.id = any (p_ids);
end
$$;

-- Judges picked rows: one verdict for each. `status` is the final status of a row that must not go out, with
-- the reason in `error`; else `held_until` is until when it waits, with the reason; else it goes. Of those
-- that go, at most `p_most` (null is all) are returned, and nothing of what comes after the last of them: no
-- limit has been applied to those rows yet. `counted` parts, on `counted_day`, belong to an attempt that was
-- never accepted.
create function outbox_engine.judge_picked(
  p_ids bigint[], p_request outbox_engine.claim_request, p_most integer, p_now timestamptz
) returns table (
  place bigint, id bigint, row_at tid, recipient text, sender text, text text, campaign text,
  priority smallint, expires_at timestamptz, batch_id text, sends_alone boolean, status text, error text,
  held_until timestamptz, goes boolean, counted integer, counted_day date, media_url text
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with rendered as materialized (
    select * from outbox_engine.rendered_messages(p_ids)
  ),
  -- A row without a status waits. What the provider sends comes last, and costs nothing without an MMS.
  stopped as materialized (
    select distinct on (s.place) s.place, s.status, s.error
    from (
      select array_agg(r.place) filter (where r.media_url is not null) as places,
        array_agg(r.recipient) filter (where r.media_url is not null) as recipients, array_agg(
        row(r.place, r.recipient, case when r.text is null then r.template end,
          case when r.text is null then r.parameters end, r.cancel_requested, r.expires_at)
          ::outbox_engine.outgoing_message
      ) as messages
      from rendered r
    ) a
    cross join lateral (
      select 1 as nth, j.*
      from outbox_engine.judge_messages(a.messages, p_request.allowed_countries, p_now) j
      union all
      select 2, m.* from outbox_engine.judge_media(a.places, a.recipients, p_request) m
      where a.places is not null
    ) s
    order by s.place, s.nth
  ),
  candidates as materialized (
    select r.*, s.place as stopped_at, s.status as stopped, s.error as refusal
    from rendered r
    left join stopped s on s.place = r.place
  ),
  -- What a campaign, its windows and its limits say to the rest. Without rows of campaigns it costs nothing.
  of_campaigns as materialized (
    select j.*
    from (
      select array_agg(c.id order by c.id) as ids,
        array_agg(outbox_engine.parts_of(c.text) order by c.id) as parts
      from candidates c
      where c.campaign is not null and c.stopped_at is null
    ) a
    cross join lateral outbox_engine.judge_campaign_rows(a.ids, a.parts, p_now) j
  ),
  verdicts as not materialized (
    select c.place, c.id, c.row_at, c.recipient, c.sender, c.text, c.campaign, c.priority,
      coalesce(j.expires_at, c.expires_at), c.batch_id, c.sends_alone,
      coalesce(c.stopped, j.status), coalesce(c.refusal, j.error),
      case
        when c.stopped_at is null then j.due_at
        when c.stopped is null then p_now + interval '1 minute'
      end,
      c.stopped_at is null and j.status is null and j.due_at is null as goes,
      j.counted, j.counted_day, c.media_url
    from candidates c
    left join of_campaigns j on j.outbox_id = c.id
  )
  select v.* from verdicts v where p_most is null
  union all
  select (n.verdict).*
  from (
    select v as verdict, v.goes, count(*) filter (where v.goes) over (order by v.place) as nth
    from verdicts v
    where p_most is not null
  ) n
  where n.nth < p_most or n.nth = p_most and n.goes;
end
$$;
