"""What must be true of the database and the provider's records once everything has settled."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from jobs.providers.base import Report
from tests.simulation.books import COMES_BACK, FINAL, WRONG_TEXT, Books, Taken
from tests.simulation.chaos import MOST_STEP_SECONDS, Chaos
from tests.simulation.clockwork import calendar
from tests.simulation.database import Database
from tests.simulation.waiting import providers_of
from tests.simulation.watch import Watch
from tests.simulation.witness import Witness

_RANKS: Final = (
    "sent", "dispatched", "unknown", "expired", "cancelled", "deleted", "aborted", "rejected", "failed", "delivered",
)  # fmt: skip
_UNSENT: Final = frozenset({"cancelled", "expired", "failed", "suppressed"})
GIVEN_UP: Final = "no callback and no lookup showed within 72 hours"
_LATE: Final = 4102444800.0
_NO_CODE: Final = 2**31
_MOST_FAILED: Final = 3
_LONGEST_WAIT: Final = timedelta(hours=3)
"""Longer than any message has to wait once everything works: probes of held texts are half an hour apart."""
_ABOUT_TO_EXPIRE: Final = timedelta(minutes=2)


def check(database: Database, accounts: Sequence[Books], watch: Watch, chaos: Chaos, witness: Witness) -> None:
    """Complain of every broken invariant. ``accounts`` are the books of each account."""
    ledger = Ledger(database, accounts, watch, witness, chaos)
    for row in ledger.rows.values():
        for complaint in ledger.wrong_with(row):
            witness.complain(f"message {row['id']} ({row['status']}): {complaint}")
    for complaint in (
        *ledger.wrong_with_texts(),
        *ledger.wrong_with_dispatches(),
        *(wrong for books in accounts for wrong in _wrong_with_limits(database, books)),
    ):
        witness.complain(complaint)
    watch.check_attempts()
    if database.query("select from outbox_engine.alarms where kind = 'queue.overlooked'"):
        witness.complain("a row was queued below the queue bounds")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A message that the provider accepted."""

    taken: Taken
    reference: str
    recipient: str


