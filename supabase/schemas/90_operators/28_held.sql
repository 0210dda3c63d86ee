-- What operators do with messages that the claim holds because the provider may have accepted them before a
-- restore.

-- Called by `outbox held`. These messages, oldest first, each with the batch that may have been its own; at
-- most `p_most`, after the id `p_after`.
create function public.outbox_list_held(p_after bigint, p_most integer) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  with held as materialized (
    select o.id, o.recipient, o.status, o.campaign, o.template, o.expires_at, a.batch_id, a.sent_at, a.digest,
      a.letters
    from outbox_engine.adopted_messages a
    join public.outbox o on o.id = a.outbox_id and o.queue is not null
    where a.outbox_id > p_after and a.released_at is null
    order by a.outbox_id
    limit p_most
  )
  select coalesce(
    jsonb_agg(
      to_jsonb(h) - '{digest,letters}'::text[]
        || jsonb_build_object('has_same_text', coalesce(
          h.digest = md5(r.text)::uuid or h.letters = outbox_engine.letters_digest(r.text), false))
      order by h.id),
    '[]')
  from held h
  join outbox_engine.rendered_messages(array(select id from held)) r on r.id = h.id
$$;

-- Called by `outbox held --send`. Has these messages sent: they are not the ones that the provider accepted.
-- The outcome of each: `released`, `not_held` or `missing`.
create function public.outbox_send_held(p_ids bigint[], p_dry_run boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz;
  v_answer jsonb;
begin
  perform outbox_engine.lock_all_or_none(p_ids);
  v_now := outbox_engine.now();
  with judged as materialized (
    select i.id, o.status as was,
      case
        when o.id is null then 'missing'
        when o.queue is not null and exists (
          select from outbox_engine.adopted_messages a where a.outbox_id = o.id and a.released_at is null
        ) then 'released'
        else 'not_held'
      end as outcome
    from (select distinct unnest(p_ids) as id) i
    left join public.outbox o on o.id = i.id
  ),
  released as (
    update outbox_engine.adopted_messages a
    set released_at = v_now
    from judged j
    where not p_dry_run and j.outcome = 'released' and a.outbox_id = j.id and a.released_at is null
    returning a.outbox_id
  ),
  queued as (
    update public.outbox o
    set queue = 'w', due_at = v_now
    from judged j
    where not p_dry_run and j.outcome = 'released' and o.id = j.id
  ),
  history as (
    insert into public.outbox_events (outbox_id, at, source, event, status, detail)
    select distinct r.outbox_id, v_now, 'operator', 'released', null, 'an operator has it sent'
    from released r
  )
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'id', j.id, 'was', j.was, 'done', j.outcome = 'released', 'outcome', j.outcome)
      order by j.id),
    '[]')
  into v_answer
  from judged j;
  perform pg_notify('outbox', '');
  if not p_dry_run then
    perform outbox_engine.audit_outcomes('send_held', v_answer);
  end if;
  return v_answer;
end
$$;

-- Called by `outbox held --forget`: numbers of this batch that could not be read hold no more messages.
-- Returns how many remembered messages that concerns.
create function public.outbox_forget_adopted(p_batch_id text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_forgotten integer;
begin
  update outbox_engine.adopted_messages
  set released_at = outbox_engine.now()
  where batch_id = p_batch_id and recipient = '' and released_at is null;
  get diagnostics v_forgotten = row_count;
  perform outbox_engine.audit_change('forget_adopted', p_batch_id, jsonb_build_object(
    'numbers', v_forgotten));
  return v_forgotten;
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_forget_adopted,
  public.outbox_list_held,
  public.outbox_send_held
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_forget_adopted,
  public.outbox_list_held,
  public.outbox_send_held
to service_role;
