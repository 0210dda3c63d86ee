"""Trouble that is logged once when it begins and once when it ends, however often it is met in between."""

from typing import Any

import structlog

log = structlog.get_logger()


def named(setting: str | None) -> dict[str, str]:
    """The field of a log event that names the setting to change, where one is known."""
    return {} if setting is None else {"setting": setting}


class Outage:
    """One kind of trouble, from its first failure to the recovery.

    The first failure is a warning under the event name ``began``. Failures that follow are logged at level debug. The recovery
    is logged under ``ended``, if that is given. ``began`` and ``ended`` name events, such as ``provider.away``.

    Several sources may share an outage, such as the jobs of one process. It then ends when each source that failed has
    recovered.
    """

    def __init__(self, began: str, *, ended: str | None = None) -> None:
        self._began = began
        self._ended = ended
        self._failed: set[str] = set()

    @property
    def ongoing(self) -> bool:
        """Whether a source has failed and not recovered yet."""
        return bool(self._failed)

    def failed(self, source: str = "", **fields: Any) -> None:
        """Note a failure of ``source``, and log it with ``fields``."""
        say = log.debug if self.ongoing else log.warning
        self._failed.add(source)
        say(self._began, **fields)

    def recovered(self, source: str = "", **fields: Any) -> None:
        """Note that ``source`` works. Logs the end of the outage, with ``fields``, if no other source is left."""
        if source not in self._failed:
            return
        self._failed.discard(source)
        if not self.ongoing and self._ended is not None:
            log.info(self._ended, **fields)
