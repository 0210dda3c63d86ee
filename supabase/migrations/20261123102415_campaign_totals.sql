-- What campaigns' messages came to, kept when the messages themselves are pruned, so that a report does not forget.

-- `sent_on` is a day in UTC, 'infinity' where the message was never sent; `country` is '' where it is not known. `opted_out`
-- recipients did so after a message, counted with the last of theirs.
create table outbox_engine.campaign_totals (
  campaign text not null,
  sent_on date not null,
  status text not null,
  reason text not null,
  country text not null,
  messages bigint not null,
  parts bigint not null,
  opted_out bigint not null,
  primary key (campaign, sent_on, status, reason, country)
);
alter table outbox_engine.campaign_totals enable row level security;

-- Why a message ended as it did, for counting: without times, which differ from one to the next, and no longer than an index takes.
create function outbox_engine.message_reason(p_error text, p_code integer) returns text
language sql immutable set search_path = ''
as $$
  select left(regexp_replace(coalesce(p_error, 'code ' || p_code, ''), '( at)? \d{4,}-\d\d-\d\d \d\d:\S+', '', 'g'), 300)
$$;

-- Called before messages are pruned, which the caller holds. The settings: a thousand messages are found by index.
create function outbox_engine.count_pruned(p_outbox_ids bigint[]) returns void
language sql set search_path = '' set jit = off set enable_seqscan = off
as $$
  with pruned as materialized (
    select x.id, x.campaign, x.recipient, x.status, outbox_engine.message_reason(x.error, x.status_code) as reason, x.parts, x.sent_at,
      s.created_at as opted_out_at
    from public.outbox x
    join public.outbox_campaigns c on c.name = x.campaign
    left join public.outbox_suppressions s on s.recipient = x.recipient and s.by_engine and s.created_at >= x.sent_at
    where x.id = any (p_outbox_ids)
      and exists (select from public.outbox_campaign_occurrences o where o.campaign = x.campaign and o.outbox_id = x.id)
  ),
  -- Whoever is still to be seen by a message that stays is counted by that one.
  opted_out as materialized (
    select distinct on (p.campaign, p.recipient) p.id
    from pruned p
    where p.opted_out_at is not null and not exists (
      select from outbox_engine.campaign_sends m
      join public.outbox x on x.id = m.outbox_id
      where m.recipient = p.recipient and m.campaign = p.campaign and x.sent_at <= p.opted_out_at
        and x.id <> all (p_outbox_ids))
    order by p.campaign, p.recipient, p.id
  )
  insert into outbox_engine.campaign_totals as t (campaign, sent_on, status, reason, country, messages, parts, opted_out)
  select p.campaign, coalesce((p.sent_at at time zone 'UTC')::date, 'infinity'), p.status, p.reason,
    coalesce(outbox_engine.country_of(p.recipient), ''), count(*), coalesce(sum(p.parts), 0), count(o.id)
  from pruned p
  left join opted_out o on o.id = p.id
  group by 1, 2, 3, 4, 5
  order by 1, 2, 3, 4, 5
  on conflict (campaign, sent_on, status, reason, country) do update
  set messages = t.messages + excluded.messages, parts = t.parts + excluded.parts, opted_out = t.opted_out + excluded.opted_out
$$;

-- A campaign's counts and what it spent of its budget go with it: a new one of the same name begins with nothing, also where a claim
-- that was under way added something after that.
create function outbox_engine.forget_campaign() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from outbox_engine.campaign_totals where campaign = coalesce(new.name, old.name);
  delete from outbox_engine.campaign_spend where campaign = coalesce(new.name, old.name);
  delete from outbox_engine.campaign_changes where campaign = coalesce(new.name, old.name);
  delete from outbox_engine.campaign_returns where campaign = coalesce(new.name, old.name);
  return null;
end
$$;
create trigger outbox_campaigns_forget after insert or delete on public.outbox_campaigns for each row execute function outbox_engine.forget_campaign();

notify pgrst, 'reload schema';
