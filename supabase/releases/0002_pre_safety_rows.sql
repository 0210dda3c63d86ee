-- Messages that apps may change.

-- All columns, so that triggers can refuse those that apps may not write and say why. A missing right on a
-- column is an error that names neither the column nor the reason.
grant insert, update on public.outbox to service_role;
grant update on public.outbox to authenticated;
-- For cancel requests: a trigger refuses all other changes.
create policy outbox_own_cancel on public.outbox for update to authenticated
  using (owner_id = (select outbox_engine.caller_id()))
  with check (owner_id = (select outbox_engine.caller_id()));
comment on column public.outbox.owner_id is
  'The signed-in user who inserted it, or whom a server names: sees the message and may cancel it';

-- Traces (40_outbox/39_trace_context.sql).
alter table public.outbox add column trace_context text;
comment on column public.outbox.trace_context is
  'The W3C trace context (traceparent) of what inserted it; by default that of the request';

-- functions
create trigger outbox_4_held before update of body, parameters, media_url, send_at on public.outbox
  for each row
  when (new.queue = 'w' and old.queue = 'w' and (new.body, new.parameters, new.media_url, new.send_at)
    is distinct from (old.body, old.parameters, old.media_url, old.send_at))
  execute function outbox_engine.before_held_change();
create trigger outbox_f_app_delete before delete on public.outbox for each statement
  when (current_user in ('anon', 'authenticated', 'service_role'))
  execute function outbox_engine.before_app_delete();
-- Not before the trigger that refuses it.
grant delete on public.outbox to service_role;
-- `before_app_update` writes cancel requests into the history by now. The post file drops this one.
drop trigger outbox_4_cancel_request on public.outbox;
create trigger outbox_4_cancel_request after update on public.outbox for each row
  when (false)
  execute function outbox_engine.after_cancel_request();
