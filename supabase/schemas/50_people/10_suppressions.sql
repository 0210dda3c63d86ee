-- Suppressions: numbers that get no messages.

create table public.outbox_suppressions (
  recipient text primary key,
  reason text not null default 'operator',
  created_at timestamptz not null default outbox_engine.now(),
  by_engine boolean not null default false,
  constraint outbox_suppressions_recipient_is_e164 check (
    rtrim(recipient, '0123456789') = '+'
    and octet_length(recipient) between 8 and 16
    and recipient >= '+1' collate "C"
  )
);
alter table public.outbox_suppressions enable row level security;

comment on table public.outbox_suppressions is 'Numbers that get no messages. Deleting a row lifts it.';
comment on column public.outbox_suppressions.by_engine is
  'Engine: the recipient opted out, so a START from the same number lifts it';

-- The error of a message to a number that opted out; null where there is no reason.
create function outbox_engine.opted_out_error(p_reason text) returns text
language sql immutable strict set search_path = pg_catalog, pg_temp
as $$
  select 'the recipient opted out: ' || p_reason
$$;

-- The latest decision about each number: it opted out, opted in, or an operator lifted its suppression.
-- Kept longer than messages, so that an old STOP that a poll returns again overrides neither a newer START
-- nor an operator.
create table outbox_engine.consents (
  recipient text primary key,
  opted_out boolean not null,
  decided_at timestamptz not null,
  inbound_id text
);
alter table outbox_engine.consents enable row level security;

-- Runs before a suppression is inserted or updated and refuses what is no number. The engine never updates
-- a row, so an update is an operator's decision: no START lifts it, even if the engine inserted the row. An
-- opt-out that the engine records is never refused, because that would hold up reports and replies.
create function outbox_engine.before_suppression() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.reason := coalesce(new.reason, 'operator');
  new.by_engine := new.by_engine and tg_op = 'INSERT';
  new.recipient := outbox_engine.read_recipient(new.recipient);
  if (new.recipient ~ outbox_engine.e164_pattern()) is not true
    or (
      new.recipient ~ outbox_engine.trunk_zero_pattern()
      and not new.by_engine
      and (tg_op = 'INSERT' or new.recipient <> old.recipient)
    ) then
    perform outbox_engine.refuse_recipient(new.recipient);
  end if;
  return new;
end
$$;
create trigger outbox_suppressions_change before insert or update on public.outbox_suppressions for each row
  execute function outbox_engine.before_suppression();

-- Runs after a suppression is inserted or updated. The other form of the number is suppressed alike, and an
-- operator's decision counts for both. Messages that wait for the number end at once. A message
-- that another transaction holds is left to the claim, which checks the list again: waiting for it here
-- would deadlock with transactions that lock several messages (docs/decisions/0008).
create function outbox_engine.after_suppression() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_changes outbox_engine.status_change[];
begin
  select array_agg(
    row(id, 'suppressed', outbox_engine.opted_out_error(new.reason), null, null, null)
      ::outbox_engine.status_change)
  into v_changes
  from (
    select id
    from public.outbox
    where recipient = new.recipient and queue is not null
    order by id
    for update skip locked
  ) waiting;
  -- No message waits for most numbers of a long list.
  if v_changes is not null then
    perform outbox_engine.change_statuses(v_changes, 'engine', outbox_engine.now());
  end if;
  insert into public.outbox_suppressions as s (recipient, reason, by_engine)
  select t.number, new.reason, new.by_engine
  from outbox_engine.twin_of(new.recipient) t (number)
  where t.number is not null
  on conflict (recipient) do update
  set reason = excluded.reason
  where s.by_engine and not excluded.by_engine;
  return null;
end
$$;
create trigger outbox_suppressions_stop_waiting after insert or update on public.outbox_suppressions
  for each row execute function outbox_engine.after_suppression();

