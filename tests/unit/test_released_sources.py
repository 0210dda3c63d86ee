"""The sources that a database is compared with."""

import pytest

from jobs.schema.releases import Kind, ReleaseFile, Releases, Version
from jobs.schema.sources import Sources, digest

FIRST = """create table public.a (id int);
create table public.b (id int);
create function public.f() returns int
language sql as $$
  select 1
$$;
create function public.g(x int) returns int language sql as $$ select x $$;
"""
SECOND = """create or replace function public.f() returns int
language sql as $$
  select 2
$$;
create function public.g(x text) returns text language sql as $$ select x || '' $$;
drop table public.b;
"""
POST = "drop function public.g(int);\n"


def sources(*texts: str) -> Sources:
    files = tuple(ReleaseFile(1, Kind.MAIN, f"{number}.sql", text) for number, text in enumerate(texts))
    return Sources.read(Releases((Version(1, "0.1.0", False, False, files),)))


def test_latest_source_of_each_function_counts() -> None:
    found = sources(FIRST, SECOND, POST)

    assert found.newest == {"public.f": digest("\n  select 2\n"), "public.g": digest(" select x || '' ")}
    assert found.tables == {"public.a"}


def test_dropped_function_is_not_expected() -> None:
    assert "public.f" not in sources(FIRST, "drop function public.f();\n").newest


@pytest.mark.parametrize(
    ("there", "missing", "older", "edited"),
    [
        (["\n  select 2\n"], (), (), ()),
        (["\r\n  select 2\r\n"], (), (), ()),
        ([], ("public.f",), (), ()),
        (["\n  select 1\n"], (), ("public.f",), ()),
        (["\n  select 3\n"], (), (), ("public.f",)),
    ],
)
def test_each_difference_has_its_kind(
    there: list[str], missing: tuple[str, ...], older: tuple[str, ...], edited: tuple[str, ...]
) -> None:
    functions = {"public.f": [digest(one) for one in there], "public.g": [digest(" select x || '' "), digest(" select x ")]}

    found = sources(FIRST, SECOND).compare(functions)

    assert (found.missing, found.older, found.edited) == (missing, older, edited)
