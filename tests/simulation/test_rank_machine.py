"""A state machine records reports of a message's attempts in any order. A model states the row's content after each."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from tests.simulation.calls import claim
from tests.simulation.clockwork import EPOCH
from tests.simulation.database import Database
from tests.simulation.machines import play
from tests.simulation.mutation import made_worse
from tests.simulation.mutations import named

RANKS = ("sent", "dispatched", "unknown", "expired", "cancelled", "deleted", "aborted", "rejected", "failed", "delivered")
FINAL = RANKS[2:]
SECONDS = st.integers(0, 3)
CODES = {"sent": (400,), "dispatched": (401,), "aborted": (402, 403), "delivered": (0, 5)}
NUMBER = "+12025550123"


@dataclass(frozen=True, slots=True, order=True)
class Worth:
    """A larger value wins: the higher rank, then the earlier time, then the lower code."""

    rank: int
    earliness: int
    code: int


@dataclass(slots=True)
class Attempt:
    """One dispatch of the message and the rank of each of its reports."""

    dispatch: str
    batch: str
    reports: dict[Worth, tuple[str, int]] = field(default_factory=dict)

    @property
    def best(self) -> tuple[str, int] | None:
        return self.reports[max(self.reports)] if self.reports else None


class Rank(RuleBasedStateMachine):
    """The message has at most three attempts. Deliveries of all of them count if they are reported since the last one began."""

    database: Database
    attempts: Bundle[Attempt] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self._database = self.database
        self._database.begin(1)
        self._database.set_clock(EPOCH)
        self._all: list[Attempt] = []
        self._delivered: set[int] = set()

    @initialize(target=attempts)
    def first(self) -> Attempt:
        self._database.app("insert into public.outbox (recipient, body) values (%s, 'hello')", [NUMBER])
        return self._send()

    @rule(target=attempts)
    def operator_sends_it_again(self) -> Any:
        """A final message may be sent again. From then on, reports of the attempt before go to the history only."""
        if len(self._all) == 3 or self._row["finalized_at"] is None:
            return self._all[-1]
        self._database.call(
            "outbox_retry", {"p_ids": [self._row["id"]], "p_force": True, "p_expires_in_seconds": None, "p_dry_run": False}
        )
        self._delivered.clear()
        return self._send()

    @rule(attempt=attempts, status=st.sampled_from(RANKS), second=SECONDS, pick=st.integers(0, 1))
    def report(self, attempt: Attempt, status: str, second: int, pick: int) -> None:
        codes = CODES.get(status, (1, 2))
        code = codes[pick % len(codes)]
        self._say(attempt.batch, status, code, second)
        worth = Worth(RANKS.index(status), -second, -code)
        if status == "delivered" and worth not in attempt.reports:
            self._delivered.add(code)
        attempt.reports[worth] = (status, code)

    @rule(attempt=attempts)
    def repeat_everything(self, attempt: Attempt) -> None:
        for worth, (status, code) in attempt.reports.items():
            self._say(attempt.batch, status, code, -worth.earliness)

    @invariant()
    def the_row_says_what_the_worthiest_report_said(self) -> None:
        if not self._all:
            return
        current, row = self._all[-1], self._row
        if self._delivered:
            assert row["status"] == "delivered"
            assert row["status_code"] in self._delivered
        elif current.best is None:
            assert (row["status"], row["status_code"], row["finalized_at"]) == ("sent", None, None)
        else:
            assert (row["status"], row["status_code"]) == current.best
            assert (row["finalized_at"] is not None) == (current.best[0] in FINAL)

    @invariant()
    def each_report_is_in_the_history_once(self) -> None:
        rows = self._database.query(
            "select batch_id, count(*) as n from public.outbox_events where event = 'report' group by 1"
        )
        assert {row["batch_id"]: row["n"] for row in rows} == {a.batch: len(a.reports) for a in self._all if a.reports}

    @property
    def _row(self) -> Any:
        return self._database.query("select * from public.outbox")[0]

    def _send(self) -> Attempt:
        answer = self._database.call("outbox_claim_due", claim(worker="w", rows=1))
        dispatch = answer["dispatches"][0]["dispatch_id"]
        attempt = Attempt(dispatch, f"batch {len(self._all) + 1}")
        self._database.call("outbox_accept", {
            "p_dispatch_ids": [dispatch], "p_batch_ids": [attempt.batch], "p_worker": "w", "p_lease_seconds": 30,
            "p_reconcile_after_seconds": 300,
        })  # fmt: skip
        self._all.append(attempt)
        return attempt

    def _say(self, batch: str, status: str, code: int, second: int) -> None:
        at = (EPOCH + timedelta(seconds=second)).isoformat()
        self._database.call("outbox_take_reports", {
            "p_source": "webhook", "p_batch_ids": [batch], "p_recipients": [NUMBER], "p_statuses": [status],
            "p_codes": [str(code)], "p_ats": [at], "p_references": [""], "p_raws": ["{}"],
        })  # fmt: skip


def test_any_order_of_reports_gives_one_row(database: Database) -> None:
    play(Rank, database, steps=25)


def test_rank_machine_notices_when_last_report_wins(database: Database) -> None:
    with made_worse(database, named("the last report wins")), pytest.raises(AssertionError):
        play(Rank, database, steps=25, examples=400, phases=[Phase.generate])
