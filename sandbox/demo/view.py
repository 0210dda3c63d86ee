"""The demo's screen: counts, the last events, undelivered messages with reasons, and links."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sandbox.demo.snapshot import FINAL, OPEN, UNDELIVERED, Entry, PlanNow, Rate, Snapshot

_COLOURS = {"delivered": "green", "suppressed": "yellow", "cancelled": "yellow"}
_CAPTION_LINES = 2
"""At 80 columns most captions need both."""
_FIXED_LINES = 10 + _CAPTION_LINES
"""Title, bar, caption, a blank line, five lines of counts, a blank line, the footer."""
_LEAST_FOR_COUNTS = _FIXED_LINES + 3
_ROOM_FOR_LINKS = 8
_MOST_UNDELIVERED = 14
_COLUMN_LINES = len(OPEN)


@dataclass(slots=True)
class Picture:
    """The content of one screen. ``elapsed`` is in seconds, ``requests`` counts those that send."""

    now: Snapshot
    expected: int
    elapsed: float = 0.0
    messages: Rate = field(default_factory=Rate)
    callbacks: Rate = field(default_factory=Rate)
    requests: int = 0
    caption: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    footer: str = ""

    def see(self, now: Snapshot, *, callbacks: int) -> None:
        """Add the latest counts."""
        self.now = now
        self.messages.see(now.at, now.sent)
        self.callbacks.see(now.at, callbacks)


def screen(picture: Picture, *, height: int) -> RenderableType:
    """One screen of at most ``height`` lines, from 2 on. Its layout does not change while the numbers do."""
    plans = _plans(picture.now.plans)
    if height < _LEAST_FOR_COUNTS + len(plans):
        return _small_screen(picture, height)
    left = height - _FIXED_LINES - len(plans)
    links = picture.links if left >= _ROOM_FOR_LINKS else {}
    lists = max(2, left - len(links))
    below = min(lists // 2, _MOST_UNDELIVERED) if left >= _ROOM_FOR_LINKS else 0
    return Padding(
        Group(
            _title(picture),
            _bar(picture),
            _Lines(Text(picture.caption, style="magenta"), _CAPTION_LINES),
            Text(),
            _counts(picture),
            *plans,
            Text(),
            *_list("last events", picture.now.events, lists - below, sources=True),
            *(_list("not delivered, and why", picture.now.undelivered, below, sources=False) if below else []),
            _links(links),
            _one_line(picture.footer, style="bold"),
        ),
        (0, 1),
    )


def _small_screen(picture: Picture, height: int) -> RenderableType:
    """The counts in one line, and as many events as there is room for."""
    events = _list("last events", picture.now.events, height - 2, sources=True) if height > 3 else []
    return Padding(Group(_one_line(line(picture), style=""), *events, _one_line(picture.footer, style="bold")), (0, 1))


def line(picture: Picture) -> str:
    """One line, for output that is not a terminal."""
    now = picture.now
    counts = ", ".join(f"{now.statuses[status]} {status}" for status in (*OPEN, *FINAL) if now.statuses.get(status))
    return (
        f"{_clock(picture.elapsed)}  {picture.messages.now:.0f} messages/s, {picture.callbacks.now:.0f} callbacks/s: {counts}"
        + "".join(f"; {plan.messages} through {plan.provider}" for plan in now.plans)
    )


def _title(picture: Picture) -> RenderableType:
    title = Table.grid(expand=True)
    title.add_column()
    title.add_column(justify="right")
    done = f"{picture.now.final} of {_expected(picture)} messages final"
    title.add_row(Text("outbox demo", style="bold"), f"{done}   {_clock(picture.elapsed)}")
    return title


def _expected(picture: Picture) -> int:
    return max(picture.expected, picture.now.total - picture.now.overnight, 1)


def _bar(picture: Picture) -> RenderableType:
    """On a line of its own: the bar alone does not end one."""
    line = Table.grid(expand=True)
    line.add_row(ProgressBar(_expected(picture), picture.now.final, complete_style="cyan"))
    return line


def _counts(picture: Picture) -> RenderableType:
    """Three columns: open messages, final messages, and rates."""
    statuses = picture.now.statuses
    ended = ["delivered", *(status for status in UNDELIVERED if statuses.get(status))]
    shown, folded = (ended, []) if len(ended) <= 2 * _COLUMN_LINES else (ended[: 2 * _COLUMN_LINES - 1], ended[9:])
    cells = [(status, statuses.get(status, 0)) for status in shown]
    if folded:
        cells.append(("others", sum(statuses[status] for status in folded)))

    columns = Table.grid(padding=(0, 3))
    columns.add_row(
        _column([(status, statuses.get(status, 0)) for status in OPEN], 10),
        _column(cells[:_COLUMN_LINES], 10),
        _column(cells[_COLUMN_LINES:], 10) if cells[_COLUMN_LINES:] else Text(),
        _rates(picture),
    )
    return columns


def _column(cells: Sequence[tuple[str, int]], width: int) -> RenderableType:
    column = Table.grid(padding=(0, 1))
    column.add_column(min_width=width)
    column.add_column(justify="right", min_width=5)
    for status, count in cells:
        style = ("cyan" if status in OPEN else _COLOURS.get(status, "red")) if count else "dim"
        column.add_row(Text(status, style=style), Text(str(count), style="bold" if count else "dim"))
    for _ in range(_COLUMN_LINES - len(cells)):
        column.add_row("", "")
    return column


def _plans(plans: Sequence[PlanNow]) -> list[RenderableType]:
    """A line for each of several plans."""
    return [
        _one_line(f"{f'through {plan.provider}':<15}{plan.messages:>6}   {plan.paused and f'paused: {plan.paused}'}", style="")
        for plan in plans
    ]


def _rates(picture: Picture) -> RenderableType:
    rates = Table.grid(padding=(0, 1))
    rates.add_column()
    rates.add_column(justify="right", min_width=4)
    for name, value in (
        ("messages/s", f"{picture.messages.now:.0f}"),
        ("  at most", f"{picture.messages.peak:.0f}"),
        ("callbacks/s", f"{picture.callbacks.now:.0f}"),
        ("  at most", f"{picture.callbacks.peak:.0f}"),
        ("requests", str(picture.requests)),
    ):
        rates.add_row(Text(name, style="dim"), value)
    return rates


def _list(heading: str, entries: Sequence[Entry], lines: int, *, sources: bool) -> list[RenderableType]:
    """The newest entries first, and blank lines where there are fewer."""
    table = Table.grid(padding=(0, 2), expand=True)
    for width in (8, 12, 10, *([9] if sources else [])):
        table.add_column(width=width, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for entry in entries[: lines - 1]:
        style = _COLOURS.get(entry.what, "red" if entry.what in FINAL else "cyan")
        source = [Text(entry.source, style="dim")] if sources else []
        why = entry.why.removeprefix(f"reported {entry.what} with ")
        table.add_row(Text(f"{entry.at:%H:%M:%S}", style="dim"), entry.recipient, Text(entry.what, style=style), *source, why)
    for _ in range(lines - 1 - len(entries)):
        table.add_row("")
    return [Text(heading, style="dim underline"), table]


def _links(links: Mapping[str, str]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, value in links.items():
        table.add_row(Text(name, style="dim"), Text(value, no_wrap=True))
    return table if links else Group()


@dataclass(frozen=True, slots=True)
class _Lines:
    """A text that takes so many lines, whatever its length."""

    text: Text
    count: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = list(self.text.wrap(console, options.max_width))
        yield from lines[: self.count]
        yield from [Text()] * (self.count - len(lines))


def _one_line(text: str, *, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
