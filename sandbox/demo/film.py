"""What the demo's screen shows in the course of a run, as rows of styled text."""

from dataclasses import dataclass, replace
from io import StringIO
from typing import Final

from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from sandbox.demo.view import Picture, screen

WIDTH: Final = 80
HEIGHT: Final = 24
_SECONDS_BETWEEN: Final = 1.4


@dataclass(frozen=True, slots=True)
class Run:
    """Text of one style, from a column on."""

    column: int
    text: str
    style: Style


Row = tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One screen. ``at`` is in seconds since the first insert."""

    at: float
    rows: tuple[Row, ...]


class Film:
    """Keeps a frame every second or two, and one for each new caption."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._caption = ""
        self._console = Console(
            file=StringIO(), width=WIDTH, height=HEIGHT, force_terminal=True, color_system="truecolor", no_color=False
        )

    def see(self, picture: Picture) -> None:
        """Keep this screen, unless the last one is too young."""
        if self.frames and picture.caption == self._caption and picture.elapsed < self.frames[-1].at + _SECONDS_BETWEEN:
            return
        self._caption = picture.caption
        self.frames.append(Frame(picture.elapsed, self._screen(picture)))

    def end(self, picture: Picture, result: str) -> None:
        """Keep the last screen, with the result below it as in a terminal."""
        self.frames.append(Frame(picture.elapsed, (*self._screen(picture), *self._rows(Text(result)))))

    def _screen(self, picture: Picture) -> tuple[Row, ...]:
        # The links are of this run alone.
        return self._rows(screen(replace(picture, links={}), height=HEIGHT))

    def _rows(self, shown: RenderableType) -> tuple[Row, ...]:
        return tuple(_row(line) for line in self._console.render_lines(shown, pad=False))


def plain(row: Row) -> str:
    """The row without its styles."""
    text = ""
    for run in row:
        text = text.ljust(run.column) + run.text
    return text


def _row(line: list[Segment]) -> Row:
    """Without blanks between runs: only what is seen."""
    runs, column = [], 0
    for segment in Segment.simplify(line):
        words = segment.text.strip()
        if words:
            lead = len(segment.text) - len(segment.text.lstrip())
            runs.append(Run(column + lead, words, segment.style or Style.null()))
        column += segment.cell_length
    return tuple(runs)
