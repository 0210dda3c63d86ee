"""`make schema` and `make check` from the second version of the schema on."""

from datetime import timedelta
from pathlib import Path

import pytest

from jobs.schema.releases import read_manifest
from sandbox.schema import preflight
from sandbox.schema.release import Release
from sandbox.schema.statements import statements
from tests.small_schema import (
    CHANGES,
    FIRST,
    NOON,
    SECOND,
    entry,
    first_release,
    freeze,
    manifest,
    migrations,
    second_release,
    sources,
    write,
)

PRE = "20270101120001_outbox_0002_pre_notes.sql"
INITIAL = "20270101120000_outbox_0001_initial.sql"
ADD_THE_ROW = "no function of supabase/schemas/ writes version 2: add (2, false, '0.2.0') to outbox_engine.seed()"


@pytest.fixture
def supabase(tmp_path: Path) -> Path:
    return second_release(tmp_path / "supabase")


def complaints(supabase: Path) -> list[str]:
    return list(Release(supabase).complaints())


def test_each_part_becomes_a_file(supabase: Path) -> None:
    assert Release(supabase).write(NOON) == []

    assert list(migrations(supabase)) == [
        INITIAL,
        PRE,
        "20270101120002_outbox_0002_pre_notes_concurrently.sql",
        "20270101120003_outbox_0002_post_notes.sql",
    ]
    assert complaints(supabase) == []


def test_pre_file_holds_what_differs_in_order(supabase: Path) -> None:
    Release(supabase).write(NOON)

    begun = [" ".join(statement.split()[:5]) for statement in statements(migrations(supabase)[PRE])]

    assert begun == [
        "select set_config('lock_timeout', '5s', true)",
        "do $$ declare v_relations constant",
        "create table outbox_engine.notes ( id",
        "alter table public.outbox_things add column",
        "create or replace function outbox_engine.twice(p_number",
        "create function outbox_engine.note() returns trigger",
        "create function public.outbox_new(p_name text, p_more",
        "create or replace function outbox_engine.seed()",
        "create trigger outbox_things_note after insert",
        "revoke all on function public.outbox_new",
        "grant execute on function public.outbox_new",
        "select outbox_engine.seed()",
        "revoke all on all functions",
        "notify pgrst, 'reload schema'",
    ]


def test_pre_file_checks_only_names_it_adds(supabase: Path) -> None:
    Release(supabase).write(NOON)

    names = preflight.checked([migrations(supabase)[PRE]])

    assert names == preflight.Names(frozenset({"outbox_things_name"}), frozenset({"outbox_new"}))


def test_frozen_files_are_left_alone(supabase: Path) -> None:
    before = migrations(supabase)[INITIAL]

    Release(supabase).write(NOON)

    assert migrations(supabase)[INITIAL] == before
    assert "p_number + p_number" not in before


def test_written_files_keep_their_stamps(supabase: Path) -> None:
    Release(supabase).write(NOON)
    before = list(migrations(supabase))
    sources(supabase, {"30_changed.sql": SECOND["30_changed.sql"].replace("p_number + p_number", "p_number * 2")})

    assert complaints(supabase) == ["…_outbox_0002_pre_notes.sql is not what supabase/schemas/ makes: run `make schema`"]
    Release(supabase).write(NOON + timedelta(days=1))

    assert list(migrations(supabase)) == before
    assert "p_number * 2" in migrations(supabase)[PRE]


def test_files_of_a_renamed_version_are_removed(supabase: Path) -> None:
    Release(supabase).write(NOON)
    (supabase / "releases" / "0002_pre_notes.sql").rename(supabase / "releases" / "0002_pre_remarks.sql")
    Release(supabase).write(NOON)

    assert list(migrations(supabase))[1:] == [
        "20270101120001_outbox_0002_pre_remarks.sql",
        "20270101120002_outbox_0002_pre_notes_concurrently.sql",
        "20270101120003_outbox_0002_post_notes.sql",
    ]


def test_third_version_starts_from_the_second(supabase: Path) -> None:
    Release(supabase).write(NOON)
    freeze(supabase)
    assert complaints(supabase) == []
    manifest(supabase, *read_manifest(supabase), entry(3))
    write(supabase / "releases", {"0003_pre_seed.sql": "-- Nothing but functions.\n"})
    sources(supabase, {"95_seed.sql": SECOND["95_seed.sql"].replace("'0.2.0')", "'0.2.0'), (3, false, '0.3.0')")})

    assert Release(supabase).write(NOON + timedelta(days=1)) == []

    written = statements(migrations(supabase)["20270102120000_outbox_0003_pre_seed.sql"])
    (function,) = [statement for statement in written if statement.startswith("create")]
    assert function.startswith("create or replace function outbox_engine.seed()")


# What is refused


