"""A provider in memory that refuses, and a worker that carries its answers into the database, one call at a time."""

import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from jobs.providers.answers import Answer
from jobs.providers.base import Refused
from jobs.providers.sinch.refusals import Sent, outcome
from tests.calls import accept, refuse
from tests.engine import number
from tests.stack import Connection

Dispatch = dict[str, Any]
Answering = Callable[[Dispatch], Answer | None]
"""The answer to a request. None is a 201."""

_CLAIM = """
    select public.outbox_claim_due(
      %s, 'w', 'sinch', %s, 'h', 'c', 60, 20, 8::smallint, %s::smallint, 5000, null, 60000, null, true)
"""
SENT = Sent(default_sender=True, callback_url=True, reports=True)


def refusal(status: int = 400, code: str = "syntax_constraint_violation", text: str = "not allowed") -> Answer:
    return Answer(status, {}, json.dumps({"code": code, "text": text}).encode())


def refusing(numbers: Collection[str], answer: Callable[[int, str], Answer]) -> Answering:
    """Refuses requests with one of these numbers, by ``answer(its place, the number)``. It stops at the first."""

    def judge(dispatch: Dispatch) -> Answer | None:
        for place, recipient in enumerate(dispatch["recipients"]):
            if recipient in numbers:
                return answer(place, recipient)
        return None

    return judge


def refusing_text(text: str, answer: Answer | None = None) -> Answering:
    """Refuses requests that carry this text."""

    def judge(dispatch: Dispatch) -> Answer | None:
        texts = dispatch["texts"] or [dispatch["body"]]
        return (answer or refusal(text="this text is not allowed")) if text in texts else None

    return judge


@dataclass(slots=True)
class Sending:
    """One worker. ``requests`` are its requests so far, ``accepted`` how often each (number, text) was accepted."""

    db: Connection
    answering: Answering
    plan: str = "p"
    most_recipients: int = 1000
    requests: list[Dispatch] = field(default_factory=list)
    accepted: Counter[tuple[str, str]] = field(default_factory=Counter)

    def tick(self) -> None:
        """Claims and sends until a claim brings nothing."""
        while dispatches := self.claim():
            self.send(dispatches)

    def claim(self) -> list[Dispatch]:
        row = self.db.execute(_CLAIM, [uuid4(), self.plan, self.most_recipients]).fetchone()
        assert row is not None
        assert isinstance(row[0], dict)
        return list(row[0]["dispatches"])

    def send(self, dispatches: Iterable[Dispatch]) -> None:
        """Makes these requests and all that the answers bring."""
        waiting = deque(dispatches)
        while waiting:
            waiting.extend(self.request(waiting.popleft()))

    def request(self, dispatch: Dispatch) -> list[Dispatch]:
        """Makes one request. Returns the dispatches that its answer brings."""
        self.requests.append(dispatch)
        answer = self.answering(dispatch)
        if answer is None:
            texts = dispatch["texts"] or [dispatch["body"]] * len(dispatch["recipients"])
            self.accepted.update(zip(dispatch["recipients"], texts, strict=True))
            return accept(self.db, dispatch, f"B {dispatch['dispatch_id']}")
        refused = outcome(answer, SENT)
        assert isinstance(refused, Refused)
        return refuse(self.db, dispatch, refused.why, refused.error, http_status=answer.status)


def insert_many(db: Connection, count: int, *, body: str = "hello", first: int = 0, sender: str | None = None) -> None:
    """Like :func:`tests.engine.insert`, in one statement."""
    db.execute(
        "insert into public.outbox (recipient, body, sender) select r, %s, %s from unnest(%s::text[]) r",
        [body, sender, [number(first + n) for n in range(count)]],
    )


def errors(db: Connection) -> set[str]:
    """What failed messages say."""
    return {str(error) for (error,) in db.execute("select distinct error from public.outbox where status = 'failed'")}
