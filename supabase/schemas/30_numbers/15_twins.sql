-- Numbers that are written in two ways and ring one phone.

-- The other form of a number, or null. An opt-out stops both. Landlines get another form too, which belongs
-- to nobody.
--
-- - Mexico: until August 3, 2019 mobile numbers had a 1 behind +52 (IFT, the regulator, ended it)
-- - Argentina: mobile numbers have a 9 behind +54 where they are called from abroad, and not in the country
-- - Brazil: mobile numbers got a 9 before their eight digits, which begin with 6 to 9, from 2012 to 2016
--   (Anatel, resolution 553/2010)
create function outbox_engine.twin_of(p_number text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_number ~ '^\+521[2-9][0-9]{9}$' then '+52' || substr(p_number, 5)
    when p_number ~ '^\+52[2-9][0-9]{9}$' then '+521' || substr(p_number, 4)
    when p_number ~ '^\+549[1-8][0-9]{9}$' then '+54' || substr(p_number, 5)
    when p_number ~ '^\+54[1-8][0-9]{9}$' then '+549' || substr(p_number, 4)
    when p_number ~ '^\+55[1-9][0-9]9[6-9][0-9]{7}$' then left(p_number, 5) || substr(p_number, 7)
    when p_number ~ '^\+55[1-9][0-9][6-9][0-9]{7}$' then left(p_number, 5) || '9' || substr(p_number, 6)
  end
$$;

-- These numbers and their other forms.
create function outbox_engine.with_twins(p_numbers text[]) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array(
    select n from unnest(p_numbers) n
    union
    select t from unnest(p_numbers) n cross join outbox_engine.twin_of(n) t where t is not null
  )
$$;
