-- Adoption, for `outbox adopt`: batches that the provider accepted after the backup that the database was
-- restored from become batches of the messages that they held.

-- The messages that a batch may hold, by number: those that wait, and those of requests whose outcome is not
-- known. The rows of a request that was refused after the backup went out in another one.
create function outbox_engine.adoptable_messages(p_recipients text[]) returns bigint[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select o.id from public.outbox o where o.queue is not null and o.recipient = any (p_recipients)
    union
    select o.id
    from (
      select d.id from outbox_engine.dispatches d where d.state = 'claimed'
      union all
      select d.id from outbox_engine.dispatches d where d.lookup_at is not null and d.state = 'ambiguous'
      union all
      select d.id
      from outbox_engine.dispatches d
      where d.parent_id is not null and d.state = 'awaiting_half'
    ) d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id and m.recipient = any (p_recipients)
    join public.outbox o on o.id = m.outbox_id and o.dispatch_id = d.id and o.status = 'sending'
  );
end
$$;

-- Messages for these numbers that were never sent, as far as the database knows, and ended since `p_from`:
-- the provider may have accepted them before. Reads the history since then, which is short after a restore.
create function outbox_engine.ended_messages(p_recipients text[], p_from timestamptz) returns bigint[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select distinct o.id
    from public.outbox_events e
    join public.outbox o on o.id = e.outbox_id
    where cardinality(p_recipients) > 0
      and e.id > coalesce((
        select x.id
        from public.outbox_events x
        where x.at < p_from - outbox_engine.adoption_margin()
        order by x.id desc
        limit 1
      ), 0)
      and e.event in ('expired', 'cancelled', 'suppressed')
      and o.status = e.event
      and o.batch_id is null
      and o.recipient = any (p_recipients)
  );
end
$$;

