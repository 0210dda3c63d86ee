-- The country of a number, by its longest known prefix. The next file holds the prefixes.

create table outbox_engine.number_regions (
  prefix text primary key,
  region text not null
);
alter table outbox_engine.number_regions enable row level security;

-- The ISO 3166 code of an E.164 number's country, or null where no prefix is known; `+1` alone is no country.
-- Of the prefixes that match, the longest sorts last, so the primary key gives the answer without a sort.
create function outbox_engine.country_of(p_recipient text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select r.region
  from outbox_engine.number_regions r
  where r.prefix = any (array(select substr(p_recipient, 2, n) from generate_series(1, 8) n))
  order by r.prefix desc
  limit 1
$$;

-- The view outbox_figures reads the prefixes with the rights of its reader. They are no secret.
create policy number_regions_server on outbox_engine.number_regions for select to service_role using (true);
