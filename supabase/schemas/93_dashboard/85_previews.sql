-- The texts of a campaign's coming messages, for the dashboard.

-- Called by the dashboard when an operator asks for the texts of a preview. Answers as
-- outbox_preview_campaign does. The audit says who read them.
create function public.outbox_show_preview(p_campaign text, p_most integer) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.audit_change('show_preview', p_campaign);
  return public.outbox_preview_campaign(p_campaign, p_most);
end
$$;

-- Called by processes, with the server's key.
revoke all on function public.outbox_show_preview from public, anon, authenticated, service_role;
grant execute on function public.outbox_show_preview to service_role;
