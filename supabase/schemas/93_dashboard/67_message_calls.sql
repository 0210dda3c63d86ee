-- The calls about messages that an operator picked, or writes.

-- Called by the dashboard. Moves these messages to another time, and answers as `outbox_cancel` does.
-- Messages that are gone are left out of the answer.
create function public.outbox_reschedule_messages(p_ids bigint[], p_send_at timestamptz, p_dry_run boolean)
returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_outcomes jsonb;
begin
  perform outbox_engine.check_bulk('reschedule', jsonb_build_object('send_at', p_send_at));
  v_outcomes := outbox_engine.reschedule_each(p_ids, p_send_at, p_dry_run);
  if not p_dry_run then
    perform outbox_engine.audit_outcomes('reschedule_messages', v_outcomes);
  end if;
  return v_outcomes;
end
$$;

-- Called by the dashboard. Inserts a message as an app does, marked as a test. Its keys are `recipient`,
-- `body`, `template`, `parameters`, `priority` and `idempotency_key`. Returns the id; a key that is there
-- already returns the id of its message.
create function public.outbox_send_test_message(p_message jsonb) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_message constant jsonb := jsonb_strip_nulls(coalesce(outbox_engine.given_json(p_message), '{}'));
  v_id bigint;
begin
  insert into public.outbox (recipient, body, template, parameters, priority, idempotency_key, metadata)
  values (
    v_message ->> 'recipient', v_message ->> 'body', v_message ->> 'template', v_message -> 'parameters',
    (v_message ->> 'priority')::smallint, v_message ->> 'idempotency_key', '{"test": true}')
  on conflict (idempotency_key) do nothing
  returning id into v_id;
  if v_id is null then
    return (select o.id from public.outbox o where o.idempotency_key = v_message ->> 'idempotency_key');
  end if;
  perform outbox_engine.audit_change('send_test_message', v_id::text);
  return v_id;
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_reschedule_messages,
  public.outbox_send_test_message
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_reschedule_messages,
  public.outbox_send_test_message
to service_role;