-- Records that an operator lifted these suppressions, by whatever role. It is the latest decision about
-- each number, so a poll that returns an old STOP does not suppress it again.
create function outbox_engine.record_lifted(p_recipients text[]) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.consents as c (recipient, opted_out, decided_at)
  select r, false, outbox_engine.now()
  from unnest(p_recipients) r
  order by r
  on conflict (recipient) do update
  set opted_out = false, decided_at = excluded.decided_at, inbound_id = null
  where c.decided_at < excluded.decided_at
$$;

-- Runs after an operator deletes a suppression or gives it another number. The other form of the number is
-- lifted too. `apply_replies` also deletes
-- rows, for a START; it sets `outbox_engine.lifted_by` because there the time of the START counts.
create function outbox_engine.after_suppression_lifted() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.record_lifted(array[old.recipient]);
  delete from public.outbox_suppressions where recipient = outbox_engine.twin_of(old.recipient);
  return null;
end
$$;
create trigger outbox_suppressions_lifted after delete on public.outbox_suppressions for each row
  when (current_setting('outbox_engine.lifted_by', true) is distinct from 'start')
  execute function outbox_engine.after_suppression_lifted();
create trigger outbox_suppressions_replaced after update on public.outbox_suppressions for each row
  when (old.recipient <> new.recipient)
  execute function outbox_engine.after_suppression_lifted();

-- Runs before a truncate, which is how the dashboard's table editor deletes all rows.
create function outbox_engine.before_suppressions_emptied() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.record_lifted(array(select recipient from public.outbox_suppressions));
  return null;
end
$$;
create trigger outbox_suppressions_emptied before truncate on public.outbox_suppressions for each statement
  execute function outbox_engine.before_suppressions_emptied();

