-- Which processes have to be told of new rows. A process that is working looks for them by itself, many times
-- a second. One that listens and found nothing sleeps, and marks that here; only then does an insert send a
-- notice. Transactions that send notices commit one after the other in the whole cluster, so an app that
-- inserts from many connections would wait for each of its own commits.

-- Until when some process sleeps, in milliseconds since 1970 of the server's own clock; 0 if none does. A
-- process that is killed in its sleep costs notices for that long. A sequence, because a row would be hidden
-- from transactions with an older snapshot, and would leave a dead one behind each time.
create sequence outbox_engine.asleep_until minvalue 0 start 0;

-- Marks that this process sleeps, for so many seconds at most.
create function outbox_engine.fall_asleep(p_seconds double precision) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant bigint := date_part('epoch', clock_timestamp()) * 1000;
  v_until constant bigint := v_now + p_seconds * 1000;
begin
  -- A mark is written to disk, so one that lasts for half of the time is as good. Nobody sleeps for two
  -- minutes: such a mark is of a clock that was ahead.
  if (select last_value from outbox_engine.asleep_until)
    not between (v_now + v_until) / 2 and greatest(v_until, v_now + 120000) then
    perform setval('outbox_engine.asleep_until', v_until);
  end if;
end
$$;

-- Whether some running process serves a plan that another one does not.
create function outbox_engine.processes_differ() returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select count(*) <> count(distinct worker) * count(distinct (provider, plan))
  from outbox_engine.running_dispatchers
$$;

-- Called by a claim that brings dispatches: its process looks for rows by itself. Another one that sleeps
-- marks it again at its next claim; until then, the one that works finds the rows. It cannot send those of a
-- plan that only the other one serves, so where processes serve different plans the mark stays.
create function outbox_engine.wake_up() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if (select last_value from outbox_engine.asleep_until) > date_part('epoch', clock_timestamp()) * 1000
    and not outbox_engine.processes_differ() then
    perform setval('outbox_engine.asleep_until', 0);
  end if;
end
$$;

-- Tells processes that sleep of a row that may be claimed now. PostgreSQL sends equal notices of a
-- transaction once.
create function outbox_engine.tell_sleepers() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- Null before the first sleep. A query of the sequence would take four times as long.
  if pg_sequence_last_value('outbox_engine.asleep_until') > date_part('epoch', clock_timestamp()) * 1000 then
    perform pg_notify('outbox', '');
  end if;
end
$$;
