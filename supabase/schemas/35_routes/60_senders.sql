-- Sender aliases: what a sender is called at a plan.

-- How a plan names this sender for numbers of this country (null: not known), and what the provider asks for
-- beside it: the row of the country, else that of all countries, else the sender as it is.
create function outbox_engine.sender_at(
  p_sender text, p_provider text, p_plan text, p_country text, out sender text, out options jsonb
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  select s.sender, s.options
  into sender, options
  from public.outbox_senders s
  where s.alias = p_sender and s.provider = p_provider and s.plan = p_plan and s.country in (p_country, '')
  order by s.country = ''
  limit 1;
  if not found then
    sender := p_sender;
  end if;
end
$$;
