-- The list of numbers that get no messages, in and out, for `outbox suppressions`.

-- Arrays of one length; '' for a reason takes 'imported'. What is on the list already stays as it is, so that saying it again
-- changes nothing; only what a recipient asked for becomes an operator's decision by an operator's line, with its reason if it gives
-- one. A source of 'reply' says that the recipient asked for it, so that a START of theirs lifts it, unless it is older than the
-- import. Messages that wait for these numbers end at once. Answers how many were new.
create function public.outbox_import_suppressions(p_recipients text[], p_reasons text[], p_sources text[]) returns integer
language sql security definer set search_path = ''
as $$
  with listed as materialized (
    select distinct on (x.recipient) x.recipient, nullif(x.reason, '') as reason, x.source = 'reply' as replied
    from unnest(p_recipients, p_reasons, p_sources) x (recipient, reason, source)
    left join public.outbox_suppressions s on s.recipient = x.recipient
    where s.recipient is null or s.by_engine and x.source is distinct from 'reply'
    order by x.recipient
  ),
  decided as (
    insert into public.outbox_suppressions as s (recipient, reason)
    select recipient, coalesce(reason, 'imported') from listed where replied is not true
    on conflict (recipient) do update
    set by_engine = false, reason = coalesce((select l.reason from listed l where l.recipient = excluded.recipient), s.reason)
    where s.by_engine
    -- A row that was there before is locked by this transaction.
    returning s.xmax = '0'::xid as is_new
  ),
  asked as (
    select outbox_engine.heed_opt_outs(array_agg(recipient), array_agg(coalesce(reason, 'imported')), array_agg(outbox_engine.now())) as added
    from listed
    where replied
    having count(*) > 0
  )
  select (select count(*) from decided where is_new)::integer + coalesce((select added from asked), 0)
$$;

-- One page of the list, by number, after `p_after` ('' for the first).
create function public.outbox_export_suppressions(p_after text, p_most integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'recipient', s.recipient, 'reason', s.reason, 'replied', s.by_engine, 'created_at', s.created_at) order by s.recipient), '[]')
  from (select * from public.outbox_suppressions where recipient > p_after order by recipient limit p_most) s
$$;

notify pgrst, 'reload schema';
