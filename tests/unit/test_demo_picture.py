"""The demo's screen, and the picture of it in the README."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console

from sandbox.demo.film import HEIGHT, WIDTH, Film, plain
from sandbox.demo.snapshot import Entry, Snapshot
from sandbox.demo.svg import draw
from sandbox.demo.view import Picture, screen

PICTURE = Path(__file__).parents[2] / "docs" / "demo.svg"
SVG = "{http://www.w3.org/2000/svg}"
CAPTIONS = ("an app inserts 2 rows", "the app cancels a row & <waits>", "the end")


def pictures() -> Iterator[Picture]:
    """A second apart in the captions, and five in time."""
    at = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
    for number, caption in enumerate(CAPTIONS):
        entry = Entry(at.replace(second=number), "+1202•••0123", "delivered", "webhook", "")
        now = Snapshot({"delivered": number, "pending": 2 - number}, number, (entry,))
        yield Picture(now, expected=2, elapsed=5.0 * number, caption=caption, links={"logs": "not in the picture"})


def filmed() -> Film:
    film = Film()
    *earlier, last = pictures()
    for picture in earlier:
        film.see(picture)
        film.see(picture)
    film.end(last, "Nothing was lost.")
    return film


def shown(svg: ET.Element, frame: int) -> list[str]:
    """The rows that are seen while this frame is."""
    rows = {}
    for text in svg.iter(f"{SVG}text"):
        first, end = map(int, re.findall(r"\d+", text.get("class", "f0-99")))
        if first <= frame < end:
            rows[int(text.get("y", ""))] = ["".join(run.itertext()) for run in text]
    return [" ".join(rows[y]) for y in sorted(rows)]


def test_screen_shows_caption_below_the_bar() -> None:
    console = Console(file=StringIO(), width=WIDTH, height=HEIGHT, force_terminal=True)

    console.print(screen(next(pictures()), height=HEIGHT))

    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert "━" in lines[1]
    assert CAPTIONS[0] in lines[2]
    assert len(lines) == HEIGHT


def test_svg_shows_each_screen_in_its_time() -> None:
    film = filmed()

    svg = ET.fromstring(draw(film.frames, title="The demo"))  # noqa: S314  # it is ours

    assert len(film.frames) == len(CAPTIONS)
    for number, frame in enumerate(film.frames):
        rows = [" ".join(run.text for run in row) for row in frame.rows if row]
        assert shown(svg, number) == rows
        assert CAPTIONS[number] in rows
    assert plain(film.frames[-1].rows[-1]) == "Nothing was lost."


def test_svg_without_animation_shows_the_end() -> None:
    film = filmed()
    svg = ET.fromstring(draw(film.frames, title="The demo"))  # noqa: S314  # it is ours

    style = svg.findtext(f"{SVG}style") or ""
    still = re.sub(r"@(?:media|keyframes)[^{]*\{(?:[^{}]*\{[^{}]*\})*\}", "", style)
    hidden = set(re.findall(r"\.(f\d+-\d+)\{visibility:hidden\}", still))

    for text in svg.iter(f"{SVG}text"):
        name = text.get("class", "")
        assert (name in hidden) == (name != "" and not name.endswith(f"-{len(CAPTIONS)}")), name


def test_picture_in_readme_is_a_good_run() -> None:
    assert PICTURE.stat().st_size < 300_000
    svg = ET.parse(PICTURE).getroot()  # noqa: S314  # it is ours

    words = " ".join(" ".join(svg.itertext()).split())
    assert "nothing was lost and nothing sent twice" in words
    assert "is killed with SIGKILL" in words
    assert "waits for the morning" in words
    assert "a burst at full speed: 10000 of 10000" in words
    assert not re.search(r"/tmp|127\.0\.0\.1|\+\d{8}", words)  # no place of a machine, no whole number
