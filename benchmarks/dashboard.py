"""What the dashboard's screens take in a big table, and what its indexes cost an insert."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from benchmarks.result import Figure, Options, Result
from benchmarks.rig import Rig, running
from benchmarks.size import Meter, grow

TITLE = "how long do the dashboard's screens take in a big table?"

_BATCH: Final = 10_000
_MOST_MS: Final = 300.0
_INDEXES: Final = {
    "outbox_recipient": "create index outbox_recipient on public.outbox (recipient, id)",
    "outbox_metadata": "create index outbox_metadata on public.outbox using gin (metadata jsonb_path_ops)"
    " where metadata is not null",
}
_HISTORY: Final = """
    insert into public.outbox (recipient, body, send_at, expires_at, priority, status, status_code, batch_id, attempts, parts,
      created_at, sent_at, finalized_at, due_at, dispatch_id, reported_rank, reported_at, campaign)
    select case n %% 4 when 0 then '+447700900' || lpad((n / 4 %% 1000)::text, 3, '0')
        when 1 then '+3319900' || lpad((n / 4 %% 10000)::text, 4, '0') else '+1' || (2020000000 + n) end,
      'Your table is ready. See you soon!', t.at, t.at + interval '3 days', 100,
      case when n %% 50 = 7 then 'failed' else 'delivered' end,
      case when n %% 50 = 7 then (array[310, 402, 406, 411])[1 + n / 50 %% 4] else 0 end,
      'old' || n / 1000, 1, 1 + n %% 2, t.at, t.at, t.at + interval '2 seconds' * (1 + n %% 40) ^ 2, t.at,
      md5('dispatch' || n / 1000)::uuid, 10, t.at, case when n %% 10 < 3 then 'campaign ' || n / 200000 end
    from generate_series(%(first)s::bigint, %(last)s::bigint) n
    cross join lateral (
      select now() - interval '80 days' * (%(last)s::bigint - n + random()) / (%(last)s::bigint - %(first)s::bigint + 1) as at
    ) t
