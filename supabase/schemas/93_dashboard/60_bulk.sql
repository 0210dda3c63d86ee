-- Bulk actions: an action on all messages that match a filter, a stretch in each transaction.

create table outbox_engine.bulk_actions (
  id bigint generated always as identity primary key,
  action text not null check (action in ('retry', 'cancel', 'reschedule')),
  filter jsonb not null,
  options jsonb not null,
  actor text not null,
  via text not null,
  started_at timestamptz not null,
  -- When a driver last finished a stretch. The upkeep job goes on with one that was silent since.
  worked_at timestamptz not null,
  ended_at timestamptz,
  is_stopped boolean not null default false,
  -- The ids of this moment, exclusive: messages that are inserted later never join.
  first_before bigint not null,
  -- Where the next stretch begins. Ids from there on were handled. Null at the end.
  next_before bigint,
  -- Messages by outcome.
  counts jsonb not null default '{}'
) with (fillfactor = 50);
alter table outbox_engine.bulk_actions enable row level security;

create index bulk_actions_running on outbox_engine.bulk_actions (worked_at) where ended_at is null;

-- Refuses an action that cannot be made, and options that it does not have.
create function outbox_engine.check_bulk(p_action text, p_options jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_known constant text[] := case p_action
    when 'retry' then array['force', 'expires_in'] when 'cancel' then '{}'::text[]
    when 'reschedule' then array['send_at']
  end;
  v_wrong text;
begin
  if v_known is null then
    perform outbox_engine.refuse(
      format('%L is not a bulk action', p_action), 'Use retry, cancel or reschedule.');
  end if;
  select min(key) into v_wrong from jsonb_object_keys(p_options) key where key <> all (v_known);
  if v_wrong is not null then
    perform outbox_engine.refuse(
      format('%s has no option %s', p_action, v_wrong),
      case when v_known <> '{}' then 'Use ' || array_to_string(v_known, ' or ') || '.' end);
  elsif (p_options ->> 'expires_in')::double precision <= 0 then
    perform outbox_engine.refuse('a new expiry must lie ahead');
  elsif p_action = 'reschedule' and (p_options ->> 'send_at')::timestamptz is null then
    perform outbox_engine.refuse('no time is given', 'Give send_at.');
  elsif outbox_engine.is_outside_calendar((p_options ->> 'send_at')::timestamptz) then
    perform outbox_engine.refuse(
      format('send_at is %s', p_options ->> 'send_at'), 'Give a time between 1970 and 2199.');
  end if;
end
$$;

-- Moves messages to another time, as `outbox_reschedule` does for each. An expiry moves along.
create function outbox_engine.reschedule_each(p_ids bigint[], p_send_at timestamptz, p_dry_run boolean)
returns jsonb
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  v_answers jsonb := '[]';
  v_answer jsonb;
  v_problem text;
  o public.outbox;
begin
  perform outbox_engine.lock_all_or_none(p_ids);
  for o in select * from public.outbox where id = any (p_ids) order by id loop
    -- A cancelled message would be revived, which is another action.
    v_problem := outbox_engine.change_problem(o, array['send_at']);
    if v_problem is null and not p_dry_run then
      v_answer := public.outbox_reschedule(p_id => o.id, p_send_at => p_send_at);
    end if;
    v_answers := v_answers || jsonb_build_object(
      'id', o.id, 'was', o.status, 'done', v_problem is null, 'outcome',
      coalesce(v_problem, case when p_dry_run then 'changed' else v_answer ->> 'outcome' end));
  end loop;
  return v_answers;
end
$$;

-- Acts on these messages. The answer has an object with `id`, `done` and `outcome` for each.
create function outbox_engine.act_on_messages(
  p_action text, p_options jsonb, p_ids bigint[], p_dry_run boolean
) returns jsonb
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
  return case p_action
    when 'retry' then public.outbox_retry(
      p_ids, coalesce((p_options ->> 'force')::boolean, false),
      (p_options ->> 'expires_in')::double precision, p_dry_run)
    when 'cancel' then public.outbox_cancel(p_ids, p_dry_run)
    when 'reschedule' then outbox_engine.reschedule_each(
      p_ids, (p_options ->> 'send_at')::timestamptz, p_dry_run)
  end;
end
$$;

-- Adds outcomes to counts, which have a key 'done outcome' or 'refused outcome' for each.
create function outbox_engine.add_outcomes(p_counts jsonb, p_outcomes jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(x.key, x.messages), '{}')
  from (
    select y.key, sum(y.messages) as messages
    from (
      select key, value::bigint as messages from jsonb_each_text(p_counts)
      union all
      select case when o.done then 'done ' else 'refused ' end || o.outcome, 1
      from jsonb_to_recordset(p_outcomes) o (done boolean, outcome text)
    ) y
    group by y.key
  ) x
$$;

-- Counts as the dashboard gets them.
create function outbox_engine.counts_json(p_counts jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'outcome', split_part(key, ' ', 2), 'done', split_part(key, ' ', 1) = 'done', 'messages', value::bigint
  ) order by value::bigint desc, key), '[]')
  from jsonb_each_text(p_counts)
$$;

-- How much of the ids below `p_first_before` was read when `p_before` comes next.
create function outbox_engine.share_read(p_first_before bigint, p_before bigint) returns double precision
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_before is null then 1
    else greatest(0, least(1, (p_first_before - p_before)::double precision
      / greatest(p_first_before - (select min(id) from public.outbox), 1)))
  end
$$;

-- A bulk action as the dashboard gets it.
create function outbox_engine.bulk_json(b outbox_engine.bulk_actions) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', b.id, 'action', b.action, 'filter', b.filter, 'options', b.options,
    'state', case when b.ended_at is null then 'running' when b.is_stopped then 'stopped' else 'finished' end,
    'actor', b.actor, 'via', b.via, 'started_at', b.started_at, 'worked_at', b.worked_at,
    'ended_at', b.ended_at, 'share', outbox_engine.share_read(b.first_before, b.next_before),
    'counts', outbox_engine.counts_json(b.counts))
$$;

-- What is left of a filter once its action has ended: nothing that names a person.
create function outbox_engine.ended_filter(p_filter jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select p_filter - array['recipients', 'last_digits', 'metadata', 'idempotency_key']
$$;

-- Does the next stretch of an action that the caller has locked, for its operator. Returns the action.
create function outbox_engine.work_on_bulk(b outbox_engine.bulk_actions, p_most integer)
returns outbox_engine.bulk_actions
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
  v_found record;
begin
  perform set_config(
    'outbox_engine.caller', jsonb_build_object('actor', b.actor, 'via', b.via)::text, true);
  select * into v_found
  from outbox_engine.find_messages(outbox_engine.read_filter(b.filter), b.next_before, p_most, 60000);
  if v_found.ids <> '{}' then
    b.counts := outbox_engine.add_outcomes(
      b.counts, outbox_engine.act_on_messages(b.action, b.options, v_found.ids, false));
  end if;
  perform set_config('outbox_engine.caller', '', true);
  update outbox_engine.bulk_actions
  set counts = b.counts, next_before = v_found.before, worked_at = v_now,
    ended_at = case when v_found.before is null then v_now end,
    filter = case when v_found.before is null then outbox_engine.ended_filter(filter) else filter end
  where id = b.id
  returning * into b;
  return b;
end
$$;
