"""How messages end, in the words of both providers: the statuses with their codes, and the numbers that bring them about."""

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import Struct


class Outcome(Struct, frozen=True, forbid_unknown_fields=True):
    """A status of a provider with its code. Without a code it is 0."""

    status: str
    code: int


@dataclass(frozen=True, slots=True)
class State:
    """A message's state at one instant, and since when, in milliseconds."""

    outcome: Outcome
    at: int


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of numbers that end in ``suffix``: refused when sent, or accepted with an outcome.

    ``times`` limits it to the first so many messages to each such number; later ones are delivered.
    """

    suffix: str
    outcome: Outcome | None = None
    refused: bool = False
    times: int | None = None


class Share(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A share (0 to 1) of all messages ends with this outcome."""

    outcome: Outcome
    share: float


DELIVERED = Outcome("Delivered", 0)
QUEUED = Outcome("Queued", 400)
DISPATCHED = Outcome("Dispatched", 401)
UNMATCHED = Outcome("Aborted", 405)
EXPIRED_EARLY = Outcome("Aborted", 406)
CANCELLED = Outcome("Cancelled", 407)
TOO_LONG = Outcome("Aborted", 411)
EXPIRED = Outcome("Expired", 34)
STUCK = Outcome("Dispatched", 401)
"""As an outcome: handed to the carrier, and never reported again."""

STOPPED = frozenset(("Aborted", "Cancelled"))
"""These end before the carrier, so Dispatched is skipped."""

VONAGE_ACCEPTED = Outcome("accepted", 0)
"""Answered with 202. No webhook says so."""
VONAGE_SUBMITTED = Outcome("submitted", 0)
"""As an outcome: handed to the carrier, and never reported again."""
VONAGE_DELIVERED = Outcome("delivered", 0)
VONAGE_UNREACHED = Outcome("undeliverable", 0)
"""The Messages API could not reach its own provider."""
VONAGE_EXPIRED = Outcome("rejected", 1360)
VONAGE_OPTED_OUT = Outcome("rejected", 1240)

VONAGE_EARLY_CODES = frozenset(
    (1000, 1010, 1020, 1021, 1022, 1040, 1050, 1060, 1070, 1080, 1090, 1100, 1120, 1130, 1140, 1150, 1160, 1240, 1242)
) | frozenset((1380, 1381, 1382, 1400, 1410, 1420, 1430, 1431, 1440, 1450, 1451, 1470, 1472, 1473, 1474, 1475, 1476))
"""Rejections before the network, so ``submitted`` is skipped and no phone gets the text."""
VONAGE_LATE_CODES = frozenset(
    (1030, 1170, 1180, 1190, 1200, 1210, 1220, 1230, 1241, 1250, 1251, 1260, 1270, 1280, 1282, 1290, 1300, 1310, 1320)
) | frozenset((1330, 1331, 1360, 1460, 1461, 1480, 1481, 1482, 1483, 1484, 1490))
"""Rejections after ``submitted``. 1330 and 1490 prove nothing: here the phone gets those texts."""


def _sinch_rules() -> Iterator[Rule]:
    """Numbers that end in ``9990`` and a code of the provider end with that code: long enough not to be met by chance."""
    yield Rule(suffix="9990001", refused=True)
    yield Rule(suffix="9990002", outcome=STUCK)
    yield Rule(suffix="9990003", outcome=Outcome("Unknown", 0))
    yield Rule(suffix="9990034", outcome=EXPIRED)
    for code in (15, 60, 62, 64):
        yield Rule(suffix=f"9990{code:03d}", outcome=Outcome("Failed", code))
    yield Rule(suffix="9990152", outcome=Outcome("Rejected", 152))
    yield Rule(suffix="9990257", outcome=Outcome("Deleted", 257))
    for code in (402, 403, 404, 405, 406, 408, 410, 411, 412, 413):
        yield Rule(suffix=f"9990{code}", outcome=Outcome("Aborted", code))
    yield Rule(suffix="9990407", outcome=CANCELLED)
    yield Rule(suffix="9991404", outcome=Outcome("Aborted", 404), times=1)


def _vonage_rules() -> Iterator[Rule]:
    """Numbers that end in ``999`` and a code are rejected with that code."""
    yield Rule(suffix="9990001", refused=True)
    yield Rule(suffix="9990002", outcome=VONAGE_SUBMITTED)
    yield Rule(suffix="9990003", outcome=VONAGE_UNREACHED)
    for code in sorted(VONAGE_EARLY_CODES | VONAGE_LATE_CODES):
        yield Rule(suffix=f"999{code}", outcome=Outcome("rejected", code))
    yield Rule(suffix="9981000", outcome=Outcome("rejected", 1000), times=1)


SINCH_RULES = tuple(_sinch_rules())
VONAGE_RULES = tuple(_vonage_rules())
