-- The calls of `outbox adopt`.

-- Takes all locks of a call in their order (docs/decisions/0008): the dispatches that the batches name, the
-- plan, and the messages that they may hold, among them `p_ended`.
create function outbox_engine.lock_for_adoption(
  p_provider text, p_plan text, p_known uuid[], p_recipients text[], p_ended bigint[]
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.lock_dispatches(p_known);
  perform outbox_engine.hold_plan(p_provider, p_plan);
  perform from public.outbox
  where id = any (outbox_engine.adoptable_messages(p_recipients) || p_ended)
    or id = any (array(
      select m.outbox_id from outbox_engine.dispatch_members m where m.dispatch_id = any (p_known)))
  order by id
  for update;
end
$$;

-- What each of these batches is to the database: `known`; `accepted`, where it has the dispatch and not the
-- batch; `unknown`; `other`; `doubtful`, where the list does not show whose it is, and the database does not
-- know it by its id. With `p_all_references` every UUID counts as a reference of this database.
create function outbox_engine.judge_batches(
  p_batches outbox_engine.listed_batch[], p_all_references boolean
) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select case
      when b.verdict = 'known' and exists (
        select from outbox_engine.dispatches d
        where d.id = b.reference::uuid and d.batch_id is distinct from b.batch_id) then 'accepted'
      when b.verdict = 'other' and p_all_references
        and b.reference ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then 'unknown'
      when b.verdict = 'other' and outbox_engine.may_be_own_reference(b.reference) then
        case when outbox_engine.is_known_batch(b.batch_id) then 'known' else 'doubtful' end
      else b.verdict
    end
    from unnest(
      p_batches, outbox_engine.judge_references(array(select x.reference from unnest(p_batches) x), true)
    ) with ordinality b (batch_id, reference, created_at, recipients, digests, letters, verdict, place)
    order by b.place
  );
end
$$;

