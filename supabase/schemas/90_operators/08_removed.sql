-- Messages that leave the outbox: retention deletes them, or the owner of the table deletes or truncates.
-- What hangs on a message goes with it, so that no late report touches another message.

-- Dispatches without messages. They stay until the provider's list no longer shows their batches, so that a
-- batch of ours is never taken for one that this database does not know.
create table outbox_engine.emptied_dispatches (
  id uuid primary key,
  delete_at timestamptz not null
);
alter table outbox_engine.emptied_dispatches enable row level security;

create index emptied_dispatches_due on outbox_engine.emptied_dispatches (delete_at);

-- Remembers those of these dispatches that have no messages left, for as long as the provider shows them.
create function outbox_engine.keep_emptied(p_dispatches uuid[]) returns void
language sql set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
  insert into outbox_engine.emptied_dispatches (id, delete_at)
  select d.id,
    d.claimed_at + interval '1 day'
      + coalesce(p.listed_for, (select (outbox_engine.provider_of('')).listed_for))
  from outbox_engine.dispatches d
  left join outbox_engine.providers p on p.name = d.provider
  where d.id = any (p_dispatches)
    and not exists (select from outbox_engine.dispatch_members m where m.dispatch_id = d.id)
  order by d.id
  on conflict do nothing
$$;

-- Called by the upkeep job. Deletes emptied dispatches that no list shows any more. One that another
-- transaction holds keeps for the next call.
create function outbox_engine.prune_emptied_dispatches(p_now timestamptz, p_most integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_due constant uuid[] := array(
    select d.id
    from outbox_engine.dispatches d
    where d.id = any (array(
      select e.id
      from outbox_engine.emptied_dispatches e
      where e.delete_at <= p_now
      order by e.delete_at
      limit p_most
    ))
    order by d.id
    for update skip locked
  );
begin
  delete from outbox_engine.dispatches where id = any (v_due);
  delete from outbox_engine.emptied_dispatches where id = any (v_due);
end
$$;

-- What the campaigns of these messages, which were deleted, show from now on. An occurrence whose message
-- never went out says so; it does not make another one. The others are counted.
create function outbox_engine.account_for_removed(p_messages outbox_engine.removed_message[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
begin
  update public.outbox_campaign_occurrences
  set outbox_id = null, reason = 'the message was deleted'
  where outbox_id = any (array(select m.id from unnest(p_messages) m where m.is_waiting));
  perform outbox_engine.count_removed(
    array(select m::outbox_engine.removed_message from unnest(p_messages) m where not m.is_waiting));
end
$$;

-- Runs after messages were deleted, by whichever role.
create function outbox_engine.after_messages_removed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_of_campaigns outbox_engine.removed_message[];
  v_dispatches uuid[];
begin
  select array_agg(row(
    r.id, r.campaign, r.recipient, r.status, r.status_code, r.error, r.parts, r.sent_at, r.queue is not null
  )::outbox_engine.removed_message)
  into v_of_campaigns
  from removed r
  where r.campaign is not null;
  if v_of_campaigns is not null then
    perform outbox_engine.account_for_removed(v_of_campaigns);
  end if;

  -- Found by message: a request that was throttled or given back has members and no event.
  with members as (
    delete from outbox_engine.dispatch_members m using removed r where m.outbox_id = r.id
    returning m.dispatch_id
  ),
  history as (
    delete from public.outbox_events e using removed r where e.outbox_id = r.id returning e.dispatch_id
  )
  select array_agg(distinct x.dispatch_id)
  into v_dispatches
  from (
    select dispatch_id from members
    union all
    select dispatch_id from history
    union all
    select dispatch_id from removed
  ) x
  where x.dispatch_id is not null;
  perform outbox_engine.keep_emptied(v_dispatches);
  perform outbox_engine.remove_events(array(select r.id from removed r));
  delete from outbox_engine.duplicate_sends x using removed r where x.outbox_id = r.id;
  delete from outbox_engine.campaign_sends s using removed r where s.outbox_id = r.id;
  delete from outbox_engine.held_messages h using removed r where h.outbox_id = r.id;
  delete from outbox_engine.secret_messages s using removed r where s.outbox_id = r.id;
  -- The app may insert the same text again.
  update outbox_engine.adopted_messages a set outbox_id = null from removed r where a.outbox_id = r.id;
  delete from outbox_engine.reassigned_occurrences o using removed r where o.outbox_id = r.id;
  return null;
end
$$;
create trigger outbox_9_removed after delete on public.outbox
  referencing old table as removed for each statement
  execute function outbox_engine.after_messages_removed();

-- Runs before the owner empties the table, which is also how the dashboard's table editor deletes all rows.
-- Notes the highest id for the trigger below, because `restart identity` would let new messages have the ids
-- of old ones.
create function outbox_engine.before_outbox_emptied() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_removed outbox_engine.removed_message[];
begin
  perform set_config('outbox.last_id', last_value::text, true) from public.outbox_id_seq;
  perform set_config('outbox.last_event_id', outbox_engine.last_history_id()::text, true);
  for v_removed in
    select array_agg(row(
      id, campaign, recipient, status, status_code, error, parts, sent_at, queue is not null
    )::outbox_engine.removed_message)
    from public.outbox
    where campaign is not null
    group by id / 10000
  loop
    perform outbox_engine.account_for_removed(v_removed);
  end loop;
  return null;
end
$$;
create trigger outbox_a_before_emptied before truncate on public.outbox for each statement
  execute function outbox_engine.before_outbox_emptied();

-- Runs after the owner emptied the table: what hangs on its messages goes too. Tables that the same command
-- emptied are skipped: PostgreSQL has them open.
create function outbox_engine.after_outbox_emptied() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_table text;
  v_has_rows boolean;
begin
  perform setval('public.outbox_id_seq', current_setting('outbox.last_id')::bigint);
  perform setval('public.outbox_events_id_seq', greatest(
    current_setting('outbox.last_event_id')::bigint, outbox_engine.last_history_id(), 1));
  perform outbox_engine.remove_all_events();
  foreach v_table in array array[
    'outbox_engine.dispatch_members', 'public.outbox_events', 'outbox_engine.duplicate_sends',
    'outbox_engine.campaign_sends', 'outbox_engine.held_messages', 'outbox_engine.reassigned_occurrences',
    'outbox_engine.secret_messages'
  ] loop
    execute format('select exists (select from %s)', v_table) into v_has_rows;
    if v_has_rows then
      execute format('truncate %s', v_table);
    end if;
  end loop;
  update outbox_engine.adopted_messages set outbox_id = null where outbox_id is not null;
  perform outbox_engine.keep_emptied(array(select id from outbox_engine.dispatches));
  return null;
end
$$;
create trigger outbox_b_emptied after truncate on public.outbox for each statement
  execute function outbox_engine.after_outbox_emptied();
