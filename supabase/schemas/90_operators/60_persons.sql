-- What is kept of one person: `outbox person show` and `export`. A person is one or more phone numbers.

-- Called first by `outbox person`: these numbers and their other forms, which ring the same phones.
create function public.outbox_person_numbers(p_recipients text[]) returns text[]
language sql immutable security definer set search_path = pg_catalog, pg_temp
as $$
  select outbox_engine.with_twins(p_recipients)
$$;

-- Whether a message is in a request whose outcome is not known, or in one that is about to be made.
create function outbox_engine.is_in_request(p_outbox_id bigint, p_status text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return p_status = 'sending' or exists (
    select
    from outbox_engine.dispatch_members m
    join outbox_engine.dispatches d on d.id = m.dispatch_id
    where m.outbox_id = p_outbox_id and outbox_engine.is_open(d.state));
end
$$;

-- Called by `outbox person`. Finds messages to these numbers. No index leads to them, because it would make
-- every insert dearer, so a call reads the next `p_stretch` ids after `p_after`. `ids` are of messages that
-- have one of the numbers, or had it in an earlier request; `in_request` are those of them that are in a
-- request. `is_restored`: `outbox adopt` has yet to record what was sent since a backup. `after` is where the
-- next call goes on, null at the end.
create function public.outbox_find_person(p_recipients text[], p_after bigint, p_stretch integer)
returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off
set enable_seqscan = off
as $$
  with stretch as materialized (
    select id, recipient, status
    from public.outbox
    where id > p_after
    order by id
    limit p_stretch
  ),
  bounds as materialized (
    select max(id) as read_to from stretch
  ),
  found as materialized (
    select s.id, s.status
    from stretch s
    where s.recipient = any (p_recipients)
    union
    select o.id, o.status
    from bounds b
    join outbox_engine.dispatch_members m on m.outbox_id > p_after and m.outbox_id <= b.read_to
    join public.outbox o on o.id = m.outbox_id
    where m.recipient = any (p_recipients)
  )
  select jsonb_build_object(
    'ids', (select coalesce(jsonb_agg(f.id order by f.id), '[]') from found f),
    'in_request', (
      select coalesce(jsonb_agg(f.id order by f.id), '[]')
      from found f
      where outbox_engine.is_in_request(f.id, f.status)),
    'is_restored', exists (select from outbox_engine.plan_pauses where kind = 'restored'),
    'after', b.read_to,
    'last', (select max(id) from public.outbox))
  from bounds b
$$;

-- A row as `outbox person` gets it: with its table, and without what may hold a text unless `p_texts`.
create function outbox_engine.person_row(p_table text, p_row jsonb, p_texts boolean) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object('table', p_table, 'row', case
    when p_texts then p_row
    else p_row - array[
      'body', 'parameters', 'media_url', 'metadata', 'raw', 'report', 'detail', 'error', 'reason', 'payload']
  end)
$$;

-- Called by `outbox person show` and `export`: these messages and what hangs on them. Never the text of a
-- secret message. Of a message that has another number by now only the requests that had this one.
create function public.outbox_person_messages(p_ids bigint[], p_recipients text[], p_texts boolean)
returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off
as $$
  with messages as materialized (
    select o.*, o.recipient = any (p_recipients) as is_own
    from public.outbox o
    where o.id = any (p_ids)
  ),
  requests as materialized (
    select m.outbox_id, m.recipient, d.id, d.provider, d.plan, d.state, d.batch_id, d.claimed_at,
      d.accepted_at, d.closed_at, d.http_status, d.error, case when not o.secret then d.body end as body,
      d.media_url
    from messages o
    join outbox_engine.dispatch_members m on m.outbox_id = o.id and m.recipient = any (p_recipients)
    join outbox_engine.dispatches d on d.id = m.dispatch_id
  ),
  found (name, value, id) as (
    select 'outbox',
      to_jsonb(o) - 'is_own' - case when o.secret then array['body', 'parameters'] else '{}'::text[] end, o.id
    from messages o
    where o.is_own
    union all
    select 'outbox_events', to_jsonb(e), e.outbox_id
    from messages o
    join public.outbox_events e on e.outbox_id = o.id
    where o.is_own or e.dispatch_id in (select r.id from requests r where r.outbox_id = o.id)
    union all
    select 'dispatches', to_jsonb(r), r.outbox_id from requests r
    union all
    select 'outbox_campaign_occurrences', to_jsonb(c), o.id
    from messages o
    join public.outbox_campaign_occurrences c on c.outbox_id = o.id
    where o.is_own
    union all
    select 'campaign_sends', to_jsonb(s), o.id
    from messages o
    join outbox_engine.campaign_sends s on s.outbox_id = o.id
    where o.is_own
    union all
    select 'duplicate_sends', to_jsonb(x), o.id
    from messages o
    join outbox_engine.duplicate_sends x on x.outbox_id = o.id
    where o.is_own
    union all
    select 'outbox_event_deliveries', to_jsonb(d), o.id
    from messages o
    join public.outbox_event_deliveries d on d.outbox_id = o.id
    where o.is_own
    union all
    select 'held_messages', to_jsonb(h), o.id
    from messages o
    join outbox_engine.held_messages h on h.outbox_id = o.id
    where o.is_own
    union all
    select 'reassigned_occurrences', to_jsonb(a), o.id
    from messages o
    join outbox_engine.reassigned_occurrences a on a.outbox_id = o.id
    where o.is_own
    union all
    select 'secret_messages', to_jsonb(s) - 'letters', o.id
    from messages o
    join outbox_engine.secret_messages s on s.outbox_id = o.id
    where o.is_own
  )
  select coalesce(jsonb_agg(outbox_engine.person_row(f.name, f.value, p_texts) order by f.id, f.name), '[]')
  from found f
$$;

-- A pattern for a number in the bytes of a callback, as `encode` escapes them: its digits with anything
-- between them but letters and digits, and not as a part of a longer number.
create function outbox_engine.number_pattern(p_recipients text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format(
    '(^|[^0-9]|00|\\[0-7]{3}|%%2[Bb])(%s)($|[^0-9])',
    string_agg(
      array_to_string(
        string_to_array(ltrim(r, '+'), null), '(\\[0-7]{3}|\\\\|%20|[^0-9A-Za-z\\]){0,4}'), '|'))
  from unnest(p_recipients) r
$$;

-- The unreadable callbacks among the `p_most` after the id `p_after` that name one of these numbers.
create function outbox_engine.callbacks_naming(p_recipients text[], p_after bigint, p_most integer)
returns table (id bigint, names_it boolean)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select k.id, encode(k.raw, 'escape') ~ p.pattern
  from (
    select *
    from outbox_engine.kept_callbacks
    where id > p_after
    order by id
    limit p_most
  ) k
  cross join (select outbox_engine.number_pattern(p_recipients) as pattern) p
$$;

-- The reports without a message among the `p_most` after the key `p_after` that are about these numbers.
create function outbox_engine.reports_about(p_recipients text[], p_after uuid, p_most integer)
returns table (key uuid, is_about_it boolean)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select w.key, (w.report).recipient = any (p_recipients)
  from outbox_engine.waiting_reports w
  where w.key > p_after
  order by w.key
  limit p_most
$$;

-- What is kept by number in tables that an index leads to, but for members and replies.
create function outbox_engine.records_about(p_recipients text[]) returns table (name text, value jsonb)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select 'outbox_suppressions', to_jsonb(s)
  from public.outbox_suppressions s
  where s.recipient = any (p_recipients)
  union all
  select 'consents', to_jsonb(c) from outbox_engine.consents c where c.recipient = any (p_recipients)
  union all
  select 'notices', to_jsonb(n) from outbox_engine.notices n where n.recipient = any (p_recipients)
  union all
  select 'help_answers', to_jsonb(h) from outbox_engine.help_answers h where h.recipient = any (p_recipients)
  union all
  select 'auth_codes', to_jsonb(c) from outbox_engine.auth_codes c where c.recipient = any (p_recipients)
  union all
  select 'adopted_messages', to_jsonb(a)
  from outbox_engine.adopted_messages a
  where a.recipient = any (p_recipients)
  union all
  select 'campaign_import_lines', to_jsonb(l)
  from outbox_engine.campaign_import_lines l
  where l.recipient = any (p_recipients)
$$;

-- The occurrences among the `p_most` after the place `p_after` ('' at the beginning) whose member's id names
-- one of these numbers. Their member may be gone, and their message.
create function outbox_engine.occurrences_naming(p_recipients text[], p_after text, p_most integer)
returns table (campaign text, external_id text, stands_for timestamp, place text, names_it boolean)
language sql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select o.campaign, o.external_id, o.stands_for,
    jsonb_build_array(o.campaign, o.external_id, o.stands_for)::text,
    o.external_id not like 'erased:%' and o.external_id ~ p.pattern
  from (
    select x.campaign, x.external_id, x.stands_for
    from public.outbox_campaign_occurrences x
    where (x.campaign, x.external_id, x.stands_for) > (
      coalesce(nullif(p_after, '')::jsonb ->> 0, ''),
      coalesce(nullif(p_after, '')::jsonb ->> 1, ''),
      coalesce((nullif(p_after, '')::jsonb ->> 2)::timestamp, '-infinity'))
    order by x.campaign, x.external_id, x.stands_for
    limit p_most
  ) o
  cross join (select outbox_engine.number_pattern(p_recipients) as pattern) p
$$;

-- At most `p_most` members with these numbers after the place `p_after`, with their occurrences.
create function outbox_engine.person_members(
  p_recipients text[], p_after text, p_most integer, p_texts boolean, out found jsonb, out read_to text
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with page as materialized (
    select *
    from public.outbox_campaign_members
    where recipient = any (p_recipients)
      and (campaign, external_id)
        > (coalesce(nullif(p_after, '')::jsonb ->> 0, ''), coalesce(nullif(p_after, '')::jsonb ->> 1, ''))
    order by campaign, external_id
    limit p_most
  )
  select jsonb_agg(x.value), (
    select jsonb_build_array(campaign, external_id)::text
    from page order by campaign desc, external_id desc limit 1)
  from (
    select outbox_engine.person_row('outbox_campaign_members', to_jsonb(p), p_texts) from page p
    union all
    select outbox_engine.person_row('outbox_campaign_occurrences', to_jsonb(o), p_texts)
    from page p
    join public.outbox_campaign_occurrences o on (o.campaign, o.external_id) = (p.campaign, p.external_id)
  ) x (value)
$$;

-- Called by `outbox person show` and `export`: what is kept of these numbers besides messages, one part at a
-- time, and of that part at most `p_most` rows of each table after `p_after` ('' at the beginning). Returns
-- the `rows` and where to go on, null at the end of the part.
create function public.outbox_person_records(
  p_recipients text[], p_part text, p_after text, p_most integer, p_texts boolean
) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_rows jsonb;
  v_after text;
begin
  if p_part = 'records' then
    select jsonb_agg(outbox_engine.person_row(r.name, r.value, p_texts)) into v_rows
    from outbox_engine.records_about(p_recipients) r;
  elsif p_part = 'members' then
    select x.found, x.read_to into v_rows, v_after
    from outbox_engine.person_members(p_recipients, p_after, p_most, p_texts) x;
  elsif p_part = 'occurrences' then
    select
      jsonb_agg(outbox_engine.person_row('outbox_campaign_occurrences', to_jsonb(o), p_texts))
        filter (where x.names_it),
      (array_agg(x.place order by x.campaign desc, x.external_id desc, x.stands_for desc))[1]
    into v_rows, v_after
    from outbox_engine.occurrences_naming(p_recipients, p_after, p_most) x
    join public.outbox_campaign_occurrences o using (campaign, external_id, stands_for);
  elsif p_part = 'replies' then
    select jsonb_agg(outbox_engine.person_row('outbox_inbound', to_jsonb(i), p_texts)), max(i.id)
    into v_rows, v_after
    from (
      select * from public.outbox_inbound
      where sender = any (p_recipients) and id > p_after
      order by id limit p_most
    ) i;
  elsif p_part = 'reports' then
    select
      jsonb_agg(outbox_engine.person_row('waiting_reports', to_jsonb(w), p_texts))
        filter (where r.is_about_it),
      max(r.key::text)
    into v_rows, v_after
    from outbox_engine.reports_about(
      p_recipients, coalesce(nullif(p_after, ''), '00000000-0000-0000-0000-000000000000')::uuid, p_most) r
    join outbox_engine.waiting_reports w on w.key = r.key;
  elsif p_part = 'callbacks' then
    select
      jsonb_agg(outbox_engine.person_row('kept_callbacks', jsonb_build_object(
        'id', k.id, 'received_at', k.received_at, 'why', k.why, 'raw', encode(k.raw, 'escape')), p_texts))
        filter (where c.names_it),
      max(c.id)::text
    into v_rows, v_after
    from outbox_engine.callbacks_naming(p_recipients, coalesce(nullif(p_after, '')::bigint, 0), p_most) c
    join outbox_engine.kept_callbacks k on k.id = c.id;
  end if;
  return jsonb_build_object('rows', coalesce(v_rows, '[]'), 'after', v_after);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_person_numbers,
  public.outbox_find_person,
  public.outbox_person_messages,
  public.outbox_person_records
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_person_numbers,
  public.outbox_find_person,
  public.outbox_person_messages,
  public.outbox_person_records
to service_role;
