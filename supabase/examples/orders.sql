-- Texts about orders: a table of orders that an app owns, a text when one is placed, and a text when it is
-- shipped. Run this once, in the SQL editor or with psql, after changing the names to yours. The app only
-- writes orders.

create table public.orders (
  id bigint generated always as identity primary key,
  customer_id uuid not null default auth.uid(),
  phone text not null,
  total_cents integer not null,
  status text not null default 'placed' check (status in ('placed', 'shipped', 'cancelled'))
);
alter table public.orders enable row level security;
create policy orders_own on public.orders for select to authenticated
  using (customer_id = (select auth.uid()));
create policy orders_own_insert on public.orders for insert to authenticated
  with check (customer_id = (select auth.uid()));
grant select, insert (phone, total_cents) on public.orders to authenticated;
grant select, insert, update, delete on public.orders to service_role;

-- Security definer: a signed-in customer who places an order may not insert into the outbox, and needs no
-- such right. Who can place orders can have texts sent, so limit that as you limit orders.
--
-- The key is made of the order and its status, so an order has one text for each, even if the status goes
-- back and forth. The text commits with the order or not at all. If the outbox refuses it, for example for a
-- phone number without its country code, the order is placed nevertheless and the trigger raises a warning:
-- an order matters more than a text about it. To refuse the order as well, leave out the exception block; the
-- app then gets the outbox's error, which says what to do.
create function public.text_about_order() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  insert into public.outbox (recipient, body, owner_id, idempotency_key, metadata)
  values (
    new.phone,
    case new.status
      when 'placed' then format('We have your order %s. Thank you!', new.id)
      else format('Your order %s is on its way.', new.id)
    end,
    new.customer_id,
    format('order-%s-%s', new.id, new.status),
    jsonb_build_object('order', new.id)
  )
  on conflict (idempotency_key) do nothing;
  return null;
exception when data_exception or integrity_constraint_violation then
  raise warning 'order % gets no text: %', new.id, sqlerrm;
  return null;
end
$$;
revoke all on function public.text_about_order() from public, anon, authenticated;
create trigger orders_placed after insert on public.orders
  for each row when (new.status = 'placed') execute function public.text_about_order();
create trigger orders_shipped after update of status on public.orders
  for each row when (new.status = 'shipped' and old.status <> 'shipped')
  execute function public.text_about_order();

notify pgrst, 'reload schema';
