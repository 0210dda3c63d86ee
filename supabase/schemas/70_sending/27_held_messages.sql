-- Held messages: they wait until their content is accepted, and one at a time is sent as a probe. Where
-- another plan may take them they do not wait; the content stays held at this plan, for the messages to
-- come.

-- Of these messages, those whose contents this plan holds go to other plans of their routes. Returns their
-- ids. The caller holds the plan and locked the messages.
create function outbox_engine.move_held(
  p_ids bigint[], p_provider text, p_plan text, p_now timestamptz
) returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_held record;
  v_moved bigint[] := '{}';
begin
  if cardinality(p_ids) = 0 or not outbox_engine.may_have_other_plans() then
    return v_moved;
  end if;
  for v_held in
    select r.error, array_agg(c.id) as ids
    from outbox_engine.contents_of(p_ids) c
    join outbox_engine.refused_contents r
      on r.provider = p_provider and r.plan = p_plan and r.content = c.content and r.held_since is not null
    group by r.error
    order by r.error
  loop
    v_moved := v_moved || outbox_engine.move_messages(v_held.ids, p_provider, p_plan,
      format('%s refuses its sender or text (%s): goes on without that plan',
        outbox_engine.plan_name(p_provider, p_plan), v_held.error), p_now);
  end loop;
  return v_moved;
end
$$;

