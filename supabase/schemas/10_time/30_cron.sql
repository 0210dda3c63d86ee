-- Cron expressions: minute, hour, day of month, month, day of week. They name times of a wall clock; local
-- time says which instant that is in a zone.

-- A parsed cron expression. `any_day` follows the rule of cron: a day matches when its day of month or its
-- day of week matches, but where one of the two fields starts with `*`, both must match. `problem` says which
-- field is wrong.
create type outbox_engine.cron as (
  minutes integer[],
  hours integer[],
  days integer[],
  months integer[],
  weekdays integer[],
  any_day boolean,
  problem text
);

-- Called by `read_cron`. The values of one field, or null where the field is invalid. Valid are `*`, `5`,
-- `1-5`, `*/15`, `10-40/10`, `5/20`, lists of these, and `p_names` in place of numbers.
create function outbox_engine.cron_field(
  p_field text, p_least integer, p_most integer, p_names text[]
) returns integer[]
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_part text;
  v_match text[];
  v_first integer;
  v_last integer;
  v_values integer[] := '{}';
begin
  foreach v_part in array string_to_array(lower(p_field), ',') loop
    for i in 1 .. coalesce(cardinality(p_names), 0) loop
      v_part := regexp_replace(
        v_part, '(^|-)' || p_names[i] || '(?=$|-|/)', '\1' || (p_least + i - 1), 'g');
    end loop;
    -- `*` or a number, perhaps the end of a range, perhaps a step.
    v_match := regexp_match(v_part, '^(?:(\*)|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?$');
    if v_match is null or v_match[4] ~ '^0+$' then
      return null;
    end if;
    v_first := coalesce(v_match[2]::integer, p_least);
    v_last := case
      when v_match[3] is not null then v_match[3]::integer
      when v_match[1] is not null or v_match[4] is not null then p_most
      else v_first
    end;
    if v_first < p_least or v_last > p_most or v_first > v_last then
      return null;
    end if;
    v_values := v_values || array(
      select generate_series(v_first, v_last, coalesce(v_match[4]::integer, 1)));
  end loop;
  return v_values;
end
$$;

-- Called by the checks of campaigns, and wherever the times of a campaign are computed. Parses an expression.
-- Sunday is both 0 and 7.
create function outbox_engine.read_cron(p_expression text) returns outbox_engine.cron
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_fields text[] := regexp_split_to_array(btrim(coalesce(p_expression, '')), '\s+');
  v_cron outbox_engine.cron;
begin
  if v_fields = '{""}' then
    v_cron.problem := 'cron_expression is missing: it says when, such as ''0 9 * * 1''';
    return v_cron;
  elsif cardinality(v_fields) <> 5 then
    v_cron.problem := format('cron_expression %L has %s field%s, not 5',
      p_expression, cardinality(v_fields), case when cardinality(v_fields) > 1 then 's' end);
    return v_cron;
  end if;
  v_cron.minutes := outbox_engine.cron_field(v_fields[1], 0, 59, null);
  v_cron.hours := outbox_engine.cron_field(v_fields[2], 0, 23, null);
  v_cron.days := outbox_engine.cron_field(v_fields[3], 1, 31, null);
  v_cron.months := outbox_engine.cron_field(v_fields[4], 1, 12,
    array['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']);
  v_cron.weekdays := outbox_engine.cron_field(v_fields[5], 0, 7,
    array['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']);
  v_cron.any_day := left(v_fields[3], 1) <> '*' and left(v_fields[5], 1) <> '*';
  v_cron.problem := case
    when v_cron.minutes is null then format('minute %L in cron_expression is not understood', v_fields[1])
    when v_cron.hours is null then format('hour %L in cron_expression is not understood', v_fields[2])
    when v_cron.days is null then format('day of month %L in cron_expression is not understood', v_fields[3])
    when v_cron.months is null then format('month %L in cron_expression is not understood', v_fields[4])
    when v_cron.weekdays is null
    then format('day of week %L in cron_expression is not understood', v_fields[5])
  end;
  if 7 = any (v_cron.weekdays) then
    v_cron.weekdays := v_cron.weekdays || 0;
  end if;
  return v_cron;
end
$$;

-- Called wherever the times of a cron campaign are computed. The first matching minute of the wall clock
-- after `p_after`, or null where none follows within nine years (the longest wait for a 29 February).
create function outbox_engine.cron_next(p_cron outbox_engine.cron, p_after timestamp) returns timestamp
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  v_from timestamp := date_trunc('minute', p_after) + interval '1 minute';
  v_day date := v_from::date;
  v_last date := v_from::date + 9 * 366;
  v_in_month boolean;
  v_in_week boolean;
  v_time time;
begin
  while v_day <= v_last loop
    if extract(month from v_day)::integer <> all (p_cron.months) then
      v_day := (date_trunc('month', v_day::timestamp) + interval '1 month')::date;
      continue;
    end if;
    v_in_month := extract(day from v_day)::integer = any (p_cron.days);
    v_in_week := extract(dow from v_day)::integer = any (p_cron.weekdays);
    if (v_in_month and v_in_week) or (p_cron.any_day and (v_in_month or v_in_week)) then
      select min(make_time(h, m, 0)) into v_time
      from unnest(p_cron.hours) h, unnest(p_cron.minutes) m
      where v_day > v_from::date or make_time(h, m, 0) >= v_from::time;
      if v_time is not null then
        return v_day + v_time;
      end if;
    end if;
    v_day := v_day + 1;
  end loop;
  return null;
end
$$;
