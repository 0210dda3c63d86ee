-- Opt-outs: numbers that get no messages.

create table public.outbox_suppressions (
  recipient text primary key,
  reason text not null default 'operator',
  created_at timestamptz not null default outbox_engine.now(),
  by_engine boolean not null default false,
  constraint outbox_suppressions_recipient_is_e164 check (recipient ~ '^\+[1-9][0-9]{6,14}$')
);
alter table public.outbox_suppressions enable row level security;

comment on table public.outbox_suppressions is 'Numbers that get no messages. Deleting a row lifts it.';
comment on column public.outbox_suppressions.by_engine is 'Engine: the recipient asked for it, so that a START lifts it';

-- The latest word of each number about messages as such. Outlives the messages themselves, so that an old
-- STOP that a poll brings up again neither undoes a newer START nor an operator's decision.
create table outbox_engine.consents (
  recipient text primary key,
  opted_out boolean not null,
  decided_at timestamptz not null,
  inbound_id text
);
alter table outbox_engine.consents enable row level security;

-- A list of suppressions that somebody brings along is told in words what is wrong with it. The engine never
-- changes a row, so a change is an operator's decision, which no START takes back, whoever put the number on
-- the list.
create function outbox_engine.before_suppression() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.reason := coalesce(new.reason, 'operator');
  new.by_engine := new.by_engine and tg_op = 'INSERT';
  if new.recipient is null or new.recipient !~ '^\+[1-9][0-9]{6,14}$' then
    perform outbox_engine.refuse(format('recipient %s is not an E.164 number', coalesce(quote_literal(new.recipient), 'null')),
      'Write it with + and the country code, digits only, such as +14155550123.');
  end if;
  return new;
end
$$;
create trigger outbox_suppressions_change before insert or update on public.outbox_suppressions for each row
  execute function outbox_engine.before_suppression();

-- Waiting messages to a number that opted out end at once; the claim checks again.
create function outbox_engine.after_suppression() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  with stopped as (
    update public.outbox
    set status = 'suppressed', error = 'the recipient opted out: ' || new.reason, queue = null, finalized_at = outbox_engine.now()
    where recipient = new.recipient and queue is not null
    returning id, status, error
  )
  insert into public.outbox_events (outbox_id, at, source, event, status, detail)
  select id, outbox_engine.now(), 'engine', 'suppressed', status, error from stopped;
  return null;
end
$$;
create trigger outbox_suppressions_stop_waiting after insert or update on public.outbox_suppressions for each row
  execute function outbox_engine.after_suppression();

-- An operator who lifts suppressions, by whatever role, has the latest word, so that polling an old STOP does
-- not bring them back.
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

-- Only heed_replies lifts one for a START, and says so: there the time of the START counts.
create function outbox_engine.after_suppression_lifted() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.record_lifted(array[old.recipient]);
  return null;
end
$$;
create trigger outbox_suppressions_lifted after delete on public.outbox_suppressions for each row
  when (current_setting('outbox_engine.lifted_by', true) is distinct from 'start')
  execute function outbox_engine.after_suppression_lifted();
create trigger outbox_suppressions_replaced after update on public.outbox_suppressions for each row
  when (old.recipient <> new.recipient)
  execute function outbox_engine.after_suppression_lifted();

-- The dashboard's table editor deletes all rows by emptying the table.
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

-- Opt-outs that somebody else tells of, each number once, with the instant it was said: suppressed where
-- nothing newer is known of the number, which may be a START or an operator's decision. Answers how many are
-- new on the list.
create function outbox_engine.apply_opt_outs(p_recipients text[], p_reasons text[], p_ats timestamptz[]) returns integer
language sql set search_path = pg_catalog, pg_temp
as $$
  with decided as (
    insert into outbox_engine.consents as c (recipient, opted_out, decided_at)
    select x.recipient, true, x.at
    from unnest(p_recipients, p_ats) x (recipient, at)
    order by x.recipient
    on conflict (recipient) do update
    set opted_out = true, decided_at = excluded.decided_at, inbound_id = null
    where c.decided_at < excluded.decided_at or (c.decided_at = excluded.decided_at and not c.opted_out)
    returning recipient
  ),
  added as (
    insert into public.outbox_suppressions (recipient, reason, by_engine)
    select d.recipient, x.reason, true
    from decided d
    join unnest(p_recipients, p_reasons) x (recipient, reason) using (recipient)
    on conflict do nothing
    returning recipient
  )
  select count(*)::integer from added
$$;

-- Arrays of one length; '' for a reason takes 'imported'. What is on the list already stays as it is, so that
-- saying it again changes nothing; only what a recipient asked for becomes an operator's decision by an
-- operator's line, with its reason if it gives one. A source of 'reply' says that the recipient asked for it,
-- so that a START of theirs lifts it, unless it is older than the import. Messages that wait for these
-- numbers end at once. Answers how many were new.
create function public.outbox_import_suppressions(p_recipients text[], p_reasons text[], p_sources text[]) returns integer
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with listed as materialized (
    select distinct on (x.recipient) x.recipient, nullif(x.reason, '') as reason, x.source = 'reply' as replied
    from unnest(p_recipients, p_reasons, p_sources) x (recipient, reason, source)
    left join public.outbox_suppressions s on s.recipient = x.recipient
    where s.recipient is null or s.by_engine and x.source is distinct from 'reply'
    order by x.recipient
  ),
  decided as (
    insert into public.outbox_suppressions as s (recipient, reason)
    select recipient, coalesce(reason, 'imported') from listed where replied is not true
    on conflict (recipient) do update
    set by_engine = false, reason = coalesce((select l.reason from listed l where l.recipient = excluded.recipient), s.reason)
    where s.by_engine
    -- A row that was there before is locked by this transaction.
    returning s.xmax = '0'::xid as is_new
  ),
  asked as (
    select outbox_engine.apply_opt_outs(array_agg(recipient), array_agg(coalesce(reason, 'imported')), array_agg(outbox_engine.now())) as added
    from listed
    where replied
    having count(*) > 0
  )
  select (select count(*) from decided where is_new)::integer + coalesce((select added from asked), 0)
$$;

-- One page of the list, by number, after `p_after` ('' for the first).
create function public.outbox_export_suppressions(p_after text, p_most integer) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'recipient', s.recipient, 'reason', s.reason, 'replied', s.by_engine, 'created_at', s.created_at) order by s.recipient), '[]')
  from (select * from public.outbox_suppressions where recipient > p_after order by recipient limit p_most) s
$$;

create policy outbox_suppressions_server on public.outbox_suppressions for all to service_role using (true) with check (true);

revoke all on public.outbox_suppressions from public, anon, authenticated, service_role;
grant select, insert (recipient, reason), update (recipient, reason), delete on public.outbox_suppressions to service_role;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_import_suppressions,
  public.outbox_export_suppressions
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_import_suppressions,
  public.outbox_export_suppressions
to service_role;