-- Locks the suppressions of these numbers that exist. Every function that writes consents calls it first: a
-- deleted suppression is locked before its trigger writes the consent, and so the others keep that order.
create function outbox_engine.lock_suppressions(p_recipients text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform from public.outbox_suppressions
  where recipient = any (p_recipients)
  order by recipient
  for update;
end
$$;

-- Records that these numbers, each given once, opted out at these instants, and their other forms with them.
-- Returns those of which nothing newer is known, such as a START or an operator's decision. The caller
-- suppresses them.
create function outbox_engine.record_opt_outs(p_recipients text[], p_ats timestamptz[]) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_opted_out text[];
begin
  perform outbox_engine.lock_suppressions(outbox_engine.with_twins(p_recipients));
  with recorded as (
    insert into outbox_engine.consents as c (recipient, opted_out, decided_at)
    select n.number, true, max(x.at)
    from unnest(p_recipients, p_ats) x (recipient, at)
    cross join lateral unnest(outbox_engine.with_twins(array[x.recipient])) n (number)
    group by n.number
    order by n.number
    on conflict (recipient) do update
    set opted_out = true, decided_at = excluded.decided_at, inbound_id = null
    where c.decided_at < excluded.decided_at
      or (c.decided_at = excluded.decided_at and not c.opted_out)
    returning recipient
  )
  select coalesce(array_agg(recipient), '{}')
  into v_opted_out
  from recorded;
  return v_opted_out;
end
$$;

-- Called for opt-outs that a provider reports. Suppresses the numbers of which nothing newer is known.
create function outbox_engine.apply_opt_outs(p_recipients text[], p_reasons text[], p_ats timestamptz[])
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_opted_out constant text[] := outbox_engine.record_opt_outs(p_recipients, p_ats);
begin
  insert into public.outbox_suppressions (recipient, reason, by_engine)
  select x.recipient, x.reason, true
  from unnest(p_recipients, p_reasons) x (recipient, reason)
  where x.recipient = any (v_opted_out)
  order by x.recipient
  on conflict do nothing;
end
$$;

-- The lines of an import that change the list: numbers that are not on it, and numbers whose recipient
-- opted out and that now become an operator's decision. Each number once, as an operator's decision if one
-- of its lines is; `reason` is null where none is given.
create function outbox_engine.effective_import_lines(p_recipients text[], p_reasons text[], p_sources text[])
returns table (recipient text, reason text, replied boolean)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select distinct on (x.recipient)
    x.recipient, nullif(x.reason, ''), coalesce(x.source = 'reply', false)
  from unnest(p_recipients, p_reasons, p_sources) x (recipient, reason, source)
  left join public.outbox_suppressions s on s.recipient = x.recipient
  where s.recipient is null
    or (s.by_engine and x.source is distinct from 'reply')
  order by x.recipient, coalesce(x.source = 'reply', false)
$$;

-- Called by `outbox suppressions import`. Takes arrays of one length and returns how many numbers are new
-- on the list. Numbers that are on it stay as they are, so an import can be repeated. The exception: a line
-- of an operator turns a recipient's opt-out into an operator's decision, with the line's reason if it has
-- one. The source 'reply' says that the recipient opted out, so a START that is newer than the import lifts
-- it. An empty reason becomes 'imported'. Messages that wait for these numbers end at once.
create function public.outbox_import_suppressions(p_recipients text[], p_reasons text[], p_sources text[])
returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_lines record;
  v_opted_out text[];
  v_added integer;
begin
  perform outbox_engine.lock_suppressions(p_recipients);
  select
    array_agg(l.recipient) as recipients,
    array_agg(l.reason) as reasons,
    array_agg(l.replied) as replied,
    array_agg(l.recipient) filter (where l.replied) as replied_recipients,
    array_agg(outbox_engine.now()) filter (where l.replied) as replied_at
  into v_lines
  from outbox_engine.effective_import_lines(p_recipients, p_reasons, p_sources) l;
  v_opted_out := outbox_engine.record_opt_outs(v_lines.replied_recipients, v_lines.replied_at);

  -- Nobody opted out just now. For the notices of events.
  perform set_config('outbox_engine.suppressed_by', 'import', true);
  -- One statement for all of them, so that the numbers are written in order.
  with lines as materialized (
    select *
    from unnest(v_lines.recipients, v_lines.reasons, v_lines.replied) l (recipient, reason, replied)
    where not l.replied or l.recipient = any (v_opted_out)
  ),
  written as (
    insert into public.outbox_suppressions as s (recipient, reason, by_engine)
    select recipient, coalesce(reason, 'imported'), replied
    from lines
    order by recipient
    on conflict (recipient) do update
    set
      by_engine = false,
      reason = coalesce((select l.reason from lines l where l.recipient = excluded.recipient), s.reason)
    where s.by_engine and not excluded.by_engine
    -- This transaction has locked a row that was there before, which leaves its mark in xmax.
    returning s.xmax = '0'::xid as is_new
  )
  select count(*) filter (where is_new)
  into v_added
  from written;
  perform set_config('outbox_engine.suppressed_by', '', true);
  perform outbox_engine.audit_change('import_suppressions', null, jsonb_build_object(
    'lines', cardinality(p_recipients), 'added', v_added));
  return v_added;
end
$$;

-- Called by `outbox suppressions export`. One page of the list in the order of the numbers, after `p_after`
-- ('' for the first page).
create function public.outbox_export_suppressions(p_after text, p_most integer) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'recipient', s.recipient,
        'reason', s.reason,
        'replied', s.by_engine,
        'created_at', s.created_at
      )
      order by s.recipient
    ),
    '[]'
  )
  from (
    select *
    from public.outbox_suppressions
    where recipient > p_after
    order by recipient
    limit p_most
  ) s
$$;

create policy outbox_suppressions_server on public.outbox_suppressions for all to service_role
  using (true) with check (true);

revoke all on public.outbox_suppressions from public, anon, authenticated, service_role;
grant select, insert (recipient, reason), update (recipient, reason), delete
  on public.outbox_suppressions to service_role;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_import_suppressions,
  public.outbox_export_suppressions
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_import_suppressions,
  public.outbox_export_suppressions
to service_role;