class Ledger:
    """The database on one side, the providers' records on the other."""

    def __init__(self, database: Database, accounts: Sequence[Books], watch: Watch, witness: Witness, chaos: Chaos) -> None:
        self._chaos = chaos
        self._database = database
        self._now: datetime = database.query("select outbox_engine.now() as now")[0]["now"]
        self.rows = {row["id"]: row for row in database.query("select *, dispatch_id::text as attached from public.outbox")}
        self._dispatches = {row["id"]: row for row in database.query("select *, id::text as id from outbox_engine.dispatches")}
        self._duplicate_sends = database.query(
            "select *, dispatch_id::text as dispatch from outbox_engine.duplicate_sends where confirmed_at is not null"
        )
        self._events: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for event in database.query("select *, dispatch_id::text as dispatch from public.outbox_events order by id"):
            self._events[event["outbox_id"]].append(event)
        self._alarmed = {
            number
            for alarm in database.query("select detail from outbox_engine.alarms where kind = 'message.duplicate_send'")
            for number in alarm["detail"]["outbox_ids"]
        }
        self._members: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for (reference, recipient), number in watch.rows_of.items():
            self._members[number].append((reference, recipient))
        self._accepted: dict[int, list[Acceptance]] = defaultdict(list)
        self._books = {books.provider: books for books in accounts}
        self._taken = {batch_id: taken for books in accounts for batch_id, taken in books.taken.items()}
        self._requests = [request for books in accounts for request in books.requests]
        for taken in self._taken.values():
            for recipient in taken.batch.recipients:
                row = watch.rows_of.get((taken.request.reference, recipient))
                if row is None:
                    witness.complain(f"{taken.batch.batch_id} went to {recipient} for no message")
                else:
                    self._accepted[row].append(Acceptance(taken, taken.request.reference, recipient))
        self._running: dict[str, datetime] = {
            row["provider"]: row["since"]
            for row in database.query(
                "select provider, min(since) as since from outbox_engine.heartbeats where job = 'dispatch' group by 1"
            )
        }
        self._reports = witness.reports
        self._quiet_at = watch.quiet_at

    @property
    def _most_off(self) -> timedelta:
        """How far the database's clock may have been off."""
        return timedelta(seconds=self._chaos.most_jump + 2 * MOST_STEP_SECONDS)

    def wrong_with(self, row: Mapping[str, Any]) -> Iterator[str]:
        accepted = self._accepted[row["id"]]
        if row["finalized_at"] is None or row["status"] not in FINAL | _UNSENT:
            yield "never came to an end"
            return
        if row["queue"] is not None:
            yield f"is final and still in queue {row['queue']}"
        if not 0 <= row["attempts"] <= 5:
            yield f"had {row['attempts']} attempts"
        if not row["created_at"] - self._most_off <= row["finalized_at"] <= self._now + self._most_off:
            yield f"ended at {row['finalized_at']}"
        yield from self._wrong_with_moves(row)
        if accepted:
            yield from self._wrong_with_sent(row, accepted)
        else:
            yield from self._wrong_with_unsent(row)

    def _wrong_with_moves(self, row: Mapping[str, Any]) -> Iterator[str]:
        """An account that a message left for another one is not asked again."""
        if self._chaos.profile.steps or self._chaos.profile.rates["operator.routes"]:
            return  # Times do not tell what came first, or the operator left it no other account.
        lefts: set[tuple[str, str]] = set()
        for event in self._events[row["id"]]:
            if event["event"] != "moved":
                continue
            if not event["detail"]:
                yield "moved without a reason"
                continue
            provider, plan, _ = event["detail"].split(" ", 2)
            left, at = (provider, plan), event["at"]
            if left in lefts:
                yield f"left {' '.join(left)} twice"
            lefts.add(left)
            for reference, _ in self._members[row["id"]]:
                dispatch = self._dispatches.get(reference)
                if dispatch and (dispatch["provider"], dispatch["plan"]) == left and dispatch["claimed_at"] > at:
                    yield f"was requested at {' '.join(left)} again, which it had left at {at}"
        asked = {
            self._dispatches[reference]["provider"]
            for reference, _ in self._members[row["id"]]
            if reference in self._dispatches
        }
        if (
            row["status"] == "failed"
            and row["reported_rank"] is None
            and self._running_by(row["finalized_at"]) - asked - {provider for provider, _ in lefts}
        ):
            yield f"failed with {row['error']!r}, although only {sorted(asked)} was asked"

    def _running_by(self, at: datetime) -> set[str]:
        """The providers of the accounts that had a process by then, where there are two."""
        return {provider for provider, since in self._running.items() if self._chaos.profile.has_two and since <= at}

    # Never sent

    def _wrong_with_unsent(self, row: Mapping[str, Any]) -> Iterator[str]:
        taken = self._taken.get(row["batch_id"])
        if row["status"] == "unknown" and taken is not None and row["recipient"] not in taken.batch.recipients:
            return  # The provider accepted the request and dropped this number without a report.
        if self._was_given_up(row):
            return  # Nothing can show that the request never arrived.
        if row["status"] not in _UNSENT:
            yield "was never accepted by the provider"
        elif row["status"] == "cancelled" and row["cancel_requested_at"] is None:
            yield "was cancelled without a cancel request"
        elif row["status"] == "expired" and row["expires_at"] > row["finalized_at"]:
            yield f"ended at {row['finalized_at']}, its time was {row['expires_at']}"
        elif row["status"] == "expired" and self._was_stranded(row):
            yield f"expired at {row['finalized_at']}, although nothing went wrong since {self._quiet_at}"
        elif row["status"] == "suppressed" and not row["error"]:
            yield "does not say why"
        elif row["status"] == "failed":
            yield from self._wrong_with_refused(row)

    def _was_stranded(self, row: Mapping[str, Any]) -> bool:
        """A refused number is probed with the text that it seemed to spoil, until it expires."""
        if all(row["recipient"] in books.poisoned_numbers for books in self._books_of_route(row["route"])):
            return False
        ended: datetime = row["finalized_at"]
        return self._quiet_at is not None and ended - max(self._quiet_at, row["send_at"]) > _LONGEST_WAIT

    def _books_of_route(self, route: int) -> list[Books]:
        """Of the accounts that may send what waits on this route or detour. Without any, of all."""
        return [self._books[provider] for provider in providers_of(self._database, route)] or list(self._books.values())

    def _wrong_with_refused(self, row: Mapping[str, Any]) -> Iterator[str]:
        said = {
            error
            for request in self._requests
            if (request.reference, row["recipient"]) in self._members[row["id"]]
            for error in request.errors
            if len(request.submission.recipients) == 1
        }
        if self._chaos.profile.rates["operator.routes"] and row["error"].startswith("no plan is left to send it"):
            return
        if row["error"] not in said:
            yield f"failed with {row['error']!r}, the provider said {said or 'nothing'} to it alone"

    # Sent

    def _wrong_with_sent(self, row: Mapping[str, Any], accepted: Sequence[Acceptance]) -> Iterator[str]:
        known = [a for a in accepted if self._knows(a)]
        for acceptance in accepted:
            if acceptance in known or acceptance.taken.request.is_corner:
                continue
            if not self._was_given_up(row) or self._said(acceptance):
                yield f"{acceptance.taken.batch.batch_id} was accepted and the database does not know it"
        extra = [a for a in known if not self._came_back(a)]
        if len(extra) > 1:
            yield from self._wrong_with_duplicate(row, accepted, extra)
        if not known:
            return
        if row["batch_id"] not in {a.taken.batch.batch_id for a in known}:
            yield f"names batch {row['batch_id']}, it was accepted as {[a.taken.batch.batch_id for a in known]}"
        yield from self._wrong_with_status(row, known)

    def _was_given_up(self, row: Mapping[str, Any]) -> bool:
        """Whether the row says that nothing showed within three days whether the provider took its request."""
        books = self._books_of(row)
        has_list = books is None or books.chaos.profile.has_list
        return not has_list and row["status"] == "unknown" and (row["error"] or "").startswith(GIVEN_UP)

    def _books_of(self, row: Mapping[str, Any]) -> Books | None:
        """Of the account that the last attempt went to."""
        dispatch = self._dispatches.get(row["attached"])
        return None if dispatch is None else self._books[dispatch["provider"]]

    def _knows(self, acceptance: Acceptance) -> bool:
        dispatch = self._dispatches.get(acceptance.reference)
        batch_id = acceptance.taken.batch.batch_id
        return dispatch is not None and (
            dispatch["batch_id"] == batch_id or any(duplicate["batch_id"] == batch_id for duplicate in self._duplicate_sends)
        )

    def _came_back(self, acceptance: Acceptance) -> bool:
        """Whether no phone got the text of this attempt, as the provider knows and reported."""
        return acceptance.taken.came_to_nothing(acceptance.recipient, self._said(acceptance)) is not None

    def _said(self, acceptance: Acceptance) -> list[Report]:
        return self._reports[acceptance.taken.batch.batch_id, acceptance.recipient]

    def _wrong_with_duplicate(
        self, row: Mapping[str, Any], accepted: Sequence[Acceptance], extra: Sequence[Acceptance]
    ) -> Iterator[str]:
        names = [a.taken.batch.batch_id for a in extra]
        if not any(a.taken.request.is_corner for a in accepted):
            yield f"was accepted more than once: {names}"
            return
        confirmed = {duplicate["batch_id"] for duplicate in self._duplicate_sends if duplicate["outbox_id"] == row["id"]}
        if not confirmed.intersection(names):
            yield f"was accepted as {names}, and outbox_engine.duplicate_sends does not say so"
        if not any(event["event"] == "duplicate_send" for event in self._events[row["id"]]):
            yield f"was accepted as {names}, and its history does not say so"
        if row["id"] not in self._alarmed:
            yield f"was accepted as {names}, and no alarm was raised"

    def _wrong_with_status(self, row: Mapping[str, Any], known: Sequence[Acceptance]) -> Iterator[str]:
        delivered = [report for a in known for report in self._said(a) if report.status == "delivered"]
        current = [a for a in known if a.reference == row["attached"]]
        said = delivered or [report for a in current for report in self._said(a)]
        if row["status"] in _UNSENT and not delivered and current and all(self._began_after(a, row) for a in current):
            return  # The row was final before the request arrived. Only a delivery changes that.
        if self._was_given_up(row) and not delivered:
            return  # The same, where the engine gave the request up.
        best = max(said, key=_worth, default=None)
        if best is None or best.status in ("sent", "dispatched"):
            if not current and self._ended_before_the_last(row, known):
                return
            if row["status"] != "unknown" or row["error"] != "no report":
                yield f"the last word was {best and best.status}, the row says {row['error']!r}"
        elif best.status == "aborted" and best.code in COMES_BACK and row["attempts"] < 5:
            if row["status"] not in _UNSENT and not _ended_handed_on(row, said):
                yield "came back and was neither sent again nor ended"
        elif self._chaos.profile.has_two and row["status"] in _UNSENT and any(self._came_back(a) for a in current):
            return  # It was on its way to the other account when it ended.
        elif (row["status"], row["status_code"]) not in self._right(best, said):
            yield f"the provider said {best.status} {best.code}, the row says {row['status_code']}: {row['error']}"

    def _ended_before_the_last(self, row: Mapping[str, Any], known: Sequence[Acceptance]) -> bool:
        """The last request was never sent. The provider returned the earlier ones unsent, or its reports on them differ."""
        if row["status"] in _UNSENT and all(self._came_back(a) for a in known):
            return True
        said = [report for a in known for report in self._said(a)]
        best = max(said, key=_worth, default=None)
        differ = len({(report.status, report.code) for report in said}) > 1
        return best is not None and differ and (row["status"], row["status_code"]) in self._right(best, said)

    def _right(self, best: Report, said: Sequence[Report]) -> set[tuple[str, int | None]]:
        """Of two reports with one status the earlier decides, as far as their times can be believed."""
        equal = [report for report in said if report.status == best.status] if self._chaos.profile.steps else [best]
        return {(report.status, report.code) for report in equal}

    def _began_after(self, acceptance: Acceptance, row: Mapping[str, Any]) -> bool:
        ended: datetime = row["finalized_at"]
        return ended < calendar(acceptance.taken.accepted + self._chaos.most_step)

    # All

    def wrong_with_texts(self) -> Iterator[str]:
        """A refused text fails three messages at each account, beside those that were about to expire."""
        if any(books.chaos.profile.rates["answer.setting"] for books in self._books.values()):
            return  # The refusals of a text are interrupted by others.
        failed = Counter(
            (self._dispatches[row["attached"]]["provider"], row["body"])
            for row in self.rows.values()
            if row["status"] == "failed"
            and row["error"] == WRONG_TEXT
            and row["expires_at"] - row["finalized_at"] > _ABOUT_TO_EXPIRE + timedelta(seconds=self._chaos.most_jump)
        )
        for (provider, text), messages in failed.items():
            if messages > _MOST_FAILED:
                yield f"{messages} messages failed for the text {text!r} at {provider}"

    def wrong_with_dispatches(self) -> Iterator[str]:
        for dispatch in self._dispatches.values():
            if (dispatch["state"] == "accepted") != (dispatch["batch_id"] is not None):
                yield f"dispatch {dispatch['id']} is {dispatch['state']} and has batch {dispatch['batch_id']}"
            if dispatch["state"] in ("claimed", "awaiting_half", "ambiguous"):
                yield f"dispatch {dispatch['id']} is {dispatch['state']} for ever"


