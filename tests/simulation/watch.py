"""Invariants that must hold at every moment of a history, checked at each event."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from tests.simulation.attempts import Attempts
from tests.simulation.books import Books, Request, Taken
from tests.simulation.chaos import Chaos
from tests.simulation.clockwork import calendar
from tests.simulation.database import Database
from tests.simulation.weights import Weights
from tests.simulation.witness import Witness

_DATE_SECONDS: Final = 1.0
_TOLERANCE: Final = timedelta(milliseconds=1)
_CLAIM: Final = ("outbox_claim_due", "outbox_claim")
"""By this release and by the one before it."""
_QUIET: Final = frozenset(
    {
        "outbox_renew",
        "outbox_upkeep",
        "outbox_take_alarms",
        "outbox_acknowledge_alarms",
        "outbox_claim_inbound_window",
        "outbox_draw_requests",
    }
)

_CLAIMED: Final = """
    select d.id::text as dispatch, d.claimed_at, o.id, o.status, o.expires_at, o.send_at, o.cancel_requested_at, o.finalized_at,
      s.recipient is not null as suppressed
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    join public.outbox o on o.id = m.outbox_id
    left join public.outbox_suppressions s on s.recipient = m.recipient
    where d.claim_id = %s and d.state = 'claimed' and d.parent_id is null
"""
_OVERTAKEN: Final = """
    select w.id as waiting, f.id as taken
    from (
      select distinct on (d.id) o.id, o.priority, o.due_at, o.route
      from outbox_engine.dispatches d
      join outbox_engine.dispatch_members m on m.dispatch_id = d.id
      join public.outbox o on o.id = m.outbox_id
      where d.claim_id = %s and d.state = 'claimed' and d.parent_id is null
      order by d.id, o.priority, o.due_at, o.id
    ) f
    join public.outbox w
      on w.queue = 'r' and w.priority = f.priority and w.route = f.route and (w.due_at, w.id) < (f.due_at, f.id)
    limit 1
"""
_STARTED: Final = """
    select d.state, d.lease_until, d.worker, m.recipient, m.outbox_id, o.status, o.dispatch_id::text as attached, o.expires_at
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    join public.outbox o on o.id = m.outbox_id
    where d.id = %s
"""
_FACTS: Final = """
    select f.id::text as dispatch from unnest(%s::uuid[], %s::text[]) f (id, batch)
    left join outbox_engine.dispatches d on d.id = f.id
    where d.batch_id is null or d.state <> 'accepted'
