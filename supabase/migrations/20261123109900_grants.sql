-- Who may call what. Functions are executable by everybody until somebody says otherwise, so this says so for all of them:
-- the engine's own for nobody, the calls of the processes for service_role.

revoke all on all tables in schema outbox_engine from public, anon, authenticated, service_role;
revoke all on all sequences in schema outbox_engine from public, anon, authenticated, service_role;
revoke all on all functions in schema outbox_engine from public, anon, authenticated, service_role;
-- What the view of delivery figures reads with its reader's rights.
grant select on outbox_engine.number_regions to service_role;
grant execute on function outbox_engine.now(), outbox_engine.caller_id(), outbox_engine.refuse(text, text)
  to authenticated, service_role;

do $$
declare
  v_call regprocedure;
begin
  for v_call in
    select p.oid::regprocedure
    from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname like 'outbox\_%'
  loop
    execute format('revoke all on function %s from public, anon, authenticated', v_call);
    execute format('grant execute on function %s to service_role', v_call);
  end loop;
end
$$;

notify pgrst, 'reload schema';
