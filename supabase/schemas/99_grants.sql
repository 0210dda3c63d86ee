-- The engine's own schema is closed but for what policies, triggers and views of the API's roles need.
-- Everything in it is ours.

grant usage on schema outbox_engine to authenticated, service_role;
revoke all on all tables in schema outbox_engine from public, anon, authenticated, service_role;
revoke all on all sequences in schema outbox_engine from public, anon, authenticated, service_role;
revoke all on all functions in schema outbox_engine from public, anon, authenticated, service_role;
grant select on outbox_engine.number_regions to service_role;
grant execute on function outbox_engine.now(), outbox_engine.caller_id(), outbox_engine.refuse(text, text)
  to authenticated, service_role;

notify pgrst, 'reload schema';
