"""Everyone who acts in a history besides the provider: applications, people with phones, operators, and the platform."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

import psycopg

from jobs.campaigns import Campaigns
from jobs.dispatch import Dispatcher
from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.gateway import Gateway
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.values import Plan
from jobs.inbound import InboundPolling
from jobs.providers.base import Refusal
from jobs.reconcile import Reconciliation
from jobs.recover import Recovery
from jobs.runtime.job import Job
from jobs.runtime.settings import EngineSettings
from jobs.upkeep import Upkeep
from tests.simulation.chaos import IS_OLDER, MOST_STEP_SECONDS, Chaos, Profile
from tests.simulation.clockwork import calendar
from tests.simulation.database import Database
from tests.simulation.mail import Mail
from tests.simulation.process import Process
from tests.simulation.provider import Line
from tests.simulation.witness import Witness

if TYPE_CHECKING:
    from jobs.adoption import Adoption
    from jobs.schema.admission import Admission
    from jobs.schema.releases import Releases

_DRAIN_SECONDS: Final = 9.0


def settings(profile: Profile) -> EngineSettings:
    return EngineSettings(
        _env_file=None,
        lease_seconds=profile.lease,
        settle_seconds=profile.settle,
        reconcile_after_seconds=profile.reconcile_after,
        dispatch_interval_seconds=2,
    )


class Served:
    """The jobs of a worker for one account."""

    def __init__(self, gateway: Gateway, line: Line, *, worker: str, profile: Profile, position: int | None) -> None:
        self.line = line
        # Release 0.1.0 knows no place in OUTBOX_PROVIDERS.
        place: dict[str, Any] = {} if IS_OLDER else {"position": position}
        limits = profile.messages_per_second, profile.requests_per_minute
        plan = Plan(line.name, line.plan, line.host, line.credential, *limits, **place)
        outage = ProviderOutage(gateway=gateway, plan=plan)
        shared: dict[str, Any] = {"gateway": gateway, "provider": line, "plan": plan, "settings": settings(profile)}
        if not IS_OLDER:
            # Release 0.1.0 knows no clocks.
            shared["clocks"] = line.clocks
        self.adoption = None if IS_OLDER else _adoption(gateway, line, plan, profile)
        admitted: dict[str, Any] = {} if IS_OLDER else {"admission": _admission(gateway)}
        self.dispatcher = Dispatcher(**shared, **admitted, worker=worker)
        self.inbound = InboundPolling(**shared, outage=outage)
        self.jobs: tuple[Job, ...] = (
            self.dispatcher,
            Recovery(**shared, outage=outage),
            Reconciliation(**shared, outage=outage),
            self.inbound,
        )

    @property
    def heartbeat_at(self) -> str | None:
        """The last heartbeat that its database has told it."""
        return self.dispatcher._seen.heartbeat_at


class Worker:
    """One ``outbox run``: the real jobs of each account that it serves, each job with its own ticks."""

    def __init__(
        self, process: Process, gateway: Gateway, lines: Sequence[tuple[int | None, Line, Profile]], witness: Witness
    ) -> None:
        self.process = process
        self._witness = witness
        self.served = [
            Served(gateway, line, worker=process.name, profile=profile, position=position) for position, line, profile in lines
        ]
        self._ticking: list[asyncio.Task[None]] = []
        self._told: defaultdict[Job, asyncio.Event] = defaultdict(asyncio.Event)
        own = (Campaigns(gateway=gateway), Upkeep(gateway=gateway, settings=settings(lines[0][2])))
        for one in self.served:
            one.dispatcher.wake_others_with(partial(self._wake, (*one.jobs, *own)))
        self._jobs: tuple[Job, ...] = (*(job for one in self.served for job in one.jobs), *own)

    def _wake(self, jobs: Sequence[Job], name: str) -> None:
        for job in jobs:
            if job.name == name:
                self._told[job].set()

    def start(self) -> None:
        self._witness.say(self.process.name, "starts for " + " and ".join(one.line.name for one in self.served))
        for job in self._jobs:
            self._ticking.append(self.process.start(self._run(job)))

    async def tick_all(self) -> None:
        """Each job once, in turn, until all work that it began has ended."""
        for job in self._jobs:
            await self.tick(job)
        for one in self.served:
            await one.dispatcher.finish()

    async def drain(self) -> None:
        """SIGTERM, and SIGKILL after nine seconds."""
        self._witness.say(self.process.name, "drains")
        await asyncio.wait([self.process.start(one.dispatcher.drain()) for one in self.served], timeout=_DRAIN_SECONDS)
        self.process.die()

    async def _run(self, job: Job) -> None:
        while True:
            self._told[job].clear()
            await self.tick(job)
            await self._pause(job)

    async def _pause(self, job: Job) -> None:
        """Wait for the next tick, or until the dispatch job names this job, as the scheduler does."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._told[job].wait(), timeout=job.interval)

    async def tick(self, job: Job) -> None:
        try:
            await job.tick()
        except GatewayUnavailable:
            await asyncio.sleep(1)
        except Exception as error:  # noqa: BLE001  # whatever a job raises belongs to the story
            self._witness.complain(f"the {job.name} job raised {error!r}")


