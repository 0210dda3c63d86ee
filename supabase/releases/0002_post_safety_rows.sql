-- `before_app_update` writes cancel requests into the history.
drop trigger outbox_4_cancel_request on public.outbox;
drop function outbox_engine.after_cancel_request();

-- The rights on the whole table hold these.
revoke insert (
  recipient, body, template, parameters, sender, send_at, expires_at, priority, idempotency_key, metadata,
  secret, media_url, channel
), update (status) on public.outbox from service_role;
