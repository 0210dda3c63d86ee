-- Appointment reminders: a table of appointments that an app owns, and a text a day and an hour before each.
-- Run this once, in the SQL editor or with psql, after changing the names to yours. The app only books, moves
-- and cancels appointments.

create table public.appointments (
  id bigint generated always as identity primary key,
  patient text not null,
  phone text not null,
  timezone text not null,
  starts_at timestamptz not null,
  status text not null default 'booked' check (status in ('booked', 'cancelled'))
);
alter table public.appointments enable row level security;

insert into public.outbox_templates (name, body, defaults) values (
  'appointment',
  'Hi {{patient}}, we see you {{when}}. To get no more texts, reply STOP.',
  '{"patient": "there"}'
);

-- A day is a calendar day in the patient's time zone, also when clocks change; an hour is always 60 minutes.
-- A reminder that could not be sent in time is skipped after half an hour.
insert into public.outbox_campaigns (name, template, schedule, offsets, late_limit, status)
values ('appointments', 'appointment', 'reminder', '{-1 day,-1 hour}', '30 minutes', 'active');

-- The trigger keeps the campaign's members up to date: each booked appointment has one member, which moves
-- with it and is deleted with it. If the member is refused (wrong phone number or time zone, no campaign),
-- the appointment is booked nevertheless and the trigger raises a warning: a booking matters more than a
-- reminder.
create function public.remind_of_appointment() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_when text := '';
begin
  if tg_op <> 'DELETE' and new.status = 'booked' then
    begin
      v_when := to_char(new.starts_at at time zone new.timezone, 'Dy DD Mon "at" HH24:MI');
    exception when invalid_parameter_value then
      null; -- There is no such time zone. The insert below is refused for it, with an explanation.
    end;
    insert into public.outbox_campaign_members
      (campaign, external_id, recipient, timezone, event_at, parameters)
    values (
      'appointments', new.id::text, new.phone, new.timezone, new.starts_at,
      jsonb_build_object('patient', nullif(btrim(new.patient), ''), 'when', v_when)
    )
    on conflict (campaign, external_id) do update
    set
      recipient = excluded.recipient, timezone = excluded.timezone,
      event_at = excluded.event_at, parameters = excluded.parameters;
  else
    delete from public.outbox_campaign_members
    where campaign = 'appointments' and external_id = coalesce(new.id, old.id)::text;
  end if;
  return null;
exception when data_exception or integrity_constraint_violation then
  raise warning 'appointment % gets no reminders: %', new.id, sqlerrm;
  delete from public.outbox_campaign_members
  where campaign = 'appointments' and external_id = new.id::text;
  return null;
end
$$;
revoke all on function public.remind_of_appointment() from public;
create trigger appointments_reminders after insert or update or delete on public.appointments
  for each row execute function public.remind_of_appointment();

-- `truncate` runs no trigger for rows. Without this one, the reminders of appointments that are gone would go
-- out, and members of old appointments would stand in for new ones with the same ids.
create function public.forget_appointments() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  delete from public.outbox_campaign_members where campaign = 'appointments';
  return null;
end
$$;
revoke all on function public.forget_appointments() from public;
create trigger appointments_truncated after truncate on public.appointments
  for each statement execute function public.forget_appointments();

notify pgrst, 'reload schema';
