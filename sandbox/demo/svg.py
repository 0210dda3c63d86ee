"""An animated SVG of a film of the demo, for light and dark pages. Where nothing moves, it shows the last frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from rich.style import Style

from sandbox.demo.film import WIDTH, Frame, Row

_CELL, _LINE, _MARGIN, _BAR = 8.4, 18, 16, 30
"""In pixels: a character's width, a line's height, the space around the text, and the window's title bar."""
_SPEED = 2
_HOLD_SECONDS = 6.0
"""How long the last frame stays."""
_TEXT = ("#1f2328", "#e6edf3")
_COLOURS = {
    "page": ("#ffffff", "#0d1117"),
    "edge": ("#d1d9e0", "#3d444d"),
    "green": ("#1a7f37", "#3fb950"),
    "yellow": ("#9a6700", "#d29922"),
    "red": ("#cf222e", "#f85149"),
    "cyan": ("#0969da", "#39c5cf"),
    "magenta": ("#8250df", "#d2a8ff"),
    "grey23": ("#d1d9e0", "#3d444d"),
}
"""For light pages, and for dark ones."""
_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The frames from ``first`` to before ``end`` in which a row does not change."""

    first: int
    end: int


def draw(frames: Sequence[Frame], *, title: str) -> str:
    """The frames as one SVG, played at twice the speed, again and again. ``title`` is read to those who do not see it."""
    lines = max(len(frame.rows) for frame in frames)
    width, height = round(WIDTH * _CELL + 2 * _MARGIN), lines * _LINE + 2 * _MARGIN + _BAR
    starts = _starts(frames)
    rows = [(number, stretch, row) for number in range(lines) for stretch, row in _stretches(frames, number)]
    size = f'width="{width}" height="{height}"'
    moving = sorted({stretch for _, stretch, _ in rows if not _always(stretch, frames)}, key=lambda s: (s.first, s.end))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_styles()}{''.join(_keyframes(stretch, starts, _seconds(frames)) for stretch in moving)}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
            *(f'<circle class="edge" cx="{20 + 18 * dot}" cy="18" r="5"/>' for dot in range(3)),
            *(_text(number, stretch, row, frames) for number, stretch, row in rows),
            "</svg>",
            "",
        ]
    )


def _starts(frames: Sequence[Frame]) -> list[float]:
    """When each frame begins, as a percentage of the whole, and 100 for the end."""
    whole = _seconds(frames)
    return [*(100 * (frame.at - frames[0].at) / _SPEED / whole for frame in frames), 100.0]


def _seconds(frames: Sequence[Frame]) -> float:
    return (frames[-1].at - frames[0].at) / _SPEED + _HOLD_SECONDS


def _stretches(frames: Sequence[Frame], number: int) -> Iterator[tuple[_Stretch, Row]]:
    rows = [frame.rows[number] if number < len(frame.rows) else () for frame in frames]
    cuts = [0, *(place for place in range(1, len(rows)) if rows[place] != rows[place - 1]), len(rows)]
    for first, end in pairwise(cuts):
        if rows[first]:
            yield _Stretch(first, end), rows[first]


def _always(stretch: _Stretch, frames: Sequence[Frame]) -> bool:
    return stretch.first == 0 and stretch.end == len(frames)


def _name(stretch: _Stretch) -> str:
    return f"f{stretch.first}-{stretch.end}"


def _keyframes(stretch: _Stretch, starts: Sequence[float], seconds: float) -> str:
    """Hidden without animation unless it lasts to the end, so that a picture that does not move shows the last frame."""
    name = _name(stretch)
    begin, end = starts[stretch.first], starts[stretch.end]
    steps = [(0.0, "hidden")] if begin > 0 else []
    steps += [(begin, "visible"), *([(end, "hidden")] if end < 100 else [])]
    frames = "".join(f"{place:.2f}%{{visibility:{state}}}" for place, state in steps)
    rest = "" if end >= 100 else f".{name}{{visibility:hidden}}"
    moving = f"@media(prefers-reduced-motion:no-preference){{.{name}{{animation:{name} {seconds:.1f}s step-end infinite}}}}"
    return f"@keyframes {name}{{{frames}}}{rest}{moving}"


def _styles() -> str:
    def colours(which: int) -> str:
        fills = "".join(f".{name}{{fill:{both[which]}}}" for name, both in _COLOURS.items())
        return f"text{{fill:{_TEXT[which]}}}{fills}.page{{stroke:{_COLOURS['edge'][which]}}}"

    return (
        f"text{{font:14px {_FONT};white-space:pre}}"
        ".bold{font-weight:600}.dim{opacity:.65}.underline{text-decoration:underline}"
        f"{colours(0)}@media(prefers-color-scheme:dark){{{colours(1)}}}"
    )


def _text(number: int, stretch: _Stretch, row: Row, frames: Sequence[Frame]) -> str:
    """A row. Each of its runs has its place and its width, whatever font the reader has."""
    shown = "" if _always(stretch, frames) else f' class="{_name(stretch)}"'
    runs = "".join(
        f'<tspan x="{_MARGIN + run.column * _CELL:.0f}" textLength="{len(run.text) * _CELL:.0f}"{_classes(run.style)}>'
        f"{escape(run.text, quote=False)}</tspan>"
        for run in row
    )
    return f'<text{shown} y="{_BAR + _MARGIN + number * _LINE + 13}">{runs}</text>'


def _classes(style: Style) -> str:
    colour = style.color.name if style.color is not None else ""
    names = [] if not colour else [colour if colour in _COLOURS else "green"]
    names += [mark for mark, there in (("bold", style.bold), ("dim", style.dim), ("underline", style.underline)) if there]
    return f' class="{" ".join(names)}"' if names else ""
