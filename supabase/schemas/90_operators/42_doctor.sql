-- What `outbox doctor` asks the database: facts as codes and values. Python judges them and finds the words.

-- Objects whose names begin with ours and that a role of the API may use. Python knows which of these names
-- are ours, and what a role may do. Null for a role that the database does not have.
create function outbox_engine.usable_by(p_role text) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'functions', (
      select coalesce(jsonb_agg(distinct p.proname), '[]')
      from pg_proc p
      where p.pronamespace = 'public'::regnamespace and p.proname like 'outbox\_%'
        and has_function_privilege(r.oid, p.oid, 'execute')),
    'tables', (
      select coalesce(jsonb_agg(c.relname), '[]')
      from pg_class c
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')
        and (c.relname = 'outbox' or c.relname like 'outbox\_%')
        and (has_any_column_privilege(r.oid, c.oid, 'select, insert, update')
          or has_table_privilege(r.oid, c.oid, 'delete, truncate'))),
    'engine_tables', (
      select coalesce(jsonb_agg(c.relname), '[]')
      from pg_class c
      where c.relnamespace = 'outbox_engine'::regnamespace and c.relkind in ('r', 'v')
        and has_any_column_privilege(r.oid, c.oid, 'select, insert, update')))
  from pg_roles r
  where r.rolname = p_role
$$;

-- Tables of ours without row level security, indexes that were not built to their end, and triggers that are
-- disabled. `events_cache` is how many ids of the history a session takes at once.
create function outbox_engine.objects_json() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with ours as (
    select c.oid, c.relname, c.relkind, c.relrowsecurity
    from pg_class c
    where c.relnamespace = 'outbox_engine'::regnamespace
      or c.relnamespace = 'public'::regnamespace and (c.relname = 'outbox' or c.relname like 'outbox\_%')
  )
  select jsonb_build_object(
    'tables', (select coalesce(jsonb_agg(o.relname), '[]') from ours o where o.relkind = 'r'),
    'without_rls', (
      select coalesce(jsonb_agg(o.relname), '[]') from ours o where o.relkind = 'r' and not o.relrowsecurity),
    'invalid_indexes', (
      select coalesce(jsonb_agg(o.relname), '[]')
      from ours o join pg_index i on i.indexrelid = o.oid where not i.indisvalid),
    'disabled_triggers', (
      select coalesce(jsonb_agg(distinct o.relname), '[]')
      from ours o join pg_trigger t on t.tgrelid = o.oid where t.tgenabled = 'D'),
    'events_cache', (
      select s.seqcache
      from pg_sequence s
      where s.seqrelid = pg_get_serial_sequence('public.outbox_events', 'id')::regclass),
    'functions', (
      select jsonb_object_agg(f.name, f.digests)
      from (
        select format('%s.%s', p.pronamespace::regnamespace, p.proname) as name,
          jsonb_agg(md5(replace(p.prosrc, chr(13), ''))) as digests
        from pg_proc p
        where p.pronamespace = 'outbox_engine'::regnamespace
          or p.pronamespace = 'public'::regnamespace and p.proname like 'outbox\_%'
        group by p.pronamespace, p.proname
      ) f))
$$;

-- The processes that send: when each last claimed, and where it may send. The latest heartbeat of the webhook
-- app is that of a callback: without callbacks it has none.
create function outbox_engine.doctor_processes(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'dispatchers', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'provider', h.provider, 'plan', h.plan, 'allowed', h.allowed_countries,
        'schema_version', h.schema_version) order by h.provider, h.plan, h.worker), '[]')
      from outbox_engine.running_dispatchers r
      join outbox_engine.heartbeats h using (provider, plan, worker)
      where h.job = 'dispatch'),
    'dispatch_seconds_ago', (
      select extract(epoch from p_now - max(h.at)) from outbox_engine.heartbeats h where h.job = 'dispatch'),
    'webhook_seconds_ago', (
      select extract(epoch from p_now - max(h.at)) from outbox_engine.heartbeats h where h.job = 'webhook'),
    'upkeep_seconds_ago', (
      select extract(epoch from p_now - max(h.at)) from outbox_engine.heartbeats h where h.job = 'upkeep'),
    'oldest_due_seconds', greatest(0, extract(epoch from p_now - outbox_engine.oldest_due(p_now))),
    'alarms_waiting', (select count(*) from (select from outbox_engine.unlogged_alarms limit 1000) x))
$$;

