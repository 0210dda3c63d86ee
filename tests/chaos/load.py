"""The messages of a run, and the app that inserts them."""

from collections.abc import Sequence
from random import Random
from typing import Final

from sandbox.demo.work import Message, number
from tests.chaos.database import Database
from tests.chaos.providers import Accounts

MOST_MESSAGES: Final = 70_000
"""The number of phone numbers that are reserved for fiction."""
_TEXTS: Final = ("Your table is ready.", "Your parcel is here.", "Doors open at eight.", "We moved your appointment.")
_CODES: Final = 0.03
_AT_ONCE: Final = 0.1
_CHUNK: Final = 0.02


def plan_load(count: int, random: Random, accounts: Accounts) -> list[Message]:
    """This many messages: most share a few texts, some are one-time codes, and a few go to numbers that fail."""
    trouble = _trouble(accounts)[: count // 20]
    ordinary = [_ordinary(place, random) for place in random.sample(range(count), count - len(trouble))]
    messages = [*ordinary, *trouble]
    random.shuffle(messages)
    return messages


def _ordinary(place: int, random: Random) -> Message:
    if random.random() < _CODES:
        return Message(number(place), f"Your code is {random.randrange(100_000, 1_000_000)}.", columns={"priority": 0})
    return Message(number(place), random.choice(_TEXTS))


def _trouble(accounts: Accounts) -> list[Message]:
    return [
        *(Message(f"+1555{ending}", _TEXTS[0], sent=False) for ending in {account.refused: None for account in accounts.each}),
        *(Message(f"+1555{ending}", _TEXTS[0]) for account in accounts.each for ending in account.ending_badly),
        *(Message(f"+1555{account.temporary}", _TEXTS[1]) for account in accounts.each),
        *(Message(f"+1555{ending}", _TEXTS[2]) for ending in accounts.moving),
    ]


class Inserter:
    """An app that inserts its rows in small groups, and again if it does not know whether they were committed.

    Its idempotency keys make that harmless. The last row comes after ``seconds``.
    """

    def __init__(self, messages: Sequence[Message], seconds: float) -> None:
        self._messages = messages
        self._seconds = seconds
        self.inserted = 0

    @property
    def done(self) -> bool:
        return self.inserted == len(self._messages)

    def advance(self, db: Database, elapsed: float) -> None:
        """Insert the rows that are due by now."""
        total = len(self._messages)
        share = _AT_ONCE + (1 - _AT_ONCE) * elapsed / self._seconds
        while not self.done and self.inserted < share * total:
            upto = min(total, self.inserted + max(1, int(total * _CHUNK)))
            if not self._insert(db, range(self.inserted, upto)):
                return
            self.inserted = upto

    def _insert(self, db: Database, places: range) -> bool:
        rows = [self._messages[place] for place in places]
        return db.does(
            "insert into public.outbox (idempotency_key, recipient, body, priority)"
            " select * from unnest(%s::text[], %s::text[], %s::text[], %s::smallint[])"
            " on conflict (idempotency_key) do nothing",
            [f"chaos-{place}" for place in places],
            [message.recipient for message in rows],
            [message.text for message in rows],
            [message.columns.get("priority") for message in rows],
        )
