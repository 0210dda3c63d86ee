-- The list of numbers that get no messages, in and out, for `outbox suppressions`.

-- Arrays of one length; '' for a reason takes 'imported'. What is on the list already stays as it is, so that saying it again
-- changes nothing. A source of 'reply' says that the recipient asked for it, so that a START of theirs lifts it, unless it is older
-- than the import. Messages that wait for these numbers end at once. Answers how many were new.
create function public.outbox_import_suppressions(p_recipients text[], p_reasons text[], p_sources text[]) returns integer
language sql security definer set search_path = ''
as $$
  with listed as materialized (
    select distinct on (x.recipient) x.recipient, coalesce(nullif(x.reason, ''), 'imported') as reason, x.source = 'reply' as replied
    from unnest(p_recipients, p_reasons, p_sources) x (recipient, reason, source)
    where not exists (select from public.suppressions s where s.recipient = x.recipient)
    order by x.recipient
  ),
  decided as (
    insert into public.suppressions (recipient, reason)
    select recipient, reason from listed where replied is not true
    on conflict do nothing
    returning recipient
  ),
  asked as (
    select outbox_engine.heed_opt_outs(array_agg(recipient), array_agg(reason), array_agg(outbox_engine.now())) as added
    from listed
    where replied
    having count(*) > 0
  )
  select (select count(*) from decided)::integer + coalesce((select added from asked), 0)
$$;

-- One page of the list, by number, after `p_after` ('' for the first).
create function public.outbox_export_suppressions(p_after text, p_most integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'recipient', s.recipient, 'reason', s.reason, 'replied', s.by_engine, 'created_at', s.created_at) order by s.recipient), '[]')
  from (select * from public.suppressions where recipient > p_after order by recipient limit p_most) s
$$;

notify pgrst, 'reload schema';