-- The state of tables: vacuum, size against the memory that the planner reckons with, and transactions that
-- have been open for ten minutes, which keep dead rows.
create function outbox_engine.storage_json() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with ours as (
    select c.oid, c.relname, c.reloptions, c.reltuples, c.relnamespace
    from pg_class c
    where c.relkind = 'r' and (c.relnamespace = 'outbox_engine'::regnamespace
      or c.relnamespace = 'public'::regnamespace and (c.relname = 'outbox' or c.relname like 'outbox\_%'))
  )
  select jsonb_build_object(
    'autovacuum', current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean,
    'without_autovacuum', (
      select coalesce(jsonb_agg(o.relname), '[]')
      from ours o
      where exists (
        select from pg_options_to_table(o.reloptions) x
        where x.option_name = 'autovacuum_enabled' and not x.option_value::boolean)),
    'bytes', (select sum(pg_total_relation_size(o.oid)) from ours o),
    'memory_bytes', pg_size_bytes(current_setting('effective_cache_size')),
    'messages', (select greatest(o.reltuples, 0) from ours o where o.relname = 'outbox'),
    'bloated', (
      select coalesce(jsonb_agg(o.relname), '[]')
      from ours o
      join pg_stat_all_tables s on s.relid = o.oid
      where s.n_dead_tup > 10000 and s.n_dead_tup > s.n_live_tup),
    'open_transactions', (
      select jsonb_build_object(
        'count', count(*), 'longest_seconds', extract(epoch from clock_timestamp() - min(a.xact_start)))
      from pg_stat_activity a
      where a.datname = current_database() and a.backend_type = 'client backend'
        and a.xact_start < clock_timestamp() - interval '10 minutes'),
    'prepared_transactions', (select count(*) from pg_prepared_xacts where database = current_database()))
$$;

-- Whether Supabase Auth may call its hook. Null where the database has no Auth.
create function outbox_engine.auth_hook_json(p_now timestamptz) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'may_call', has_schema_privilege(r.oid, 'public', 'usage')
      and has_function_privilege(r.oid, 'public.outbox_send_sms(jsonb)', 'execute'),
    'codes_of_the_hour', (
      select count(*) from outbox_engine.auth_codes c where c.at > p_now - interval '1 hour'))
  from pg_roles r
  where r.rolname = 'supabase_auth_admin'
$$;

-- Called by `outbox doctor`. Reads the catalogue and small tables, and changes nothing. `server` and
-- `database` tell whether another connection leads to the same database.
create function public.outbox_doctor() returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := outbox_engine.now();
begin
  return jsonb_build_object(
    'at', clock_timestamp(),
    'server', extract(epoch from pg_postmaster_start_time()),
    'database', current_database(),
    'usable', jsonb_build_object(
      'anon', outbox_engine.usable_by('anon'),
      'authenticated', outbox_engine.usable_by('authenticated'),
      'service_role', outbox_engine.usable_by('service_role')),
    'objects', outbox_engine.objects_json(),
    'processes', outbox_engine.doctor_processes(v_now),
    'storage', outbox_engine.storage_json(),
    'auth', outbox_engine.auth_hook_json(v_now));
end
$$;

-- Called by `outbox doctor`: what the hook of Supabase Auth answers, and after how many seconds. Nothing of
-- it stays: its transaction is rolled back here, with the message, its notice and its place under the caps.
-- `p_phone` is without a plus, as Auth gives it.
create function public.outbox_try_auth_hook(p_phone text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_began constant timestamptz := clock_timestamp();
  v_answer jsonb;
  v_seconds double precision;
begin
  begin
    v_answer := public.outbox_send_sms(jsonb_build_object(
      'user', jsonb_build_object('id', gen_random_uuid()),
      'sms', jsonb_build_object('phone', p_phone, 'otp', '000000'),
      'metadata', jsonb_build_object('uuid', gen_random_uuid())));
    v_seconds := extract(epoch from clock_timestamp() - v_began);
    raise exception using errcode = 'OBX03', message = 'rolled back';
  exception
    when sqlstate 'OBX03' then
      return jsonb_build_object('answer', v_answer, 'seconds', v_seconds);
    when others then
      return jsonb_build_object('error', outbox_engine.without_numbers(sqlerrm), 'code', sqlstate,
        'seconds', extract(epoch from clock_timestamp() - v_began));
  end;
end
$$;

-- Called by `outbox doctor` after it sent a callback of its own through the public address: deletes the
-- report and returns whether it was there. Only reports on such batches, which no provider made.
create function public.outbox_take_test_report(p_batch_id text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if p_batch_id !~ '^outbox-doctor-[0-9a-f]{32}$' then
    perform outbox_engine.refuse(format('batch_id %s: is no batch of a test callback', p_batch_id));
  end if;
  delete from outbox_engine.waiting_reports where batch_id = p_batch_id;
  return found;
end
$$;

-- Called by commands, with the server's key.
revoke all on function
  public.outbox_doctor,
  public.outbox_try_auth_hook,
  public.outbox_take_test_report
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_doctor,
  public.outbox_try_auth_hook,
  public.outbox_take_test_report
to service_role;
