-- Families: the parts of a refused dispatch. The provider does not say whether it refused a number or the
-- part that all messages share, such as the text. A part that it accepts clears the shared part; from then on
-- a refused part is halved until a number is alone. Without an acceptance, three messages are tried alone.

-- Two refusals with the same key are alike: the same status, code and words, without digits, quoted values
-- and identifiers, which name the request or a number.
create function outbox_engine.refusal_key(p_dispatch outbox_engine.dispatches) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_dispatch.http_status || ' ' || lower(regexp_replace(
    regexp_replace(
      p_dispatch.error,
      $re$(^|\W)('[^']*'|"[^"]*"|`[^`]*`|“[^”]*”)|[[:alnum:]-]{20,}|[[:alnum:]]*[0-9][[:alnum:]]*$re$,
      '\1', 'g'),
    '[^[:alpha:]_]+', ' ', 'g'))
$$;

-- A request of one message was refused, of a content that was not accepted in its family. The message fails,
-- and the refusal counts against its content. It is held instead where the content is, or where the provider
-- refuses all texts of its sender. A message that is about to expire may have expired by the provider's
-- clock, which says nothing about its content. The caller holds the plan.
create function outbox_engine.refuse_single(p_dispatch outbox_engine.dispatches) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_key constant text := coalesce(outbox_engine.refusal_key(p_dispatch), '');
  v_content uuid;
begin
  select content
  into v_content
  from outbox_engine.contents_of(outbox_engine.lock_attached(array[p_dispatch.id]));
  if exists (
    select from outbox_engine.refused_contents
    where provider = p_dispatch.provider and plan = p_dispatch.plan and content = v_content
      and held_since is not null
  ) then
    perform outbox_engine.hold_attached(p_dispatch);
  elsif v_content is null or p_dispatch.expire_at < outbox_engine.now() + interval '2 minutes' then
    perform outbox_engine.move_or_fail(p_dispatch);
    perform outbox_engine.close_refused(p_dispatch.id);
  elsif exists (
    select from outbox_engine.refused_contents
    where provider = p_dispatch.provider and plan = p_dispatch.plan
      and content = outbox_engine.content_key(p_dispatch.sender, null)
      and refusal_key = v_key and refusals >= 3
  ) then
    perform outbox_engine.count_refusal(p_dispatch, v_content, v_key, 3, true);
    perform outbox_engine.hold_attached(p_dispatch);
  else
    perform outbox_engine.move_or_fail(p_dispatch);
    perform outbox_engine.close_refused(p_dispatch.id);
    perform outbox_engine.count_refusal(p_dispatch, v_content, v_key, 1, false);
    perform outbox_engine.count_sender(p_dispatch, v_content, v_key, 1);
  end if;
end
$$;

