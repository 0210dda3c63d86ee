-- Blocks: how many messages of each 8192 ids have which status, by hour, country, plan, campaign and code.
-- Charts read the sums over all blocks, and searches skip the blocks that hold no match. An index on the
-- status would do neither, and every report would have to write it.

-- `total` is what a block held when it was last counted, the deleted messages included, and `removed` what
-- was deleted of it. Null in a block's column means not known, or none. The messages that are there lie
-- between `first_id` and `last_id`.
create table outbox_engine.block_figures (
  id bigint generated always as identity primary key,
  block integer not null,
  is_total boolean not null,
  hour timestamptz not null,
  country text,
  plan text,
  campaign text,
  status text not null,
  status_code integer,
  delay smallint,
  messages integer not null,
  parts integer not null,
  first_id bigint,
  last_id bigint
);
alter table outbox_engine.block_figures enable row level security;

create index block_figures_block on outbox_engine.block_figures (block);
-- For searches, which take the blocks from the newest on.
create index block_figures_status on outbox_engine.block_figures (status, block);
create index block_figures_code on outbox_engine.block_figures (status_code, block)
  where status_code is not null;
create index block_figures_campaign on outbox_engine.block_figures (campaign, block)
  where campaign is not null;

-- The sums, by hour (UTC) of send_at. They stay when messages are deleted. `delay` is the bucket of the time
-- from acceptance to delivery, null for messages that were not delivered.
create table outbox_engine.hourly_figures (
  id bigint generated always as identity primary key,
  hour timestamptz not null,
  country text,
  plan text,
  status text not null,
  status_code integer,
  delay smallint,
  messages bigint not null,
  parts bigint not null,
  unique nulls not distinct (hour, country, plan, status, status_code, delay)
) with (fillfactor = 70);
alter table outbox_engine.hourly_figures enable row level security;

-- Blocks that are to be counted again. Rows are only inserted, so that no transaction waits for another.
create table outbox_engine.changed_blocks (
  id bigint generated always as identity primary key,
  block integer not null
);
alter table outbox_engine.changed_blocks enable row level security;

-- How far changes were followed. One row. `safe_to` and the mark are as in event_follow, with their times.
-- `complete_at`: the sums have all that happened until then. `noted_to` is the newest message of which the
-- block was noted. `counted_to`: no message up to this id comes later; `drawn_to` is the mark for it.
create table outbox_engine.figures_follow (
  only_row boolean primary key default true check (only_row),
  followed_to bigint,
  safe_to bigint,
  safe_at timestamptz,
  marked_to bigint,
  marked_at timestamptz,
  marked_by text[],
  noted_to bigint not null default 0,
  counted_to bigint not null default 0,
  drawn_to bigint,
  drawn_by text[],
  complete_at timestamptz
) with (fillfactor = 10);
alter table outbox_engine.figures_follow enable row level security;

-- What counts of a message.
create type outbox_engine.message_of_figures as (
  id bigint,
  recipient text,
  dispatch_id uuid,
  campaign text,
  send_at timestamptz,
  status text,
  status_code integer,
  parts smallint,
  sent_at timestamptz,
  finalized_at timestamptz
);

-- The block of a message.
create function outbox_engine.block_of(p_id bigint) returns integer
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select (p_id >> 13)::integer
$$;

-- The statuses of messages that are not sent yet count as one: messages pass from one to another without a
-- row in the history.
create function outbox_engine.counted_status(p_status text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case when p_status in ('scheduled', 'pending', 'sending') then 'waiting' else p_status end
$$;

-- The upper bounds, in seconds, of the buckets of delays. The last bucket has none.
create function outbox_engine.delay_bounds() returns double precision[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array[1, 5, 15, 60, 300, 900, 3600, 14400, 86400]::double precision[]
$$;

-- The figures of these messages.
create function outbox_engine.figures_of(p_messages outbox_engine.message_of_figures[])
returns table (
  block integer, hour timestamptz, country text, plan text, campaign text, status text, status_code integer,
  delay smallint, messages bigint, parts bigint, first_id bigint, last_id bigint
)
language sql stable set search_path = pg_catalog, pg_temp set jit = off
as $$
  select outbox_engine.block_of(m.id), date_trunc('hour', m.send_at, 'UTC'), c.country,
    d.provider || ':' || d.plan, m.campaign, outbox_engine.counted_status(m.status), m.status_code,
    case when m.status = 'delivered' then width_bucket(
      extract(epoch from m.finalized_at - m.sent_at)::double precision, outbox_engine.delay_bounds()
    )::smallint end,
    count(*), coalesce(sum(m.parts), 0), min(m.id), max(m.id)
  from unnest(p_messages) with ordinality m (
    id, recipient, dispatch_id, campaign, send_at, status, status_code, parts, sent_at, finalized_at, place
  )
  join outbox_engine.countries_of(array(select x.recipient from unnest(p_messages) x)) c on c.place = m.place
  left join outbox_engine.dispatches d on d.id = m.dispatch_id
  group by 1, 2, 3, 4, 5, 6, 7, 8
$$;

-- Runs after messages were deleted, while their dispatches are there. Sums keep what is deleted.
create function outbox_engine.after_counted_removed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
begin
  with removed_figures as (
    insert into outbox_engine.block_figures (
      block, is_total, hour, country, plan, campaign, status, status_code, delay, messages, parts
    )
    select f.block, false, f.hour, f.country, f.plan, f.campaign, f.status, f.status_code, f.delay,
      f.messages, f.parts
    from outbox_engine.figures_of(array(
      select row(
        r.id, r.recipient, r.dispatch_id, r.campaign, r.send_at, r.status, r.status_code, r.parts, r.sent_at,
        r.finalized_at
      )::outbox_engine.message_of_figures
      from removed r
    )) f
    returning block
  )
  insert into outbox_engine.changed_blocks (block)
  select distinct block from removed_figures;
  return null;
end
$$;
create trigger outbox_g_counted after delete on public.outbox
  referencing old table as removed for each statement
  execute function outbox_engine.after_counted_removed();

-- Runs after all messages were truncated. The sums stay, as they were counted last.
create function outbox_engine.after_counted_emptied() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  delete from outbox_engine.block_figures;
  delete from outbox_engine.changed_blocks;
  update outbox_engine.figures_follow set noted_to = 0, counted_to = 0, drawn_to = null;
  return null;
end
$$;
create trigger outbox_h_emptied after truncate on public.outbox for each statement
  execute function outbox_engine.after_counted_emptied();
