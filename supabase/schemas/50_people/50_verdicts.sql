-- What stops a message because of its recipient: an opt-out, or a country that is not allowed. The same rule
-- for the claim and for previews.

-- Returns only the recipients that must not be sent to, by their place in the array, with the final status
-- and the reason. `p_allowed_countries` null allows all, and looks no country up.
create function outbox_engine.judge_recipients(p_recipients text[], p_allowed_countries text[])
returns table (place bigint, status text, error text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select r.place, 'suppressed', 'the recipient opted out: ' || s.reason
  from unnest(p_recipients) with ordinality r (recipient, place)
  -- A limit keeps each lookup an index probe, whatever the planner believes of the table's size.
  cross join lateral (
    select x.reason from public.outbox_suppressions x where x.recipient = r.recipient limit 1
  ) s;

  if p_allowed_countries is not null then
    return query
    select c.place, 'failed', format('country %s is not allowed', coalesce(c.country, 'unknown'))
    from outbox_engine.countries_of(p_recipients) c
    where (c.country = any (p_allowed_countries)) is not true
      and not exists (
        select from public.outbox_suppressions x where x.recipient = p_recipients[c.place]);
  end if;
end
$$;
