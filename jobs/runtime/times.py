"""Times and durations in words: every screen and every line writes them alike."""

from datetime import UTC, datetime


def ago(duration: float) -> str:
    """A duration in seconds for people: ``3 s``, ``4 min``, ``2.5 h``, ``3 days``."""
    if duration < 120:
        return f"{duration:.0f} s"
    if duration < 7200:
        return f"{duration / 60:.0f} min"
    return f"{duration / 3600:.1f} h" if duration < 172800 else f"{duration / 86400:.0f} days"


def utc(at: datetime) -> str:
    """For people, in UTC to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
