-- Retention of rows that no index orders by their age. A walk reads a table a stretch at a time, at each call
-- of the upkeep job, and begins again a day later.

-- How far the walks have come. `position` is null between two walks.
create table outbox_engine.walks (
  name text primary key,
  position text,
  began_at timestamptz not null
);
alter table outbox_engine.walks enable row level security;

-- Where this walk goes on: '' at its beginning, null until the next one is due, `p_every` after this one
-- began. A walk that began in the future is of a clock that was set back since.
create function outbox_engine.walk_from(
  p_name text, p_now timestamptz, p_every interval default '1 day'
) returns text
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.walks as w (name, position, began_at)
  values (p_name, '', p_now)
  on conflict (name) do update
  set
    position = coalesce(w.position, ''),
    began_at = case when w.position is null then excluded.began_at else w.began_at end
  where w.position is not null
    or w.began_at <= excluded.began_at - p_every
    or w.began_at > excluded.began_at
  returning w.position
$$;

-- Notes how far a walk has come; null ends it.
create function outbox_engine.walk_to(p_name text, p_position text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.walks set position = p_position where name = p_name
$$;

-- Removes the `metadata` of messages as `blank_texts` removes texts. Returns whether the walk goes on.
create function outbox_engine.blank_metadata(p_before timestamptz, p_most integer, p_now timestamptz)
returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_walk constant text := outbox_engine.walk_from('metadata', p_now);
  v_from bigint;
  v_last bigint;
  v_goes_on boolean;
begin
  if v_walk is null then
    return false;
  end if;
  v_from := coalesce(nullif(v_walk, '')::bigint, 0);
  select max(id), count(*) = p_most and max(created_at) < p_before
  into v_last, v_goes_on
  from (select id, created_at from public.outbox where id > v_from order by id limit p_most) stretch;

  update public.outbox
  set metadata = null
  where id = any (array(
    select id
    from public.outbox
    where id > v_from and id <= v_last and finalized_at < p_before and metadata is not null
      and not exists (select from public.outbox_events e where e.outbox_id = outbox.id and e.at >= p_before)
    order by id
    for update skip locked
  ));
  perform outbox_engine.walk_to('metadata', case when v_goes_on then v_last::text end);
  return v_goes_on;
end
$$;

-- Removes the texts of replies, and the raw reports that repeat them, in the order in which the replies were
-- recorded. A reply that a person has to decide keeps its text until then. Returns whether the walk goes on.
create function outbox_engine.blank_replies(p_before timestamptz, p_most integer, p_now timestamptz)
returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_walk constant text := outbox_engine.walk_from('replies', p_now);
  v_from timestamptz;
  v_ids text[];
  v_last timestamptz;
begin
  if v_walk is null then
    return false;
  end if;
  v_from := coalesce(nullif(v_walk, '')::timestamptz, '-infinity');
  -- Replies of one call have one time, so the last of them go together.
  select array_agg(id), max(recorded_at)
  into v_ids, v_last
  from (
    select id, recorded_at
    from public.outbox_inbound
    where recorded_at > v_from and recorded_at < p_before
    order by recorded_at
    fetch first p_most rows with ties
  ) stretch;

  update public.outbox_inbound
  set body = null, raw = '{}'
  where id = any (array(
    select id
    from public.outbox_inbound
    where id = any (v_ids) and (body is not null or raw <> '{}') and not unclear
    for update skip locked
  ));
  perform outbox_engine.walk_to('replies', v_last::text);
  return v_last is not null;
end
$$;

-- Forgets decisions of recipients from before `p_before`. The decision about a number that is suppressed
-- stays as long as the suppression: a START from before it must not lift it.
create function outbox_engine.forget_consents(p_before timestamptz, p_most integer, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant text := outbox_engine.walk_from('consents', p_now);
  v_recipients text[];
begin
  if v_from is null then
    return;
  end if;
  v_recipients := array(
    select recipient from outbox_engine.consents where recipient > v_from order by recipient limit p_most);
  delete from outbox_engine.consents
  where recipient = any (array(
    select c.recipient
    from outbox_engine.consents c
    where c.recipient = any (v_recipients) and c.decided_at < p_before
      and not exists (select from public.outbox_suppressions s where s.recipient = c.recipient)
    for update skip locked
  ));
  perform outbox_engine.walk_to(
    'consents', case when cardinality(v_recipients) = p_most then v_recipients[p_most] end);
end
$$;

-- Forgets the ids of replies that were deleted and were seen before `p_before`, which is longer ago than the
-- provider's list reaches back.
create function outbox_engine.forget_seen_inbounds(p_before timestamptz, p_most integer, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant text := outbox_engine.walk_from('seen inbounds', p_now);
  v_ids text[];
begin
  if v_from is null then
    return;
  end if;
  v_ids := array(select id from outbox_engine.inbounds_seen where id > v_from order by id limit p_most);
  delete from outbox_engine.inbounds_seen
  where id = any (array(
    select s.id
    from outbox_engine.inbounds_seen s
    where s.id = any (v_ids) and s.seen_at < p_before
      and not exists (select from public.outbox_inbound i where i.id = s.id)
    for update skip locked
  ));
  perform outbox_engine.walk_to(
    'seen inbounds', case when cardinality(v_ids) = p_most then v_ids[p_most] end);
end
$$;

-- Deletes what hangs on messages that are gone. A message takes it along since schema version 2; release
-- 0.1.0 left it behind where the owner of the table deleted messages. Looks at the next `p_most` ids. Each
-- statement asks itself whether the message is there: one that was committed in between came with its rows.
create function outbox_engine.remove_orphans(p_most integer, p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_walk constant text := outbox_engine.walk_from('orphans', p_now, '30 days');
  v_from bigint;
  v_to bigint;
  v_dispatches uuid[];
begin
  if v_walk is null then
    return;
  end if;
  v_from := coalesce(nullif(v_walk, '')::bigint, 0);
  v_to := v_from + p_most;
  with members as (
    delete from outbox_engine.dispatch_members x
    where x.outbox_id > v_from and x.outbox_id <= v_to
      and not exists (select from public.outbox o where o.id = x.outbox_id)
    returning dispatch_id
  ),
  history as (
    delete from public.outbox_events x
    where x.outbox_id > v_from and x.outbox_id <= v_to
      and not exists (select from public.outbox o where o.id = x.outbox_id)
    returning dispatch_id
  )
  select array_agg(distinct x.dispatch_id)
  into v_dispatches
  from (select dispatch_id from members union all select dispatch_id from history) x
  where x.dispatch_id is not null;
  perform outbox_engine.keep_emptied(v_dispatches);
  delete from outbox_engine.duplicate_sends x
  where x.outbox_id > v_from and x.outbox_id <= v_to
    and not exists (select from public.outbox o where o.id = x.outbox_id);
  delete from outbox_engine.campaign_sends x
  where x.outbox_id > v_from and x.outbox_id <= v_to
    and not exists (select from public.outbox o where o.id = x.outbox_id);
  delete from outbox_engine.held_messages x
  where x.outbox_id > v_from and x.outbox_id <= v_to
    and not exists (select from public.outbox o where o.id = x.outbox_id);
  delete from outbox_engine.secret_messages x
  where x.outbox_id > v_from and x.outbox_id <= v_to
    and not exists (select from public.outbox o where o.id = x.outbox_id);
  delete from outbox_engine.reassigned_occurrences x
  where x.outbox_id > v_from and x.outbox_id <= v_to
    and not exists (select from public.outbox o where o.id = x.outbox_id);
  perform outbox_engine.walk_to('orphans', case
    when v_to < (select last_value from public.outbox_id_seq) then v_to::text
  end);
end
$$;
