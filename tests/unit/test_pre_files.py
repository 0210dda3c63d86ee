"""What a pre file may do while processes of the release before it run."""

import pytest

from sandbox.schema.additions import refusals
from sandbox.schema.statements import statements


def refused(text: str) -> list[str]:
    return list(refusals(statements(text)))


@pytest.mark.parametrize(
    "text",
    [
        "create table public.outbox_notes (id bigint primary key, at timestamptz not null default outbox_engine.now())",
        "create index outbox_notes_at on public.outbox_notes (at)",
        "CREATE TYPE outbox_engine.pair AS (a text, b text)",
        "create or replace view outbox_engine.late as select 1 as n",
        "create policy outbox_owner on public.outbox for select to authenticated using (true)",
        "create trigger outbox_7_note after update of status on public.outbox for each row execute function f()",
        "alter table public.outbox add column note text",
        "alter table public.outbox add column if not exists note text null, add column size numeric(10, 2)",
        "alter table public.outbox add column is_new boolean not null default false",
        "alter table public.outbox add column tags text[] default '{}'::text[] not null",
        "alter table public.outbox add column at timestamp with time zone default timestamptz '-infinity' not null",
        "alter table public.outbox add column word text default 'unique, or not'",
        "alter table public.outbox add constraint note_length check (length(note) < 100) not valid",
        "alter type outbox_engine.pair add attribute c text, add attribute d text",
        "alter type outbox_engine.mood add value 'calm'",
        "grant select on public.outbox to service_role",
        "comment on column public.outbox.note is 'for apps; drop it whenever'",
        "insert into outbox_engine.notes (id) select id from public.outbox",
        "select outbox_engine.seed_notes()",
        "drop trigger t on public.outbox; create trigger t before insert on outbox execute function f()",
        "drop policy if exists p on outbox; create policy p on outbox using (true)",
        "drop index public.outbox_ready; create index outbox_ready on public.outbox (due_at)",
        "alter table outbox drop constraint c, add constraint c check (status <> '') not valid",
        "alter table public.outbox drop constraint c; alter table outbox add constraint c check (status <> '') not valid",
        """
        create table public.outbox_notes (id bigint generated always as identity, at timestamptz);
        alter table public.outbox_notes enable row level security, add primary key (id);
        create unique index outbox_notes_at on public.outbox_notes (at);
        create policy own on public.outbox_notes as restrictive using (true);
        revoke all on public.outbox_notes from anon, authenticated;
        revoke all on sequence public.outbox_notes_id_seq from anon, authenticated;
        """,
    ],
)
def test_additions_are_allowed(text: str) -> None:
    assert refused(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "alter table public.outbox drop note",
        "alter table public.outbox add column a text, drop column note",
        "alter table public.outbox rename column note to remark",
        "alter table public.outbox rename to outbox_old",
        "alter table public.outbox drop constraint c",
        "drop table public.outbox",
        "drop index public.outbox_ready",
        "drop policy p on public.outbox",
        "drop policy p on public.outbox; create policy p on public.outbox_campaigns using (true)",
        "create policy p on public.outbox using (true); drop policy p on public.outbox",
        "drop trigger outbox_7_note on public.outbox",
        "drop routine public.outbox_find",
        "drop function public.outbox_find(text)",
        "revoke select on public.outbox from service_role",
        "revoke all on all tables in schema outbox_engine from service_role",
        "revoke all on function public.outbox_find from service_role",
        "alter function public.outbox_find rename to outbox_search",
        "alter type outbox_engine.pair drop attribute a",
        "alter type outbox_engine.pair rename to pairs",
    ],
)
def test_what_takes_away_belongs_into_post(text: str) -> None:
    (line,) = refused(text)

    assert "takes away what older processes use: it belongs into a post file" in line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alter table public.outbox alter column note set not null", "not on the list"),
        ("alter table public.outbox enable row level security", "not on the list"),
        ("alter table public.outbox validate constraint c", "not on the list"),
        ("update public.outbox set note = ''", "not on the list"),
        ("delete from public.outbox", "not on the list"),
        ("truncate public.outbox", "not on the list"),
        ("do $$ begin drop table public.outbox; end $$", "not on the list"),
        ("with gone as (delete from public.outbox returning id) insert into t select id from gone", "not on the list"),
        ("set lock_timeout = 0", "not on the list"),
        ("select pg_sleep(60)", "not on the list"),
        ("alter type outbox_engine.pair add attribute c text, alter attribute a type integer", "not on the list"),
        ("alter table public.outbox add column note text not null", "a new column may be null"),
        ("alter table public.outbox add column at timestamptz default clock_timestamp()", "only constants are defaults"),
        ("alter table public.outbox add column n integer default 1 + random()", "only constants are defaults"),
        ("alter table public.outbox add column n bigserial", "more than a column (bigserial)"),
        ("alter table public.outbox add column n text default 'a'::text unique", "more than a column (unique)"),
        ("alter table public.outbox add column n bigint references public.orders (id)", "more than a column (references)"),
        ("alter table public.outbox add constraint c check (note <> '')", "add it not valid"),
        ("alter table public.outbox add primary key (id)", "add it not valid"),
        ("create unique index outbox_note on public.outbox (note)", "makes writes of older processes fail"),
        ("create policy p on public.outbox as restrictive using (false)", "makes writes of older processes fail"),
    ],
)
def test_other_statements_are_refused_with_reason(text: str, why: str) -> None:
    (line,) = refused(text)

    assert why in line


def test_refusal_quotes_how_the_statement_begins() -> None:
    (line,) = refused("grant select on t to r;\nUPDATE public.outbox\n  SET note = 'a'; -- backfill")

    assert line.startswith("`update public.outbox set note = 'a'` is not on the list")
