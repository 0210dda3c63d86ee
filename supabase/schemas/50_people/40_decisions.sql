-- What a person decides about replies.

-- Called by `outbox replies`. One page of the replies, the newest first, before the reply that `p_before_at`
-- and `p_before_id` name (null for the first page); only those that wait for a person if `p_unclear`.
create function public.outbox_list_replies(
  p_unclear boolean, p_before_at timestamptz, p_before_id text, p_most integer
) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(r) order by r.recorded_at desc, r.id desc), '[]')
    from (
      select i.id, i.sender, i.recipient, i.body, i.received_at, i.recorded_at, i.effect, i.unclear,
        i.decided_at
      from public.outbox_inbound i
      where (not p_unclear or i.unclear)
        and i.recorded_at <= coalesce(p_before_at, 'infinity')
        and (p_before_at is null or (i.recorded_at, i.id) < (p_before_at, p_before_id))
      order by i.recorded_at desc, i.id desc
      limit p_most
    ) r
  );
end
$$;

-- What a decision does to one reply: a code, and whether it is done. A reply that is an opt-out already stays
-- one: only deleting the suppression lifts it.
create function outbox_engine.decision_outcome(
  i public.outbox_inbound, p_opt_out boolean, out outcome text, out done boolean
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select x.outcome, x.outcome in ('opted_out', 'dismissed')
  from (
    select case
      when i.id is null then 'missing'
      when p_opt_out and i.sender !~ outbox_engine.e164_pattern() then 'no_number'
      when p_opt_out then 'opted_out'
      when i.effect = 'stop' then 'is_opt_out'
      when i.unclear or i.decided_at is not null then 'dismissed'
      else 'not_unclear'
    end as outcome
  ) x
$$;

-- Called by `outbox replies decide`. Takes these replies for opt-outs, as if each were STOP, or for ordinary
-- messages. Any reply can be taken for an opt-out, whatever words it has. An opt-out counts from the time of
-- the reply, so a later START or an operator's decision stays (`superseded`). Safe to repeat. With
-- `p_dry_run` nothing changes, and `superseded` is not found out.
create function public.outbox_decide_replies(p_ids text[], p_opt_out boolean, p_dry_run boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_outcomes jsonb;
  v_decided text[];
begin
  perform from public.outbox_inbound where id = any (p_ids) order by id for update;
  select
    jsonb_agg(
      jsonb_build_object('id', x.id, 'sender', i.sender, 'outcome', o.outcome, 'done', o.done) order by x.id),
    array_agg(x.id) filter (where o.done and not p_dry_run)
  into v_outcomes, v_decided
  from (select distinct unnest(p_ids) as id) x
  left join public.outbox_inbound i on i.id = x.id
  cross join lateral outbox_engine.decision_outcome(i, p_opt_out) o;

  update public.outbox_inbound
  set
    unclear = false,
    effect = case when p_opt_out then 'stop' else effect end,
    decided_at = coalesce(decided_at, outbox_engine.now())
  where id = any (v_decided);
  if p_opt_out and v_decided is not null then
    perform outbox_engine.apply_replies(v_decided);
    select jsonb_agg(
      case
        when d.value ->> 'outcome' = 'opted_out' and s.recipient is null
        then d.value || '{"outcome": "superseded"}'
        else d.value
      end
      order by d.place)
    into v_outcomes
    from jsonb_array_elements(v_outcomes) with ordinality d (value, place)
    left join public.outbox_suppressions s on s.recipient = d.value ->> 'sender';
  end if;
  if not p_dry_run then
    perform outbox_engine.audit_outcomes('decide_replies', v_outcomes);
  end if;
  return coalesce(v_outcomes, '[]');
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_decide_replies,
  public.outbox_list_replies
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_decide_replies,
  public.outbox_list_replies
to service_role;
