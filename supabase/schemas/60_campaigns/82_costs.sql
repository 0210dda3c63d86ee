-- What a campaign would cost, by country, and what is wrong with its messages.

-- Called by `outbox campaign preview` and `start`, a stretch of `p_most` members at a time, until `next` is
-- null. Of a cron campaign one time of each member counts. Caps and budgets are not applied: which messages
-- they stop depends on what else goes out. Returns jsonb with these keys:
--
-- - `status`, `schedule` and `members`: of the campaign, and of this stretch
--
-- - `countries` and `problems`: coming messages by country with their parts, and by what is wrong with them
--
-- - `warning` and `beyond_gsm7`: the template's warning; if that names no character, the characters that
--   make single texts leave GSM-7, whether `plain` replaces each, and the first member
--
-- - `abbreviated_zones`: members in a zone such as EST, which has no summer time, and the zone meant
--
-- - `process_countries`: the lists of allowed countries of the running processes, null for all
create function public.outbox_campaign_costs(p_campaign text, p_after text, p_most integer) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := outbox_engine.now();
  v_campaign public.outbox_campaigns := outbox_engine.as_if_started(p_campaign, v_now);
  v_members text[] := array(
    select m.external_id
    from public.outbox_campaign_members m
    where m.campaign = v_campaign.name and m.external_id > p_after
    order by m.external_id
    limit p_most);
  v_template public.outbox_templates := (
    select t from public.outbox_templates t where t.name = v_campaign.template);
  v_warns_of_all boolean := outbox_engine.template_alphabet_warning(v_template) is not null;
begin
  return (
    with texts as materialized (
      -- Problems that differ only in their time are counted together.
      select t.external_id, t.body, t.country, t.parts,
        outbox_engine.without_times(t.problem) as problem
      from outbox_engine.upcoming_texts(
        v_campaign, v_members, case v_campaign.schedule when 'cron' then 1 else 100 end, null, v_now) t
    ),
    countries as (
      select country, count(*) as messages, sum(parts) as parts
      from texts
      where problem is null
      group by country
    ),
    problems as (
      select problem, count(*) as messages from texts where problem is not null group by problem
    ),
    foreign_characters as (
      select substring(t.body from outbox_engine.beyond_gsm7()) as character, x.replaceable,
        count(*) as messages, min(t.external_id) as external_id
      from texts t
      cross join lateral (
        select outbox_engine.without_look_alikes(t.body) !~ outbox_engine.beyond_gsm7() as replaceable
      ) x
      where not v_warns_of_all
        and t.problem is null
        and t.body ~ outbox_engine.beyond_gsm7()
        -- What `plain` has left costs no part.
        and not (v_template.plain and x.replaceable)
      group by 1, 2
    ),
    abbreviated as (
      select z.zone, outbox_engine.zone_meant_by(z.zone) as place, count(*) as members
      from (
        select coalesce(m.timezone, v_campaign.timezone) as zone
        from public.outbox_campaign_members m
        where m.campaign = v_campaign.name and m.external_id = any (v_members)
      ) z
      where outbox_engine.zone_meant_by(z.zone) is not null
      group by z.zone
    )
    select jsonb_build_object(
      'status', (select c.status from public.outbox_campaigns c where c.name = v_campaign.name),
      'schedule', v_campaign.schedule,
      'members', cardinality(v_members),
      'process_countries', (
        select coalesce(jsonb_agg(t.allowed_countries order by t.allowed_countries), '[]')
        from outbox_engine.reported_countries() t),
      'countries', (
        select coalesce(jsonb_agg(to_jsonb(x) order by x.parts desc, x.country), '[]') from countries x),
      'problems', (
        select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.problem), '[]') from problems x),
      'template', v_campaign.template,
      'warning', v_template.warning,
      'beyond_gsm7', (
        select coalesce(jsonb_agg(to_jsonb(x) order by x.messages desc, x.character), '[]')
        from foreign_characters x),
      'abbreviated_zones', (select coalesce(jsonb_agg(to_jsonb(x) order by x.zone), '[]') from abbreviated x),
      'next', case when cardinality(v_members) = p_most then v_members[p_most] end));
end
$$;

revoke all on function
  public.outbox_campaign_costs
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_campaign_costs
to service_role;
