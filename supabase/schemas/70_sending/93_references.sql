-- The provider's list of requests, compared with what the database knows: a reference of its own that it does
-- not know shows that it was restored from a backup.

-- What these references are to the database: `known`, `unknown` (made by this installation, but after the
-- backup), or `other`. In the order of `p_references`. `p_or_earlier` as in `is_own_reference`.
create function outbox_engine.judge_references(p_references text[], p_or_earlier boolean) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select case
      when x.id is null then 'other'
      when exists (select from outbox_engine.dispatches d where d.id = x.id) then 'known'
      when exists (select from outbox_engine.adopted_messages a where a.reference = x.id) then 'known'
      when outbox_engine.is_own_reference(x.id::text, p_or_earlier) then 'unknown'
      else 'other'
    end
    from (
      select r.place,
        case
          when r.reference ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then r.reference::uuid
        end as id
      from unnest(p_references) with ordinality r (reference, place)
    ) x
    order by x.place
  );
end
$$;

-- Called by processes with the references of the provider's newest requests, before their first claim and
-- now and then. Returns what `judge_references` says of each. Where one is unknown, nothing is sent any more
-- until `outbox adopt` has read the list. Unknown ones from before an operator ended such a pause without an
-- adoption count as `other`; `p_times` are the provider's times. Null, and nothing happens, where the
-- database does not send from the project with this host: the original of a copy goes on making requests.
create function public.outbox_check_references(
  p_provider text, p_plan text, p_project text, p_references text[], p_times timestamptz[]
) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
as $$
declare
  v_dismissed_at constant timestamptz := (
    select max(dismissed_at) from outbox_engine.timelines where provider = p_provider and plan = p_plan);
  v_verdicts text[] := outbox_engine.judge_references(
    p_references, (select asks_earlier from outbox_engine.installation));
begin
  v_verdicts := array(
    select case when v.verdict = 'unknown' and v.at <= v_dismissed_at then 'other' else v.verdict end
    from unnest(v_verdicts, p_times) with ordinality v (verdict, at, place)
    order by v.place);
  if not outbox_engine.sends_from(p_project) then
    return null;
  end if;
  if 'unknown' = any (v_verdicts) then
    perform outbox_engine.pause_restored(p_provider, p_plan, format(
      'the provider accepted a request of this database that it does not know, with reference %s',
      p_references[array_position(v_verdicts, 'unknown')]));
  end if;
  return to_jsonb(v_verdicts);
end
$$;

-- Called by processes, with the server's key.
revoke all on function
  public.outbox_check_references
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_check_references
to service_role;
