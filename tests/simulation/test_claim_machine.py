"""A state machine of workers that claim, send, lose and find requests. A model states the owner of each row after each step."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from tests.nightly import at_night
from tests.simulation.calls import claim
from tests.simulation.clockwork import EPOCH
from tests.simulation.database import Database
from tests.simulation.machines import play
from tests.simulation.mutation import Mutation, made_worse
from tests.simulation.mutations import named

SETTLE = 20
ROUTES = (0, 1, 2)
WORKERS = st.sampled_from(("one", "other"))
BELOW_THE_BOUNDS = """
    select o.id, o.route, o.priority, o.due_at
    from public.outbox o, outbox_engine.current_queue_bounds() b
    where o.queue is not null and not exists (
      select from unnest(b.routes, b.priorities, b.ready_from, b.waiting_from) k (route, priority, ready_from, waiting_from)
      where (k.route, k.priority) = (o.route, o.priority)
        and o.due_at >= case o.queue when 'r' then k.ready_from else k.waiting_from end
    )
"""


@dataclass(slots=True, eq=False)
class Dispatch:
    """``tokens`` are all that were ever drawn for it, the last one valid; ``missed`` are the times of its missed lookups."""

    id: str
    claim_id: str
    rows: list[int]
    tokens: list[str]
    state: str = "claimed"
    lease_until: datetime = EPOCH
    missed: list[datetime] = field(default_factory=list)


class Claiming(RuleBasedStateMachine):
    """One text, a number for each row. A row is waiting (None), in a dispatch, or sent by one."""

    database: Database
    dispatches: Bundle[Dispatch] = Bundle("dispatches")

    def __init__(self) -> None:
        super().__init__()
        self._database = self.database
        self._database.begin(1)
        self._now = EPOCH
        self._database.set_clock(EPOCH)
        self._holder: dict[int, Dispatch | None] = {}
        self._sent: dict[int, Dispatch] = {}
        self._turned_up: dict[int, list[Dispatch]] = {}
        self._urgency: dict[int, tuple[int, datetime, int]] = {}
        self._all: dict[str, Dispatch] = {}

    @initialize()
    def some_rows(self) -> None:
        self.insert(3, 100, 0)

    @rule(count=st.integers(1, 3), priority=st.sampled_from((0, 100, 200)), delay=st.sampled_from((0, 0, 30)))
    def insert(self, count: int, priority: int, delay: int) -> None:
        for _ in range(count):
            number, due = f"+1202555{len(self._holder):04d}", self._now + timedelta(seconds=delay)
            [[row]] = self._database.app(
                "insert into public.outbox (recipient, body, priority, send_at, expires_at) values (%s, 'hello', %s, %s, %s)"
                " returning id",
                [number, priority, due, EPOCH + timedelta(days=2)],
            )
            self._holder[row] = None
            self._urgency[row] = (priority, due, row)

    @rule(route=st.sampled_from(ROUTES), nth=st.integers(0, 9))
    def take_another_route(self, route: int, nth: int) -> None:
        """A row that waits changes its route. It may go to the end of its priority, and never out of sight."""
        waiting = [row for row, holder in self._holder.items() if holder is None and row not in self._sent]
        for row in waiting[nth : nth + 1]:
            [changed] = self._database.query(
                "update public.outbox set route = %s where id = %s returning priority, due_at", [route, row]
            )
            self._urgency[row] = (changed["priority"], changed["due_at"], row)

    @rule(target=dispatches, worker=WORKERS, rows=st.integers(1, 4))
    def claim(self, worker: str, rows: int) -> Any:
        """Takes the most urgent rows of all routes that are due and waiting, those below the default priority by themselves.

        Draws a token higher than any before.
        """
        arguments = claim(worker=worker, rows=rows)
        answer = self._database.call("outbox_claim_due", arguments)["dispatches"]
        ready = sorted(
            (self._urgency[row] for row, holder in self._holder.items() if self._is_ready(row, holder)),
        )
        if ready:
            ready = [one for one in ready if not self._is_sent_after_all(one[-1])]
        urgent = [one for one in ready if one[0] < 100]
        highest = max((int(token) for one in self._all.values() for token in one.tokens), default=0)

        made = [self._made(one, arguments["p_claim_id"]) for one in answer]
        assert sorted(row for one in made for row in one.rows) == sorted(row for _, _, row in (urgent or ready)[:rows])
        assert all(int(one.tokens[0]) > highest for one in made)
        for one in made:
            self._holder.update(dict.fromkeys(one.rows, one))
        return multiple(*made)

    @rule(dispatch=dispatches)
    def the_answer_was_lost(self, dispatch: Dispatch) -> None:
        """A repeated claim returns its dispatches that are still to be sent, and takes nothing more."""
        still = {one.id for one in self._all.values() if one.claim_id == dispatch.claim_id and one.state == "claimed"}
        if not still:
            return
        answer = self._database.call("outbox_claim_due", claim(worker="one", rows=4, claim_id=dispatch.claim_id))
        assert {one["dispatch_id"] for one in answer["dispatches"]} == still

    @rule(dispatch=dispatches, is_stale=st.booleans())
    def renew(self, dispatch: Dispatch, is_stale: bool) -> None:
        kept = self._database.call("outbox_renew", {**self._held(dispatch, is_stale), "p_lease_seconds": 30})
        if kept:
            dispatch.lease_until = self._now + timedelta(seconds=30)
        assert kept == ([dispatch.id] if self._may_decide(dispatch, is_stale) else [])

    @rule(dispatch=dispatches, is_stale=st.booleans())
    def release(self, dispatch: Dispatch, is_stale: bool) -> None:
        released = self._database.call("outbox_release", self._held(dispatch, is_stale))
        assert released == ([dispatch.id] if self._may_decide(dispatch, is_stale) else [])
        if released:
            dispatch.state = "released"
            self._give_back(dispatch)

    @rule(dispatch=dispatches, is_stale=st.booleans())
    def mark_ambiguous(self, dispatch: Dispatch, is_stale: bool) -> None:
        arguments = {**self._held(dispatch, is_stale), "p_errors": ["timeout"], "p_lookup_after_seconds": 1}
        marked = self._database.call("outbox_mark_ambiguous", arguments)
        assert marked == ([dispatch.id] if self._may_decide(dispatch, is_stale) else [])
        if marked:
            dispatch.state = "ambiguous"

    @rule(dispatch=dispatches)
    def a_201_is_read(self, dispatch: Dispatch) -> None:
        """An acceptance is a fact, whatever the token is and whatever was decided meanwhile."""
        self._database.call("outbox_accept", {
            "p_dispatch_ids": [dispatch.id], "p_batch_ids": [f"b {dispatch.id}"], "p_worker": "one", "p_lease_seconds": 30,
            "p_reconcile_after_seconds": 300,
        })  # fmt: skip
        self._adopt(dispatch)

    @rule(seconds=st.sampled_from((1, SETTLE, 60)))
    def time_passes(self, seconds: int) -> None:
        self._now += timedelta(seconds=seconds)
        self._database.set_clock(self._now)

    @rule()
    def upkeep_runs(self) -> None:
        """It raises the bounds of queues without rows as far as it can."""
        for _ in range(3):
            self.time_passes(1)
            assert self._database.call("outbox_find_overlooked", {}) == 0

    @rule(after=st.sampled_from((2, SETTLE, 60)), finds=st.booleans(), is_overtaken=st.booleans())
    def look_up(self, after: int, finds: bool, is_overtaken: bool) -> None:
        """A dispatch whose worker may still answer is not looked up. Neither one missed lookup nor an overtaken one decides."""
        self.time_passes(after)
        arguments = {"p_provider": "sinch", "p_plan": "p", "p_host": "h", "p_lease_seconds": 30, "p_limit": 20}
        for lookup in self._database.call("outbox_claim_lookups", arguments):
            dispatch = self._all[lookup["dispatch_id"]]
            if dispatch.state == "claimed":
                assert self._now >= dispatch.lease_until + timedelta(seconds=10)
                dispatch.state = "ambiguous"
            token = dispatch.tokens[-1] if is_overtaken else lookup["lease_token"]
            dispatch.tokens.append(lookup["lease_token"])
            self._record(dispatch, token, finds=finds, is_overtaken=is_overtaken)

    def _record(self, dispatch: Dispatch, token: str, *, finds: bool, is_overtaken: bool) -> None:
        decided = self._database.call("outbox_record_lookup", {
            "p_dispatch_id": dispatch.id, "p_lease_token": token, "p_batch_ids": [f"b {dispatch.id}"] if finds else [],
            "p_recipients": [" ".join(self._number(row) for row in dispatch.rows)] if finds else [],
            "p_settle_seconds": SETTLE, "p_reconcile_after_seconds": 300,
        })  # fmt: skip
        if finds:
            assert decided == "found"
            self._adopt(dispatch)
        elif is_overtaken:
            assert decided == "overtaken"
        elif dispatch.state == "not_found":
            assert decided == "watched"
        else:
            settled = bool(dispatch.missed) and self._now - dispatch.missed[0] >= timedelta(seconds=SETTLE)
            assert decided == ("not_found" if settled else "missed")
            dispatch.missed.append(self._now)
            if settled:
                dispatch.state = "not_found"
                self._give_back(dispatch)

    @invariant()
    def each_row_is_whose_it_is(self) -> None:
        for row in self._database.query("select id, status, queue, batch_id, dispatch_id::text as dispatch from public.outbox"):
            holder, sent = self._holder[row["id"]], self._sent.get(row["id"])
            if sent is not None:
                assert (row["status"], row["batch_id"]) == ("sent", f"b {sent.id}")
            elif holder is not None:
                assert (row["status"], row["dispatch"], row["queue"]) == ("sending", holder.id, None)
            else:
                assert row["queue"] is not None

    @invariant()
    def no_row_is_below_the_bounds(self) -> None:
        assert self._database.query(BELOW_THE_BOUNDS) == []

    # The model

    def _is_ready(self, row: int, holder: Dispatch | None) -> bool:
        return holder is None and row not in self._sent and self._urgency[row][1] <= self._now

    def _made(self, answer: dict[str, Any], claim_id: str) -> Dispatch:
        rows = [int(recipient[-4:]) + 1 for recipient in answer["recipients"]]
        made = Dispatch(
            answer["dispatch_id"], claim_id, rows, [answer["lease_token"]], lease_until=self._now + timedelta(seconds=30)
        )
        self._all[made.id] = made
        return made

    def _number(self, row: int) -> str:
        return f"+1202555{row - 1:04d}"

    def _held(self, dispatch: Dispatch, is_stale: bool) -> dict[str, Any]:
        return {"p_dispatch_ids": [dispatch.id], "p_lease_tokens": ["0" if is_stale else dispatch.tokens[0]]}

    def _may_decide(self, dispatch: Dispatch, is_stale: bool) -> bool:
        return dispatch.state == "claimed" and not is_stale

    def _give_back(self, dispatch: Dispatch) -> None:
        for row in dispatch.rows:
            if self._holder[row] is dispatch:
                self._holder[row] = None
                self._urgency[row] = (self._urgency[row][0], self._now, row)

    def _adopt(self, dispatch: Dispatch) -> None:
        """Its rows are sent, except those that are in another request by now."""
        if dispatch.state == "accepted":
            return
        dispatch.state = "accepted"
        for row in dispatch.rows:
            if row in self._sent:
                continue
            if self._holder[row] in (dispatch, None) and self._last_in(row) is dispatch:
                self._holder[row] = dispatch
                self._sent[row] = dispatch
            else:
                self._turned_up.setdefault(row, []).append(dispatch)

    def _is_sent_after_all(self, row: int) -> bool:
        """A row is queued again although an earlier request was found: the next claim assigns it to that request."""
        if row not in self._turned_up:
            return False
        [[batch]] = [
            found.values() for found in self._database.query("select batch_id from public.outbox where id = %s", [row])
        ]
        self._sent[row] = next(one for one in self._turned_up[row] if batch == f"b {one.id}")
        return True

    def _last_in(self, row: int) -> Dispatch:
        return [one for one in self._all.values() if row in one.rows][-1]


def test_row_is_in_one_request_at_a_time(database: Database) -> None:
    """No row is given back on a guess."""
    play(Claiming, database, steps=30)


UNFENCED_LOOKUPS = Mutation(
    "no fence for lookups",
    0,
    (),
    "",
    rewrites=(("outbox_engine.record_empty_lookup", "v_dispatch.lease_token <> p_lease_token::bigint\n    or ", ""),),
)


@pytest.mark.parametrize(
    "mutation",
    [
        named("no fence"),
        at_night(named("one lookup is enough")),
        at_night(named("a claim is not repeatable")),
        at_night(UNFENCED_LOOKUPS),
    ],
    ids=lambda mutation: mutation.name,
)
def test_claim_machine_notices_a_missing_rule(mutation: Mutation, database: Database) -> None:
    with made_worse(database, mutation), pytest.raises(AssertionError):
        play(Claiming, database, steps=30, examples=400, phases=[Phase.generate])