-- Parts of a dispatch whose texts differ were refused alike. Either what they share is wrong, or the provider
-- takes no different texts in one request. No message is to blame for the latter, so all wait again, each to
-- be sent with its own text only.
create function outbox_engine.separate_texts(p_dispatches outbox_engine.dispatches[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatch outbox_engine.dispatches;
  v_ids bigint[];
begin
  foreach v_dispatch in array p_dispatches loop
    v_ids := outbox_engine.lock_attached(array[v_dispatch.id]);
    update public.outbox
    set sends_alone = true
    where id = any (v_ids);
    perform outbox_engine.requeue_attached(array[v_dispatch.id], 'refused', v_dispatch.error);
    perform outbox_engine.close_refused(v_dispatch.id);
  end loop;
end
$$;

-- How many more messages have to be refused alone before the content of this dispatch is held, given that so
-- many were: at least one, at most three in a row. Zero where it is held.
create function outbox_engine.singles_needed(p_dispatch outbox_engine.dispatches, p_singles integer)
returns integer
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_counted outbox_engine.refused_contents;
begin
  select r.*
  into v_counted
  from outbox_engine.contents_of(array(
    select o.id
    from outbox_engine.dispatch_members m
    join public.outbox o on o.id = m.outbox_id and o.dispatch_id = p_dispatch.id
    where m.dispatch_id = p_dispatch.id
    order by o.id
    limit 1
  )) c
  join outbox_engine.refused_contents r
    on r.provider = p_dispatch.provider and r.plan = p_dispatch.plan and r.content = c.content;
  if v_counted.held_since is not null then
    return 0;
  end if;
  return greatest(1, 3 - case
    when v_counted.refusal_key = outbox_engine.refusal_key(p_dispatch) then v_counted.refusals
    else 0
  end) - p_singles;
end
$$;

-- Parts of one family were refused alike and none was accepted. Tries `p_most` messages alone, spread over
-- the parts; the others stay attached and wait. Returns the new dispatches.
create function outbox_engine.try_singles(
  p_parts outbox_engine.dispatches[], p_most integer, p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_plan outbox_engine.plans;
  v_part outbox_engine.dispatches;
  v_ids bigint[];
  v_chosen bigint[];
  v_made jsonb := '[]';
  v_id bigint;
begin
  select *
  into v_plan
  from outbox_engine.plans
  where provider = p_parts[1].provider and plan = p_parts[1].plan;
  foreach v_part in array p_parts loop
    perform outbox_engine.release_unsendable(v_part.id, v_part.error);
  end loop;
  v_ids := outbox_engine.lock_attached(array(select (p).id from unnest(p_parts) p));
  v_chosen := array(
    select distinct v_ids[1 + ((2 * i + 1) * cardinality(v_ids)) / (2 * p_most)]
    from generate_series(0, p_most - 1) i
    where v_ids <> '{}'
  );
  foreach v_part in array p_parts loop
    v_ids := outbox_engine.lock_attached(array[v_part.id]);
    foreach v_id in array v_chosen loop
      continue when v_id <> all (v_ids);
      v_made := v_made || outbox_engine.make_part(
        v_part, array[v_id], 'shared', v_part.error, p_worker, p_lease_seconds,
        outbox_engine.reserve_request(v_plan, v_now));
    end loop;
    if v_ids <@ v_chosen then
      perform outbox_engine.close_refused(v_part.id);
    end if;
  end loop;
  return v_made;
end
$$;

-- Messages of refused parts wait again: no one can send smaller parts now, or a part was never judged. A
-- message never fails for a request that it shared with others.
create function outbox_engine.requeue_parts(p_parts outbox_engine.dispatches[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_part outbox_engine.dispatches;
begin
  foreach v_part in array p_parts loop
    perform outbox_engine.requeue_attached(array[v_part.id], 'refused', v_part.error);
    perform outbox_engine.close_refused(v_part.id);
  end loop;
end
$$;

-- A refused part whose fault lies within itself. It is halved until one message is left, which fails. Without
-- a worker that can send the halves, its messages wait again. Returns the new dispatches.
create function outbox_engine.decide_part(
  p_part outbox_engine.dispatches, p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_left constant integer := outbox_engine.release_unsendable(p_part.id, p_part.error);
begin
  if v_left = 1 and p_part.recipients = 1 then
    perform outbox_engine.move_or_fail(p_part);
    perform outbox_engine.close_refused(p_part.id);
  elsif p_worker is null or v_left = 0 then
    perform outbox_engine.requeue_parts(array[p_part]);
  else
    return outbox_engine.split_dispatch(p_part, 2, 'shared', p_part.error, p_worker, p_lease_seconds);
  end if;
  return '[]';
end
$$;

-- Parts of one family that were refused alike, while no part was accepted and none is open. Returns the new
-- dispatches.
create function outbox_engine.judge_alike(
  p_parts outbox_engine.dispatches[], p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_singles constant outbox_engine.dispatches[] := array(
    select p from unnest(p_parts) p where p.recipients = 1);
  v_shared outbox_engine.dispatches[] := array(select p from unnest(p_parts) p where p.recipients > 1);
  v_part outbox_engine.dispatches;
  v_needed integer;
  v_made jsonb := '[]';
begin
  if cardinality(p_parts) > 1 and p_parts[1].texts_differ then
    perform outbox_engine.separate_texts(p_parts);
    return '[]';
  elsif cardinality(p_parts) = 1 and v_shared <> '{}' then
    return outbox_engine.decide_part(v_shared[1], p_worker, p_lease_seconds);
  end if;

  v_needed := case
    when v_shared <> '{}' then outbox_engine.singles_needed(v_shared[1], cardinality(v_singles))
    else 0
  end;
  if v_needed > 0 and (p_worker is null or outbox_engine.is_paused(p_parts[1], outbox_engine.now())) then
    perform outbox_engine.requeue_parts(p_parts);
    return v_made;
  elsif v_needed > 0 then
    v_made := outbox_engine.try_singles(v_shared, v_needed, p_worker, p_lease_seconds);
    if v_made <> '[]' then
      return v_made;
    end if;
    v_shared := '{}';
  end if;
  foreach v_part in array v_singles loop
    if outbox_engine.release_unsendable(v_part.id, v_part.error) = 0 then
      perform outbox_engine.close_refused(v_part.id);
    else
      perform outbox_engine.refuse_single(v_part);
    end if;
  end loop;
  foreach v_part in array v_shared loop
    perform outbox_engine.hold_attached(v_part);
  end loop;
  return v_made;
end
$$;

-- Decides about the refused parts of a family that wait for it. Once a part was accepted, the fault of each
-- lies within itself. Until then they wait for the outcome of all parts that are open. Returns the new
-- dispatches.
create function outbox_engine.decide_family(
  p_family uuid, p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_parts outbox_engine.dispatches[];
  v_is_cleared boolean;
  v_is_undecided boolean;
  v_is_inconclusive boolean;
  v_part outbox_engine.dispatches;
  v_alike outbox_engine.dispatches[];
  v_made jsonb := '[]';
begin
  select
    array_agg(d order by d.lease_token) filter (where d.state = 'awaiting_half'),
    bool_or(d.batch_id is not null),
    bool_or(d.state in ('claimed', 'ambiguous')),
    bool_or(d.state in ('released', 'not_found', 'given_up') or d.inconclusive)
  into v_parts, v_is_cleared, v_is_undecided, v_is_inconclusive
  from outbox_engine.dispatches d
  where d.parent_id = p_family;
  if v_parts is null then
    return v_made;
  elsif v_is_cleared then
    foreach v_part in array v_parts loop
      v_made := v_made || outbox_engine.decide_part(v_part, p_worker, p_lease_seconds);
    end loop;
  elsif v_is_undecided then
    return v_made;
  elsif v_is_inconclusive then
    perform outbox_engine.requeue_parts(v_parts);
  else
    for v_alike in
      select array_agg(p order by p.lease_token)
      from unnest(v_parts) p
      group by outbox_engine.refusal_key(p)
      order by min(p.lease_token)
    loop
      v_made := v_made || outbox_engine.judge_alike(v_alike, p_worker, p_lease_seconds);
    end loop;
  end if;
  return v_made;
end
$$;

-- Called after the outcome of these dispatches was recorded, with `p_worker` null where the caller sends no
-- requests. Decides about the families of those that are parts of a refused dispatch. Returns the dispatches
-- that the caller is to send. The caller called `lock_dispatches`.
create function outbox_engine.decide_halves(
  p_dispatches uuid[], p_worker text, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_family uuid;
  v_made jsonb := '[]';
begin
  for v_family in
    select distinct d.parent_id
    from outbox_engine.dispatches d
    where d.id = any (p_dispatches) and d.parent_id is not null
    order by d.parent_id
  loop
    v_made := v_made || outbox_engine.decide_family(v_family, p_worker, p_lease_seconds);
    perform outbox_engine.end_moves_in_doubt(array[v_family], outbox_engine.now());
  end loop;
  return v_made;
end
$$;
