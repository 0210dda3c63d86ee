"""What the dashboard's calls take in a big table, and what its indexes cost an insert and a claim."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from benchmarks.result import Figure, Options, Result
from benchmarks.rig import Rig, running
from benchmarks.size import grow

TITLE = "how long do the dashboard's calls take in a big table?"

_BATCH: Final = 10_000
_INDEXES: Final = {
    "outbox_recipient": "create index outbox_recipient on public.outbox (recipient, id)",
    "outbox_metadata": "create index outbox_metadata on public.outbox using gin (metadata jsonb_path_ops)"
    " where metadata is not null",
}
_RARE: Final = (
    "update public.outbox set status = 'failed', status_code = 402, metadata = '{\"order\": \"rare\"}', campaign = 'rare'"
    " where id in (select (select min(id) from public.outbox) + n * %(rows)s / 25 from generate_series(0, 24) n)"
)
_CALLS: Final[dict[str, tuple[str, list[Any]]]] = {
    "list, no filter": ("list_messages", [{}, None, 50]),
    "list, one number": ("list_messages", [{"recipients": ["+12020000500"]}, None, 50]),
    "list, 25 failed of all": ("list_messages", [{"statuses": ["failed"]}, None, 50]),
    "list, one code and country": ("list_messages", [{"codes": [402], "countries": ["US"]}, None, 50]),
    "list, rare metadata": ("list_messages", [{"metadata": {"order": "rare"}}, None, 50]),
    "list, rare campaign": ("list_messages", [{"campaign": "rare"}, None, 50]),
    "list, last digits, one stretch": ("list_messages", [{"last_digits": "99999999"}, None, 50]),
    "list, template, one stretch": ("list_messages", [{"template": "none"}, None, 50]),
    "list, a day 40 days ago": ("list_messages", [{"since": "-41", "until": "-40"}, None, 50]),
    "count, no filter": ("count_messages", [{}, 10_000]),
    "count, rare status": ("count_messages", [{"statuses": ["failed"]}, 10_000]),
    "count, template": ("count_messages", [{"template": "none"}, 10_000]),
    "figures of 30 days by hour": ("delivery_figures", ["-30", "0", "hour", None, "UTC"]),
    "figures of 30 days by country": ("delivery_figures", ["-30", "0", "day", "country", "Europe/Berlin"]),
    "figures of 30 days, together": ("delivery_figures", ["-30", "0", "all", None, "UTC"]),
    "figures of 30 days by code": ("delivery_figures", ["-30", "0", "all", "code", "UTC"]),
    "list of campaigns": ("list_campaigns", []),
    "preview, 500 messages": ("preview_bulk", ["retry", {}, {"force": True}, None, 500]),
    "conversation": ("conversation", ["+12020000500", None, 50]),
    "status of the outbox": ("status", []),
}
_NOTE = (
    "Milliseconds of one call from a client on the same machine, the median of {times}, with {rows:,} delivered messages of 80"
    " days, their requests and their history; 25 of them failed, with a metadata and a campaign of their own. *First* is the"
    " call on a connection that made none before. *Count* is the time in which the upkeep job counts all of them for the first"
    f" time. Inserts are {_BATCH:,} rows in one statement, with and without the two indexes in turn."
)


def run(options: Options) -> Result:
    rows = 20_000 if options.quick else min(options.rows, 10_000_000 if options.full else 1_000_000)
    times = 3 if options.quick else 9
    with running() as rig:
        grow(rig.db, 0, rows)
        with rig.db.transaction():
            rig.db.execute("set local session_replication_role = replica")
            rig.db.execute(_RARE, {"rows": rows})
        rig.db.execute("vacuum analyze public.outbox")
        figures = [*_counted(rig), *_called(rig, times), *_inserted(rig, options.repeats)]
    return Result(tuple(figures), notes=(_NOTE.format(times=times, rows=rows),))


def _counted(rig: Rig) -> Iterator[Figure]:
    began = monotonic()
    longest = 0.0
    while True:
        step = monotonic()
        [[more]] = rig.db.execute("select outbox_engine.tend_figures(20)").fetchall()
        longest = max(longest, monotonic() - step)
        if not more:
            break
    yield Figure("count", "all messages", "s", (monotonic() - began,))
    yield Figure("count", "longest step", "ms", (longest * 1000,))
    rig.db.execute("vacuum analyze outbox_engine.block_figures, outbox_engine.hourly_figures")


def _called(rig: Rig, times: int) -> Iterator[Figure]:
    for name, (function, given) in _CALLS.items():
        places = ", ".join(["%s"] * len(given))
        query = f"select public.outbox_{function}({places})".encode()
        arguments = [_argument(one) for one in given]
        took = []
        for _ in range(times):
            began = monotonic()
            rig.db.execute(query, arguments).fetchall()
            took.append((monotonic() - began) * 1000)
        yield Figure(name, "first", "ms", (took[0],))
        yield Figure(name, "call", "ms", tuple(took[1:]), 1000.0, at_most=True)


def _argument(given: Any) -> Any:
    """A number of days as a time, and objects as JSON."""
    if isinstance(given, dict):
        return json.dumps({key: _argument(value) if key in {"since", "until"} else value for key, value in given.items()})
    if isinstance(given, str) and given.lstrip("-").isdigit():
        return (datetime.now(UTC) + timedelta(days=int(given))).isoformat()
    return given


def _inserted(rig: Rig, repeats: int) -> Iterator[Figure]:
    took: dict[bool, list[float]] = {True: [], False: []}
    for repeat in range(max(repeats, 2)):
        for indexed in sorted(took, reverse=bool(repeat % 2)):
            for name, make in _INDEXES.items():
                rig.db.execute(f"drop index if exists public.{name}".encode())
                if indexed:
                    rig.db.execute(make.encode())
            rig.db.execute("checkpoint")
            took[indexed].append(_batch(rig) / _BATCH * 1e6)
    yield Figure("insert", "a row, without the indexes", "µs", tuple(took[False]))
    yield Figure("insert", "a row, with the indexes", "µs", tuple(took[True]))
    pairs = zip(took[True], took[False], strict=True)
    yield Figure("insert", "with the indexes, times without", "", tuple(have / lack for have, lack in pairs))


def _batch(rig: Rig) -> float:
    """Seconds in which rows with a number and metadata of their own are inserted, and undone."""
    with rig.db.transaction(force_rollback=True):
        began = monotonic()
        rig.db.execute(
            "insert into public.outbox (recipient, body, metadata)"
            " select '+1' || (2020000000 + (n * 7919::bigint) %% 9999999), 'Your order is ready.',"
            " jsonb_build_object('order', n) from generate_series(1, %s) n",
            [_BATCH],
        )
        return monotonic() - began
