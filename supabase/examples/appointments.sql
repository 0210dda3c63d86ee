-- An example from life: a table of appointments that an app owns, and reminders a day and an hour before each. Run it once, in the
-- SQL editor or with psql, and change names to taste. The app then knows nothing of texts; it books, moves and cancels.

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

-- A day is a day on the patient's wall clock, also when clocks change; an hour is always sixty minutes. A reminder that could not
-- go out in time is dropped after half an hour.
insert into public.outbox_campaigns (name, template, schedule, offsets, late_limit, status)
values ('appointments', 'appointment', 'reminder', '{-1 day,-1 hour}', '30 minutes', 'active');

-- Keeps the campaign's members in step: a booked appointment is one, a cancelled or deleted one is none, a moved one is moved. One
-- that nobody can be reminded of, for its phone or its zone or because the campaign is gone, is booked all the same, with a warning
-- in the log: a booking is worth more than its reminders.
create function public.remind_of_appointment() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_when text := '';
begin
  if tg_op <> 'DELETE' and new.status = 'booked' then
    begin
      v_when := to_char(new.starts_at at time zone new.timezone, 'Dy DD Mon "at" HH24:MI');
    exception when invalid_parameter_value then
      null; -- No such zone, for which the member is refused below, in words.
    end;
    insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)
    values ('appointments', new.id::text, new.phone, new.timezone, new.starts_at, jsonb_build_object(
      'patient', nullif(btrim(new.patient), ''), 'when', v_when))
    on conflict (campaign, external_id) do update
    set recipient = excluded.recipient, timezone = excluded.timezone, event_at = excluded.event_at, parameters = excluded.parameters;
  else
    delete from public.outbox_campaign_members where campaign = 'appointments' and external_id = coalesce(new.id, old.id)::text;
  end if;
  return null;
exception when data_exception or integrity_constraint_violation then
  raise warning 'appointment % gets no reminders: %', new.id, sqlerrm;
  delete from public.outbox_campaign_members where campaign = 'appointments' and external_id = new.id::text;
  return null;
end
$$;
revoke all on function public.remind_of_appointment() from public;
create trigger appointments_reminders after insert or update or delete on public.appointments for each row
  execute function public.remind_of_appointment();

notify pgrst, 'reload schema';
