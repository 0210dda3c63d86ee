-- Writing a claim down, before anything is sent.

-- Counts what a claim takes for campaigns, for caps and budgets. An earlier attempt that was never accepted
-- is given back on its own day.
create function outbox_engine.count_campaign_sends(
  p_ids bigint[], p_campaigns text[], p_recipients text[], p_batch_ids text[], p_parts smallint[],
  p_counted integer[], p_counted_days date[], p_now timestamptz
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  with sends as materialized (
    select s.*, (p_now at time zone coalesce(c.timezone, 'UTC'))::date as day
    from unnest(p_ids, p_campaigns, p_recipients, p_batch_ids, p_parts, p_counted, p_counted_days)
      s (id, campaign, recipient, batch_id, parts, counted, counted_day)
    join public.outbox_campaigns c on c.name = s.campaign
  ),
  written as (
    insert into outbox_engine.campaign_sends (outbox_id, campaign, recipient, parts, at, batch_id)
    select id, campaign, recipient, parts, p_now, batch_id from sends
    on conflict (outbox_id) do update
    set parts = excluded.parts, at = excluded.at, batch_id = excluded.batch_id
  )
  insert into outbox_engine.campaign_spend as s (campaign, day, parts)
  select x.campaign, x.day, sum(x.parts)
  from (
    select campaign, day, parts from sends
    union all
    select campaign, counted_day, -counted from sends where counted is not null
  ) x
  group by x.campaign, x.day
  having sum(x.parts) <> 0
  order by x.campaign, x.day
  on conflict (campaign, day) do update set parts = s.parts + excluded.parts
$$;

-- Judges these rows, which are ready and locked, closes or postpones those that must not go out, and makes
-- dispatches of the rest. Returns the dispatches as `dispatch_object`, the most urgent first. One statement,
-- so that a claim is one moment. Rows are found by place (`row_at`): joined by id, a plan from the time when
-- the table was small, which lives as long as its connection, reads all of it.
create function outbox_engine.claim_rows(
  p_ids bigint[], p_request outbox_engine.claim_request, p_dispatches integer, p_messages integer,
  p_is_probe boolean, p_now timestamptz
) returns table (dispatch jsonb, recipients integer)
language sql set search_path = pg_catalog, pg_temp
as $$
  with judged as materialized (select * from outbox_engine.judge_picked(p_ids, p_request, p_messages, p_now)),
  -- Rows that never go out or wait. Run because `packed` reads it, also where no row goes.
  stopped as materialized (
    select outbox_engine.stop_messages(array_agg(row(
      id, coalesce(status, 'held'), case when status is not null then error end, held_until, null, error
    )::outbox_engine.status_change), p_request, p_now)
    from judged where not goes having count(*) > 0
  ),
  packed as materialized ( -- The dispatches, each with its messages.
    select d.* from (
      select array_agg(id order by place) as ids, array_agg(recipient order by place) as recipients,
        outbox_engine.senders_with_aliases(array_agg(sender order by place),
          array_agg(recipient order by place), p_request.provider, p_request.plan) as senders,
        array_agg(text order by place) as texts, array_agg(priority order by place) as priorities,
        array_agg(expires_at order by place) as expires_at,
        array_agg(sends_alone order by place) as send_alone,
        jsonb_object_agg(id, media_url) filter (where media_url is not null) as media_urls
      from judged where goes
    ) a
    left join stopped on true
    cross join lateral outbox_engine.pack_messages(
      a.ids, a.recipients, a.senders, a.texts, a.priorities, a.expires_at, a.send_alone, a.media_urls,
      p_dispatches, p_request.max_recipients, p_request.share_texts, p_now) d
  ),
  taken as materialized ( -- The rows in these dispatches, each with its text.
    select d.dispatch_id, j.id, j.recipient, j.row_at, j.text, j.campaign, j.batch_id, j.counted,
      j.counted_day, coalesce(d.parts, outbox_engine.parts_of(j.text)) as parts
    from packed d
    cross join lateral unnest(d.ids) u (id)
    join judged j on j.id = u.id
  ),
  counted as materialized ( -- Run because the last query reads it.
    select outbox_engine.count_campaign_sends(array_agg(id), array_agg(campaign), array_agg(recipient),
      array_agg(batch_id), array_agg(parts), array_agg(counted), array_agg(counted_day), p_now)
    from taken where campaign is not null having count(*) > 0
  ),
  members as ( -- Reports of this attempt find their message by these, also later.
    insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)
    select dispatch_id, recipient, id from taken order by dispatch_id, recipient collate "C"
  ),
  sending as ( -- The same messages in the outbox.
    update public.outbox o
    set status = 'sending', queue = null, dispatch_id = t.dispatch_id, body = t.text, parts = t.parts,
      reported_rank = null, reported_at = null, status_code = null, error = null
    from taken t
    where o.ctid = t.row_at
    returning t.dispatch_id, o.priority, o.due_at, o.trace_context
  ),
  notes as (
    select n.* from (select array_agg(row(s.*)::outbox_engine.claimed_message) as messages from sending s) a
    cross join lateral outbox_engine.dispatch_notes(a.messages, p_now) n
  ),
  made as ( -- The dispatches, written before anything is sent, and leased to the caller.
    insert into outbox_engine.dispatches (
      id, claim_id, worker, provider, plan, host, credential, sender, sent_as, body, texts_differ, expire_at,
      expires_at, recipients, state, lease_token, lease_until, deadline, is_probe, claimed_at, media_url
    )
    select dispatch_id, p_request.claim_id, p_request.worker, p_request.provider, p_request.plan,
      p_request.host, p_request.credential, split_part(sender, E'\n', 1),
      nullif(split_part(sender, E'\n', 2), '')::jsonb, case when not texts_differ then text end, texts_differ,
      outbox_engine.provider_expiry(earliest_expiry, p_now), latest_expiry, cardinality(ids), 'claimed',
      nextval('outbox_engine.lease_tokens'), p_now + p_request.lease, p_request.deadline, p_is_probe, p_now,
      media_url
    from packed
    returning id, lease_token, sender, sent_as, body, expire_at, recipients, media_url
  )
  select outbox_engine.dispatch_object(m.id, m.lease_token, m.sender, m.sent_as, m.body, m.media_url,
    m.expire_at, 0, d.recipients, case when d.texts_differ then d.texts end)
      || coalesce(n.notes, '{}'), m.recipients
  from made m join packed d on d.dispatch_id = m.id
  left join notes n on n.dispatch_id = m.id
  left join counted c on true
  order by m.lease_token
$$;
