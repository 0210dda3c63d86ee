"""Fixtures that connect the real jobs to a real database and to a simulator on a real socket."""

import os
import pickle
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar, cast
from uuid import uuid4

import pytest
from pydantic_settings import BaseSettings

from jobs.dispatch import Dispatcher
from jobs.gateway.gateway import Gateway
from jobs.gateway.values import Dispatch, Plan
from jobs.providers import registry
from jobs.runtime import clocks as engine_clocks
from jobs.runtime.accounts import SinchSettings
from jobs.runtime.settings import EngineSettings, EventsSettings, SupabaseSettings, names
from jobs.runtime.waking import Wakings
from jobs.schema import releases
from sandbox.local.stack import LocalStack
from sandbox.simulator import server
from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.control import Control
from sandbox.simulator.server import Running
from sandbox.simulator.sinch.plans import PlanSettings
from scheduler.engine import Engine, build_engine
from tests.stack import Connection

SENDER = "+12025550100"
Group = TypeVar("Group", bound=BaseSettings)
_NAMES: Final = sorted(names())
_settings: dict[tuple[type[BaseSettings], bytes], BaseSettings] = {}


@dataclass(frozen=True, slots=True)
class Rig:
    """The jobs of one process, and the simulator that they send to."""

    engine: Engine
    dispatcher: Dispatcher
    simulator: Control

    async def tick(self, *names: str) -> None:
        """One tick of each named job, in that order. The dispatch job's requests have ended when this returns."""
        jobs = {job.name: job for job in self.engine.jobs}
        for name in names:
            await jobs[name].tick()
            await self.dispatcher.finish()

    async def claim(self) -> tuple[Dispatch, ...]:
        """Claim as the dispatch job does, but send nothing, as if the process died after the claim."""
        return (await self.dispatcher._claim(str(uuid4()), 8, urgent_only=False)).dispatches


@dataclass(slots=True)
class Clocks:
    """The database's clock and the simulator's, moved together: the provider refuses what expires days after its own now.

    The database's stands still between moves; the simulator's runs on from the same instant.
    """

    db: Connection
    simulator: Control
    _pushed: float = 0.0

    def set(self, at: str | datetime) -> None:
        self.db.execute("update outbox_engine.clock set frozen_at = %s, shift = '0'", [at])
        self._follow()

    def move(self, interval: str) -> None:
        """Any interval PostgreSQL reads."""
        later(self.db, interval)
        self._follow()

    def now(self) -> datetime:
        row = self.db.execute("select outbox_engine.now()").fetchone()
        assert row is not None
        assert isinstance(row[0], datetime)
        return row[0]

    def _follow(self) -> None:
        behind = self.now().timestamp() - (time.time() + self._pushed)
        self.simulator.advance(behind)
        self._pushed += behind


MakeRig = Callable[..., Any]


def read(group: type[Group], **values: Any) -> Group:
    """These settings without a ``.env`` file. Reading a group takes 5 ms, so what the same values gave before is copied."""
    key = pickle.dumps((values, [os.environ.get(name) for name in _NAMES]))
    if (group, key) not in _settings:
        _settings[group, key] = group(_env_file=None, **values)
    return cast("Group", _settings[group, key].model_copy())


def supabase_settings(stack: LocalStack) -> SupabaseSettings:
    return read(SupabaseSettings, supabase_url=stack.url, supabase_secret_key=stack.secret_key)


