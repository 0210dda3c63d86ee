"""What `outbox doctor` asks a provider and sends in its name: questions that change nothing, and callbacks of no message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from secrets import token_hex
from typing import Final

DEADLINE_SECONDS: Final = 8.0
"""For one question."""

TEST_HEADER: Final = "x-outbox-doctor"
"""Marks a test callback. One whose signature does not verify is refused as any other, and raises no alarm."""

TEST_RECIPIENT: Final = "+14155550100"
"""Reserved for fiction. No message to it is ever sent."""


class Standing(Enum):
    """What a provider's answer says of a setting."""

    RIGHT = "right"
    WRONG = "wrong"
    DOUBTFUL = "doubtful"
    """It works, and may not be what was meant."""
    NOT_TOLD = "not told"
    """The API does not tell."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that the provider's answers show. ``advice`` names the setting to change, empty if there is nothing to do."""

    standing: Standing
    found: str
    advice: str = ""


Remarks = Sequence[Remark]


@dataclass(frozen=True, slots=True)
class TestCallback:
    """A delivery report in the provider's own format, on a batch that no provider made. ``headers`` prove its origin."""

    batch_id: str
    raw: bytes
    headers: Mapping[str, str]


def new_batch_id() -> str:
    """The name of a batch that `outbox_take_test_report` accepts."""
    return f"outbox-doctor-{token_hex(16)}"
