"""Filters of messages in the address of a page."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

import pytest

from dashboard.filters import Asked, chips_of, query_of, read_query
from dashboard.pages.messages import endings_of

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
NUMBER = "+14155550123"


def asked(query: str, *, numbers: bool = True) -> Asked:
    return read_query(parse_qsl(query), now=NOW, numbers=numbers)


def test_filter_comes_back_from_its_address() -> None:
    found = asked(
        "number=%2B14155550123&status=failed,expired&code=402&country=us&campaign=spring&plan=sinch:main&priority=urgent"
        "&from=2026-11-30T00:00Z&to=2026-12-01T00:00Z&key=a%26b&batch=b1&meta=order%3D42&meta=name%3DAda"
    ).wanted

    assert found.metadata == {"order": 42, "name": "Ada"}
    assert asked(urlencode(query_of(found), doseq=True)).wanted == found


def test_code_zero_is_a_condition() -> None:
    """Left out, an action would go on with the messages of every code."""
    assert asked("code=0").wanted.codes == (0,)


@pytest.mark.parametrize(
    ("query", "is_bounded"),
    [
        ("", True),
        ("status=failed", True),
        ("code=402", True),
        ("status=pending", False),
        ("number=%2B14155550123", False),
        ("id=4711", False),
        ("key=k", False),
        ("batch=b", False),
        ("within=all", False),
    ],
)
def test_window_bounds_long_lists_only(query: str, is_bounded: bool) -> None:
    assert (asked(query).wanted.since == NOW - timedelta(hours=24)) == is_bounded


def test_times_are_of_the_given_zone() -> None:
    found = asked("from=2026-12-01T09:00&to=2026-12-01&zone=Asia/Tokyo").wanted

    assert found.since == datetime(2026, 12, 1, 0, tzinfo=UTC)
    assert found.until == datetime(2026, 12, 1, 15, tzinfo=UTC)
    assert asked("from=2026-12-01T09:00&zone=nowhere").wanted.since == datetime(2026, 12, 1, 9, tzinfo=UTC)


def test_each_chip_removes_one_condition() -> None:
    chips = {chip.words: chip.without for chip in chips_of(asked("status=failed,expired&code=402"), str)}

    assert chips["Failed"] == {"code": ["402"], "status": ["expired"]}
    assert chips["Code 402"] == {"status": ["failed,expired"]}
    assert chips["Inserted in the last 24 hours"]["within"] == ["all"]


@pytest.mark.parametrize(
    "query",
    ["status=lost", "code=x", "country=XX", "id=%D9%A3", "plan=sinch", "from=soon", "dispatch=1", "meta=order", "priority=low",
     "within=2y", "number=nonsense", "code=99999999999999", "from=0001-01-01&zone=Asia/Tokyo",
     "to=9999-12-31", "from=9999-12-31T23:59-14:00"],
)  # fmt: skip
def test_unreadable_condition_is_named(query: str) -> None:
    """It fails where a condition is dropped in silence: an action on all that match would then take more messages."""
    assert asked(query).problems


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", '"\\ud800"', "[" * 20_000])
def test_metadata_goes_on_as_json_alone(text: str) -> None:
    """Python's reader takes these for values, which no call to the database can carry."""
    found = read_query([("meta", f"a={text}")], now=NOW, numbers=True).wanted

    assert found.metadata == {"a": text}
    assert json.dumps(found.as_json(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "query",
    [
        "number=%2B14155550123",
        "key=welcome-%2B14155550123",
        "key=4155550123",
        "meta=phone=%2B14155550123",
        "meta=phone=14155550123",
        'meta=phone="%5Cu002b%5Cu0031%5Cu0034155550123"',
        "meta=%2B14155550123=yes",
    ],
)
def test_viewer_cannot_search_by_number(query: str) -> None:
    """A match would tell the number that the list masks. An app may have written it into a key or into metadata."""
    found = asked(query, numbers=False)

    assert found.wanted.as_json().keys() <= {"since"}
    assert found.problems
    assert not asked(query).problems


def test_viewer_searches_by_plain_keys() -> None:
    found = asked("key=order-1234&meta=order=42&batch=01ARZ3NDEKTSV4RRFFQ69G5FAV", numbers=False)

    assert found.problems == ()
    assert found.wanted.metadata == {"order": 42}


@pytest.mark.parametrize(
    ("number", "endings"),
    [
        ("%2B44 7700 90012", ["090012", "0012"]),
        ("%2B1 415 555 012", ["555012", "5012"]),
        ("90012", ["0012"]),
        ("0012", []),
        ("%2B14155550123, %2B14155550124", []),
    ],
)
def test_mistyped_number_is_searched_by_its_end(number: str, endings: list[str]) -> None:
    """One has a digit too few and yet reads as a number, one does not."""
    assert endings_of(asked(f"number={number}")) == endings
