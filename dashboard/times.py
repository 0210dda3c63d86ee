"""Times and durations on pages.

A time is UTC in the document. The script ``times.js`` shows it in the zone of the browser, with UTC on hover.
"""

from datetime import UTC, datetime

from markupsafe import Markup

from jobs.runtime.times import utc


def time(at: datetime | str | None) -> Markup:
    """A ``<time>`` element, a dash for no time. Text is as PostgreSQL writes times."""
    if at is None:
        return Markup("<span class='none'>–</span>")
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            # An owner of the table may write 'infinity'.
            return Markup("<span>{}</span>").format(at)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    try:
        words = utc(at)
    except OverflowError:
        return Markup("<span>{}</span>").format(at.isoformat())
    return Markup("<time datetime='{}' title='{}' data-local>{}</time>").format(words.replace(" ", "T"), words, words)


def duration(seconds: float | None) -> str:
    """A duration for people: ``340 ms``, ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 days 4 h``. A dash for none."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("days", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            count, rest = divmod(whole, size)
            name = "day" if unit == "days" and count == 1 else unit
            return f"{count} {name} {rest // part} {smaller}" if rest // part else f"{count} {name}"
    return f"{whole} s"
