"""The system under measurement: a local Supabase that syncs to disk, and the simulator as a process."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import psutil
import psycopg
from msgspec.structs import replace

from jobs.runtime import settings
from sandbox.local.stack import LocalStack
from sandbox.simulator import server
from sandbox.simulator.control import Control
from sandbox.simulator.sinch.plans import PlanSettings
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.tokens import make_private_key, public_key_of

SENDER = "+12025550100"
Connection = psycopg.Connection[tuple[object, ...]]

_EMPTIED = (
    "public.outbox",
    "public.outbox_events",
    "outbox_engine.dispatches",
    "outbox_engine.dispatch_members",
    "outbox_engine.plans",
    "outbox_engine.plan_requests",
    "outbox_engine.plan_pauses",
    "outbox_engine.route_sends",
    "outbox_engine.plan_health",
    "outbox_engine.failed_requests",
    "outbox_engine.heartbeats",
)
_ROUTES = ("public.outbox_routes", "public.outbox_route_plans", "outbox_engine.detours", "outbox_engine.default_route")


@dataclass(frozen=True, slots=True)
class Rig:
    """``db`` is the database as superuser, committing each statement."""

    stack: LocalStack
    db: Connection
    simulator: Control
    sinch_url: str
    plan: PlanSettings
    application: ApplicationSettings
    vonage_key: str

    @property
    def environment(self) -> dict[str, str]:
        """All settings of a process of ours. The plan's limits are out of the way: they are not what is measured."""
        return {
            **dict.fromkeys(settings.names(), ""),
            "SUPABASE_URL": self.stack.url,
            "SUPABASE_SECRET_KEY": self.stack.secret_key,
            "SINCH_SERVICE_PLAN_ID": self.plan.id,
            "SINCH_API_TOKEN": self.plan.token,
            "SINCH_BASE_URL": self.sinch_url,
            "SINCH_FROM_NUMBER": SENDER,
            "SINCH_REQUESTS_PER_MINUTE": "1000000",
            "LOG_LEVEL": "warning",
        }

    @property
    def vonage_environment(self) -> dict[str, str]:
        """The same with an account at Vonage alone."""
        return {
            **self.environment,
            "SINCH_SERVICE_PLAN_ID": "",
            "SINCH_API_TOKEN": "",
            **self._vonage,
        }

    @property
    def both_environment(self) -> dict[str, str]:
        """The same with an account at Sinch, and one at Vonage."""
        return {**self.environment, **self._vonage, "OUTBOX_PROVIDERS": "sinch,vonage"}

    @property
    def _vonage(self) -> dict[str, str]:
        return {
            "VONAGE_APPLICATION_ID": self.application.id,
            "VONAGE_PRIVATE_KEY": self.vonage_key,
            "VONAGE_REPORTS": "0",
            "VONAGE_BASE_URL": self.sinch_url,
            "VONAGE_FROM_NUMBER": SENDER,
            "VONAGE_MESSAGES_PER_SECOND": "1000000",
        }

    def empty(self) -> None:
        """Delete all messages and routes, here and at the simulator.

        Begins with a checkpoint, so that a ratio's halves are alike.
        """
        self.db.execute(f"truncate {', '.join((*_EMPTIED, *_ROUTES))} restart identity")
        # As before the first route: then a claim and an insert look nothing up.
        self.db.execute("alter sequence outbox_engine.route_ids restart")
        self.simulator.reset()
        self.db.execute("checkpoint")

    def route(self, name: str, weights: Mapping[str, int], *, below: int | None = None) -> None:
        """A route over these providers, for messages of a priority below that one."""
        plans = {"sinch": self.plan.id, "vonage": self.application.id}
        named = [{"provider": name, "plan": plans[name], "weight": weight} for name, weight in weights.items()]
        self.db.execute(
            "select public.outbox_set_route(%s, %s::jsonb, p_priority_below => %s::smallint, p_allow_absent => true)",
            [name, json.dumps(named), below],
        )

    def insert(self, messages: int, *, body: str = "null", template: str = "null", parameters: str = "null") -> None:
        """Due rows, inserted at once. The columns are SQL over ``n``, which counts from 0."""
        self.db.execute(
            "insert into public.outbox (recipient, body, template, parameters) "
            f"select '+1' || (2020000000 + n), {body}, {template}, {parameters}::jsonb "
            f"from generate_series(0, {messages - 1}) n"
        )
        self.db.execute("vacuum analyze public.outbox")
        self.db.execute("checkpoint")

    def value(self, question: str) -> float:
        [row] = self.db.execute(question.encode()).fetchall()
        return float(str(row[0]))


@contextmanager
def running(*, durable: bool = True) -> Iterator[Rig]:
    """Start everything, and stop it when the block ends. No process listens for callbacks, so the simulator makes none."""
    with ExitStack() as parts:
        stack = parts.enter_context(LocalStack(durable=durable))
        simulator = parts.enter_context(server.process("--callback-url", "http://127.0.0.1:9/webhooks/sinch/delivery"))
        simulator.control.change(callbacks=False)
        db = parts.enter_context(psycopg.connect(stack.admin_url, autocommit=True))
        key = make_private_key()
        application = replace(simulator.application, public_key=public_key_of(key))
        simulator.control.vonage.agree(application)
        yield Rig(
            stack=stack,
            db=db,
            simulator=simulator.control,
            sinch_url=simulator.url,
            plan=simulator.plan,
            application=application,
            vonage_key=key,
        )


def until(is_so: Callable[[], bool], seconds: float = 20.0, *, every: float = 0.05) -> None:
    """Wait for something to become so. Ends the benchmark if it takes longer than ``seconds``."""
    ends = monotonic() + seconds
    while not is_so():
        if monotonic() > ends:
            raise SystemExit(f"waited {seconds:g} seconds in vain")
        sleep(every)


class Gauge:
    """CPU seconds of everything this process started, by kind of program, and WAL bytes, between enter and exit.

    A process must live until the exit to be counted, except those of PostgreSQL, which its postmaster remembers.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.cpu: dict[str, float] = {}
        self.wal = 0.0

    def __enter__(self) -> Self:
        self._cpu = cpu_by_program()
        self._lsn = self._rig.value("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.wal = self._rig.value("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn") - self._lsn
        self.cpu = cpu_since(self._cpu)


def cpu_since(before: Mapping[str, float]) -> dict[str, float]:
    """The usage since :func:`cpu_by_program` returned ``before``."""
    return {name: seconds - before.get(name, 0.0) for name, seconds in cpu_by_program().items()}


def cpu_by_program(of: psutil.Process | None = None) -> dict[str, float]:
    """CPU seconds so far of all running children of this process, or of another one, by kind of program."""
    used: dict[str, float] = {}
    for process in (of or psutil.Process()).children(recursive=True):
        try:
            name, times = process.name(), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        if name.startswith("postgres"):
            name = "postgres"
        elif name == "MainThread":  # Node's name for its main thread, and so for its process.
            name = "node"
        used[name] = used.get(name, 0.0) + times.user + times.system + times.children_user + times.children_system
    return used
