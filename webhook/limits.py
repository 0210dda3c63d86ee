"""What one process of the webhook app holds, and how long it waits.

docs/decisions/0016-webhook-limits.md gives the reason for each value.
"""

import sys
from dataclasses import dataclass, replace
from typing import Final

if sys.platform != "win32":
    import resource

_OWN_FILES: Final = 32
"""Files that are no client's: the log, the event loop, and connections to the database."""
_SHARE: Final = 8
"""For so many connections there is one file to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes, seconds and numbers for one process.

    ``held_bytes`` bounds what all unanswered requests hold together. A request of at most ``small_bytes`` is taken beyond it.
    """

    connections: int = 1000
    head_bytes: int = 32 * 1024
    head_fields: int = 100
    framing_bytes: int = 8 * 1024
    body_bytes: int = 1024 * 1024
    surplus_bytes: int = 16 * 1024 * 1024
    held_bytes: int = 8 * 1024 * 1024
    small_bytes: int = 16 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    unread_seconds: float = 10.0
    idle_seconds: float = 75.0
    log_seconds: float = 30.0

    @property
    def spare_connections(self) -> int:
        """How many connections may be open beyond the limit, while the ones that they replace are being closed."""
        return max(self.connections // _SHARE, 1)

    def for_worker(self, workers: int) -> "Limits":
        """The share of one of so many processes. Each may hold two full bodies, so more than four hold more than one would."""
        return replace(
            self,
            connections=-(-self.connections // workers),
            held_bytes=max(self.held_bytes // workers, 2 * self.body_bytes),
        )

    def within(self, files: int | None) -> "Limits":
        """These limits in a process that may open so many files; None is any number."""
        if files is None:
            return self
        most = (files - _OWN_FILES) * _SHARE // (_SHARE + 1)
        return replace(self, connections=max(min(self.connections, most), 1))


def open_files(wanted: int) -> int | None:
    """How many files this process may open, after asking the system for room for ``wanted`` connections. None: no limit."""
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _OWN_FILES + wanted + wanted // _SHARE
    if soft == resource.RLIM_INFINITY:
        return None
    if soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        except (OSError, ValueError):  # macOS refuses more than kern.maxfilesperproc
            return soft
        return raised
    return soft
