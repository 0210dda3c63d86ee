"""Sentry cron monitors, one for each job, so that a job that stops ticking raises an alarm."""

import math
import time
from typing import Final, Literal

import sentry_sdk
from sentry_sdk.crons import capture_checkin
from sentry_sdk.types import MonitorConfig

_MINUTE: Final = 60.0
_MARGIN_MINUTES: Final = 5

Status = Literal["ok", "error"]


class Monitor:
    """Checks in for one job after its ticks. Without a DSN it does nothing.

    Sentry counts in minutes and throttles more frequent check-ins. A job that ticks every second therefore checks in once a
    minute: one "ok" and, if ticks fail, one "error" in each of the monitor's intervals. ``interval`` is in seconds.
    """

    def __init__(self, job: str, interval: float) -> None:
        # Sentry takes no spaces in these names.
        self._slug = f"outbox-{job.replace(' ', '-')}"
        self._minutes = max(1, math.ceil(interval / _MINUTE))
        self._last: dict[Status, float] = {}

    def ticked(self, status: Status, *, seconds: float) -> None:
        """Take note that a tick of ``seconds`` ended."""
        if not sentry_sdk.is_initialized() or not self._due(status):
            return
        self._last[status] = time.monotonic()
        capture_checkin(monitor_slug=self._slug, status=status, duration=seconds, monitor_config=self._config())

    def _due(self, status: Status) -> bool:
        last = self._last.get(status)
        return last is None or time.monotonic() - last >= self._minutes * _MINUTE

    def _config(self) -> MonitorConfig:
        """The configuration, sent with each check-in: Sentry creates the monitor from it."""
        return {
            "schedule": {"type": "interval", "value": self._minutes, "unit": "minute"},
            "timezone": "UTC",
            "checkin_margin": _MARGIN_MINUTES,
            "failure_issue_threshold": 2,
            "recovery_threshold": 1,
        }
