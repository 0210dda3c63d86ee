-- Refused contents and the messages that are held.

-- One row for each content that was refused and not accepted since: of a sender and a text, or of a sender
-- alone, which counts the texts that were refused.
create table outbox_engine.refused_contents (
  provider text not null,
  plan text not null,
  content uuid not null,
  sender text,
  is_sender boolean not null default false,
  -- How many requests of one message were refused alike in a row (of a sender: how many texts), the key that
  -- they have in common, and the provider's latest words.
  refusals smallint not null,
  refusal_key text not null,
  error text not null,
  last_content uuid,
  refused_at timestamptz not null,
  -- When the first of these requests was claimed. The acceptance of an earlier one does not end the hold.
  claimed_at timestamptz not null,
  -- Since when its messages are held. Null while refusals are only counted.
  held_since timestamptz,
  -- Held because of its sender, or of a setting of a process. An acceptance of the sender ends that.
  by_sender boolean not null default false,
  -- When the next message is sent as a probe, how many were, and which message is the latest.
  probe_at timestamptz,
  probes smallint not null default 0,
  probe_id bigint,
  -- The hold is over, and claims let its messages go, some thousands at a time.
  is_lifted boolean not null default false,
  primary key (provider, plan, content)
);
alter table outbox_engine.refused_contents enable row level security;

-- The messages that are held, and when each was a probe.
create table outbox_engine.held_messages (
  outbox_id bigint primary key,
  provider text not null,
  plan text not null,
  content uuid not null,
  probed_at timestamptz
);
alter table outbox_engine.held_messages enable row level security;

create index held_messages_content
  on outbox_engine.held_messages (provider, plan, content, probed_at nulls first, outbox_id);

-- functions
