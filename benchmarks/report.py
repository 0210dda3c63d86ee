"""Writes results: JSON and charts in ``docs/benchmarks/``, tables between the marks in ``docs/benchmarks.md``."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.machine import Machine
from benchmarks.plot import draw
from benchmarks.result import Figure, Result
from sandbox.local.binaries import REPOSITORY

PAGE = REPOSITORY / "docs" / "benchmarks.md"
FOLDER = REPOSITORY / "docs" / "benchmarks"


def write(question: str, title: str, result: Result, machine: Machine, command: str) -> None:
    """Replace the table of one question, on the page between ``<!-- question -->`` and ``<!-- end -->``."""
    FOLDER.mkdir(exist_ok=True)
    record = {"question": question, "title": title, "command": command, "machine": asdict(machine), **asdict(result)}
    (FOLDER / f"{question}.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    pictures = []
    for number, plot in enumerate(result.plots):
        name = f"{question}.svg" if number == 0 else f"{question}-{number + 1}.svg"
        (FOLDER / name).write_text(draw(plot, result.figures))
        pictures.append(f"![{plot.figure}](benchmarks/{name})")
    text = "\n\n".join([*pictures, table(result.figures), *result.notes, _provenance(machine, command)])
    _put(question, text)


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table: a line for each case, a column for each figure; the median, its range, and the goal."""
    cases = list(dict.fromkeys(figure.case for figure in figures))
    columns = list(dict.fromkeys((figure.name, figure.unit) for figure in figures))
    cells = {(figure.case, figure.name): _cell(figure) for figure in figures}
    head = ["", *(f"{name} ({unit})" if unit else name for name, unit in columns)]
    lines = [_line(head), _line(["---", *("---:" for _ in columns)])]
    lines += [_line([case, *(cells.get((case, name), "") for name, _ in columns)]) for case in cases]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(figure: Figure) -> str:
    text = f"**{number(figure.median)}**"
    if len(figure.values) > 1:
        text += f" ({number(min(figure.values))}–{number(max(figure.values))})"
    if figure.goal is not None:
        text += f" {'✓' if figure.reached else '✗'} {'≤' if figure.at_most else '≥'} {number(figure.goal)}"
    return text


def number(value: float) -> str:
    """Three significant digits: ``13,100``, ``0.52``, ``4.7``."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _provenance(machine: Machine, command: str) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"`{command}` on {machine.when}, commit {machine.commit}: {machine.cores} cores of {machine.processor}, "
        f"{machine.memory_gib} GiB, {machine.system}, load {machine.load} before it began; {versions}. "
        "Medians, with the lowest and highest of the repetitions in brackets."
    )


def _put(question: str, text: str) -> None:
    page = PAGE.read_text()
    place = re.compile(rf"(<!-- {question} -->).*?(<!-- end -->)", re.DOTALL)
    if not place.search(page):
        raise SystemExit(f"{PAGE.name} has no place for {question}: <!-- {question} --> … <!-- end -->")
    PAGE.write_text(place.sub(lambda found: f"{found[1]}\n\n{text}\n\n{found[2]}", page))
