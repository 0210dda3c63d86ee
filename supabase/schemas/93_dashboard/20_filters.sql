-- Filters: which messages a list shows or a bulk action takes.

create type outbox_engine.message_filter as (
  recipients text[],
  last_digits text,
  statuses text[],
  codes integer[],
  countries text[],
  campaign text,
  template text,
  -- 'provider:plan'
  plan text,
  priority_from smallint,
  priority_to smallint,
  since timestamptz,
  until timestamptz,
  idempotency_key text,
  batch_id text,
  dispatch_id uuid,
  metadata jsonb,
  id bigint,
  below_id bigint
);

-- Refuses values of a filter that no message can have.
create function outbox_engine.check_filter(p_filter jsonb, f outbox_engine.message_filter) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_known constant text[] := array[
    'recipients', 'last_digits', 'statuses', 'codes', 'countries', 'campaign', 'template', 'plan', 'priority',
    'since', 'until', 'idempotency_key', 'batch_id', 'dispatch_id', 'metadata', 'id', 'below_id'
  ];
  v_wrong text;
begin
  select min(key) into v_wrong from jsonb_object_keys(p_filter) key where key <> all (v_known);
  if v_wrong is not null then
    perform outbox_engine.refuse(
      format('%s is not a key of a filter', v_wrong), 'Use ' || array_to_string(v_known, ', ') || '.');
  end if;
  select r into v_wrong from unnest(f.recipients) r where r !~ outbox_engine.e164_pattern() limit 1;
  if v_wrong is not null then
    perform outbox_engine.refuse(
      format('recipient %s is not an E.164 number', v_wrong),
      'Write it with + and the country code, digits only, such as +14155550123.');
  elsif cardinality(f.recipients) > 50 then
    perform outbox_engine.refuse(
      format('the filter names %s numbers', cardinality(f.recipients)), 'Name at most 50.');
  elsif f.last_digits !~ '^[0-9]{4,10}$' then
    perform outbox_engine.refuse('last_digits are not 4 to 10 digits', 'Give the last digits of a number.');
  elsif f.plan !~ '^[^:]+:.+$' then
    perform outbox_engine.refuse(
      format('plan %L is not provider:plan', f.plan), '`outbox plans` lists the plans.');
  elsif jsonb_typeof(f.metadata) <> 'object' then
    perform outbox_engine.refuse('metadata is not an object', 'Give keys with their values.');
  end if;
  select s into v_wrong
  from unnest(f.statuses) s
  where outbox_engine.rank_of(s) is null
    and s not in ('scheduled', 'pending', 'sending', 'sent', 'suppressed')
  limit 1;
  if v_wrong is not null then
    perform outbox_engine.refuse(format('%L is not a status', v_wrong), 'docs/statuses.md lists them.');
  end if;
end
$$;

-- A filter as its JSON says. Empty lists are as if they were not given. Raises an error for unknown keys and
-- values.
create function outbox_engine.read_filter(p_filter jsonb) returns outbox_engine.message_filter
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_given constant jsonb := jsonb_strip_nulls(coalesce(outbox_engine.given_json(p_filter), '{}'));
  v_priority constant text := v_given ->> 'priority';
  f outbox_engine.message_filter;
begin
  if jsonb_typeof(v_given) <> 'object' then
    perform outbox_engine.refuse('the filter is not an object', 'Give keys with their values.');
  end if;
  f := jsonb_populate_record(null::outbox_engine.message_filter, v_given);
  f.recipients := nullif(f.recipients, '{}');
  f.statuses := nullif(f.statuses, '{}');
  f.codes := nullif(f.codes, '{}');
  f.countries := nullif(f.countries, '{}');
  f.metadata := nullif(f.metadata, '{}');
  if v_priority = 'urgent' then
    f.priority_to := 99;
  elsif v_priority = 'normal' then
    f.priority_from := 100;
  else
    f.priority_from := v_priority;
    f.priority_to := v_priority;
  end if;
  perform outbox_engine.check_filter(v_given, f);
  return f;
end
$$;

-- The conditions of a filter on a message `o`, with the filter as $1. Ids are conditions of the walk.
create function outbox_engine.filter_conditions(f outbox_engine.message_filter) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(' and ',
    'true',
    case when f.id is not null then 'o.id = ($1).id' end,
    case when f.recipients is not null then 'o.recipient = any (($1).recipients)' end,
    case when f.last_digits is not null
      then 'right(o.recipient, length(($1).last_digits)) = ($1).last_digits' end,
    case when f.statuses is not null then 'o.status = any (($1).statuses)' end,
    case when f.codes is not null then 'o.status_code = any (($1).codes)' end,
    case when f.campaign is not null then 'o.campaign = ($1).campaign' end,
    case when f.template is not null then 'o.template = ($1).template' end,
    case when f.priority_from is not null then 'o.priority >= ($1).priority_from' end,
    case when f.priority_to is not null then 'o.priority <= ($1).priority_to' end,
    case when f.since is not null then 'o.created_at >= ($1).since' end,
    case when f.until is not null then 'o.created_at < ($1).until' end,
    case when f.idempotency_key is not null then 'o.idempotency_key = ($1).idempotency_key' end,
    case when f.metadata is not null then 'o.metadata @> ($1).metadata' end,
    -- The first digits leave out most numbers of other countries: finding the country takes much longer.
    case when f.countries is not null then format(
      'array[substr(o.recipient, 2, 1), substr(o.recipient, 2, 2), substr(o.recipient, 2, 3)] && %L::text[]',
      array(
        select distinct left(r.prefix, 3)
        from outbox_engine.number_regions r
        where r.region = any (f.countries)
      )) || ' and outbox_engine.country_of(o.recipient) = any (($1).countries)' end,
    case when f.plan is not null then 'exists (select from outbox_engine.dispatches d'
      || ' where d.id = o.dispatch_id and d.provider || '':'' || d.plan = ($1).plan)' end)
$$;
