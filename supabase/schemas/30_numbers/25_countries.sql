-- The country of a number, by its longest known prefix.

-- The ISO 3166 code of each E.164 number's country, by its place in the array; null where no prefix is known,
-- because `+1` alone is no country. Of the prefixes that match, the longest sorts last, so the primary key
-- gives the answer without a sort. The prefixes are written out because a subquery for each number would cost
-- more than the lookup. The view outbox_figures has the same rule as joins.
create function outbox_engine.countries_of(p_recipients text[]) returns table (place bigint, country text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select n.place, r.region
  from unnest(p_recipients) with ordinality n (recipient, place)
  left join lateral (
    select x.region
    from outbox_engine.number_regions x
    where x.prefix = any (array[
      substr(n.recipient, 2, 1), substr(n.recipient, 2, 2), substr(n.recipient, 2, 3),
      substr(n.recipient, 2, 4), substr(n.recipient, 2, 5), substr(n.recipient, 2, 6),
      substr(n.recipient, 2, 7), substr(n.recipient, 2, 8)])
    order by x.prefix desc
    limit 1
  ) r on true;
end
$$;

-- The same for one number.
create function outbox_engine.country_of(p_recipient text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select c.country from outbox_engine.countries_of(array[p_recipient]) c
$$;
