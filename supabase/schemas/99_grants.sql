-- Rights on the engine's own schema, in which every object is ours. The roles of the API get what policies,
-- triggers and views need when these roles use them.

grant usage on schema outbox_engine to authenticated, service_role;
revoke all on all tables in schema outbox_engine from public, anon, authenticated, service_role;
revoke all on all sequences in schema outbox_engine from public, anon, authenticated, service_role;
revoke all on all functions in schema outbox_engine from public, anon, authenticated, service_role;
grant select on outbox_engine.number_regions to service_role;
grant execute on function outbox_engine.now(), outbox_engine.caller_id(), outbox_engine.refuse(text, text)
  to authenticated, service_role;

notify pgrst, 'reload schema';