"""


class Watch:
    """Checks every call and every request."""

    def __init__(self, database: Database, accounts: Sequence[Books], chaos: Chaos, witness: Witness) -> None:
        self.rows_of: dict[tuple[str, str], int] = {}
        """The row of each (reference, number), noted when the request left: upkeep and lookups may delete it."""
        self.expiries: dict[str, list[Any]] = {}
        self._database = database
        self._attempts = Attempts(database, accounts)
        self._weights = Weights(database) if chaos.profile.has_two else None
        self.quiet_at: datetime | None = None
        """Since when nothing goes wrong any more, by the database's clock."""
        self._chaos = chaos
        self._witness = witness
        self.restored = False
        self._started: set[str] = set()
        self._lost_claims: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    @property
    def _clock_moves(self) -> bool:
        return self._chaos.profile.jumps or self._chaos.profile.steps

    # Calls

    def asked(self, process: str, function: str, arguments: dict[str, Any]) -> None:
        if function not in _CLAIM:
            return
        lost, claim_id = self._lost_claims[process, arguments["p_provider"]], arguments["p_claim_id"]
        if lost and claim_id not in lost:
            self._witness.complain(f"{process} claims anew although an earlier claim of its was never answered")
        lost.discard(claim_id)

    def carried_out(self, process: str, function: str, arguments: dict[str, Any], answer: Any) -> None:
        if function not in _QUIET:
            self._witness.say(process, f"{function}{_brief(arguments)} → {answer}")
        match function:
            case "outbox_claim_due" | "outbox_claim":
                self._claimed(arguments["p_claim_id"], answer)
                self.check_attempts()
                if self._weights is not None and not self._clock_moves:
                    for wrong in self._weights.wrong(arguments):
                        self._witness.complain(wrong)
            case "outbox_refuse":
                self.check_attempts()
            case "outbox_accept":
                self._accepted(arguments)
            # Release 0.1.0 calls the former.
            case "outbox_record_reports" | "outbox_take_reports":
                self._witness.took_reports(arguments)

    def unanswered(self, process: str, function: str, arguments: dict[str, Any]) -> None:
        if function in _CLAIM:
            self._lost_claims[process, arguments["p_provider"]].add(arguments["p_claim_id"])

    def _claimed(self, claim_id: str, answer: Mapping[str, Any]) -> None:
        if not answer["dispatches"]:
            return
        rows = self._database.query(_CLAIMED, [claim_id])
        if len({row["claimed_at"] for row in rows}) > 1:
            self._witness.complain("a claim that was asked again took more")
        if {row["dispatch"] for row in rows} != {dispatch["dispatch_id"] for dispatch in answer["dispatches"]}:
            self._witness.complain("a claim was answered with other dispatches than it made")
        for row in rows:
            self._check_claimed(row)
        if rows and rows[0]["claimed_at"] == self._database.now and not self._clock_moves:
            for order in self._database.query(_OVERTAKEN, [claim_id]):
                self._witness.complain(f"message {order['taken']} was claimed before {order['waiting']}")

    def check_attempts(self) -> None:
        """Complain of attempts that ended without a proof. After a restore, attempts that were adopted follow others."""
        for wrong in self._attempts.wrong(self._witness.reports):
            if not self.restored:
                self._witness.complain(wrong)

    def _check_claimed(self, row: Mapping[str, Any]) -> None:
        if row["claimed_at"] != self._database.now:
            return
        for wrong, what in (
            (row["status"] != "sending" or row["finalized_at"] is not None, f"although it is {row['status']}"),
            (row["cancel_requested_at"] is not None, "although it was cancelled"),
            (row["expires_at"] <= row["claimed_at"], "although it has expired"),
            (row["send_at"] > row["claimed_at"] and not self._clock_moves, "before its time"),
            (row["suppressed"], "although its recipient opted out"),
        ):
            if wrong:
                self._witness.complain(f"message {row['id']} was claimed {what}")

    def _accepted(self, arguments: Mapping[str, Any]) -> None:
        if self.restored:
            return  # The provider's list holds the batch. An adoption records it.
        for row in self._database.query(_FACTS, [arguments["p_dispatch_ids"], arguments["p_batch_ids"]]):
            self._witness.complain(f"the acceptance of {row['dispatch']} was not recorded")

    # Requests

    def request_starts(self, request: Request, deadline: float) -> None:
        if request.reference in self._started:
            self._witness.complain(f"a second request is made for {request.reference}")
        self._started.add(request.reference)
        now = asyncio.get_running_loop().time()
        self._database.set_clock(calendar(now))
        rows = self._database.query(_STARTED, [request.reference])
        if not rows:
            self._witness.complain(f"a request is made for {request.reference}, which is not written down")
            return
        if sorted(row["recipient"] for row in rows) != sorted(request.submission.recipients):
            self._witness.complain(f"the numbers of {request.reference} are not those written down")
        dispatch = rows[0]
        # Where the server's clock is set forward, others take its worker for silent. That one may still begin.
        if dispatch["state"] != "claimed" and not (self._chaos.profile.steps and dispatch["state"] == "ambiguous"):
            self._witness.complain(f"a request is made for {request.reference}, which is {dispatch['state']}")
        needed = calendar(now) + timedelta(seconds=deadline)
        if not self._clock_moves and dispatch["lease_until"] < needed - _TOLERANCE:
            self._witness.complain(f"a request is made for {request.reference} with too little of its lease left")
        self.expiries[request.reference] = [row["expires_at"] for row in rows]
        for row in rows:
            self.rows_of[request.reference, row["recipient"]] = row["outbox_id"]
            if row["attached"] != request.reference or row["status"] not in ("sending", "delivered"):
                self._witness.complain(
                    f"a request is made for message {row['outbox_id']}, which is {row['status']} by {row['attached']}"
                )

    def batch_taken(self, taken: Taken) -> None:
        """Nothing may be delivered after the earliest expiry among its rows."""
        earliest = min(self.expiries.get(taken.request.reference, [calendar(taken.expires)]))
        # Where the server's clock jumps, forward or back, the expiry follows it as well as a `Date` without fractions allows.
        jumps = 2 * self._chaos.most_jump + _DATE_SECONDS if self._chaos.most_jump else 0.0
        differ = timedelta(seconds=jumps + self._chaos.most_step)
        if calendar(taken.expires) > earliest + differ + _TOLERANCE:
            self._witness.complain(f"{taken.batch.batch_id} may be delivered until {calendar(taken.expires)}, after {earliest}")


def _brief(arguments: Mapping[str, Any]) -> str:
    shown = (
        "p_dispatch_id",
        "p_dispatch_ids",
        "p_batch_ids",
        "p_why",
        "p_statuses",
        "p_recipients",
        "p_ids",
        "p_bodies",
        "p_claim_id",
    )
    return "(" + ", ".join(str(arguments[name]) for name in shown if name in arguments) + ")"
