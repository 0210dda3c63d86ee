-- Replies that wait for a person. Few are, so the index is small, but building it reads all replies.
drop index concurrently if exists public.outbox_inbound_unclear;
create index concurrently if not exists outbox_inbound_unclear on public.outbox_inbound (recorded_at, id)
  where unclear;
-- Claims read the queue of each route by itself.
drop index concurrently if exists public.outbox_ready_on_route;
create index concurrently if not exists outbox_ready_on_route on public.outbox (route, priority, due_at, id)
  where queue = 'r';
drop index concurrently if exists public.outbox_waiting_on_route;
create index concurrently if not exists outbox_waiting_on_route on public.outbox (route, priority, due_at, id)
  where queue = 'w';
-- The dashboard finds the messages of a number, and those with some metadata.
drop index concurrently if exists public.outbox_recipient;
create index concurrently if not exists outbox_recipient on public.outbox (recipient, id);
drop index concurrently if exists public.outbox_metadata;
create index concurrently if not exists outbox_metadata on public.outbox using gin (metadata jsonb_path_ops)
  where metadata is not null;
