"""The layers of the SQL sources, and the rules that they must keep."""

from pathlib import Path

from sandbox.schema import house, release, source

LOW = """
create table outbox_engine.plans (id integer);
create function outbox_engine.now() returns integer
language sql
as $$
  -- outbox_engine.late() stands in a comment only
  select 1
$$;
"""
HIGH = """
create table outbox_engine.jobs (id integer);
create function outbox_engine.late() returns integer
language sql
as $$
  select outbox_engine.now() + (select id from outbox_engine.plans)
$$;
"""


def test_references_to_earlier_files_are_fine() -> None:
    schema = source.parse({"10.sql": LOW, "20.sql": HIGH})

    assert list(schema.upward()) == []
    assert schema.reachable(["outbox_engine.late"]) == {"outbox_engine.late", "outbox_engine.now"}


def test_references_to_later_files_are_found() -> None:
    schema = source.parse({"10.sql": HIGH, "20.sql": LOW})

    assert list(schema.upward()) == [
        "10.sql: outbox_engine.late -> outbox_engine.now (20.sql)",
        "10.sql: outbox_engine.late -> outbox_engine.plans (20.sql)",
    ]


def test_functions_that_call_each_other_are_found() -> None:
    one = "create function public.a() returns integer\nas $$\n  select public.b()\n$$;\n"
    other = "create function public.b() returns integer\nas $$\n  select public.a()\n$$;\n"

    assert list(source.parse({"10.sql": one + other}).cycles()) == [
        "10.sql: public.a calls itself through others",
        "10.sql: public.b calls itself through others",
    ]


def test_long_functions_and_wide_lines_are_refused(tmp_path: Path) -> None:
    body = "  select 1;\n" * 78
    (tmp_path / "10.sql").write_text(f"-- {'x' * 108}\ncreate function public.a() returns void\nas $$\n{body}$$;\n")

    found = [line for line in house.complaints(tmp_path) if "take it off" not in line]

    assert found == ["10.sql: public.a has 81 lines, more than 80", "10.sql:1: wider than 110 columns"]


def test_wide_lines_of_other_scripts_are_refused(tmp_path: Path) -> None:
    script = tmp_path / "uninstall.sql"
    script.write_text(f"select 1;\n-- {'x' * 108}\n")

    assert list(house.wide_scripts([script])) == [f"{script}:2: wider than 110 columns"]


def test_our_scripts_keep_the_width() -> None:
    assert {path.name for path in house.scripts()} == {"appointments.sql", "orders.sql", "uninstall.sql"}
    assert list(house.wide_scripts()) == []


def test_our_sources_keep_the_rules() -> None:
    assert list(house.complaints()) == []


def test_release_file_matches_the_sources() -> None:
    assert list(release.Release().complaints()) == []
