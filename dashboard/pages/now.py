"""Now: whether messages go out, what waits, which plans are paused, and what ran when."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.responses import Response

from dashboard.pages.totals import spans
from dashboard.visit import Visit
from dashboard.words import messages_today
from jobs.gateway import pause_words
from jobs.gateway.alarms import setting_of
from jobs.gateway.errors import FunctionMissing
from jobs.gateway.status import RaisedAlarm, Status
from jobs.gateway.verdict import SENDING, Verdict
from jobs.runtime.counts import messages_a_second
from jobs.runtime.masking import scrub
from jobs.runtime.times import all_in_utc

_LATE_SECONDS: Final = 180.0
_WAITING_LONG_SECONDS: Final = 60.0
_ALARMS: Final = 8


@dataclass(frozen=True, slots=True)
class PlanNow:
    """A plan as it is now. ``pauses`` are the cause and the end of each; ``limits`` are words about its requests.

    A pause that is over has what became of it for an end, and does not count in ``is_paused``.
    """

    provider: str
    plan: str
    state: str
    tone: str
    pauses: tuple[tuple[str, str], ...]
    is_paused: bool
    limits: str


@dataclass(frozen=True, slots=True)
class JobNow:
    """The last tick of a job."""

    name: str
    account: str
    at: datetime
    seconds_ago: float
    is_late: bool


async def show(visit: Visit) -> Response:
    status = await visit.operating.status()
    verdict = await _verdict(visit)
    return visit.render(
        "now.html",
        title="Now",
        live=True,
        verdict=verdict,
        # The plans below say when a pause ends.
        until=None if verdict.code == "paused" else verdict.until,
        tone="good" if verdict.verdict == SENDING else "warn" if verdict.works else "bad",
        now=status,
        waits_long=(status.backlog.oldest_due_seconds or 0) > _WAITING_LONG_SECONDS,
        plans=plans_now(status, verdict),
        jobs=[_job(one.job, f"{one.provider} {one.plan}".strip(), one.at, one.seconds_ago) for one in status.jobs],
        alarms=[(alarm, alarm_words(alarm)) for alarm in status.alarms[:_ALARMS]],
        spans=await spans(visit, status.at),
    )


def plans_now(status: Status, verdict: Verdict) -> list[PlanNow]:
    """Every plan that anything is known of, in order."""
    names = {(one.provider, one.plan) for one in status.plans}
    names |= {(one.provider, one.plan) for one in status.pauses}
    names |= {(one.provider, one.plan) for one in verdict.plans}
    return [_plan(provider, plan, status, verdict) for provider, plan in sorted(names)]


def alarm_words(alarm: RaisedAlarm) -> str:
    """What an alarm is about, numbers masked."""
    words = ", ".join(f"{key} {value}" for key, value in alarm.detail.items() if value not in (None, ""))
    return scrub(all_in_utc(words)) + pause_words.check(setting_of(alarm.kind, alarm.detail))


def _plan(provider: str, plan: str, status: Status, verdict: Verdict) -> PlanNow:
    pauses = [one for one in status.pauses if (one.provider, one.plan) == (provider, plan)]
    judged = next((one for one in verdict.plans if (one.provider, one.plan) == (provider, plan)), None)
    is_paused = any(not one.probing for one in pauses)
    sign = status.sign_seconds(provider, plan)
    code = "paused" if is_paused else None if judged is None else judged.code
    if code == "trying" and pause_words.is_silent(sign):
        code = "no_process"
    state, tone = _STATES.get(code, (code or "", "bad"))
    if code is None and not any((one.provider, one.plan) == (provider, plan) for one in status.processes):
        state, tone = "no process now", "off"
    return PlanNow(
        provider=provider,
        plan=plan,
        state=state,
        tone=tone,
        pauses=tuple(
            (pause_words.cause(one), pause_words.over(sign) if one.probing else pause_words.end(one)) for one in pauses
        ),
        is_paused=is_paused,
        limits=_limits(status, provider, plan),
    )


_STATES: Final = {
    None: ("sends", "good"),
    "paused": ("paused", "bad"),
    "trying": ("tries again", "warn"),
    "not_claiming": ("waits for the provider's list", "warn"),
    "no_process": ("has no process", "bad"),
}


def _limits(status: Status, provider: str, plan: str) -> str:
    limits = next((one for one in status.plans if (one.provider, one.plan) == (provider, plan)), None)
    if limits is None:
        return ""
    rate = limits.messages_per_second
    words = [] if rate is None else [messages_a_second(rate)]
    return ", ".join([*words, *filter(None, [messages_today(limits)])])


def _job(name: str, account: str, at: datetime, seconds_ago: float) -> JobNow:
    # The webhook app records heartbeats when callbacks arrive. The jobs record them whether there is work or not.
    return JobNow(name, account, at, seconds_ago, seconds_ago > _LATE_SECONDS and name != "webhook")


async def _verdict(visit: Visit) -> Verdict:
    try:
        return await visit.operating.verdicts.ask(project=visit.services.project)
    except FunctionMissing as error:
        return Verdict.unknown("schema", str(error))
