"""Messages that the claim holds because the provider may have accepted them before a restore."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.gateway.values import instant


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A held message, and the batch that it may have been in.

    ``has_same_text`` is False where its text was another one then, or cannot be compared. It ends at ``expires_at``.
    """

    id: int
    recipient: str
    status: str
    campaign: str | None
    template: str | None
    expires_at: datetime
    batch_id: str
    sent_at: datetime
    has_same_text: bool

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "HeldMessage":
        return cls(**{**row, "expires_at": instant(row["expires_at"]), "sent_at": instant(row["sent_at"])})
