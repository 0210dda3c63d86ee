"""The verdict: whether messages go out now and, if not, why. One call, and one sentence for all who ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from jobs.gateway import pause_words
from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant, moment
from jobs.providers import registry
from jobs.runtime.masking import scrub
from jobs.runtime.times import ago, utc

SENDING: Final = "sending"
IN_PART: Final = "in_part"
PAUSED: Final = "paused"
NOT_SENDING: Final = "not_sending"
UNKNOWN: Final = "unknown"
"""The database did not say: it does not answer, or its schema is older than this package."""

_BEGINNINGS: Final = {IN_PART: "SENDING IN PART", NOT_SENDING: "NOT SENDING", UNKNOWN: "NOT KNOWN"}
_ENDS: Final = {
    "operator": "until `outbox resume`",
    "restored": "until `outbox adopt --since TIME` or `outbox resume --restored`",
}


@dataclass(frozen=True, slots=True)
class PlanState:
    """A plan that is expected to send. ``code`` is None if it does.

    Else it is ``paused``, ``trying`` (the pause is over, and nothing was accepted since), ``not_claiming`` or ``no_process``.
    ``kind``, ``reason``, ``until`` and ``probing`` are those of its pause, and ``sign_at`` is the last sign of a process then.
    """

    provider: str
    plan: str
    code: str | None
    since: datetime | None = None
    kind: str | None = None
    reason: str | None = None
    until: datetime | None = None
    probing: bool = False
    sign_at: datetime | None = None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "PlanState":
        times = {name: moment(row.get(name)) for name in ("since", "until", "sign_at")}
        return cls(**{**row, **times})

    @property
    def name(self) -> str:
        return f"{self.provider} {self.plan}"

    @property
    def setting(self) -> str | None:
        """The setting to correct, None if it is not a matter of settings."""
        return registry.setting_to_check(self.provider, self.reason) if self.kind == "account" and self.reason else None

    @property
    def pause(self) -> str:
        """Why it is paused, what to check, and when the pause ends."""
        return f"{self.cause}{self._end}"

    @property
    def cause(self) -> str:
        """Why it is or was paused, and what to check."""
        return f"{scrub(self.reason or '')}{pause_words.check(self.setting)}"

    @property
    def _end(self) -> str:
        if self.until is not None:
            return f", until {utc(self.until)}" if self.kind == "operator" else ""
        end = _ENDS.get(self.kind or "")
        return "" if end is None else f", {end}"


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Messages without a sender of their own that a provider refuses because of a setting."""

    provider: str
    plan: str
    messages: int
    reason: str

    @property
    def setting(self) -> str | None:
        return registry.setting_to_check(self.provider, self.reason, is_held=True)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether messages go out at the time ``at``, and why not.

    ``verdict`` is ``sending``, ``in_part``, ``paused``, ``not_sending`` or ``unknown``. ``works``: all that is due goes out.
    ``code`` names the reason (supabase/schemas/90_operators/39_verdict.sql), None if nothing is wrong. ``failure`` is why the
    database gave no verdict.
    """

    verdict: str
    works: bool = False
    code: str | None = None
    at: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None
    plans: tuple[PlanState, ...] = ()
    held: HeldBack | None = None
    failure: str = ""

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Verdict":
        held = answer.get("held")
        return cls(
            verdict=answer["verdict"],
            works=answer["works"],
            code=answer["code"],
            at=instant(answer["at"]),
            since=moment(answer["since"]),
            until=moment(answer["until"]),
            plans=tuple(PlanState.parse(row) for row in answer["plans"]),
            held=None if held is None else HeldBack(held["provider"], held["plan"], held["messages"], held["reason"]),
        )

    @classmethod
    def unknown(cls, code: str, failure: str) -> "Verdict":
        """No verdict of the database, and why."""
        return cls(UNKNOWN, code=code, failure=failure)

    @property
    def setting(self) -> str | None:
        """The setting to correct, None if there is none or none is known."""
        if self.code in _SETTINGS:
            return _SETTINGS[self.code]
        if self.held is not None:
            return self.held.setting
        return next((plan.setting for plan in self.plans if plan.setting is not None), None)

    @property
    def line(self) -> str:
        """The verdict in one line for people, the reason included."""
        beginning = _BEGINNINGS.get(self.verdict, self.verdict)
        return beginning if self.verdict == SENDING else f"{beginning}: {'; '.join(self._reasons())}"

    def fields(self) -> dict[str, Any]:
        """The verdict for programs."""
        return {
            "verdict": self.verdict,
            "works": self.works,
            "line": self.line,
            "code": self.code,
            "setting": self.setting,
            "since": self.since,
            "until": self.until,
            "plans": self.plans,
        }

    def _reasons(self) -> list[str]:
        if self.verdict == UNKNOWN:
            return [self.failure]
        if self.verdict == PAUSED:
            return self._pauses()
        if self.verdict == NOT_SENDING and self.code not in _OF_PLANS:
            return [_WORDS[self.code or "stalled"].format(ago=self._ago(self.since))]
        if self.verdict == NOT_SENDING and len(self.plans) == 1 and self.code == "trying":
            return [self._trying_words(self.plans[0])]
        return [*self._held_words(), *(self._plan_words(plan) for plan in self.plans), *self._stranded_words()]

    def _pauses(self) -> list[str]:
        """Without the plan's name where it is the only one."""
        if len(self.plans) == 1:
            return [self.plans[0].pause]
        return [f"{one.name}: {one.pause}" if one.code == "paused" else self._plan_words(one) for one in self.plans]

    def _plan_words(self, plan: PlanState) -> str:
        match plan.code:
            case None:
                return f"{plan.name} sends"
            case "paused":
                return f"{plan.name} paused: {plan.pause}"
            case "trying":
                return f"{plan.name}: {self._trying_words(plan)}"
            case "not_claiming":
                return f"{plan.name} waits until it can read the provider's list, see the log of `outbox run`"
            case _:
                silence = "has no process" if plan.since is None else f"has no process for {self._ago(plan.since)}"
                return f"{plan.name} {silence}"

    def _trying_words(self, plan: PlanState) -> str:
        silent = None if plan.sign_at is None or self.at is None else (self.at - plan.sign_at).total_seconds()
        return f"{plan.cause}; {pause_words.over(silent)}"

    def _held_words(self) -> list[str]:
        if self.held is None:
            return []
        messages = "1 message is" if self.held.messages == 1 else f"{self.held.messages:,} messages are"
        return [f"{messages} held: {scrub(self.held.reason)}{pause_words.check(self.held.setting)}"]

    def _stranded_words(self) -> list[str]:
        waits = self.verdict == IN_PART and not self.works and (self.held is None or self.code == "stranded")
        return ["messages are due that no plan can take now"] if waits else []

    def _ago(self, since: datetime | None) -> str:
        return "" if since is None or self.at is None else ago(max(0.0, (self.at - since).total_seconds()))