def _ended_handed_on(row: Mapping[str, Any], said: Sequence[Report]) -> bool:
    """Whether the row ended for Vonage's 1000, which has no message sent again that was handed on."""
    return (row["status"], row["status_code"]) == ("aborted", 1000) and any(one.status == "dispatched" for one in said)


def _worth(report: Report) -> tuple[int, float, int]:
    at = _LATE if report.at is None else report.at.timestamp()
    return _RANKS.index(report.status), -at, -(_NO_CODE if report.code is None else report.code)


def _wrong_with_limits(database: Database, books: Books) -> Iterator[str]:
    chaos, profile = books.chaos, books.chaos.profile
    if profile.steps:
        return  # After a step, the limits begin anew.
    yield from _wrong_with_rate(database, books)
    times = sorted(books.asked)
    # A request starts a little after its token was drawn, and later if calls are slow: the counted interval is that much
    # shorter.
    shift = chaos.most_jump + (
        profile.lease if any(rate for name, rate in profile.rates.items() if name.startswith(("call.", "process."))) else 0
    )
    if profile.rates["process.stall"]:
        shift += chaos.longest_stall
    span = 60.0 - min(shift, 55.0) - 12 * profile.latency
    for first, started in enumerate(times):
        within = first + profile.requests_per_minute
        if within < len(times) and times[within] < started + span:
            yield f"{profile.requests_per_minute + 1} requests within {times[within] - started:.1f} s from {started:.1f}"
            return