@pytest.fixture
def project(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of commands that a test runs in its own process."""
    monkeypatch.setenv("SUPABASE_URL", stack.url)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", stack.secret_key)


@pytest.fixture(scope="session")
def simulator_of_the_worker() -> Iterator[Running]:
    with server.running(plan=PlanSettings(callback_url="http://127.0.0.1:9/webhooks/sinch/delivery")) as running:
        yield running


@pytest.fixture
def sinch(simulator_of_the_worker: Running) -> Running:
    """A simulator without faults and without messages. No one receives its callbacks: reports come by polling."""
    control, plan = simulator_of_the_worker.control, simulator_of_the_worker.plan
    control.behave(Behaviour())
    control.agree(plan)
    control.reset()
    return simulator_of_the_worker


@pytest.fixture
def clocks(db: Connection, sinch: Running) -> Clocks:
    return Clocks(db, sinch.control)


@pytest.fixture
async def gateway(stack: LocalStack) -> AsyncIterator[Gateway]:
    gateway = await Gateway.connect(supabase_settings(stack))
    yield gateway
    await gateway.aclose()


@pytest.fixture
async def make_rig(stack: LocalStack, sinch: Running) -> AsyncIterator[MakeRig]:
    """Makes processes that share a database and a service plan: ``await make_rig(lease_seconds=3)``.

    Unless ``is_checked``, the first tick of the dispatch job looks for signs of a restored database, as in a new process.
    """
    made: list[Rig] = []

    async def make(
        *,
        sinch_settings: dict[str, Any] | None = None,
        is_checked: bool = True,
        wakings: Wakings | None = None,
        **settings: Any,
    ) -> Rig:
        engine = await build_engine(
            supabase_settings(stack),
            {None: sinch_account(sinch, **(sinch_settings or {}))},
            read(EngineSettings, **settings),
            known=releases.packaged(),
            waits_for_rates=False,
            wakings=wakings,
            events=read(EventsSettings, events_allow_private_networks=True),
        )
        engine.served[0].restores.passed = is_checked
        dispatcher = next(job for job in engine.jobs if isinstance(job, Dispatcher))
        made.append(Rig(engine=engine, dispatcher=dispatcher, simulator=sinch.control))
        return made[-1]

    yield make
    for rig in made:
        for job in rig.engine.jobs:
            await job.drain()
        await rig.engine.aclose()


@pytest.fixture
async def rig(make_rig: MakeRig) -> Rig:
    made: Rig = await make_rig()
    return made


def sinch_account(sinch: Running, **settings: Any) -> SinchSettings:
    return read(
        SinchSettings,
        sinch_service_plan_id=sinch.plan.id,
        sinch_api_token=sinch.plan.token,
        sinch_base_url=sinch.url,
        sinch_from_number=SENDER,
        **settings,
    )


def plan_of(sinch: Running, **limits: Any) -> Plan:
    provider = registry.account(sinch_account(sinch)).build(engine_clocks.Clocks())
    return Plan(
        provider=provider.name,
        plan=provider.plan,
        host=provider.host,
        credential=provider.credential,
        messages_per_second=limits.get("messages_per_second"),
        requests_per_minute=limits.get("requests_per_minute", 600),
    )


def number(n: int) -> str:
    """The nth test number. All are in the block that North America reserves for fiction."""
    return f"+1{200 + n // 100:03d}55501{n % 100:02d}"


def insert(db: Connection, count: int = 1, *, body: str = "hello", first: int = 0, **columns: Any) -> list[int]:
    """Insert rows with one text as an app would, by number. Returns their ids."""
    names = ["recipient", "body", *columns]
    rows = [[number(first + n), body, *columns.values()] for n in range(count)]
    ids: list[int] = []
    with db.cursor() as cursor:
        sql = f"insert into public.outbox ({', '.join(names)}) values ({', '.join(['%s'] * len(names))}) returning id"
        cursor.executemany(sql, rows, returning=True)
        while True:
            row = cursor.fetchone()
            assert row is not None
            ids.append(int(str(row[0])))
            if not cursor.nextset():
                return ids


def statuses(db: Connection) -> dict[str, int]:
    return {
        str(status): int(str(count)) for status, count in db.execute("select status, count(*) from public.outbox group by 1")
    }


def column(db: Connection, name: str, outbox_id: int) -> Any:
    row = db.execute(f"select {name} from public.outbox where id = %s", [outbox_id]).fetchone()
    assert row is not None
    return row[0]


def stand_still(db: Connection) -> None:
    """Stop the database's clock, so that no limit refills between two lines of a test."""
    db.execute("update outbox_engine.clock set frozen_at = now()")


def later(db: Connection, interval: str) -> None:
    """Move the database's clock forward."""
    db.execute("update outbox_engine.clock set shift = shift + %s::interval", [interval])


def history(db: Connection, outbox_id: int) -> list[str]:
    rows = db.execute("select event from public.outbox_events where outbox_id = %s order by id", [outbox_id])
    return [str(event) for (event,) in rows]
