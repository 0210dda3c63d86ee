-- The country a number belongs to, by its longest known prefix. The prefixes come from the next file.

create table outbox_engine.number_regions (
  prefix text primary key,
  region text not null
);
alter table outbox_engine.number_regions enable row level security;

-- ISO 3166 code of an E.164 number's country, or null where the prefix is not known. `+1` alone is not a
-- country. The claim calls it once a row. Of prefixes that begin alike the longest sorts last, so the index
-- gives the answer without a sort.
create function outbox_engine.country_of(p_recipient text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select r.region
  from outbox_engine.number_regions r
  where r.prefix = any (array(select substr(p_recipient, 2, n) from generate_series(1, 8) n))
  order by r.prefix desc
  limit 1
$$;

-- The view is read with the reader's own rights. These prefixes are no secret.
create policy number_regions_server on outbox_engine.number_regions for select to service_role using (true);