"""
"""Three countries; two in a hundred failed, with four codes; three in ten of campaigns."""
_NEITHER: Final = "neither index"
_INDEXED: Final[dict[str, tuple[str, ...]]] = {
    _NEITHER: (),
    "that of numbers": ("outbox_recipient",),
    "that of metadata": ("outbox_metadata",),
    "both": ("outbox_recipient", "outbox_metadata"),
}
_RARE: Final = (
    "update public.outbox set status = 'unknown', status_code = 599, metadata = '{\"order\": \"rare\"}', campaign = 'rare'"
    " where id in (select (select min(id) from public.outbox) + n * %(rows)s / 25 from generate_series(0, 24) n)"
)
_AUDIT: Final = (
    "insert into outbox_engine.audit (at, actor, via, action, target, detail)"
    " select now() - n * interval '30 seconds', 'ada@example.com', 'dashboard', 'show_text', n::text, '{}'"
    " from generate_series(100000, 1, -1) n"
)
_SUPPRESSED: Final = (
    "insert into public.outbox_suppressions (recipient, reason)"
    " select '+1' || (4020000000 + n), 'asked by telephone' from generate_series(1, 100000) n"
)
_DAY: Final = {"since": "-1"}
_TIMES: Final = ("since", "until")
Call = tuple[str, list[Any]]
_STATUS: Final[Call] = ("status", [])


def _listed(**wanted: Any) -> list[Call]:
    return [("list_messages", [wanted, None, 50]), ("count_messages", [wanted, 10_000])]


_SCREENS: Final[dict[str, list[Call]]] = {
    "Now": [_STATUS, ("verdict", []), ("latest_statuses", [["-0.04", "-0.5"], 20_000])],
    "Messages of a day": _listed(**_DAY),
    "Messages, all": _listed(),
    "Messages, failed": _listed(statuses=["failed"]),
    "Messages, failed, of a day": _listed(statuses=["failed"], **_DAY),
    "Messages, one code, of 30 days": _listed(codes=[402], since="-30"),
    "Messages, one country": _listed(countries=["FR"]),
    "Messages, one plan, failed": _listed(plan="sinch:bench", statuses=["failed"]),
    "Messages, 25 unknown of all": _listed(statuses=["unknown"]),
    "Messages, rare campaign": _listed(campaign="rare"),
    "Messages, rare metadata": _listed(metadata={"order": "rare"}),
    "Messages, one number": _listed(recipients=["+447700900500"]),
    "Messages, last digits": _listed(last_digits="99999999"),
    "Messages, no such template": _listed(template="none"),
    "Messages, no such country": _listed(countries=["LI"]),
    "Messages, a day 40 days ago": _listed(since="-41", until="-40"),
    "One message": [("trace", ["newest", False])],
    "Conversation": [("conversation", ["+447700900500", None, 50])],
    "Delivery, 24 hours": [("delivery_report", ["-1", "0", "hour", "UTC"])],
    "Delivery, 30 days": [("delivery_report", ["-30", "0", "day", "Europe/Berlin"])],
    "Delivery, 30 days by hour": [("delivery_report", ["-30", "0", "hour", "UTC"])],
    "Delivery, a year": [("delivery_report", ["-365", "0", "day", "UTC"])],
    "Campaigns": [("list_campaigns", [])],
    "Replies": [("list_replies", [False, None, None, 51])],
    "Opt-outs": [("list_suppressions", [{}, "", 50])],
    "Opt-outs, no such end": [("list_suppressions", [{"number": "99999999"}, "", 50])],
    "Health": [
        _STATUS, ("list_plans", []), ("list_routes", []), ("list_senders", []), ("schema_version", []), ("doctor", []),
    ],
    "Audit": [("list_audit", [{}, None, 50])],
    "Audit, no such person": [("list_audit", [{"actor": "zoe@example.com"}, None, 50])],
    "Bulk action, first preview": [("preview_bulk", ["retry", {"statuses": ["failed"]}, {}, None, 500])],
}  # fmt: skip
_NOTE: Final = (
    "All calls of a screen one after another, from a client on the same machine, {times} times, with {rows:,} finished messages"
    " of 80 days, their requests and their history, a tenth as many scheduled ones, 100,000 entries of the audit and 100,000"
    " opt-outs. 25 messages have a status, a campaign and a metadata of their own. *CPU* is that of the database's backend,"
    " which other programs change little. *First* is the screen on a connection that made none of its calls before. *Count* is"
    " the time in which the figures job counts all messages for the first time. Inserts are {batch:,} rows with metadata of"
    " their own in one statement, with the two indexes of the dashboard in turn; *times neither* is within one turn."
)


def run(options: Options) -> Result:
    rows = 20_000 if options.quick else min(options.rows, 10_000_000 if options.full else 1_000_000)
    times = 3 if options.quick else 9
    with running() as rig:
        grow(rig.db, 0, rows, _HISTORY)
        with rig.db.transaction():
            rig.db.execute("set local session_replication_role = replica")
            rig.db.execute(_RARE, {"rows": rows})
            rig.db.execute(_AUDIT)
            rig.db.execute(_SUPPRESSED)
        rig.db.execute("vacuum analyze")
        figures = [*_counted(rig), *_shown(rig, times), *_inserted(rig, options.repeats)]
    return Result(tuple(figures), notes=(_NOTE.format(times=times, rows=rows, batch=_BATCH),))


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


def _shown(rig: Rig, times: int) -> Iterator[Figure]:
    meter = Meter(rig.db)
    newest = int(rig.value("select max(id) from public.outbox where queue is null"))
    for screen, calls in _SCREENS.items():
        made = [_made(function, given, newest) for function, given in calls]
        took, cpu, pages = [], [], []
        for _ in range(times):
            meter.lap()
            began = monotonic()
            for query, arguments in made:
                rig.db.execute(query, arguments).fetchall()
            took.append((monotonic() - began) * 1000)
            seconds, touched = meter.lap()
            cpu.append(seconds * 1000)
            pages.append(touched)
        yield Figure(screen, "first", "ms", (took[0],))
        yield Figure(screen, "time", "ms", tuple(took[1:]), _MOST_MS, at_most=True)
        yield Figure(screen, "CPU", "ms", tuple(cpu[1:]))
        yield Figure(screen, "pages", "", tuple(pages[1:]))


def _made(function: str, given: list[Any], newest: int) -> tuple[bytes, list[Any]]:
    """The statement of a call, and its arguments: numbers of days as times, objects as JSON."""
    places = ", ".join(["%s"] * len(given))
    return f"select public.outbox_{function}({places})".encode(), [_argument(one, newest) for one in given]


def _argument(given: Any, newest: int) -> Any:
    match given:
        case dict():
            return json.dumps({key: _time(one).isoformat() if key in _TIMES else one for key, one in given.items()})
        case list():
            return [_time(one) for one in given]
        case "newest":
            return newest
        case str() if given.lstrip("-").replace(".", "").isdigit():
            return _time(given)
        case _:
            return given


def _time(days: str) -> datetime:
    return datetime.now(UTC) + timedelta(days=float(days))


def _inserted(rig: Rig, repeats: int) -> Iterator[Figure]:
    """Each repetition takes all cases in turn, and the next one in the other direction."""
    took: dict[str, list[float]] = {name: [] for name in _INDEXED}
    for repeat in range(max(repeats, 2)):
        for case in list(_INDEXED)[:: -1 if repeat % 2 else 1]:
            for index, make in _INDEXES.items():
                rig.db.execute(f"drop index if exists public.{index}".encode())
                if index in _INDEXED[case]:
                    rig.db.execute(make.encode())
            rig.db.execute("checkpoint")
            took[case].append(_batch(rig) / _BATCH * 1e6)
    neither = took[_NEITHER]
    for case, values in took.items():
        yield Figure(f"insert, {case}", "a row", "µs", tuple(values))
        if case != _NEITHER:
            pairs = zip(values, neither, strict=True)
            yield Figure(f"insert, {case}", "times neither", "", tuple(have / lack for have, lack in pairs))


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