def test_changed_sources_without_an_open_version_are_refused(tmp_path: Path) -> None:
    supabase = first_release(tmp_path / "supabase")
    sources(supabase, SECOND)
    before = migrations(supabase)

    assert Release(supabase).write(NOON) == []
    assert migrations(supabase) == before
    assert [line.partition(" ")[0] for line in complaints(supabase)] == [
        "outbox_engine.note",
        "outbox_engine.seed",
        "outbox_engine.twice",
        "public.outbox_new",
        "public.outbox_old",
    ]


def test_an_earlier_version_must_be_frozen(supabase: Path) -> None:
    manifest(supabase, entry(1), entry(2))

    assert "version 1 is open: freeze it before there is a version 2" in Release(supabase).write(NOON)


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("20_kept.sql", "p_number integer default 1", "p_number bigint default 1", "gets a new name"),
        ("20_kept.sql", "p_number integer default 1", "p_number integer, p_more integer default 1", "gets a new name"),
        ("20_kept.sql", "returns integer", "returns bigint", "gets a new name"),
        ("20_kept.sql", "outbox_kept", "outbox_renamed", "public.outbox_kept is gone from supabase/schemas/: drop it in"),
        ("95_seed.sql", ", (2, false, '0.2.0')", "", ADD_THE_ROW),
    ],
)
def test_released_functions_keep_their_callers(supabase: Path, file: str, old: str, new: str, says: str) -> None:
    sources(supabase, {file: SECOND[file].replace(old, new)})

    (complaint,) = Release(supabase).write(NOON)

    assert says in complaint
    assert complaints(supabase)[0] == complaint
    assert list(migrations(supabase)) == [INITIAL]


def test_changed_default_is_no_new_signature(supabase: Path) -> None:
    sources(supabase, {"20_kept.sql": SECOND["20_kept.sql"].replace("default 1", "default 2")})

    assert Release(supabase).write(NOON) == []
    assert "create or replace function public.outbox_kept" in migrations(supabase)[PRE]


def test_long_hand_written_file_goes_on_in_another(supabase: Path) -> None:
    write(
        supabase / "releases",
        {
            "0002_pre_notes.sql": "create type outbox_engine.first as (id bigint);\n-- functions\n"
            "create type outbox_engine.third as (id bigint);",
            "0002_pre_notes_more.sql": "create type outbox_engine.second as (id bigint);\n-- functions\n",
        },
    )

    assert Release(supabase).write(NOON) == []
    text = migrations(supabase)[PRE]
    places = [text.index(part) for part in ("engine.first", "engine.second", "function public.outbox_", "engine.third")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("0002_pre_notes.sql", "alter table public.outbox_things drop column name;", "belongs into a post file"),
        ("0002_pre_notes.sql", "create index concurrently i on public.outbox_things (name);", "0002_concurrently_notes.sql"),
        ("0002_pre_notes.sql", FIRST["20_kept.sql"].partition("revoke")[0], "functions come from supabase/schemas/"),
        ("0002_pre_notes.sql", "-- functions\n-- functions\n", "stands once"),
        ("0002_concurrently_notes.sql", "create index i on public.outbox_things (name);", "only create index concurrently"),
        ("0002_post_notes.sql", f"{CHANGES['0002_post_notes.sql']}-- functions\n", "stands once, in a pre file"),
        ("0002_post_notes.sql", f"{CHANGES['0002_post_notes.sql']}drop function public.outbox_kept(integer);", "and stands in"),
        ("0002_post_other.sql", "drop table outbox_engine.notes;", "one name for each kind"),
        ("0002_notes.sql", "select 1;", "one name for each kind"),
    ],
)
def test_hand_written_files_are_held_to_their_kind(supabase: Path, file: str, text: str, says: str) -> None:
    write(supabase / "releases", {file: text})

    (complaint,) = Release(supabase).write(NOON)

    assert says in complaint


def test_version_without_a_pre_file_is_refused(supabase: Path) -> None:
    (supabase / "releases" / "0002_pre_notes.sql").unlink()

    assert any("0002_pre_<name>.sql is missing" in line for line in Release(supabase).write(NOON))


def test_breaking_version_may_remove_at_once(supabase: Path) -> None:
    manifest(supabase, *read_manifest(supabase)[:1], entry(2, breaking=True))
    sources(supabase, {"95_seed.sql": SECOND["95_seed.sql"].replace("(2, false", "(2, true")})
    write(supabase / "releases", {"0002_pre_notes.sql": "alter table public.outbox_things drop column name;\n"})

    assert Release(supabase).write(NOON) == []
    assert "No process of an earlier release may run" in migrations(supabase)[PRE]


def test_text_is_cut_into_statements() -> None:
    text = """
        -- one; two
        create function a() as $$ begin; end $$; select ';', ";", 'it''s;' /* ; */ ;
        do $x$ $$;$$ $x$;
        ;select 1 - 2 / 3
    """

    assert statements(text) == [
        "create function a() as $$ begin; end $$",
        "select ';', \";\", 'it''s;'",
        "do $x$ $$;$$ $x$",
        "select 1 - 2 / 3",
    ]
