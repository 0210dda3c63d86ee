-- The rows that the engine needs before the first message.

-- Called at the end of each release. `supabase migration squash` drops rows, so an operator runs it again in
-- a database that was made from a squashed migration. It does not overwrite rows that a project may change.
create function outbox_engine.seed() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into outbox_engine.clock default values on conflict do nothing;
  insert into outbox_engine.upkeep default values on conflict do nothing;
  insert into outbox_engine.health_judged default values on conflict do nothing;
  insert into outbox_engine.event_follow default values on conflict do nothing;
  insert into outbox_engine.installation default values on conflict do nothing;
  perform outbox_engine.seed_providers();
  perform outbox_engine.seed_zones();
  perform outbox_engine.seed_number_regions();
  perform outbox_engine.seed_report_codes();
  perform outbox_engine.seed_move_proofs();
  perform outbox_engine.seed_mms_countries();
  perform outbox_engine.seed_opt_out_words();
  perform outbox_engine.seed_auth();
  perform outbox_engine.grant_auth_hook();
  insert into outbox_engine.schema_versions (version, breaking, release)
  values (1, false, '0.1.0'), (2, false, '0.2.0')
  on conflict do nothing;
end
$$;
select outbox_engine.seed();

-- Called by processes at their start and by `outbox schema status`: the releases that were applied, whether
-- all seeds are there (a squash drops them), how many processes know fewer versions, and the seconds since
-- the latest heartbeat of one. Post files wait for these processes to end.
create function public.outbox_schema_version() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'versions', coalesce(
      (select jsonb_agg(to_jsonb(v) order by v.version) from outbox_engine.schema_versions v), '[]'),
    'processes', o.running,
    'old_process_seconds_ago', o.seconds_ago,
    'seeded', exists (select from outbox_engine.schema_versions)
      and exists (select from outbox_engine.clock)
      and exists (select from outbox_engine.upkeep)
      and exists (select from outbox_engine.installation)
      and exists (select from outbox_engine.providers)
      and exists (select from outbox_engine.report_codes)
      and exists (select from outbox_engine.move_proofs)
      and exists (select from outbox_engine.number_regions)
      and exists (select from outbox_engine.mms_countries)
      and exists (select from outbox_engine.zones)
      and exists (select from outbox_engine.seeds where name = 'opt_out_words')
      and exists (select from outbox_engine.seeds where name = 'auth_templates'))
  from outbox_engine.old_processes() o
$$;

revoke all on function public.outbox_schema_version from public, anon, authenticated, service_role;
grant execute on function public.outbox_schema_version to service_role;
