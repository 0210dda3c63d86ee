-- Refused contents: a sender and a text that the provider refuses for one recipient after the other. Its
-- messages are held, and one of them at a time is sent as a probe. The plan goes on with everything else.
-- Every function that writes these tables holds the plan first, or skips locked rows.

-- One row for each content that was refused and not accepted since: of a sender and a text, or of a sender
-- alone, which counts the texts that were refused.
create table outbox_engine.refused_contents (
  provider text not null,
  plan text not null,
  content uuid not null,
  sender text,
  is_sender boolean not null default false,
  -- How many requests of one message were refused alike in a row (of a sender: how many texts), the key that
  -- they have in common, and the provider's latest words.
  refusals smallint not null,
  refusal_key text not null,
  error text not null,
  last_content uuid,
  refused_at timestamptz not null,
  -- When the first of these requests was claimed. The acceptance of an earlier one does not end the hold.
  claimed_at timestamptz not null,
  -- Since when its messages are held. Null while refusals are only counted.
  held_since timestamptz,
  -- Held because of its sender, or of a setting of a process. An acceptance of the sender ends that.
  by_sender boolean not null default false,
  -- When the next message is sent as a probe, how many were, and which message is the latest.
  probe_at timestamptz,
  probes smallint not null default 0,
  probe_id bigint,
  -- The hold is over, and claims let its messages go, some thousands at a time.
  is_lifted boolean not null default false,
  primary key (provider, plan, content)
);
alter table outbox_engine.refused_contents enable row level security;

-- The messages that are held, and when each was a probe.
create table outbox_engine.held_messages (
  outbox_id bigint primary key,
  provider text not null,
  plan text not null,
  content uuid not null,
  probed_at timestamptz
);
alter table outbox_engine.held_messages enable row level security;

create index held_messages_content
  on outbox_engine.held_messages (provider, plan, content, probed_at nulls first, outbox_id);

-- Identifies a content without storing the text. A null text stands for the sender alone.
create function outbox_engine.content_key(p_sender text, p_text text) returns uuid
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select md5(coalesce(p_sender, '') || case when p_text is null then '' else E'\n' || p_text end)::uuid
$$;

-- The contents of these messages. The text of a message with a template is that of the template, with its
-- placeholders. An MMS is another content than an SMS of the same text.
create function outbox_engine.contents_of(p_ids bigint[])
returns table (id bigint, sender text, content uuid)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select o.id, o.sender, outbox_engine.content_key(o.sender,
    case when o.media_url is null then '' else o.media_url || E'\n' end || coalesce(t.body, o.body, ''))
  from public.outbox o
  left join public.outbox_templates t on t.name = o.template
  where o.id = any (p_ids);
end
$$;

-- The wait before the next probe after so many: 1, 5, then 30 minutes.
create function outbox_engine.probe_wait(p_probes integer) returns interval
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select make_interval(mins => (array[1, 5, 30])[least(p_probes + 1, 3)])
$$;

