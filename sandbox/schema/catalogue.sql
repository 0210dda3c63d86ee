-- What the schemas `public` and `outbox_engine` hold, one line for each thing, without oids. The order of a table's columns does
-- not count, since `alter table` adds columns at the end. It counts where rows are built by position: in composite types, from
-- `row(…)`, and in `queue_bounds`, by `current_queue_bounds`.

with ours as (
  select oid, nspname from pg_namespace where nspname in ('public', 'outbox_engine')
),
relations as (
  select c.*, n.nspname from pg_class c join ours n on n.oid = c.relnamespace
),
functions as (
  select p.* from pg_proc p join ours n on n.oid = p.pronamespace
)
select 'schema', format('%I %s', nspname, (select string_agg(a::text, ' ' order by a::text) from unnest(nspacl) a))
from pg_namespace
where nspname = 'outbox_engine'

union all
select 'relation', format('%s %I.%I rls=%s %s %s', relkind, nspname, relname, relrowsecurity, reloptions,
  (select string_agg(a::text, ' ' order by a::text) from unnest(relacl) a))
from relations
where relkind in ('r', 'p', 'v', 'm', 'S')

union all
select 'column', format('%I.%I.%I%s %s null=%s default=%s identity=%s %s', c.nspname, c.relname, a.attname,
  case when c.relkind = 'c' or c.relname = 'queue_bounds' then ' #' || row_number() over (partition by c.oid order by a.attnum) end,
  format_type(a.atttypid, a.atttypmod), not a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity,
  (select string_agg(x::text, ' ' order by x::text) from unnest(a.attacl) x))
from relations c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relkind in ('r', 'p', 'v', 'm', 'c')

union all
-- From PostgreSQL 18 on, not null is a constraint as well; the columns above say it.
select 'constraint', format('%s on %s: %s', k.conname, k.conrelid::regclass, pg_get_constraintdef(k.oid))
from pg_constraint k
join ours n on n.oid = k.connamespace
where k.contype <> 'n'

union all
select 'index', pg_get_indexdef(oid) from relations where relkind in ('i', 'I')

union all
select 'trigger', pg_get_triggerdef(t.oid) from pg_trigger t join relations c on c.oid = t.tgrelid where not t.tgisinternal

union all
select 'function', pg_get_functiondef(oid) || (select coalesce(string_agg(a::text, ' ' order by a::text), '') from unnest(proacl) a)
from functions
where prokind = 'f'

union all
select 'view', relname || ': ' || pg_get_viewdef(oid) from relations where relkind = 'v'

union all
select 'policy', format('%s on %s for %s to %s using %s check %s', p.polname, p.polrelid::regclass, p.polcmd,
  p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
from pg_policy p
join relations c on c.oid = p.polrelid

union all
select 'comment', format('%s.%s: %s', c.relname, a.attname, d.description)
from pg_description d
join relations c on c.oid = d.objoid
left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and d.objsubid > 0
where d.classoid = 'pg_class'::regclass

order by 1, 2
