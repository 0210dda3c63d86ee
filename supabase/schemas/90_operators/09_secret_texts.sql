-- The texts of secret messages go once they have expired.

-- Whether a process may be making the request of a dispatch.
create function outbox_engine.is_being_made(p_dispatch uuid, p_now timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from outbox_engine.claimed_dispatches c where c.id = p_dispatch and c.silent_at > p_now);
end
$$;

-- Called by the upkeep job. Removes the texts of at most `p_most` secret messages that have expired, from the
-- messages and from their requests. A request that a process is making still needs its text; once its lease
-- and its deadline have passed it is made no more, also if no process looks it up. A message that waits ends
-- first, and waits on only after a restore. Messages and requests that another transaction holds keep for the
-- next call. The digest of a text stays while the outcome is unknown. Returns whether another call has work
-- to do.
create function outbox_engine.blank_secret_texts(p_now timestamptz, p_most integer) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  v_due constant bigint[] := array(
    select s.outbox_id
    from outbox_engine.secret_messages s
    where s.blank_at <= p_now
    order by s.blank_at
    limit p_most
  );
begin
  if v_due = '{}' then
    return false;
  end if;
  update outbox_engine.dispatches
  set body = null
  where id = any (array(
    select d.id
    from outbox_engine.dispatches d
    where d.id in (select m.dispatch_id from outbox_engine.dispatch_members m where m.outbox_id = any (v_due))
      and d.body is not null and not outbox_engine.is_being_made(d.id, p_now)
    order by d.id
    for update skip locked
  ));

  with free as materialized (
    select o.id, o.body, o.finalized_at is null as is_undecided
    from public.outbox o
    where o.id = any (v_due) and o.queue is null
      and not exists (
        select
        from outbox_engine.dispatch_members m
        join outbox_engine.dispatches d on d.id = m.dispatch_id
        where m.outbox_id = o.id and (d.body is not null or outbox_engine.is_being_made(d.id, p_now))
      )
    order by o.id
    for update skip locked
  ),
  blanked as (
    update public.outbox o set body = null, parameters = null from free f where o.id = f.id
  )
  update outbox_engine.secret_messages s
  set blank_at = null, letters = case when f.is_undecided then outbox_engine.letters_digest(f.body) end
  from free f
  where s.outbox_id = f.id;
  return cardinality(v_due) = p_most;
end
$$;

-- Called by the upkeep job. Forgets the secret messages whose texts are gone, once their outcome is known.
create function outbox_engine.forget_secrets(p_most integer) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  delete from outbox_engine.secret_messages s
  where s.outbox_id = any (array(
    select x.outbox_id
    from outbox_engine.secret_messages x
    join public.outbox o on o.id = x.outbox_id
    where x.blank_at is null and o.finalized_at is not null
    limit p_most
    for update of x skip locked
  ))
$$;