-- Holds a content from now on, with an alarm; where its sender is refused, that raised one. The caller holds
-- the plan and wrote the row.
create function outbox_engine.hold_content(
  p_provider text, p_plan text, p_content uuid, p_by_sender boolean
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_held outbox_engine.refused_contents;
begin
  update outbox_engine.refused_contents
  set
    held_since = v_now, by_sender = p_by_sender, probe_at = v_now + outbox_engine.probe_wait(0), probes = 0,
    probe_id = null, is_lifted = false
  where provider = p_provider and plan = p_plan and content = p_content and held_since is null
  returning * into v_held;
  if found and not p_by_sender then
    perform outbox_engine.alarm('content.held', jsonb_build_object(
      'provider', p_provider, 'plan', p_plan, 'sender', v_held.sender, 'of', 'one text',
      'reason', v_held.error));
  end if;
end
$$;

-- Counts a refused request of one message, of this content. The third in a row that was refused alike holds
-- the content. Returns whether it is held. The caller holds the plan.
create function outbox_engine.count_refusal(
  p_dispatch outbox_engine.dispatches, p_content uuid, p_key text, p_refusals integer, p_by_sender boolean
) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_counted outbox_engine.refused_contents;
begin
  insert into outbox_engine.refused_contents as r (
    provider, plan, content, sender, refusals, refusal_key, error, refused_at, claimed_at
  )
  values (
    p_dispatch.provider, p_dispatch.plan, p_content, p_dispatch.sender, p_refusals, p_key, p_dispatch.error,
    outbox_engine.now(), coalesce(
      (select d.claimed_at from outbox_engine.dispatches d where d.id = p_dispatch.parent_id),
      p_dispatch.claimed_at)
  )
  on conflict (provider, plan, content) do update
  set
    refusals = case
      when r.refusal_key = excluded.refusal_key then least(r.refusals + excluded.refusals, 100)
      else excluded.refusals
    end,
    refusal_key = excluded.refusal_key,
    error = excluded.error,
    refused_at = excluded.refused_at,
    claimed_at = case
      when r.refusal_key = excluded.refusal_key and r.refusals > 0 then r.claimed_at
      else excluded.claimed_at
    end
  returning * into v_counted;
  if v_counted.held_since is null and v_counted.refusals >= 3 then
    perform outbox_engine.hold_content(p_dispatch.provider, p_dispatch.plan, p_content, p_by_sender);
    return true;
  end if;
  return v_counted.held_since is not null;
end
$$;

-- Counts texts of one sender that were refused alike in a row, and raises an alarm at the third. From then on
-- refused messages of the sender are held, and none fails. The caller holds the plan.
create function outbox_engine.count_sender(
  p_dispatch outbox_engine.dispatches, p_content uuid, p_key text, p_refusals integer
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_key constant uuid := outbox_engine.content_key(p_dispatch.sender, null);
  v_before integer;
  v_after integer;
begin
  select refusals
  into v_before
  from outbox_engine.refused_contents
  where provider = p_dispatch.provider and plan = p_dispatch.plan and content = v_key and refusal_key = p_key;
  insert into outbox_engine.refused_contents as r (
    provider, plan, content, sender, is_sender, refusals, refusal_key, error, last_content, refused_at,
    claimed_at
  )
  values (
    p_dispatch.provider, p_dispatch.plan, v_key, p_dispatch.sender, true, p_refusals, p_key, p_dispatch.error,
    p_content, outbox_engine.now(), p_dispatch.claimed_at
  )
  on conflict (provider, plan, content) do update
  set
    refusals = case
      when r.refusal_key <> excluded.refusal_key then excluded.refusals
      when r.last_content = excluded.last_content and excluded.refusals = 1 then r.refusals
      else least(r.refusals + excluded.refusals, 100)
    end,
    refusal_key = excluded.refusal_key,
    error = excluded.error,
    last_content = excluded.last_content,
    refused_at = excluded.refused_at,
    claimed_at = case when r.refusal_key = excluded.refusal_key then r.claimed_at else excluded.claimed_at end
  returning refusals into v_after;
  if v_after >= 3 and coalesce(v_before, 0) < 3 then
    perform outbox_engine.alarm('content.held', jsonb_build_object(
      'provider', p_dispatch.provider, 'plan', p_dispatch.plan, 'sender', p_dispatch.sender,
      'of', 'different texts', 'reason', p_dispatch.error));
  end if;
end
$$;

-- The contents of these dispatches. Where texts do not differ, one message stands for its dispatch, because
-- this runs at each acceptance while any content is refused.
create function outbox_engine.accepted_contents(p_dispatches uuid[])
returns table (
  provider text, plan text, sender text, content uuid, outbox_id bigint, claimed_at timestamptz
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with members as materialized (
    select d.provider, d.plan, d.claimed_at, m.outbox_id
    from outbox_engine.dispatches d
    cross join lateral (
      select x.outbox_id
      from outbox_engine.dispatch_members x
      where x.dispatch_id = d.id
      limit case when d.texts_differ then d.recipients else 1 end
    ) m
    where d.id = any (p_dispatches)
  )
  select m.provider, m.plan, c.sender, c.content, m.outbox_id, m.claimed_at
  from members m
  join outbox_engine.contents_of(array(select x.outbox_id from members x)) c on c.id = m.outbox_id;
end
$$;

-- Called when the provider accepted these dispatches. Counts of their contents and senders start again, and
-- holds end, unless the request was claimed before the refusals. Takes the plans only if there are any.
create function outbox_engine.lift_contents(p_dispatches uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from outbox_engine.accepted_contents(p_dispatches) a
    join outbox_engine.refused_contents r on (r.provider, r.plan) = (a.provider, a.plan)
      and (r.content in (a.content, outbox_engine.content_key(a.sender, null)) or r.probe_id = a.outbox_id)
  ) then
    return;
  end if;
  perform outbox_engine.hold_plans_of(p_dispatches);
  with accepted as materialized (
    select * from outbox_engine.accepted_contents(p_dispatches)
  ),
  senders as (
    delete from outbox_engine.refused_contents r
    using (select provider, plan, sender, max(claimed_at) as claimed_at from accepted group by 1, 2, 3) a
    where r.is_sender
      and (r.provider, r.plan) = (a.provider, a.plan)
      and r.content = outbox_engine.content_key(a.sender, null)
      and (r.refusals < 3 or r.claimed_at <= a.claimed_at)
    returning r.provider, r.plan, r.sender
  ),
  counted as (
    delete from outbox_engine.refused_contents r
    using accepted a
    where (r.provider, r.plan, r.content) = (a.provider, a.plan, a.content)
      and r.held_since is null
      and not r.is_lifted
      and not r.is_sender
  ),
  lifted as (
    select r.content, r.provider, r.plan,
      exists (
        select from accepted a
        where (r.provider, r.plan, r.content) = (a.provider, a.plan, a.content)
          and (r.is_lifted or r.claimed_at <= a.claimed_at)
      ) or exists (
        select from accepted a
        where (r.provider, r.plan, r.probe_id) = (a.provider, a.plan, a.outbox_id)
          and r.held_since <= a.claimed_at
      ) as by_content,
      r.by_sender and exists (
        select from senders s
        where (r.provider, r.plan) = (s.provider, s.plan) and r.sender is not distinct from s.sender
      ) as by_sender
    from outbox_engine.refused_contents r
    where r.held_since is not null or r.is_lifted
  )
  -- What was refused of a content goes on counting against it until the content itself is accepted.
  update outbox_engine.refused_contents r
  set
    held_since = null, probe_at = null, is_lifted = true,
    refusals = case when l.by_content then 0 else r.refusals end
  from lifted l
  where (r.provider, r.plan, r.content) = (l.provider, l.plan, l.content) and (l.by_content or l.by_sender);
end
$$;