-- The references (as UUIDs) of the accepted batches of these, the recipients of the unknown ones, and the
-- messages for these that had ended (`ended_messages`).
create function outbox_engine.batches_to_adopt(
  p_batches outbox_engine.listed_batch[], p_verdicts text[], out accepted uuid[], out recipients text[],
  out ended bigint[]
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  accepted := array(
    select b.reference::uuid
    from unnest(p_batches, p_verdicts)
      b (batch_id, reference, created_at, recipients, digests, letters, verdict)
    where b.verdict = 'accepted');
  recipients := array(
    select unnest(b.recipients)
    from unnest(p_batches, p_verdicts)
      b (batch_id, reference, created_at, recipients, digests, letters, verdict)
    where b.verdict = 'unknown');
  ended := outbox_engine.ended_messages(recipients, (
    select min(b.created_at)
    from unnest(p_batches, p_verdicts)
      b (batch_id, reference, created_at, recipients, digests, letters, verdict)
    where b.verdict = 'unknown'));
end
$$;

-- Adopts these batches, the oldest first. Returns what `outbox_adopt_batches` does.
create function outbox_engine.adopt_batches(
  p_plan outbox_engine.plans, p_credential text, p_batches outbox_engine.listed_batch[],
  p_all_references boolean, p_taken bigint[], p_now timestamptz
) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_verdicts text[] := outbox_engine.judge_batches(p_batches, p_all_references);
  v_wanted constant record := outbox_engine.batches_to_adopt(p_batches, v_verdicts);
  v_taken bigint[] := p_taken;
  v_accepted integer := 0;
  v_remembered integer := 0;
  v_held integer := 0;
  v_unreadable integer := 0;
  v_examples jsonb := '[]';
  v_batch outbox_engine.listed_batch;
  v_dispatch outbox_engine.dispatches;
  v_adopted record;
begin
  perform outbox_engine.lock_for_adoption(
    p_plan.provider, p_plan.plan, v_wanted.accepted, v_wanted.recipients, v_wanted.ended);
  for v_place in 1 .. cardinality(p_batches) loop
    v_batch := p_batches[v_place];
    -- An earlier one of these batches has the same reference: the request was repeated on its way.
    if v_verdicts[v_place] = 'unknown'
      and exists (select from outbox_engine.dispatches where id = v_batch.reference::uuid) then
      v_verdicts[v_place] := 'accepted';
    end if;
    if v_verdicts[v_place] = 'accepted' then
      select * into v_dispatch from outbox_engine.dispatches where id = v_batch.reference::uuid;
      perform outbox_engine.record_found_batches(
        v_dispatch, array[v_batch.batch_id], array[array_to_string(v_batch.recipients, ' ')], null);
      v_accepted := v_accepted + cardinality(v_batch.recipients);
    elsif v_verdicts[v_place] in ('unknown', 'doubtful') then
      v_adopted := outbox_engine.adopt_unknown_batch(
        p_plan, p_credential, v_batch, v_verdicts[v_place] = 'unknown', v_taken, v_wanted.ended, p_now);
      v_taken := v_taken || v_adopted.ids;
      v_remembered := v_remembered + v_adopted.remembered;
      v_held := v_held + v_adopted.held;
      v_unreadable := v_unreadable + v_adopted.unreadable;
      if jsonb_array_length(v_examples) < 10 then
        v_examples := v_examples || (
          select coalesce(jsonb_agg(e || jsonb_build_object('batch_id', v_batch.batch_id)), '[]')
          from jsonb_array_elements(v_adopted.examples) e);
      end if;
    end if;
  end loop;
  return (
    select jsonb_build_object(
      'other', count(*) filter (where v = 'other'), 'known', count(*) filter (where v = 'known'),
      'unknown', count(*) filter (where v = 'unknown'),
      'doubtful', count(*) filter (where v = 'doubtful'),
      'accepted', v_accepted, 'adopted', cardinality(v_taken) - cardinality(p_taken),
      'remembered', v_remembered, 'held', v_held, 'unreadable', v_unreadable, 'examples', v_examples,
      'taken', to_jsonb(v_taken[cardinality(p_taken) + 1 :]))
    from unnest(v_verdicts) v);
end
$$;

-- Called by `outbox adopt` with batches of the provider's list as JSON, at most a thousand messages a call.
-- One transaction; a repetition changes nothing. Returns how many batches are `other`, `known`, `unknown` and
-- `doubtful`; how many messages are `accepted` (of known dispatches), `adopted`, `remembered`, `held` of
-- which hold a waiting message, and `unreadable`; some `examples`; and the ids of the adopted ones as
-- `taken`. With `p_dry_run` all of it is undone: pass the messages that earlier calls would have taken as
-- `p_taken`. `p_provider_at` is the provider's clock, null if its answers give none: times of batches are
-- corrected by what it is off.
create function public.outbox_adopt_batches(
  p_provider text, p_plan text, p_host text, p_credential text, p_batches text, p_all_references boolean,
  p_taken bigint[], p_dry_run boolean, p_provider_at timestamptz default null
) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_off interval := coalesce(outbox_engine.now() - p_provider_at, '0');
  v_plan outbox_engine.plans;
  v_answer jsonb;
begin
  if v_off between interval '-30 seconds' and interval '30 seconds' then
    v_off := '0';
  end if;
  -- One adoption at a time.
  perform pg_advisory_xact_lock(hashtext('outbox adopt batches'));
  v_plan.provider := p_provider;
  v_plan.plan := p_plan;
  v_plan.host := p_host;
  begin
    v_answer := outbox_engine.adopt_batches(
      v_plan, p_credential,
      array(
        select row(
          b.batch_id, b.reference, b.created_at + v_off, b.recipients, b.digests, b.letters
        )::outbox_engine.listed_batch
        from jsonb_populate_recordset(null::outbox_engine.listed_batch, p_batches::jsonb) b
        order by b.created_at, b.batch_id),
      p_all_references, p_taken, outbox_engine.now());
    if p_dry_run then
      raise exception using errcode = 'OBX02';
    end if;
  exception
    when sqlstate 'OBX02' then
      -- Everything is undone but the answer.
      null;
  end;
  if not p_dry_run then
    perform outbox_engine.audit_change('adopt_batches', outbox_engine.audit_plan(p_provider, p_plan));
  end if;
  return v_answer;
end
$$;

-- Called by `outbox adopt` before it reads the list: nothing is sent until it has read all of it, for each
-- plan, because the messages of one plan may have gone out by another. Without an alarm: an operator is at
-- work, and is told which plans are left.
create function public.outbox_begin_adoption(p_provider text, p_plan text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_plan record;
begin
  perform outbox_engine.audit_change('begin_adoption', outbox_engine.audit_plan(p_provider, p_plan));
  for v_plan in
    select p.provider, p.plan from outbox_engine.plans p
    union
    select p_provider, p_plan
    order by 1, 2
  loop
    perform outbox_engine.hold_plan(v_plan.provider, v_plan.plan);
    insert into outbox_engine.plan_pauses (provider, plan, kind, reason, since, until)
    values (v_plan.provider, v_plan.plan, 'restored', 'outbox adopt has not read its list to the end',
      outbox_engine.now(), outbox_engine.endless())
    on conflict do nothing;
  end loop;
end
$$;

-- Called by `outbox adopt` after it has adopted the whole list of a plan: ends its pause. Returns the plans
-- that are still paused; while there are any, no plan sends.
create function public.outbox_finish_adoption(p_provider text, p_plan text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.audit_change('finish_adoption', outbox_engine.audit_plan(p_provider, p_plan));
  perform outbox_engine.lift_restored(p_provider, p_plan);
  return (
    select coalesce(jsonb_agg(p.plan order by p.provider, p.plan), '[]')
    from outbox_engine.plan_pauses p
    where p.kind = 'restored');
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_adopt_batches,
  public.outbox_begin_adoption,
  public.outbox_finish_adoption
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_adopt_batches,
  public.outbox_begin_adoption,
  public.outbox_finish_adoption
to service_role;
