-- The calls that bring delivery reports, and callbacks that could not be read.

-- The reports in these arrays of one length, with '' for missing values. `p_raws` is the JSON text of each.
-- Reports that are the same have the same key.
create function outbox_engine.parsed_reports(
  p_batch_ids text[], p_recipients text[], p_statuses text[], p_codes text[], p_ats text[],
  p_references text[], p_raws text[]
) returns outbox_engine.report[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select row(
      x.batch_id, x.recipient, x.status, nullif(x.code, '')::integer, nullif(x.at, '')::timestamptz,
      case
        when x.reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then x.reference::uuid
      end,
      x.raw::jsonb,
      md5(concat_ws(
        '|', x.batch_id, x.recipient, x.status, x.code, extract(epoch from nullif(x.at, '')::timestamptz)
      ))::uuid
    )::outbox_engine.report
    from unnest(p_batch_ids, p_recipients, p_statuses, p_codes, p_ats, p_references, p_raws)
      x (batch_id, recipient, status, code, at, reference, raw)
  );
end
$$;

-- Called by the webhook app for a group of callbacks and by the reconcile job for a page of the provider's
-- list, with the arrays of `parsed_reports`. All or nothing; a repetition changes nothing. Returns jsonb with
-- these keys:
--
-- - `new`: how many reports on known messages are new
--
-- - `delivered_seconds`: for each new report of a delivery, how long after the acceptance that was; null
--   where there is none
--
-- - `traces`: the trace contexts of the messages of the new reports, at most 128; null where they have none
--
-- - `repeated`: the places of reports that were recorded before, the first place is 1; absent where all are
--   new. A report whose message is gone is among them.
create function public.outbox_take_reports(
  p_source text, p_batch_ids text[], p_recipients text[], p_statuses text[], p_codes text[], p_ats text[],
  p_references text[], p_raws text[]
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_reports constant outbox_engine.report[] := outbox_engine.parsed_reports(
    p_batch_ids, p_recipients, p_statuses, p_codes, p_ats, p_references, p_raws);
  v_answer constant jsonb := outbox_engine.apply_new_reports(
    array(select distinct on (r.key) r from unnest(v_reports) r order by r.key), p_source);
  v_new uuid[];
begin
  if (v_answer ->> 'new')::integer = cardinality(v_reports) then
    return v_answer - 'keys';
  end if;
  v_new := array(select jsonb_array_elements_text(v_answer -> 'keys')::uuid);
  return v_answer - 'keys' || jsonb_build_object('repeated', (
    select jsonb_agg(r.place order by r.place)
    from (
      select x.key, x.place, row_number() over (partition by x.key order by x.place) > 1 as is_copy
      from unnest(v_reports) with ordinality
        x (batch_id, recipient, status, code, at, reference, raw, key, place)
    ) r
    where r.is_copy
      or r.key <> all (v_new)
        and not exists (select from outbox_engine.waiting_reports w where w.key = r.key)
  ));
end
$$;

-- Called by processes of release 0.1.0 in place of `outbox_take_reports`. Returns how many are new.
create function public.outbox_record_reports(
  p_source text, p_batch_ids text[], p_recipients text[], p_statuses text[], p_codes text[], p_ats text[],
  p_references text[], p_raws text[]
) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return public.outbox_take_reports(
    p_source, p_batch_ids, p_recipients, p_statuses, p_codes, p_ats, p_references, p_raws) ->> 'new';
end
$$;

-- Called by the webhook app for callbacks that it could not read or the database refused. Keeps each once
-- and raises an alarm for new ones. `p_raws` is base64.
create function public.outbox_keep_callbacks(p_whys text[], p_raws text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with kept as (
    insert into outbox_engine.kept_callbacks (received_at, why, raw, digest)
    select outbox_engine.now(), x.why, decode(x.raw, 'base64'), md5(x.raw)::uuid
    from unnest(p_whys, p_raws) x (why, raw)
    on conflict do nothing
    returning why
  )
  select outbox_engine.alarm('callback.unusable', jsonb_build_object('count', count(*), 'why', min(why)))
  from kept
  having count(*) > 0
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_record_reports,
  public.outbox_take_reports,
  public.outbox_keep_callbacks
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_record_reports,
  public.outbox_take_reports,
  public.outbox_keep_callbacks
to service_role;