-- Lets messages of contents go whose hold is over, at most `p_most`. Messages that another transaction holds
-- keep for the next call. The caller holds the plan.
create function outbox_engine.release_lifted(
  p_provider text, p_plan text, p_now timestamptz, p_most integer
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids constant bigint[] := array(
    select h.outbox_id
    from outbox_engine.refused_contents r
    join outbox_engine.held_messages h using (provider, plan, content)
    where r.provider = p_provider and r.plan = p_plan and r.is_lifted
    limit p_most
  );
  v_locked constant bigint[] := array(
    select o.id
    from public.outbox o
    where o.id = any (v_ids)
    order by o.id
    for update skip locked
  );
begin
  update public.outbox
  set due_at = p_now
  where id = any (v_locked) and queue = 'w';
  delete from outbox_engine.held_messages h
  where h.outbox_id = any (v_ids)
    and (h.outbox_id = any (v_locked) or not exists (select from public.outbox o where o.id = h.outbox_id));
  update outbox_engine.refused_contents r
  set is_lifted = false
  where r.provider = p_provider
    and r.plan = p_plan
    and r.is_lifted
    and not exists (
      select from outbox_engine.held_messages h
      where (h.provider, h.plan, h.content) = (r.provider, r.plan, r.content)
    );
  delete from outbox_engine.refused_contents
  where provider = p_provider and plan = p_plan and refusals = 0 and held_since is null and not is_lifted;
end
$$;

-- Makes one held message of a content the next probe: it becomes due. Messages that were no probe yet come
-- first. Without a held message the next one that is claimed becomes the probe.
create function outbox_engine.choose_probe(p_content outbox_engine.refused_contents, p_now timestamptz)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_id bigint;
begin
  delete from outbox_engine.held_messages
  where outbox_id = any (array(
    select h.outbox_id
    from outbox_engine.held_messages h
    left join public.outbox o on o.id = h.outbox_id
    where h.provider = p_content.provider
      and h.plan = p_content.plan
      and h.content = p_content.content
      and o.queue is null
      and o.status is distinct from 'sending'
    limit 5000
  ));
  select o.id
  into v_id
  from outbox_engine.held_messages h
  join public.outbox o on o.id = h.outbox_id
  where h.provider = p_content.provider
    and h.plan = p_content.plan
    and h.content = p_content.content
    and o.queue = 'w'
  order by h.probed_at nulls first, h.outbox_id
  limit 1
  for update of o skip locked;
  if not found then
    return;
  end if;
  update public.outbox
  set due_at = p_now
  where id = v_id;
  perform outbox_engine.note_probe(p_content.provider, p_content.plan, p_content.content, v_id, p_now);
end
$$;

-- Records that this message is the probe of a held content. It shares its request with no other text. If its
-- outcome stays unknown, the next one follows all the same.
create function outbox_engine.note_probe(
  p_provider text, p_plan text, p_content uuid, p_outbox_id bigint, p_now timestamptz
) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update public.outbox
  set sends_alone = true
  where id = p_outbox_id;
  update outbox_engine.refused_contents
  set
    probe_id = p_outbox_id,
    probes = least(probes + 1, 100),
    probe_at = p_now + outbox_engine.probe_wait(probes + 1)
  where provider = p_provider and plan = p_plan and content = p_content
$$;

-- A text that is held because of its sender is a probe for the sender's other texts too, so those wait as
-- long for the next one. Without that, a sender of a thousand texts would be tried a thousand times.
create function outbox_engine.await_probe_of_sender(
  p_content outbox_engine.refused_contents, p_now timestamptz
) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.refused_contents
  set
    probes = least(p_content.probes + 1, 100),
    probe_at = p_now + outbox_engine.probe_wait(p_content.probes + 1)
  where provider = p_content.provider
    and plan = p_content.plan
    and sender is not distinct from p_content.sender
    and held_since is not null
    and by_sender
$$;

-- Called where the clock may have been set back. Times of refusals that lie in the future become now, so that
-- an acceptance ends the hold again, and no probe waits longer than between two probes. The caller holds the
-- plan.
create function outbox_engine.move_holds_back(p_provider text, p_plan text, p_now timestamptz) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update outbox_engine.refused_contents
  set
    refused_at = least(refused_at, p_now),
    claimed_at = least(claimed_at, p_now),
    held_since = least(held_since, p_now),
    probe_at = least(probe_at, p_now + outbox_engine.probe_wait(probes))
  where provider = p_provider
    and plan = p_plan
    and greatest(refused_at, claimed_at, probe_at - interval '30 minutes') > p_now
$$;

-- Held messages that may go to another plan since, because the route got one or its process is back, do so,
-- at most `p_most`. Messages that another transaction holds keep for the next call. The caller holds the
-- plan.
create function outbox_engine.move_waiting_held(
  p_provider text, p_plan text, p_now timestamptz, p_most integer
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if outbox_engine.may_have_other_plans() then
    perform outbox_engine.move_held(
      array(
        select o.id
        from public.outbox o
        where o.id = any (array(
            select h.outbox_id
            from outbox_engine.refused_contents r
            join outbox_engine.held_messages h using (provider, plan, content)
            where r.provider = p_provider and r.plan = p_plan and r.held_since is not null
            limit p_most))
          and o.queue = 'w'
        order by o.id
        for update skip locked
      ),
      p_provider, p_plan, p_now);
  end if;
end
$$;

-- Called at the start of each claim. Where a hold is over, its messages become due; where a probe is due, one
-- message does. Of the texts that are held because of their sender, it is the one refused longest ago.
create function outbox_engine.tend_held_messages(p_provider text, p_plan text, p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_content outbox_engine.refused_contents;
begin
  if not exists (
    select from outbox_engine.refused_contents
    where provider = p_provider and plan = p_plan and (
      is_lifted or probe_at <= p_now
      or greatest(refused_at, claimed_at, probe_at - interval '30 minutes') > p_now
    )
  ) then
    return;
  end if;
  perform outbox_engine.hold_plan(p_provider, p_plan);
  perform outbox_engine.move_holds_back(p_provider, p_plan, p_now);
  perform outbox_engine.release_lifted(p_provider, p_plan, p_now, 5000);
  perform outbox_engine.move_waiting_held(p_provider, p_plan, p_now, 5000);
  for v_content in
    select r.*
    from outbox_engine.refused_contents r
    where r.provider = p_provider and r.plan = p_plan and r.held_since is not null and r.probe_at <= p_now
      and not (r.by_sender and exists (
        select from outbox_engine.refused_contents other
        where other.provider = p_provider and other.plan = p_plan and other.held_since is not null
          and other.by_sender and other.sender is not distinct from r.sender
          and (other.refused_at, other.content) < (r.refused_at, r.content)))
    order by r.probe_at, r.content
    limit 100
  loop
    perform outbox_engine.choose_probe(v_content, p_now);
    if v_content.by_sender then
      perform outbox_engine.await_probe_of_sender(v_content, p_now);
    end if;
  end loop;
end
$$;

-- Called by the upkeep job: the same for all plans, also where the processes that claim know no held texts. A
-- plan that another transaction holds keeps for the next call, because this one holds messages by now.
create function outbox_engine.tend_all_held_messages(p_now timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_plan record;
begin
  for v_plan in
    select p.provider, p.plan
    from outbox_engine.plans p
    where exists (
      select from outbox_engine.refused_contents r
      where (r.provider, r.plan) = (p.provider, p.plan) and (r.is_lifted or r.probe_at <= p_now))
    order by p.provider, p.plan
    for update skip locked
  loop
    perform outbox_engine.tend_held_messages(v_plan.provider, v_plan.plan, p_now);
  end loop;
end
$$;

-- Called by the claim with rows that it picked. Those of held contents go to another plan or wait until they
-- expire or the hold ends, but for their probe. Returns the others, in their order. The caller holds the
-- plan and the rows.
create function outbox_engine.without_held(
  p_ids bigint[], p_provider text, p_plan text, p_now timestamptz
) returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_held bigint[];
begin
  if not exists (
    select from outbox_engine.refused_contents
    where provider = p_provider and plan = p_plan and held_since is not null
  ) then
    return p_ids;
  end if;
  with rows_of_held as materialized (
    select c.id, c.content, o.expires_at, r.error, r.probe_id,
      r.probe_at <= p_now and row_number() over (partition by c.content order by c.id) = 1 as is_next_probe
    from outbox_engine.contents_of(p_ids) c
    join outbox_engine.refused_contents r
      on r.provider = p_provider and r.plan = p_plan and r.content = c.content and r.held_since is not null
    join public.outbox o on o.id = c.id
    where o.id = any (p_ids) and o.expires_at > p_now
  ),
  probes as materialized (
    select outbox_engine.note_probe(p_provider, p_plan, content, id, p_now)
    from rows_of_held
    where is_next_probe
  ),
  passed as materialized (
    select id, content, expires_at, error
    from rows_of_held
    where not is_next_probe and id is distinct from probe_id
  ),
  moved as materialized (
    select outbox_engine.move_held(array_agg(id), p_provider, p_plan, p_now) as ids from passed
    having count(*) > 0
  ),
  held as materialized (
    select p.id, p.content, p.expires_at, p.error
    from passed p
    where p.id <> all (coalesce((select ids from moved), '{}'))
  ),
  remembered as (
    insert into outbox_engine.held_messages (outbox_id, provider, plan, content)
    select id, p_provider, p_plan, content from held
    on conflict (outbox_id) do update
    set provider = excluded.provider, plan = excluded.plan, content = excluded.content
  ),
  changed as materialized (
    select outbox_engine.change_statuses(
      array_agg(row(id, 'held', null, expires_at, null, error)
        ::outbox_engine.status_change),
      'engine', p_now)
    from held
    having count(*) > 0
  )
  select array(select id from passed)
  into v_held
  from (select count(*) from probes) p, (select count(*) from changed) c;
  return array(select u.id from unnest(p_ids) with ordinality u (id, place)
    where u.id <> all (v_held) order by u.place);
end
$$;
