"""The status of the whole outbox and its figures, as values. Durations are in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from jobs.gateway.eventing import EventEndpoint
from jobs.gateway.replies import NONE_UNCLEAR, UnclearReplies
from jobs.gateway.values import alarm_detail, instant, moment


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows: exact, or an estimate if counting would have been slow."""

    count: int
    exact: bool

    def __str__(self) -> str:
        return f"{self.count:,}" if self.exact else f"about {self.count:,}"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages that wait: those due now, with the time since the oldest became due, those scheduled for later, and held ones.

    ``next_due_at`` is None as well if very many held messages come before the next one.
    """

    due: Count
    oldest_due_seconds: float | None
    scheduled: Count
    next_due_at: datetime | None
    held: Count

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Backlog":
        return cls(
            due=Count(row["due"], row["due_exact"]),
            oldest_due_seconds=row["oldest_due_seconds"] if row["oldest_due_at"] is not None else None,
            scheduled=Count(**row["scheduled"]),
            next_due_at=moment(row["next_due_at"]),
            # Schema version 1 holds none.
            held=Count(**row.get("held", {"count": 0, "exact": True})),
        )


@dataclass(frozen=True, slots=True)
class Requests:
    """Open requests to the provider, counted in requests (``…_messages``: in messages).

    ``silent`` requests in flight belong to a process that has stopped renewing their leases. ``watched`` dispatches were never
    found at the provider and may still appear there. ``duplicate_sends`` are confirmed. ``waiting`` ambiguous ones are at a
    provider that cannot prove absence: their messages end as unknown by ``waiting_until``.
    """

    in_flight: int
    in_flight_messages: int
    silent: int
    ambiguous: int
    ambiguous_messages: int
    watched: int
    duplicate_sends: int
    suspected_duplicate_sends: int
    batches_without_all_reports: int
    unmatched_reports: int
    kept_callbacks: int
    waiting: int = 0
    waiting_until: datetime | None = None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Requests":
        return cls(
            in_flight=row["in_flight"]["requests"],
            in_flight_messages=row["in_flight"]["messages"],
            silent=row["in_flight"]["silent"],
            ambiguous=row["ambiguous"]["requests"],
            ambiguous_messages=row["ambiguous"]["messages"],
            watched=row["watched"],
            duplicate_sends=row["duplicate_sends"]["confirmed"],
            suspected_duplicate_sends=row["duplicate_sends"]["suspected"],
            batches_without_all_reports=row["batches_without_all_reports"],
            unmatched_reports=row["unmatched_reports"],
            kept_callbacks=row["kept_callbacks"],
            # Schema version 1 knows no such provider.
            waiting=row["ambiguous"].get("waiting", 0),
            waiting_until=moment(row["ambiguous"].get("waiting_until")),
        )


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a plan does not send. ``until`` is None if only an operator ends the pause.

    ``probing``: the pause is over, and ``until`` is None. Messages go to the plan one at a time, if any do, until it accepts
    one.
    """

    provider: str
    plan: str
    kind: str
    reason: str
    since: datetime
    until: datetime | None
    probing: bool

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Pause":
        return cls(
            provider=row["provider"],
            plan=row["plan"],
            kind=row["kind"],
            reason=row["reason"],
            since=instant(row["since"]),
            # Schema version 1 names the time of a pause that is over.
            until=None if row["probing"] else moment(row["until"]),
            probing=row["probing"],
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A text, or ``texts`` of one sender, that the provider refuses: ``messages`` wait, and one is tried at ``probe_at``.

    ``example`` is the id of one message, None if none waits. ``sender`` is None for the default sender. ``by_sender``: the
    provider refuses its sender or a setting, whatever the text is.
    ``probe_at`` is in the past if the next message is tried at once.
    """

    provider: str
    plan: str
    sender: str | None
    by_sender: bool
    texts: int
    messages: int
    example: int | None
    since: datetime
    probe_at: datetime
    reason: str

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Held":
        return cls(
            provider=row["provider"],
            plan=row["plan"],
            sender=row["sender"],
            by_sender=row["by_sender"],
            texts=row["texts"],
            messages=row["messages"],
            example=row["example"],
            since=instant(row["since"]),
            probe_at=instant(row["probe_at"]),
            reason=row["reason"],
        )


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """A service plan that a process has worked for, its limits, and how many requests are left this minute.

    ``messages_today`` counts what may have been sent since midnight (UTC). ``messages_per_day`` bounds all plans together. Both
    are None with schema version 1.
    """

    provider: str
    plan: str
    messages_per_second: float | None
    requests_per_minute: int
    requests_left: int
    messages_per_day: int | None = None
    messages_today: int | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of a job, of any process. Recorded at most once in ten seconds.

    ``provider`` and ``plan`` are the account that it serves, empty where it serves all. Schema version 1 names no provider.
    """

    job: str
    provider: str
    plan: str
    at: datetime
    seconds_ago: float


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that claimed within ten minutes, once for each account that it claimed for.

    ``schema_version`` is the newest version of the schema that it knows, None if it does not say.
    """

    worker: str
    provider: str
    plan: str
    since: datetime
    seconds_ago: float
    schema_version: int | None = None


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm. ``acknowledged``: a process has logged it."""

    at: datetime
    kind: str
    detail: Mapping[str, Any]
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class ClockOff:
    """A clock (``database``, ``provider`` or ``worker``) that differs from the others. ``seconds`` ahead; negative: behind."""

    clock: str
    name: str
    seconds: float
    since: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `outbox status` shows, except the figures. ``alarms_waiting`` alarms are not acknowledged yet.

    ``hosts`` are those of the projects that the database sends from, none before the first claim. ``events_wait_since`` is the
    start of an open transaction that events wait for.
    """

    at: datetime
    backlog: Backlog
    requests: Requests
    pauses: tuple[Pause, ...]
    held: tuple[Held, ...]
    plans: tuple[PlanLimits, ...]
    jobs: tuple[Heartbeat, ...]
    processes: tuple[Worker, ...]
    alarms_waiting: int
    alarms: tuple[RaisedAlarm, ...]
    hosts: tuple[str, ...] = ()
    clocks: tuple[ClockOff, ...] = ()
    unclear_replies: UnclearReplies = NONE_UNCLEAR
    event_endpoints: tuple[EventEndpoint, ...] = ()
    events_wait_since: datetime | None = None

    def sign_seconds(self, provider: str, plan: str) -> float | None:
        """The time since the last heartbeat of any job of the plan, None without one within a day."""
        beats = [one.seconds_ago for one in self.jobs if one.plan == plan and one.provider in (provider, "")]
        return min(beats, default=None)

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Status":
        return cls(
            at=instant(answer["at"]),
            backlog=Backlog.parse(answer["backlog"]),
            requests=Requests.parse(answer["requests"]),
            pauses=tuple(Pause.parse(row) for row in answer["pauses"]),
            held=tuple(Held.parse(row) for row in answer.get("held", ())),
            plans=tuple(PlanLimits(**row) for row in answer["plans"]),
            jobs=tuple(
                Heartbeat(row["job"], row.get("provider", ""), row["plan"], instant(row["at"]), row["seconds_ago"])
                for row in answer["jobs"]
            ),
            processes=tuple(
                Worker(
                    row["worker"],
                    row.get("provider", ""),
                    row["plan"],
                    instant(row["since"]),
                    row["seconds_ago"],
                    row.get("schema_version"),
                )
                for row in answer["processes"]
            ),
            alarms_waiting=answer["alarms_waiting"],
            alarms=tuple(
                RaisedAlarm(instant(row["at"]), row["kind"], alarm_detail(row["detail"]), row["acknowledged_at"] is not None)
                for row in answer["alarms"]
            ),
            hosts=tuple(answer["hosts"]),
            clocks=tuple(
                ClockOff(row["clock"], row["name"], row["seconds"], instant(row["since"])) for row in answer.get("clocks", ())
            ),
            # Schema version 1 knows none of these.
            unclear_replies=UnclearReplies.parse(answer["unclear_replies"]) if "unclear_replies" in answer else NONE_UNCLEAR,
            event_endpoints=tuple(EventEndpoint.parse(row) for row in answer.get("event_endpoints") or ()),
            events_wait_since=moment(answer.get("events_wait_since")),
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """Messages that were due on one day (UTC), to one country, with one status."""

    day: date
    country: str | None
    status: str
    status_code: int | None
    messages: int
    parts: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of the last ``days`` days, which are fewer than ``asked`` if counting them all would have taken too long."""

    days: int
    asked: int
    figures: tuple[Figure, ...]

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Figures":
        rows = ({**row, "day": date.fromisoformat(row["day"])} for row in answer["figures"])
        return cls(days=answer["days"], asked=answer["asked"], figures=tuple(Figure(**row) for row in rows))