def _admission(gateway: Gateway) -> "Admission":
    """Tells claims which schema version the process knows, without which no route can be set."""
    # Not at the top, because release 0.1.0 has no such modules.
    from jobs.schema.admission import Admission

    return Admission(gateway.installed_schema, _releases())


@cache
def _releases() -> "Releases":
    from jobs.schema.releases import packaged

    return packaged()


def _adoption(gateway: Gateway, line: Line, plan: Plan, profile: Profile) -> "Adoption":
    # Not at the top, because release 0.1.0 has no such module.
    from jobs.adoption import Adoption

    return Adoption(
        gateway=gateway,
        provider=line,
        plan=plan,
        deadline=profile.lease / 3,
        all_references=False,
        show=lambda *_: None,
        clocks=line.clocks,
        now=lambda: calendar(asyncio.get_running_loop().time()),
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """The objects that actors use."""

    database: Database
    chaos: Chaos
    mails: tuple[Mail, ...]
    witness: Witness
    random: Random
    numbers: tuple[str, ...]
    texts: tuple[str, ...]

    def rest(self) -> float:
        return self.random.uniform(0, self.chaos.profile.trouble)

    @property
    def mail(self) -> Mail:
        """The account whose number a phone writes to next."""
        return self.mails[0] if len(self.mails) == 1 else self.random.choice(self.mails)

    def act(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """A statement of an application, as ``service_role``, now."""
        self.database.set_clock(calendar(asyncio.get_running_loop().time()))
        return self.database.app(statement, arguments)


async def insert_messages(stage: Stage) -> None:
    """Applications insert messages, some for later, some in a hurry, some together, and cancel some."""
    profile, loop = stage.chaos.profile, asyncio.get_running_loop()
    times = sorted(stage.random.uniform(0, profile.trouble * 0.6) for _ in range(profile.messages))
    while times:
        await asyncio.sleep(max(0.0, times[0] - loop.time()))
        most = min(profile.burst, len(stage.numbers), len(times))
        # A burst takes the place of the messages after it: each message costs time.
        count = stage.random.randint(1, most) if most > 1 else 1
        del times[:count]
        _insert(stage, count)


def _insert(stage: Stage, count: int) -> None:
    """``count`` recipients of one text."""
    random, chaos = stage.random, stage.chaos
    now = calendar(asyncio.get_running_loop().time())
    send_at = now + timedelta(seconds=random.uniform(0, 60)) if chaos.happens("app.schedules") else None
    least = 1.0 if chaos.happens("app.hurries") else 300.0
    longest = random.choice((90.0, 4 * 3600.0, 60 * 3600.0)) if least < 300 else random.choice((4 * 3600.0, 60 * 3600.0))
    expires_at = None
    if random.random() < 0.7:
        expires_at = (send_at or now) + timedelta(seconds=chaos.most_jump + random.uniform(least, longest))
    recipients = random.sample(stage.numbers, count) if count > 1 else [random.choice(stage.numbers)]
    body = random.choice(stage.texts)
    try:
        inserted = stage.act(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority)"
            " select r, %s::text, %s::timestamptz, %s::timestamptz, %s::smallint from unnest(%s::text[]) r"
            " returning id, recipient",
            body, send_at, expires_at, random.choice((None, 0, 200)), recipients,
        )  # fmt: skip
    except psycopg.errors.InvalidParameterValue as error:
        # Its clock differs from the database's.
        stage.witness.say("app", f"inserts nothing: {error.diag.message_primary}")
        return
    for number, recipient in inserted:
        stage.witness.say("app", f"inserts message {number} to {recipient}: {body!r}, due {send_at}, expires {expires_at}")
        if chaos.happens("app.cancels"):
            delay = random.choice((random.uniform(0, 3), random.uniform(0, 120)))
            asyncio.get_running_loop().call_later(delay, _cancel, stage, number)


def _cancel(stage: Stage, number: object) -> None:
    stage.act("update public.outbox set status = 'cancelled' where id = %s", number)
    stage.witness.say("app", f"cancels message {number}")


async def opt_out(stage: Stage) -> None:
    """People write STOP and START, operators suppress and lift."""
    for number in stage.numbers:
        if stage.chaos.happens("phone.stops"):
            for word in stage.random.choice((("STOP",), ("STOP", "START"), ("START", "stop."), ("Hello?",))):
                _later(stage, stage.mail.write, number, word)
        if stage.chaos.happens("operator.suppresses"):
            _later(stage, _suppress, stage, number)


def _suppress(stage: Stage, number: str) -> None:
    stage.act(
        "insert into public.outbox_suppressions (recipient, reason) values (%s, 'asked by phone') on conflict do nothing",
        number,
    )
    stage.witness.say("operator", f"suppresses {number}")


async def jump_clocks(stage: Stage) -> None:
    """The database server's clock is set forward and back from time to time."""
    most = stage.chaos.most_jump
    while stage.chaos.happens("clock.jumps") and most > 0.1:
        await asyncio.sleep(stage.rest() / 2)
        forward = stage.chaos.between(0, most)
        most -= forward
        by = forward if stage.random.random() < 0.7 else -forward
        stage.database.jump(timedelta(seconds=by))
        stage.witness.say("clock", f"jumps by {by:+.3f} s")


async def step_clocks(stage: Stage) -> None:
    """The database server's clock is set by minutes, so that it is too far ahead or behind, or right again."""
    ahead = 0.0
    while stage.chaos.happens("clock.steps"):
        await asyncio.sleep(stage.chaos.between(1, 10))
        by = stage.chaos.pick((0.0, stage.chaos.between(-MOST_STEP_SECONDS, MOST_STEP_SECONDS))) - ahead
        ahead += by
        stage.database.jump(timedelta(seconds=by))
        stage.witness.say("clock", f"steps by {by:+.3f} s")


async def cut_lines(stage: Stage) -> None:
    """The Supabase API is away for a while."""
    while stage.chaos.happens("call.outage"):
        await asyncio.sleep(stage.rest())
        if stage.chaos.ended:
            return
        stage.chaos.outage = True
        stage.witness.say("network", "the database is away")
        await asyncio.sleep(stage.chaos.between(1, 3 * stage.chaos.profile.settle))
        stage.chaos.outage = False
        stage.witness.say("network", "the database is back")


def troubles(stage: Stage, account: Chaos) -> list[tuple[float, float, Refusal]]:
    """The account is out of order, or one of our settings for it is wrong."""
    found = []
    for fault, why in (("answer.account", Refusal.ACCOUNT), ("answer.setting", Refusal.SETTING)):
        while account.happens(fault):
            start = stage.rest()
            found.append((start, start + account.between(1, 60), why))
    return found


def _later(stage: Stage, act: object, *arguments: object) -> None:
    asyncio.get_running_loop().call_later(stage.rest(), act, *arguments)  # type: ignore[arg-type]
