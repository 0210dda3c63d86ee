-- A database that was restored from a backup lacks the newest requests. Their messages are due in it, and the
-- provider has them: nothing is sent until an operator adopts what was sent (docs/decisions/0013).

-- The timelines of a plan but for the first. Each begins where an operator ended the pause of a restored
-- database: what processes saw in an earlier one is adopted since.
create table outbox_engine.timelines (
  provider text not null,
  plan text not null,
  number integer not null,
  id uuid not null default gen_random_uuid(),
  -- When an operator ended the pause without adopting what was sent.
  dismissed_at timestamptz,
  primary key (provider, plan, number)
);
alter table outbox_engine.timelines enable row level security;

-- Called when a process or the provider knows a request that the database lacks. Stops all plans without an
-- end. Safe to repeat; raises the alarm once.
create function outbox_engine.pause_restored(p_provider text, p_plan text, p_reason text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.hold_plan(p_provider, p_plan);
  insert into outbox_engine.plan_pauses (provider, plan, kind, reason, since, until)
  values (p_provider, p_plan, 'restored', left(p_reason, 500), outbox_engine.now(), outbox_engine.endless())
  on conflict do nothing;
  if found then
    perform outbox_engine.alarm('plan.restored', jsonb_build_object(
      'provider', p_provider, 'plan', p_plan, 'reason', left(p_reason, 500)));
  end if;
end
$$;

-- Called once the provider's list was read and everything in it was adopted. The plan's messages go out with
-- the next claim, unless another plan's list has to be read too. A new timeline begins. A process that slept
-- meanwhile may hold lease tokens that were issued after the backup, so none of the next million is issued; a
-- sequence that is set forward that far passes all calls beside this one.
create function outbox_engine.lift_restored(p_provider text, p_plan text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.hold_plan(p_provider, p_plan);
  delete from outbox_engine.plan_pauses
  where provider = p_provider and plan = p_plan and kind = 'restored';
  if found then
    insert into outbox_engine.timelines (provider, plan, number)
    select p_provider, p_plan, coalesce(max(t.number), 0) + 1
    from outbox_engine.timelines t
    where t.provider = p_provider and t.plan = p_plan;
    perform setval('outbox_engine.lease_tokens', t.last_value + 1000000) from outbox_engine.lease_tokens t;
    update outbox_engine.installation set asks_earlier = false where asks_earlier;
    update outbox_engine.waiting_reports set is_unknown = null where is_unknown;
    perform pg_notify('outbox', '');
  end if;
end
$$;

-- Whether this database made a request that it does not know, not even by an adoption.
create function outbox_engine.is_unknown_request(p_id uuid) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return not exists (select from outbox_engine.dispatches d where d.id = p_id)
    and not exists (select from outbox_engine.adopted_messages a where a.reference = p_id)
    and outbox_engine.is_own_reference(p_id::text);
end
$$;

-- Whether a report that waits shows that the database was restored: it names a request of this database that
-- it does not know. Each request is written down before it is made, so no report comes too early. Dispatches
-- are kept for 15 days, whatever becomes of their messages, so a report of the last week does not come too
-- late. Reports on requests that an operator did not want to adopt go on coming, and those on batches that
-- the provider's list showed without a reference.
create function outbox_engine.shows_restore(
  p_reference uuid, p_batch_id text, p_reported_at timestamptz, p_now timestamptz
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return p_reference is not null
    and outbox_engine.is_unknown_request(p_reference)
    and not outbox_engine.is_known_batch(p_batch_id)
    and coalesce(p_reported_at > p_now - interval '7 days', true)
    and not exists (
      select from outbox_engine.timelines where dismissed_at > p_now - interval '15 days');
end
$$;

-- Called with dispatches whose request ended. If the database lacks one that it made itself, it was restored
-- while the request was open. The outcome is not lost: the provider's list holds the batch, and its adoption
-- records it; one that an adoption remembers proves nothing more. Only the dispatch named the plan, so all
-- known ones pause.
create function outbox_engine.notice_unknown_dispatches(p_dispatches uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_unknown constant text := (
    select min(u.id::text)
    from unnest(p_dispatches) u (id)
    where outbox_engine.is_unknown_request(u.id)
  );
begin
  if v_unknown is not null then
    perform outbox_engine.pause_restored(
      p.provider, p.plan, format('the database does not know request %s, which it made', v_unknown))
    from (select provider, plan from outbox_engine.plans order by provider, plan) p;
  end if;
end
$$;
