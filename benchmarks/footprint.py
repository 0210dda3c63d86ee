"""The cost of the processes: memory under load, startup time, and an idle process's calls of the API."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

import httpx
import psutil

from benchmarks.callbacks import DELIVERY, SECRET, fire
from benchmarks.load import Order
from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import Rig, running, until
from benchmarks.sent import make_batches
from benchmarks.worker import peak_mib, started
from webhook.commands import listen

TITLE = "how much memory do the processes take, and how soon are they ready?"

_MOST_MIB: Final = 120e6 / 2**20
"""120 MB."""
_READY_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 30.0
RUN, WEBHOOK, IDLE = (
    "outbox run, {rows:,} rows waiting",
    "outbox webhook, 200 connections, then over capacity",
    "outbox run, idle",
)

_NOTE = (
    "`outbox run` is ready when its first request reaches the simulator, `outbox webhook` when `/readyz` answers 200, both "
    "counted from the start of the process. Memory is the most that was resident since then, with {seconds:g} seconds of work "
    "(the webhook app: callbacks about one recipient each, then as long some about 500, again at once when it answers 429). "
    "Idle calls are those of all jobs: {calls}."
)
_CALLS = "select funcname, calls from pg_stat_user_functions where schemaname = 'public' and funcname like 'outbox\\_%'"


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds until ready, and MiB resident."""

    ready: float
    started_mib: float
    peak_mib: float


def run(options: Options) -> Result:
    rows, seconds, idle = (20_000, 2.0, 10.0) if options.quick else (1_000_000, 10.0, 300.0)
    with running() as rig:
        runs, webhooks = [], []
        for _ in range(options.repeats):
            rig.empty()
            _insert_backlog(rig, rows)
            runs.append(_scheduler_at_work(rig, seconds))
            webhooks.append(_webhook_at_work(rig, seconds))
        calls = _idle_calls(rig, idle)
    figures = [*_figures(RUN.format(rows=rows), runs), *_figures(WEBHOOK, webhooks)]
    figures.append(Figure(IDLE, "calls", "1/s", (sum(calls.values()) / idle,), 1.0, at_most=True))
    by_name = ", ".join(f"`{name}` {number}" for name, number in sorted(calls.items(), key=lambda call: -call[1]))
    notes = (_NOTE.format(seconds=seconds, calls=f"in {idle:g} seconds {by_name}"),)
    return Result(tuple(figures), (Plot("memory at most"),), notes)


def _figures(case: str, used: Sequence[Used]) -> Iterator[Figure]:
    yield Figure(case, "ready", "s", tuple(one.ready for one in used), _READY_SECONDS, at_most=True)
    yield Figure(case, "memory when ready", "MiB", tuple(one.started_mib for one in used))
    yield Figure(case, "memory at most", "MiB", tuple(one.peak_mib for one in used), _MOST_MIB, at_most=True)


def _insert_backlog(rig: Rig, rows: int) -> None:
    """A million due rows, as the triggers would have made them."""
    with rig.db.transaction():
        rig.db.execute("set local session_replication_role = replica")
        rig.db.execute(
            "insert into public.outbox "
            "(recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue, due_at) "
            "select '+1' || (2020000000 + n), 'Your order ' || n % 500 || ' is on its way.', now(), now() + interval '3 days', "
            f"100, 'pending', 0, now(), 'r', now() from generate_series(1, {rows}) n"
        )
        # The triggers also record the priority and the queue bounds (docs/decisions/0005-queue-bounds.md).
        rig.db.execute("insert into outbox_engine.priorities (priority) values (100)")
        rig.db.execute("delete from outbox_engine.queue_bounds")
    rig.db.execute("vacuum analyze public.outbox")


def _scheduler_at_work(rig: Rig, seconds: float) -> Used:
    began = monotonic()
    with started(["-m", "scheduler", "run"], rig.environment) as process:
        until(lambda: rig.simulator.summary().requests.get("send", 0) > 0, _PATIENCE_SECONDS, every=0.01)
        ready = monotonic() - began
        when_ready = psutil.Process(process.pid).memory_info().rss / 2**20
        sleep(seconds)
        return Used(ready, when_ready, peak_mib(process.pid))


def _webhook_at_work(rig: Rig, seconds: float) -> Used:
    batches = make_batches(rig.db, tag=f"footprint {monotonic()}", batches=int(seconds * 20), recipients=500)
    bodies = [body for batch in batches for body in batch.callbacks()]
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
    began = monotonic()
    environment = {**rig.environment, "SINCH_WEBHOOK_SECRETS": SECRET}
    with started(["-m", "scheduler", "webhook", "--port", str(port)], environment) as process:
        until(lambda: _is_ready(port), _PATIENCE_SECONDS, every=0.01)
        ready = monotonic() - began
        when_ready = psutil.Process(process.pid).memory_info().rss / 2**20
        fire(Order(port, DELIVERY, SECRET, bodies, 200, seconds))
        fire(Order(port, DELIVERY, SECRET, [batch.full_report() for batch in batches], 100, seconds, again=True))
        return Used(ready, when_ready, peak_mib(process.pid))


def _idle_calls(rig: Rig, seconds: float) -> dict[str, int]:
    """Calls by function in this many idle seconds, once the process had settled."""
    rig.empty()
    rig.db.execute("alter system set track_functions = 'all'")
    rig.db.execute("select pg_reload_conf()")
    with started(["-m", "scheduler", "run"], rig.environment):
        until(lambda: bool(_calls(rig)), _PATIENCE_SECONDS, every=0.01)
        sleep(3)
        before = _calls(rig)
        sleep(seconds)
        after = _calls(rig)
    return {name: calls - before.get(name, 0) for name, calls in after.items() if calls > before.get(name, 0)}


def _calls(rig: Rig) -> dict[str, int]:
    return {str(name): int(str(calls)) for name, calls in rig.db.execute(_CALLS)}


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
