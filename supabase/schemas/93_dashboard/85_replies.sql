-- The calls of the screens of replies and opt-outs.

-- Called by the dashboard. One reply without its text, null if there is none.
create function public.outbox_find_reply(p_id text) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', i.id, 'sender', i.sender, 'recipient', i.recipient, 'body', null, 'received_at', i.received_at,
    'recorded_at', i.recorded_at, 'effect', i.effect, 'unclear', i.unclear, 'decided_at', i.decided_at)
  from public.outbox_inbound i
  where i.id = p_id
$$;

-- Called by the dashboard when an operator asks for texts. A page as `outbox_list_replies` gives it. The
-- audit says who read it.
create function public.outbox_show_replies(
  p_unclear boolean, p_before_at timestamptz, p_before_id text, p_most integer
) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_replies constant jsonb := public.outbox_list_replies(p_unclear, p_before_at, p_before_id, p_most);
begin
  perform outbox_engine.audit_change(
    'show_replies', case when p_unclear then 'unclear replies' else 'replies' end,
    jsonb_build_object('replies', jsonb_array_length(v_replies)));
  return v_replies;
end
$$;

-- Called by the dashboard. Removes a number, and its other form, from the suppressions: the number gets
-- messages again. Returns false if it is not there.
create function public.outbox_lift_suppression(p_recipient text) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.lock_suppressions(outbox_engine.with_twins(array[p_recipient]));
  delete from public.outbox_suppressions where recipient = p_recipient;
  if not found then
    return false;
  end if;
  perform outbox_engine.audit_change('lift_suppression', '…' || right(p_recipient, 2));
  return true;
end
$$;

-- Called by the dashboard before an import. How many of these numbers are on the list of suppressions.
create function public.outbox_known_suppressions(p_recipients text[]) returns integer
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select count(*)::integer from public.outbox_suppressions s where s.recipient = any (p_recipients)
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_find_reply,
  public.outbox_show_replies,
  public.outbox_lift_suppression,
  public.outbox_known_suppressions
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_find_reply,
  public.outbox_show_replies,
  public.outbox_lift_suppression,
  public.outbox_known_suppressions
to service_role;
