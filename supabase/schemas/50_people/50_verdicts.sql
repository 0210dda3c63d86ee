-- What stops a message, of an app or of a campaign. The same rules for the claim, for previews and for halves
-- of refused dispatches.

-- A message as `judge_messages` needs it. `place` names it in the answer.
create type outbox_engine.outgoing_message as (
  place bigint,
  recipient text,
  -- The template that gives no text, with these parameters. Null where the message has a text.
  failing_template text,
  parameters jsonb,
  cancel_requested boolean,
  expires_at timestamptz
);

-- Returns only the messages that must not go out, with the final status and the error, which is null for a
-- cancellation. Where several reasons apply, the first of these counts: cancel request, expiry, opt-out,
-- text, recipient, country. What a campaign says comes after them: first `judge_times`, then `judge_limits`.
-- `p_allowed_countries` null allows all, and looks no country up. It may hold the beginnings of allowed
-- numbers too, with `+`; then a number must begin with one of them.
create function outbox_engine.judge_messages(
  p_messages outbox_engine.outgoing_message[], p_allowed_countries text[], p_now timestamptz
) returns table (place bigint, status text, error text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_beginnings constant text[] := array(select a from unnest(p_allowed_countries) a where a like '+%');
  v_has_countries constant boolean := cardinality(p_allowed_countries) > cardinality(v_beginnings)
    or p_allowed_countries = '{}';
  v_countries text[];
begin
  if v_has_countries then
    v_countries := array(
      select c.country
      from outbox_engine.countries_of(array(select m.recipient from unnest(p_messages) m)) c
      order by c.place);
  end if;

  return query
  select m.place,
    case when v.reason in ('text', 'recipient', 'country') then 'failed' else v.reason end,
    case v.reason
      when 'expired' then outbox_engine.expired_error()
      when 'suppressed' then outbox_engine.opted_out_error(s.reason)
      when 'text' then outbox_engine.template_row_problem(m.failing_template, m.parameters)
      when 'recipient' then 'the number is not among the allowed recipients'
      when 'country' then format('country %s is not allowed', coalesce(m.country, 'unknown'))
    end
  from unnest(p_messages, v_countries)
    m (place, recipient, failing_template, parameters, cancel_requested, expires_at, country)
  -- A limit keeps each lookup an index probe, whatever the planner believes of the table's size.
  left join lateral (
    select x.reason from public.outbox_suppressions x where x.recipient = m.recipient limit 1
  ) s on true
  cross join lateral (
    select case
      when m.cancel_requested then 'cancelled'
      when m.expires_at <= p_now then 'expired'
      when s.reason is not null then 'suppressed'
      when m.failing_template is not null then 'text'
      when v_beginnings <> '{}' and not exists (
        select from unnest(v_beginnings) b where starts_with(m.recipient, b)
      ) then 'recipient'
      when v_has_countries and (m.country = any (p_allowed_countries)) is not true then 'country'
    end as reason
  ) v
  where v.reason is not null;
end
$$;
