-- The audit: which operator did what, from where. The functions of operators write it, in the transaction of
-- the change itself.

create table outbox_engine.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  actor text not null,
  via text not null,
  -- The function, without outbox_.
  action text not null,
  -- What it acted on: ids and names. Numbers are masked, and texts are never here.
  target text,
  detail jsonb not null
);
alter table outbox_engine.audit enable row level security;

create index audit_at on outbox_engine.audit (at);

-- A percent-encoded header as text. What is no UTF-8 stays encoded.
create function outbox_engine.decoded_header(p_value text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select convert_from(string_agg(
      case when m.part[1] ~ '^%[0-9A-Fa-f]{2}$' then decode(substr(m.part[1], 2), 'hex')
        else convert_to(m.part[1], 'UTF8') end,
      ''::bytea order by m.place), 'UTF8')
    from regexp_matches(p_value, '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') with ordinality m (part, place)
  );
exception
  when character_not_in_repertoire or untranslatable_character then
    return p_value;
end
$$;

-- Words of a caller for the audit: one line of at most 100 characters, without phone numbers.
create function outbox_engine.audit_words(p_words text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select nullif(btrim(left(
    regexp_replace(regexp_replace(p_words, '[[:cntrl:]]+', ' ', 'g'), '\+?[0-9]{5,}([0-9]{2})', '…\1', 'g'),
    100)), '')
$$;

-- Who calls, and from where. A request says so in headers, which `outbox` and its dashboard send. Without
-- them it is an app or an operator with the secret key; outside of a request it is the role of the session.
-- A bulk action that another process goes on with is still its operator's: `outbox_engine.caller` names it.
create function outbox_engine.caller(out actor text, out via text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_headers constant jsonb := nullif(current_setting('request.headers', true), '');
  v_named constant jsonb := nullif(current_setting('outbox_engine.caller', true), '');
begin
  if v_named is not null then
    actor := v_named ->> 'actor';
    via := v_named ->> 'via';
    return;
  end if;
  if v_headers is null then
    actor := session_user;
    via := 'sql';
    return;
  end if;
  actor := coalesce(
    outbox_engine.audit_words(outbox_engine.decoded_header(left(v_headers ->> 'x-outbox-actor', 1000))),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role',
    current_setting('role', true));
  via := coalesce(substring(v_headers ->> 'x-outbox-via' from '^[a-z]{1,20}$'), 'api');
end
$$;

-- A plan as the audit names it. Null is any.
create function outbox_engine.audit_plan(p_provider text, p_plan text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(nullif(concat_ws(':', p_provider, p_plan), ''), 'all plans')
$$;

-- Called by each function with which an operator changes something, once for the call. Only inserts, so that
-- no transaction waits for another.
create function outbox_engine.audit_change(p_action text, p_target text, p_detail jsonb default '{}')
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_caller constant record := outbox_engine.caller();
begin
  insert into outbox_engine.audit (at, actor, via, action, target, detail)
  values (
    outbox_engine.now(), v_caller.actor, v_caller.via, p_action, left(p_target, 500),
    coalesce(jsonb_strip_nulls(p_detail), '{}'));
end
$$;

-- The same for messages, by what became of them: `p_outcomes` are objects with `id`, `done` and `outcome`.
-- Nothing was done to no message.
create function outbox_engine.audit_outcomes(p_action text, p_outcomes jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  v_counts jsonb;
  v_ids text;
  v_done bigint;
begin
  select jsonb_object_agg(c.outcome, c.messages), sum(c.messages) filter (where c.done)
  into v_counts, v_done
  from (
    select o.outcome, bool_or(o.done) as done, count(*) as messages
    from jsonb_to_recordset(p_outcomes) o (id text, done boolean, outcome text)
    group by o.outcome
  ) c;
  if v_done > 0 then
    select string_agg(o.id, ', ' order by o.place)
    into v_ids
    from (
      select e.value ->> 'id' as id, e.place
      from jsonb_array_elements(p_outcomes) with ordinality e (value, place)
      where (e.value ->> 'done')::boolean
      order by e.place
      limit 20
    ) o;
    perform outbox_engine.audit_change(
      p_action, v_ids || case when v_done > 20 then ', …' else '' end, v_counts);
  end if;
end
$$;

-- Refuses to change the audit. Retention alone deletes from it.
create function outbox_engine.before_audit_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op <> 'DELETE' or current_setting('outbox_engine.audit_pruned', true) is distinct from 'on' then
    raise exception using errcode = '42501', message = 'the audit cannot be changed';
  end if;
  return null;
end
$$;
create trigger audit_unchanged before update or delete or truncate on outbox_engine.audit
  for each statement execute function outbox_engine.before_audit_change();

-- Deletes entries from before `p_before`; null keeps them.
create function outbox_engine.prune_audit(p_before timestamptz, p_most integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('outbox_engine.audit_pruned', 'on', true);
  delete from outbox_engine.audit
  where id = any (array(
    select id from outbox_engine.audit where at < p_before order by at limit p_most for update skip locked));
  perform set_config('outbox_engine.audit_pruned', '', true);
end
$$;
