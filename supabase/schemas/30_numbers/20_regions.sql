-- The prefixes of countries. A later file fills the table.

create table outbox_engine.number_regions (
  prefix text primary key,
  region text not null
);
alter table outbox_engine.number_regions enable row level security;

-- The view outbox_figures reads the prefixes with the rights of its reader. They are no secret.
create policy number_regions_server on outbox_engine.number_regions for select to service_role using (true);
