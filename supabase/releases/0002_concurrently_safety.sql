-- Replies that wait for a person. Few are, so the index is small, but building it reads all replies.
drop index concurrently if exists public.outbox_inbound_unclear;
create index concurrently if not exists outbox_inbound_unclear on public.outbox_inbound (recorded_at, id)
  where unclear;