def _wrong_with_rate(database: Database, books: Books) -> Iterator[str]:
    """The token bucket, by the claim times of messages: it holds one second's worth. A clock that jumps back repeats times."""
    chaos, rate = books.chaos, books.chaos.profile.messages_per_second
    if rate is None:
        return
    claims = database.query(
        "select extract(epoch from claimed_at)::float8 as at, sum(recipients)::integer as messages "
        "from outbox_engine.dispatches where parent_id is null and provider = %s group by 1 order by 1",
        [books.provider],
    )
    for first, start in enumerate(claims):
        total = 0
        for claim in claims[first:]:
            total += claim["messages"]
            if total > max(rate, 1) + rate * (claim["at"] - start["at"] + chaos.most_jump) + 0.01:
                yield f"{total} messages claimed within {claim['at'] - start['at']:.2f} s at {rate} a second"
                return


def sendings(books: Books, *, since: datetime | None = None) -> Counter[tuple[str, str]]:
    """How often each text may have reached each number, without the exception."""
    counts: Counter[tuple[str, str]] = Counter()
    for taken in books.acceptances():
        if since is not None and calendar(taken.accepted) < since - timedelta(seconds=books.chaos.most_jump):
            continue
        for recipient in taken.batch.recipients:
            if not taken.request.is_corner and recipient not in taken.stopped and recipient not in taken.undelivered:
                counts[recipient, taken.request.submission.body] += 1
    return counts