_OF_PLANS: Final = ("not_claiming", "trying")
"""Reasons of plans, not of the whole outbox."""
_SETTINGS: Final[dict[str | None, str]] = {"unbound": "SUPABASE_URL", "daily_cap": "MAX_MESSAGES_PER_DAY"}
_WORDS: Final = {
    "never_ran": "no scheduler has run yet, start `outbox run`",
    "stopped": "the scheduler was stopped {ago} ago, start `outbox run`",
    "no_scheduler": "no scheduler for {ago}",
    "unbound": "processes with this SUPABASE_URL send nothing, see `outbox bind --list`",
    "daily_cap": "as many messages as MAX_MESSAGES_PER_DAY allows went today (UTC), and more are due",
    "stalled": "messages are due for {ago} and no request is made, see the log of `outbox run`",
}


class Verdicts(Calls):
    """The call that asks for the verdict."""

    async def ask(self, *, project: str | None = None, every: float | None = None) -> Verdict:
        """One small call, also with millions of messages.

        ``project`` is the host of the caller's ``SUPABASE_URL``. ``every``: `outbox run --once` starts each time that many
        seconds have passed. Raises as every call of an operator does: FunctionMissing where the schema is older.
        """
        return Verdict.parse(await self._rpc.call("outbox_verdict", {"p_project": project, "p_every_seconds": every}))
