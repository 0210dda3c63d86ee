"""What the statuses and codes of Vonage's Messages API mean for a message.

The codes are those of ``x-errors`` in Vonage's description of the API, version 1.20.0, that a text or an MMS can get. Vonage
does not say where each stops a message: the classes are our reading. The codes up to 1160 answer, one by one, to what the SMS
API says to a submission, 14xx are checks of the request, and 147x are Vonage's own filters. Those from 1170 to 1310 and 148x
answer to the error codes in receipts of the networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    """Where a code says that a message ended."""

    STOPPED = "stopped"
    """Before the network: the phone certainly got nothing."""
    REFUSED = "refused"
    """The network or the phone refused it, if the receipt is true."""
    BARRED = "barred"
    """The recipient opted out, or may not be sent to."""
    EXPIRED = "expired"
    """Its time ran out, at Vonage or at a carrier."""
    UNKNOWN = "unknown"
    """Nobody knows: the phone may have the text."""


@dataclass(frozen=True, slots=True)
class Code:
    """What one code means. ``meaning`` is also what ``outbox_engine.report_codes`` says."""

    stage: Stage
    meaning: str


def status_of(status: str, code: int | None) -> str | None:
    """The outbox's own status. None if ``status`` says nothing about a text (:data:`SILENT`), or is not a word of Vonage's.

    A rejection whose code is missing or not listed is ``unknown``.
    """
    word = status.strip().lower()
    if word != "rejected":
        return _STATUSES.get(word)
    known = CODES.get(code) if code is not None else None
    return _REJECTED[Stage.UNKNOWN if known is None else known.stage]


def is_word(status: object) -> bool:
    """Whether ``status`` is a word that Vonage has for what became of a message."""
    word = status.strip().lower() if isinstance(status, str) else ""
    return word == "rejected" or word in _STATUSES or word in SILENT


SILENT: Final = frozenset({"read", "buffered"})
"""Words that say nothing about a text: ``read`` is of other channels, and ``buffered`` is a network that is still trying."""

_STATUSES: Final = {
    "submitted": "dispatched",
    "accepted": "dispatched",
    "delivered": "delivered",
    "undeliverable": "failed",
}
_REJECTED: Final = {
    Stage.STOPPED: "aborted",
    Stage.REFUSED: "failed",
    Stage.BARRED: "rejected",
    Stage.EXPIRED: "expired",
    Stage.UNKNOWN: "unknown",
}


def _of(stage: Stage, meanings: Mapping[int, str]) -> dict[int, Code]:
    return {code: Code(stage, meaning) for code, meaning in meanings.items()}


CODES: Final[Mapping[int, Code]] = {
    **_of(
        Stage.STOPPED,
        {
            1000: "sent faster than the account may",
            1010: "a parameter is missing",
            1020: "a parameter is invalid",
            1021: "invalid tag",
            1022: "invalid template",
            1040: "invalid message, or an unknown prefix of the number",
            1060: "account barred",
            1070: "credit or quota of the account used up",
            1080: "account not enabled for this API",
            1090: "binary message too long",
            1100: "communication failed inside Vonage",
            1120: "sender not allowed in this country",
            1130: "invalid ttl",
            1140: "feature not enabled on the account",
            1150: "invalid message class",
            1160: "number not among those the account may send to",
            1242: "number pool does not exist",
            1380: "media URL cannot be fetched",
            1381: "media too large",
            1382: "media of an unsupported type",
            1400: "channel not supported",
            1410: "a parameter of the channel is invalid",
            1420: "invalid sender",
            1430: "invalid recipient",
            1431: "more than one recipient",
            1440: "type of message not supported",
            1450: "invalid client_ref",
            1451: "invalid context",
            1470: "blocked by Fraud Defender: traffic rule",
            1472: "blocked by Fraud Defender: burst",
            1473: "blocked by Fraud Defender: inflated traffic",
            1474: "blocked by Fraud Defender: country",
            1475: "blocked by Fraud Defender: network",
            1476: "sender on a do-not-originate list",
        },
    ),
    **_of(
        Stage.REFUSED,
        {
            1170: "recipient invalid",
            1180: "recipient temporarily unavailable",
            1190: "number no longer in use",
            1200: "number was ported, and the carrier has an error",
            1210: "taken for spam by the carrier",
            1220: "phone busy or off",
            1230: "temporary failure in the network",
            1241: "too many texts to this number",
            1250: "no route to this number",
            1251: "no route to this network",
            1260: "destination unreachable",
            1270: "blocked for the age of the subscriber",
            1280: "blocked by the carrier",
            1282: "refused by a policy of the carrier",
            1290: "recipient has no prepaid credit",
            1300: "number of no user in the network",
            1310: "phone not able to receive it",
            1460: "daily limit exceeded, such as 10DLC",
            1461: "held back to spare the recipient",
            1480: "entity_id wrong or missing",
            1481: "sender header wrong or missing",
            1482: "content_id wrong or missing",
            1483: "consent not registered",
            1484: "sender failed a check of rules",
        },
    ),
    **_of(Stage.BARRED, {1050: "number barred", 1240: "recipient opted out"}),
    **_of(Stage.EXPIRED, {1360: "expired before it was delivered"}),
    **_of(
        Stage.UNKNOWN,
        {
            1030: "internal error at Vonage",
            1320: "already sent, says Vonage",
            1330: "the network says unknown: the phone may have it",
            1331: "a carrier does not answer",
            1490: "receipts of some parts are missing",
        },
    ),
}
"""The codes that can come with a text or an MMS. A code that is not listed is ``unknown``."""
