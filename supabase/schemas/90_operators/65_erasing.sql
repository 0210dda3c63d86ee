-- What `outbox person erase` does. Each call is one transaction and may be repeated. Members go first, so
-- that no campaign makes messages meanwhile, then messages, then everything else. What remains of a person is
-- the opt-out, and digests that stop a second send (docs/decisions/0020).

-- Puts a digest for the ids of these members in the occurrences that remain. Members that exist, perhaps with
-- another number by now, keep theirs.
create function outbox_engine.erase_occurrences(p_campaigns text[], p_external_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set jit = off
as $$
begin
  with erased as materialized (
    select distinct u.campaign, u.external_id, outbox_engine.erased_external_id(u.external_id) as digest
    from unnest(p_campaigns, p_external_ids) u (campaign, external_id)
    where u.external_id not like 'erased:%' and not exists (
      select from public.outbox_campaign_members m
      where m.campaign = u.campaign and m.external_id = u.external_id)
  ),
  -- One that was erased before, with a member of this id that was imported again since.
  kept as (
    delete from public.outbox_campaign_occurrences o
    using erased e, public.outbox_campaign_occurrences k
    where o.campaign = e.campaign and o.external_id = e.external_id
      and k.campaign = e.campaign and k.external_id = e.digest and k.stands_for = o.stands_for
  ),
  renamed as (
    update public.outbox_campaign_occurrences o
    set external_id = e.digest, taken_back = false,
      reason = case
        when o.reason like 'the recipient opted out%' then 'the recipient opted out'
        else o.reason
      end
    from erased e
    where o.campaign = e.campaign and o.external_id = e.external_id and not exists (
      select from public.outbox_campaign_occurrences k
      where k.campaign = e.campaign and k.external_id = e.digest and k.stands_for = o.stands_for)
    returning o.campaign, o.external_id
  ),
  returns as (
    delete from outbox_engine.campaign_returns r
    using erased e
    where r.campaign = e.campaign and r.external_id = e.external_id
  )
  insert into outbox_engine.erased_members (campaign, external_id)
  select distinct campaign, external_id
  from renamed
  order by campaign, external_id
  on conflict do nothing;
end
$$;

-- Called until `more` is false. Deletes at most `p_most` members with these numbers, which withdraws their
-- messages. Returns how many.
create function public.outbox_erase_members(p_recipients text[], p_most integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_campaigns text[];
  v_external_ids text[];
begin
  select array_agg(m.campaign), array_agg(m.external_id) into v_campaigns, v_external_ids
  from (
    select campaign, external_id
    from public.outbox_campaign_members
    where recipient = any (p_recipients)
    order by campaign, external_id
    limit p_most
    for update
  ) m;
  delete from public.outbox_campaign_members m
  using unnest(v_campaigns, v_external_ids) u (campaign, external_id)
  where m.campaign = u.campaign and m.external_id = u.external_id;
  perform outbox_engine.erase_occurrences(v_campaigns, v_external_ids);
  if v_campaigns is not null then
    perform outbox_engine.audit_change('erase_members', v_campaigns[1], jsonb_build_object(
      'members', cardinality(v_campaigns)));
  end if;
  return jsonb_build_object(
    'erased', jsonb_build_object('outbox_campaign_members', coalesce(cardinality(v_campaigns), 0)),
    'more', coalesce(cardinality(v_campaigns), 0) = p_most);
end
$$;

-- Called for all messages before any is deleted: remembers their idempotency keys, and cancels those that
-- wait. In a transaction of its own, because an insert with such a key waits for the one that deletes the
-- message, and cannot see what that one writes. Returns the ids of those that are in a request by now.
create function public.outbox_prepare_erasure(p_ids bigint[], p_recipients text[]) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz;
  v_in_request bigint[];
begin
  perform outbox_engine.audit_change('prepare_erasure', array_to_string(p_ids[:20], ', '));
  perform outbox_engine.lock_all_or_none(p_ids);
  v_now := outbox_engine.now();
  v_in_request := array(
    select o.id from public.outbox o where o.id = any (p_ids) and outbox_engine.is_in_request(o.id, o.status)
    order by o.id);

  insert into outbox_engine.erased_keys as e (digest, kept_from)
  select outbox_engine.keyed_digest('key ' || o.idempotency_key), greatest(v_now, o.expires_at)
  from public.outbox o
  where o.id = any (p_ids) and o.id <> all (v_in_request) and o.recipient = any (p_recipients)
    and o.idempotency_key is not null
  order by 1
  on conflict (digest) do update set kept_from = greatest(e.kept_from, excluded.kept_from);

  perform outbox_engine.change_statuses(
    array_agg(row(o.id, 'cancelled', null, null, null, null)::outbox_engine.status_change), 'operator', v_now)
  from public.outbox o
  where o.id = any (p_ids) and o.id <> all (v_in_request) and o.recipient = any (p_recipients)
    and o.queue is not null;
  return jsonb_build_object('in_request', to_jsonb(v_in_request));
end
$$;

-- Forgets the requests in which these messages had one of these numbers, and the reports on them.
create function outbox_engine.erase_requests(p_ids bigint[], p_recipients text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_dispatches uuid[];
begin
  with gone as (
    delete from outbox_engine.dispatch_members m
    where m.outbox_id = any (p_ids) and m.recipient = any (p_recipients)
    returning m.outbox_id, m.dispatch_id
  ),
  history as (
    delete from public.outbox_events e
    using gone g
    where e.outbox_id = g.outbox_id and e.dispatch_id = g.dispatch_id
  )
  select array_agg(distinct dispatch_id) into v_dispatches from gone;
  perform outbox_engine.keep_emptied(v_dispatches);
end
$$;

-- Called for messages that were prepared. Deletes those that have one of these numbers; of the others only
-- the requests that had it. Those that are in a request, wait, or have a key that is not remembered, stay.
-- Returns how many messages were `erased`, and the ids of those that `stay`.
create function public.outbox_erase_messages(p_ids bigint[], p_recipients text[]) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_free bigint[];
  v_others bigint[];
  v_campaigns text[];
  v_external_ids text[];
begin
  perform outbox_engine.lock_all_or_none(p_ids);
  select
    array_agg(o.id) filter (where o.recipient = any (p_recipients) and o.queue is null and (
      o.idempotency_key is null or outbox_engine.is_erased_key(o.idempotency_key))),
    array_agg(o.id) filter (where o.recipient <> all (p_recipients))
  into v_free, v_others
  from public.outbox o
  where o.id = any (p_ids) and not outbox_engine.is_in_request(o.id, o.status);

  select array_agg(x.campaign), array_agg(x.external_id)
  into v_campaigns, v_external_ids
  from (
    select campaign, external_id from public.outbox_campaign_occurrences where outbox_id = any (v_free)
    union
    select campaign, external_id from outbox_engine.reassigned_occurrences where outbox_id = any (v_free)
  ) x;
  -- The totals of campaigns keep the reasons of deleted messages, without an operator's note.
  update public.outbox set error = 'the recipient opted out'
  where id = any (v_free) and error like 'the recipient opted out: %';
  perform outbox_engine.erase_requests(v_others, p_recipients);
  perform outbox_engine.remove_events_showing(v_others, p_recipients);
  delete from public.outbox where id = any (v_free);
  perform outbox_engine.erase_occurrences(v_campaigns, v_external_ids);
  if v_free is not null then
    perform outbox_engine.audit_change(
      'erase_messages', array_to_string(v_free[:20], ', '),
      jsonb_build_object('messages', cardinality(v_free)));
  end if;
  return jsonb_build_object(
    'erased', coalesce(cardinality(v_free), 0),
    'stay', (
      select coalesce(jsonb_agg(o.id order by o.id), '[]')
      from public.outbox o
      where o.id = any (p_ids) and o.id <> all (coalesce(v_others, '{}'))));
end
$$;

-- What `outbox person erase` deletes by number in tables that an index leads to. The decision of a number
-- that is suppressed stays with the opt-out.
create function outbox_engine.erase_records(p_recipients text[]) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_consents integer;
  v_answers integer;
  v_adopted integer;
begin
  perform outbox_engine.lock_suppressions(p_recipients);
  delete from outbox_engine.consents c
  where c.recipient = any (p_recipients)
    and not exists (select from public.outbox_suppressions s where s.recipient = c.recipient);
  get diagnostics v_consents = row_count;
  delete from outbox_engine.help_answers where recipient = any (p_recipients);
  get diagnostics v_answers = row_count;
  delete from outbox_engine.adopted_messages where recipient = any (p_recipients);
  get diagnostics v_adopted = row_count;
  delete from outbox_engine.campaign_sends where recipient = any (p_recipients);
  delete from outbox_engine.auth_codes where recipient = any (p_recipients);
  perform outbox_engine.erase_notices(p_recipients);
  -- The walk through consents begins again, if it came as far as one of these numbers.
  update outbox_engine.walks set position = '' where name = 'consents' and position = any (p_recipients);
  return jsonb_build_object('consents', v_consents, 'help_answers', v_answers, 'adopted_messages', v_adopted);
end
$$;

-- Deletes what is kept of these numbers besides messages and members, one part at a time as
-- `outbox_person_records` reads them. Called last, but for the part `imports`, the staged lines: in a call of
-- its own before the members, it waits for a commit that makes members of them. Returns how many rows of each
-- table were `erased`, and where to go on.
create function public.outbox_erase_records(p_recipients text[], p_part text, p_after text, p_most integer)
returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_erased jsonb := '{}';
  v_campaigns text[];
  v_ids text[];
  v_after text;
begin
  if p_part = 'imports' then
    with gone as (
      delete from outbox_engine.campaign_import_lines where recipient = any (p_recipients) returning 1
    )
    select jsonb_build_object('campaign_import_lines', count(*)) into v_erased from gone;
  elsif p_part = 'records' then
    v_erased := outbox_engine.erase_records(p_recipients);
  elsif p_part = 'occurrences' then
    select array_agg(x.campaign) filter (where x.names_it),
      array_agg(x.external_id) filter (where x.names_it),
      (array_agg(x.place order by x.campaign desc, x.external_id desc, x.stands_for desc))[1]
    into v_campaigns, v_ids, v_after
    from outbox_engine.occurrences_naming(p_recipients, p_after, p_most) x;
    perform outbox_engine.erase_occurrences(v_campaigns, v_ids);
    v_erased := jsonb_build_object('outbox_campaign_occurrences', coalesce(cardinality(v_ids), 0));
  elsif p_part = 'replies' then
    v_ids := array(
      select id from public.outbox_inbound where sender = any (p_recipients) order by id limit p_most);
    delete from public.outbox_inbound where id = any (v_ids);
    v_erased := jsonb_build_object('outbox_inbound', cardinality(v_ids));
    v_after := case when cardinality(v_ids) = p_most then v_ids[p_most] end;
  elsif p_part = 'reports' then
    select array_agg(r.key::text) filter (where r.is_about_it), max(r.key::text) into v_ids, v_after
    from outbox_engine.reports_about(
      p_recipients, coalesce(nullif(p_after, ''), '00000000-0000-0000-0000-000000000000')::uuid, p_most) r;
    delete from outbox_engine.waiting_reports where key = any (v_ids::uuid[]);
    v_erased := jsonb_build_object('waiting_reports', coalesce(cardinality(v_ids), 0));
  elsif p_part = 'callbacks' then
    select array_agg(c.id::text) filter (where c.names_it), max(c.id)::text into v_ids, v_after
    from outbox_engine.callbacks_naming(p_recipients, coalesce(nullif(p_after, '')::bigint, 0), p_most) c;
    delete from outbox_engine.kept_callbacks where id = any (v_ids::bigint[]);
    v_erased := jsonb_build_object('kept_callbacks', coalesce(cardinality(v_ids), 0));
  end if;
  if p_after = '' then
    perform outbox_engine.audit_change('erase_records', p_part, jsonb_build_object(
      'numbers', cardinality(p_recipients)));
  end if;
  return jsonb_build_object('erased', v_erased, 'after', v_after);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_erase_members,
  public.outbox_prepare_erasure,
  public.outbox_erase_messages,
  public.outbox_erase_records
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_erase_members,
  public.outbox_prepare_erasure,
  public.outbox_erase_messages,
  public.outbox_erase_records
to service_role;
