-- Claiming rows: which may go, what each text is, and which share a request. Written down before anything is
-- sent.

-- Up to `p_rows` ready rows from the floors on, of a priority below `p_priority_below`, in their order,
-- locked; and which of them a campaign made and were in a request before: what such a row has kept of it is
-- the request, its batch or why it came back. What another claim holds is left to it. A statement of its own:
-- called within one, it would see rows that were committed since that one began, and which that one cannot
-- change.
create function outbox_engine.pick(
  p_bounds outbox_engine.queue_bounds, p_rows integer, p_priority_below integer, out ids bigint[], out again bigint[]
)
language sql set search_path = pg_catalog, pg_temp set enable_sort = off
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

-- Looks at these rows, which are ready and locked, until `p_most` of them go (null is all), closes or puts
-- off those that must not go out, and makes dispatches of the rest, at most `p_recipients` numbers each and
-- no number twice: one for each sender, text and hour of expiry (minute, when under two hours ahead). With
-- `p_shares`, texts that differ share a dispatch where there are more of them than dispatches; not a text
-- that fills a quarter of one by itself, nor one that holds `${`, nor rows that a refusal left alone; only
-- texts of one priority, and of about one length. Answers the dispatches, most urgent first. One statement,
-- so a claim is one moment; small functions stand written out in it, since a call for each row costs more
-- than all the rest. The rows are locked, so they stay where they are and can be found by place: joined by
-- id, a plan from the time when the table was small, which lives as long as its connection, reads all of it.
create function outbox_engine.claim_rows(
  p_ids bigint[], p_claim_id uuid, p_worker text, p_provider text, p_plan text, p_host text, p_credential text,
  p_lease interval, p_deadline interval, p_dispatches integer, p_recipients integer, p_most integer,
  p_allowed_countries text[], p_shares boolean, p_is_probe boolean, p_now timestamptz
) returns table (dispatch jsonb, recipients integer)
language sql set search_path = pg_catalog, pg_temp
as $$
  with picked as materialized (
    select o.id, o.recipient, o.body, o.template, o.parameters, o.sender, o.expires_at, o.priority, o.due_at, o.cancel_requested_at,
      o.campaign, o.batch_id, o.sends_alone, o.ctid as place
    from public.outbox o
    where o.id = any (p_ids)
  ),
  forms as materialized (
    select t.name, t.defaults, t.plain,
      regexp_split_to_array(t.body, '\{\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\}\}') as pieces,
      array(select m[1] from regexp_matches(t.body, '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}', 'g') m) as names
    from public.outbox_templates t
    where t.name in (select p.template from picked p)
  ),
  filled as materialized (
    select p.id, outbox_engine.fill_template(f.pieces, f.names, f.defaults || jsonb_strip_nulls(coalesce(p.parameters, '{}')), f.plain) as made
    from picked p
    join forms f on f.name = p.template
  ),
  -- What nobody asked for costs nothing: no country is looked up where all are allowed.
  ruled as materialized (
    select w.id, w.recipient, w.sender, w.text, w.priority, w.due_at, w.campaign, w.batch_id, w.sends_alone, w.place, w.expires_at, x.*
    from (
      -- A text of an earlier attempt is made anew; it stays where its template is gone.
      select p.*, case when f.id is null then p.body else f.made end as text
      from picked p
      left join filled f on f.id = p.id
    ) w
    left join lateral (select s.reason from public.outbox_suppressions s where s.recipient = w.recipient limit 1) s on true
    left join lateral (
      select r.region from outbox_engine.number_regions r
      where p_allowed_countries is not null and r.prefix = any (array[
        substr(w.recipient, 2, 1), substr(w.recipient, 2, 2), substr(w.recipient, 2, 3), substr(w.recipient, 2, 4),
        substr(w.recipient, 2, 5), substr(w.recipient, 2, 6), substr(w.recipient, 2, 7), substr(w.recipient, 2, 8)])
      order by r.prefix desc
      limit 1
    ) c on true
    cross join lateral (
      select
        case
          when w.cancel_requested_at is not null then 'cancelled'
          when w.expires_at <= p_now then 'expired'
          when s.reason is not null then 'suppressed'
          when w.text is null then 'failed'
          when p_allowed_countries is not null and (c.region = any (p_allowed_countries)) is not true then 'failed'
        end as verdict,
        case
          when w.cancel_requested_at is not null then null
          when w.expires_at <= p_now then 'expired before it could be sent'
          when s.reason is not null then 'the recipient opted out: ' || s.reason
          when w.text is null then outbox_engine.template_row_problem(w.template, w.parameters)
          when p_allowed_countries is not null and (c.region = any (p_allowed_countries)) is not true
          then format('country %s is not in ALLOWED_COUNTRIES', coalesce(c.region, 'unknown'))
        end as error
    ) x
  ),
  held as materialized (
    select h.*
    from (
      select array_agg(r.id order by r.id) as ids, array_agg(outbox_engine.parts_of(r.text) order by r.id) as parts
      from ruled r
      where r.verdict is null and r.campaign is not null
    ) c
    cross join lateral outbox_engine.judge_campaign_rows(c.ids, c.parts, p_now) h
  ),
  verdicts as materialized (
    select r.id, r.recipient, r.sender, r.text, r.priority, r.due_at, r.campaign, r.batch_id, r.sends_alone,
      r.place, coalesce(h.expires_at, r.expires_at) as expires_at, coalesce(r.verdict, h.status) as verdict, coalesce(h.error, r.error) as error,
      h.due_at as held_until, coalesce(r.verdict, h.status) is null and h.due_at is null as goes, h.counted, h.counted_day
    from ruled r
    left join held h on h.outbox_id = r.id
  ),
  -- Where not all may go, what comes after the last of them is left as it was: whether a limit stops it is
  -- not decided yet.
  judged as materialized (
    select v.*, null::bigint as nth from verdicts v where p_most is null
    union all
    select * from (
      select v.*, count(*) filter (where v.goes) over (order by v.priority, v.due_at, v.id) as nth
      from verdicts v
      where p_most is not null
    ) n
    where n.nth < p_most or n.nth = p_most and n.goes
  ),
  put_off as (
    update public.outbox o
    set status = 'scheduled', queue = 'w', due_at = j.held_until
    from judged j
    where j.verdict is null and j.held_until is not null and o.ctid = j.place
    returning o.id, j.error
  ),
  put_off_trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select id, p_now, 'engine', 'held', 'scheduled', error from put_off
  ),
  closed as (
    update public.outbox o
    set status = j.verdict, error = j.error, queue = null, finalized_at = p_now
    from judged j
    where j.verdict is not null and o.ctid = j.place
    returning o.id, o.status, o.error
  ),
  closed_trail as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select id, p_now, 'engine', status, status, error from closed
  ),
  -- Texts are compared byte by byte: a collation would be slower, and some call different texts equal.
  kinds as materialized (
    select j.*,
      rank() over (order by j.sender collate "C", h.hour) as family,
      dense_rank() over (order by j.sender collate "C", h.hour, j.text collate "C") as kind,
      count(*) over (partition by j.sender collate "C", h.hour, j.text collate "C") as alike
    from judged j
    cross join lateral (
      select date_bin(
        case when j.expires_at < p_now + interval '2 hours' then interval '1 minute' else interval '1 hour' end,
        least(j.expires_at, p_now + interval '2 days 22 hours'), timestamptz 'epoch') as hour
    ) h
    where j.goes
  ),
  pools as (
    select k.*,
      case when k.shares then -k.family else k.kind end as pool,
      case when k.shares then k.priority end as level,
      case when k.shares then (octet_length(k.text) + 159) / 160 end as size
    from (
      select *,
        p_shares and alike * 4 < p_recipients and sends_alone is not true and strpos(text, '${') = 0
          and (select max(kind) from kinds) > p_dispatches as shares
      from kinds
    ) k
  ),
  copies as (
    select p.*, row_number() over (partition by p.pool, p.level, p.size, p.recipient order by p.priority, p.due_at, p.id) as copy
    from pools p
  ),
  cut as (
    select c.*,
      (row_number() over (partition by c.pool, c.level, c.size, c.copy order by c.priority, c.due_at, c.id) - 1) / p_recipients as slice
    from copies c
  ),
  planned as materialized (
    select gen_random_uuid() as dispatch_id, t.*, case when not t.texts_differ then outbox_engine.parts_of(t.first_text) end as parts
    from (
      select min(c.sender) as sender, min(c.text collate "C") as first_text, min(c.text collate "C") <> max(c.text collate "C") as texts_differ,
        min(c.expires_at) as earliest, max(c.expires_at) as latest,
        array_agg(c.id) as ids, array_agg(c.recipient) as recipients, array_agg(case when c.shares then c.text end) as texts,
        array_agg(c.place) as places
      from cut c
      group by c.pool, c.level, c.size, c.copy, c.slice
      order by min(c.priority), min(c.due_at), min(c.id)
      limit p_dispatches
    ) t
  ),
  taken as materialized (
    select p.dispatch_id, u.id, u.recipient, u.place, coalesce(u.text, p.first_text) as text,
      coalesce(p.parts, outbox_engine.parts_of(u.text)) as parts
    from planned p
    cross join lateral unnest(p.ids, p.recipients, p.texts, p.places) u (id, recipient, text, place)
  ),
  members as (
    insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)
    select t.dispatch_id, t.recipient, t.id
    from taken t
    order by t.dispatch_id, t.recipient collate "C"
  ),
  counting as materialized (
    select j.id, j.campaign, j.recipient, j.batch_id, t.parts, (p_now at time zone coalesce(k.timezone, 'UTC'))::date as day,
      j.counted, j.counted_day
    from judged j
    join taken t on t.id = j.id
    join public.outbox_campaigns k on k.name = j.campaign
    where j.campaign is not null
  ),
  counted as (
    insert into outbox_engine.campaign_sends (outbox_id, campaign, recipient, parts, at, batch_id)
    select id, campaign, recipient, parts, p_now, batch_id from counting
    on conflict (outbox_id) do update
    set parts = excluded.parts, at = excluded.at, batch_id = excluded.batch_id
  ),
  spent as (
    insert into outbox_engine.campaign_spend as s (campaign, day, parts)
    select x.campaign, x.day, sum(x.parts)
    from (
      select campaign, day, parts from counting
      union all
      select campaign, counted_day, -counted from counting where counted is not null
    ) x
    group by x.campaign, x.day
    having sum(x.parts) <> 0
    order by x.campaign, x.day
    on conflict (campaign, day) do update set parts = s.parts + excluded.parts
  ),
  sending as (
    update public.outbox o
    set
      status = 'sending', queue = null, dispatch_id = t.dispatch_id, body = t.text, parts = t.parts,
      reported_rank = null, reported_at = null, status_code = null, error = null
    from taken t
    where o.ctid = t.place
  ),
  made as (
    insert into outbox_engine.dispatches (
      id, claim_id, worker, provider, plan, host, credential, sender, body, texts_differ, expire_at, expires_at, recipients, state,
      lease_token, lease_until, deadline, is_probe, claimed_at
    )
    select
      dispatch_id, p_claim_id, p_worker, p_provider, p_plan, p_host, p_credential, sender,
      case when not texts_differ then first_text end, texts_differ, outbox_engine.provider_expiry(earliest, p_now), latest,
      cardinality(ids), 'claimed', nextval('outbox_engine.lease_tokens'), p_now + p_lease, p_deadline, p_is_probe, p_now
    from planned
    returning id, lease_token, sender, body, expire_at, recipients
  )
  select
    outbox_engine.dispatch_json(m.id, m.lease_token, m.sender, m.body, m.expire_at, 0, p.recipients,
      case when p.texts_differ then p.texts end),
    m.recipients
  from made m
  join planned p on p.dispatch_id = m.id
  order by m.lease_token
$$;