-- For each recipient of a batch the oldest message with its text that was due by then, each with that text.
-- Of `p_ended`, only those that ended later than that, and not those in `p_taken`.
create function outbox_engine.messages_of_batch(
  p_batch outbox_engine.listed_batch, p_taken bigint[], p_ended bigint[]
)
returns table (outbox_id bigint, recipient text, text text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select distinct on (w.recipient) o.id, w.recipient, t.text
  from unnest(p_batch.recipients, p_batch.digests) w (recipient, digest)
  join outbox_engine.rendered_messages(
    outbox_engine.adoptable_messages(p_batch.recipients) || array(
      select e.id from public.outbox e where e.id = any (p_ended) and e.recipient = any (p_batch.recipients))
  ) r on r.recipient = w.recipient
  join public.outbox o on o.id = r.id
  -- A campaign may have made its message again since the restore.
  left join public.outbox_campaign_occurrences oc on o.campaign is not null and oc.outbox_id = o.id
  -- A message in a request has the text of that request, whatever its template says by now.
  cross join lateral (values (r.text), (o.body)) t (text)
  where md5(t.text)::uuid = w.digest
    and coalesce(oc.occurs_at, o.send_at) <= p_batch.created_at + outbox_engine.adoption_margin()
    and (
      o.finalized_at is null
      or least(o.finalized_at, o.expires_at) > p_batch.created_at - outbox_engine.adoption_margin()
    )
    and o.id <> all (p_taken)
  order by w.recipient, o.send_at, o.id;
end
$$;

-- Counts adopted messages of campaigns for caps and budgets, at the time of their batch, as the claim counts
-- those that it takes.
create function outbox_engine.count_adopted(p_ids bigint[], p_at timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from public.outbox where id = any (p_ids) and campaign is not null) then
    return;
  end if;
  perform outbox_engine.hold_campaign_claims();
  perform outbox_engine.count_campaign_sends(
    array_agg(o.id order by o.id), array_agg(o.campaign order by o.id), array_agg(o.recipient order by o.id),
    array_agg(o.batch_id order by o.id), array_agg(o.parts order by o.id),
    array_agg(c.counted order by o.id),
    array_agg((c.counted_at at time zone coalesce(k.timezone, 'UTC'))::date order by o.id), p_at)
  from public.outbox o
  join outbox_engine.messages_with_counts c on c.id = o.id
  join public.outbox_campaigns k on k.name = o.campaign
  where o.id = any (p_ids);
end
$$;

-- These messages had ended, and were sent before: they become sent. Times of campaigns are theirs again.
create function outbox_engine.reopen_adopted(p_ids bigint[], p_batch_id text, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  update public.outbox set batch_id = p_batch_id, attempts = attempts + 1 where id = any (p_ids);
  perform outbox_engine.change_statuses(
    array_agg(row(id, 'accepted', null, null, null, null)::outbox_engine.status_change), 'operator', p_now)
  from unnest(p_ids) id;
  perform outbox_engine.reclaim_occurrences(p_ids, p_now);
end
$$;

-- Writes down the dispatch that these messages went out in, and that the provider accepted it. `p_texts` are
-- their texts. The caller has locked the messages.
create function outbox_engine.adopt_messages(
  p_plan outbox_engine.plans, p_credential text, p_batch outbox_engine.listed_batch, p_ids bigint[],
  p_texts text[], p_now timestamptz
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_id constant uuid := p_batch.reference::uuid;
  v_at constant timestamptz := least(p_batch.created_at, p_now);
  v_ended constant bigint[] := array(
    select o.id from public.outbox o where o.id = any (p_ids) and o.finalized_at is not null);
begin
  insert into outbox_engine.dispatches (
    id, claim_id, worker, provider, plan, host, credential, expires_at, recipients, state, lease_token,
    lease_until, deadline, claimed_at
  )
  select v_id, v_id, 'outbox adopt', p_plan.provider, p_plan.plan, p_plan.host, p_credential,
    max(o.expires_at), count(*), 'claimed', nextval('outbox_engine.lease_tokens'), p_now, '0', v_at
  from public.outbox o
  where o.id = any (p_ids);
  insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)
  select v_id, o.recipient, o.id from public.outbox o where o.id = any (p_ids);

  update public.outbox o
  set dispatch_id = v_id, body = t.text,
    parts = case when o.channel = 'mms' then 1 else outbox_engine.parts_of(t.text) end, reported_rank = null,
    reported_at = null, status_code = null
  from unnest(p_ids, p_texts) t (id, text)
  where o.id = t.id;
  perform outbox_engine.count_adopted(p_ids, v_at);
  if v_ended <> '{}' then
    perform outbox_engine.reopen_adopted(v_ended, p_batch.batch_id, p_now);
  end if;
  perform outbox_engine.accept_dispatches(array[v_id], array[p_batch.batch_id], 'operator', null);
  update public.outbox o
  set sent_at = greatest(o.created_at, v_at)
  where o.id = any (p_ids) and o.batch_id = p_batch.batch_id;
  -- Ask for its reports soon: no callback brings those that came before.
  update outbox_engine.dispatches set reconcile_at = p_now where id = v_id;
  perform outbox_engine.match_waiting_reports(array[v_id]);
end
$$;

-- Remembers the messages of a batch but for those to `p_adopted`. Returns how many, and of how many more the
-- number cannot be read: these are kept as one, without a text if they differ. A text without letters would
-- be the same as too many others.
create function outbox_engine.remember_batch(
  p_plan outbox_engine.plans, p_batch outbox_engine.listed_batch, p_adopted text[], p_now timestamptz,
  out remembered integer, out unreadable integer
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  unreadable := cardinality(array_positions(p_batch.recipients, ''));
  insert into outbox_engine.adopted_messages (
    provider, plan, batch_id, reference, recipient, digest, letters, sent_at, kept_until
  )
  select p_plan.provider, p_plan.plan, p_batch.batch_id, p_batch.reference::uuid, w.recipient,
    case when count(distinct coalesce(w.digest::text, '')) = 1 then (array_agg(w.digest))[1] end,
    case when count(distinct coalesce(w.digest::text, '')) = 1
      then nullif(
        (array_agg(w.letters))[1], case when w.recipient = '' then outbox_engine.letters_digest('') end)
    end,
    p_batch.created_at, p_now + interval '15 days'
  from unnest(p_batch.recipients, p_batch.digests, p_batch.letters) w (recipient, digest, letters)
  where w.recipient <> all (p_adopted)
  group by w.recipient
  on conflict do nothing;
  get diagnostics remembered = row_count;
  if unreadable > 0 then
    remembered := remembered - 1;
    perform outbox_engine.alarm('adoption.numbers_unreadable', jsonb_build_object(
      'plan', p_plan.plan, 'batch', p_batch.batch_id, 'messages', unreadable, 'sent_at', p_batch.created_at));
  end if;
end
$$;

-- Adopts a batch whose reference the database does not know. Messages without a row are remembered; unless it
-- `p_is_own` for certain, so are all. Returns the adopted messages, and how many are remembered; `held` of
-- these hold a message at the next claim. Gives at most one example of each.
create function outbox_engine.adopt_unknown_batch(
  p_plan outbox_engine.plans, p_credential text, p_batch outbox_engine.listed_batch, p_is_own boolean,
  p_taken bigint[], p_ended bigint[], p_now timestamptz, out ids bigint[], out remembered integer,
  out unreadable integer,
  out held integer, out examples jsonb
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_texts text[];
  v_recipients text[];
begin
  if p_is_own then
    -- An earlier list showed it without its reference.
    delete from outbox_engine.adopted_messages
    where reference = outbox_engine.stand_in_reference(p_batch.batch_id);
  else
    p_batch.reference := outbox_engine.stand_in_reference(p_batch.batch_id);
  end if;
  select coalesce(array_agg(m.outbox_id), '{}'), array_agg(m.text), coalesce(array_agg(m.recipient), '{}')
  into ids, v_texts, v_recipients
  from outbox_engine.messages_of_batch(p_batch, p_taken, p_ended) m
  where p_is_own;
  if cardinality(ids) > 0 then
    -- A message that is held because of another batch was in this one.
    update outbox_engine.adopted_messages a set outbox_id = null where a.outbox_id = any (ids);
    perform outbox_engine.adopt_messages(p_plan, p_credential, p_batch, ids, v_texts, p_now);
  end if;

  select r.remembered, r.unreadable
  into remembered, unreadable
  from outbox_engine.remember_batch(p_plan, p_batch, v_recipients, p_now) r;
  examples := jsonb_path_query_array(jsonb_build_array(
    jsonb_build_object('kind', 'adopted', 'id', ids[1], 'recipient', v_recipients[1]),
    jsonb_build_object('kind', 'remembered', 'recipient', (
      select r from unnest(p_batch.recipients) r
      where remembered > 0 and r <> all (v_recipients) and r <> '' limit 1)),
    jsonb_build_object('kind', 'unreadable', 'recipient', case when unreadable > 0 then '' end)
  ), '$[*] ? (@.recipient != null)');

  select count(distinct w.recipient)
  into held
  from unnest(p_batch.recipients, p_batch.digests, p_batch.letters) w (recipient, digest, letters)
  join outbox_engine.rendered_messages(outbox_engine.adoptable_messages(p_batch.recipients)) r
    on r.recipient = w.recipient
  join public.outbox o on o.id = r.id and o.queue is not null
  where w.recipient <> all (v_recipients) and o.id <> all (p_taken)
    and outbox_engine.may_be_adopted(
      w.digest, w.letters, p_batch.created_at, r.text, r.template is not null and p_is_own,
      o.send_at);
end
$$;
