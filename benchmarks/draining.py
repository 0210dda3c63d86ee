"""One process drains a backlog: how fast, with how many requests, and at what cost."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import worker
from benchmarks.distance import AWAY, afar
from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import Gauge, Rig, running

TITLE = "how fast is a backlog sent, and what does it cost?"

NAME = "(array['Ada', 'Grace', 'Édouard', 'Maria del Carmen'])[1 + n % 4] || ' ' || n"
ONE_TEXT = "'Your table is ready. See you soon!'"
TEMPLATE = "Dear {{name}}, your table is ready. See you soon!"


@dataclass(frozen=True, slots=True)
class Case:
    """``latency`` is the provider's, in seconds; ``goal`` in messages a second, ``share`` of what the case ``of`` reaches.

    ``is_afar`` where Supabase is on the other side of a network (`benchmarks/distance.py`).
    """

    name: str
    columns: dict[str, str]
    goal: float | None = None
    latency: float = 0.0
    of: str | None = None
    countries: str | None = None
    is_afar: bool = False


_TEMPLATED = {"template": "'ready'", "parameters": f"jsonb_build_object('name', {NAME})"}
_TYPED = {"body": f"'Dear ' || {NAME} || ', your table is ready. See you soon!'"}

CASES = (
    Case("one text", {"body": ONE_TEXT}, goal=25_000),
    Case("one text, provider takes 50 ms", {"body": ONE_TEXT}, latency=0.05, of="one text"),
    Case("one text, ALLOWED_COUNTRIES", {"body": ONE_TEXT}, countries="US,CA"),
    Case(f"one text, {AWAY}", {"body": ONE_TEXT}, is_afar=True),
    Case("a template with a name", _TEMPLATED, goal=10_000),
    Case("a template with a name, 50 ms", _TEMPLATED, latency=0.05, of="a template with a name"),
    Case("typed texts that differ in a name", _TYPED, goal=10_000),
    Case("typed texts, 50 ms", _TYPED, latency=0.05, of="typed texts that differ in a name"),
)

_NOTE = (
    "{messages:,} messages, due when the process starts to claim. Requests and costs are per 1000 messages. CPU seconds "
    "are those of all processes (PostgreSQL, Supabase Lite, the scheduler, the simulator), and of the scheduler alone. "
    "Claims that found nothing are counted by themselves, for each drain: at least one finds that the backlog is gone."
)


def run(options: Options) -> Result:
    messages = 8_000 if options.quick else 60_000
    measured: dict[str, list[dict[str, float]]] = {case.name: [] for case in CASES}
    with running() as rig:
        rig.db.execute("insert into public.outbox_templates (name, body) values ('ready', %s)", [TEMPLATE])
        for _ in range(options.repeats):
            for case in CASES:
                measured[case.name].append(_drain(rig, case, messages))
    return Result(
        figures=tuple(_figures(measured)),
        plots=(Plot("messages"),),
        notes=(_NOTE.format(messages=messages),),
    )


def _drain(rig: Rig, case: Case, messages: int) -> dict[str, float]:
    rig.empty()
    rig.simulator.change(latency=case.latency)
    rig.insert(messages, **case.columns)
    environment = rig.environment | ({} if case.countries is None else {"ALLOWED_COUNTRIES": case.countries})
    with ExitStack() as way:
        if case.is_afar:
            environment["SUPABASE_URL"] = way.enter_context(afar(rig.stack.url))
        drainer = way.enter_context(worker.ready("benchmarks.drainer", environment=environment))
        with Gauge(rig) as gauge:
            said = drainer.work()
    sent = rig.value("select count(*) from public.outbox where status = 'sent'")
    if sent != messages:
        raise SystemExit(f"{case.name}: {sent:.0f} of {messages} messages were sent")
    books = rig.simulator.summary()
    if books.messages != messages or books.sent_twice:
        raise SystemExit(f"{case.name}: the simulator's books hold {books.messages} messages, {books.sent_twice} sent twice")
    thousands = messages / 1000
    return {
        "messages": messages / said["seconds"],
        "requests to Sinch": books.requests["send"] / thousands,
        "calls to Supabase": len(said["calls"]) / thousands,
        "claims in vain": said["in_vain"],
        "CPU, all": sum(gauge.cpu.values()) / thousands,
        "CPU, scheduler": said["cpu"] / thousands,
        "WAL": gauge.wal / thousands / 1000,
        "peak memory": said["peak_mib"],
    }


_UNITS = {
    "messages": "1/s",
    "requests to Sinch": "per 1000",
    "calls to Supabase": "per 1000",
    "claims in vain": "",
    "CPU, all": "s",
    "CPU, scheduler": "s",
    "WAL": "kB",
    "peak memory": "MiB",
}


def _figures(measured: dict[str, list[dict[str, float]]]) -> Iterator[Figure]:
    for case in CASES:
        runs = measured[case.name]
        for name, unit in _UNITS.items():
            values = tuple(each[name] for each in runs)
            goal = case.goal if name == "messages" else None
            at_most = name.endswith(("Sinch", "Supabase"))
            if at_most and case.name == "one text":
                goal = 1.0
            yield Figure(case.name, name, unit, values, goal=goal, at_most=at_most)
        if case.of is not None:
            shares = tuple(one["messages"] / other["messages"] for one, other in zip(runs, measured[case.of], strict=True))
            yield Figure(case.name, "share of no latency", "", shares, goal=2 / 3)
