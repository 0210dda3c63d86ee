-- What stops a message whatever made it: a cancel request, its expiry, an opt-out, a text that cannot be
-- made, or a country that is not allowed. The same rules for the claim and for previews.

-- Returns only the messages that must not go out, by their place in the arrays, with the final status and the
-- reason. `p_have_text` is false where no text could be made; the caller then finds the reason, because it
-- knows the template. `p_allowed_countries` null allows all, and looks no country up.
create function outbox_engine.judge_messages(
  p_recipients text[], p_have_text boolean[], p_cancel_requested boolean[], p_expires_at timestamptz[],
  p_allowed_countries text[], p_now timestamptz
) returns table (place bigint, status text, error text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select m.place, v.status, v.error
  from unnest(p_recipients, p_have_text, p_cancel_requested, p_expires_at)
    with ordinality m (recipient, has_text, cancel_requested, expires_at, place)
  -- A limit keeps each lookup an index probe, whatever the planner believes of the table's size.
  left join lateral (
    select s.reason from public.outbox_suppressions s where s.recipient = m.recipient limit 1
  ) opt_out on true
  left join outbox_engine.countries_of(case when p_allowed_countries is not null then p_recipients end) c
    on c.place = m.place
  cross join lateral (
    select m.expires_at <= p_now as has_expired,
      p_allowed_countries is not null and (c.country = any (p_allowed_countries)) is not true as is_abroad
  ) x
  cross join lateral (
    select
      case
        when m.cancel_requested then 'cancelled'
        when x.has_expired then 'expired'
        when opt_out.reason is not null then 'suppressed'
        when not m.has_text or x.is_abroad then 'failed'
      end as status,
      case
        when m.cancel_requested then null
        when x.has_expired then 'expired before it could be sent'
        when opt_out.reason is not null then 'the recipient opted out: ' || opt_out.reason
        when not m.has_text then null
        when x.is_abroad then format('country %s is not in ALLOWED_COUNTRIES', coalesce(c.country, 'unknown'))
      end as error
  ) v
  where v.status is not null
$$;
