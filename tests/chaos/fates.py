"""The fates of messages at a provider without a list: there a row may end as unknown, and must say so."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.demo.work import Message
from sandbox.simulator.books import Tally


@dataclass(frozen=True, slots=True)
class Row:
    """What a row says at the end."""

    status: str
    error: str | None
    batch_id: str | None


@dataclass(frozen=True, slots=True)
class Fates:
    """Messages, each counted once.

    ``sent_twice``, ``sent_wrongly``: as in any run. ``lost`` were not accepted, and no row gives a reason. ``unsaid`` were
    accepted, and the row says something else. ``unknown_accepted`` and ``unknown_lost`` ended as unknown with a reason; the
    provider accepted the former.
    """

    lost: int
    sent_twice: int
    sent_wrongly: int
    unsaid: int
    unknown_accepted: int
    unknown_lost: int


Place = tuple[str, str]
"""The recipient without ``+``, and the text."""


def place(recipient: str, text: str) -> Place:
    return recipient.removeprefix("+"), text


def compare(messages: Sequence[Message], books: Iterable[Tally], rows: Mapping[Place, Row]) -> Fates:
    """Compare what was inserted with what the provider accepted and with what the rows say."""
    accepted = {place(tally.recipient, tally.body): tally for tally in books}
    wanted = {place(message.recipient, message.text) for message in messages if message.sent}
    every = [place(message.recipient, message.text) for message in messages]
    fates = [fate(accepted.get(one), rows.get(one)) for one in every]
    return Fates(
        lost=fates.count("lost"),
        sent_twice=sum(tally.accepted - tally.excused > 1 for tally in accepted.values()),
        sent_wrongly=len(accepted.keys() - wanted),
        unsaid=fates.count("unsaid"),
        unknown_accepted=fates.count("unknown_accepted"),
        unknown_lost=fates.count("unknown_lost"),
    )


def fate(tally: Tally | None, row: Row | None) -> str:
    """``lost``, ``unsaid``, ``unknown_accepted``, ``unknown_lost`` or ``told``: the row says what happened."""
    if row is None:
        return "lost"
    if tally is not None and row.batch_id in tally.batch_ids:
        return "told"
    is_accepted = tally is not None and tally.accepted > tally.excused
    if row.status == "unknown" and row.error:
        return "unknown_accepted" if is_accepted else "unknown_lost"
    if is_accepted:
        return "unsaid"
    return "told" if row.status in ("failed", "expired") and row.error else "lost"
