"""How results of measurements are written."""

import json
from pathlib import Path
from xml.dom.minidom import parseString

import pytest

from benchmarks import machine, report
from benchmarks.plot import draw
from benchmarks.result import Figure, Plot, Result

FIGURES = (
    Figure(case="one text", name="messages", unit="1/s", values=(24_000.0, 26_400.0, 25_100.0), goal=25_000.0),
    Figure(case="one text", name="requests", unit="per 1000", values=(1.0, 1.0, 1.02), goal=1.0, at_most=True),
    Figure(case="names < differ & so", name="messages", unit="1/s", values=(9_000.0,), goal=10_000.0),
)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(report, "FOLDER", tmp_path / "benchmarks")
    report.PAGE.write_text("before\n<!-- draining -->\n<!-- end -->\nafter\n<!-- peers -->\nkept\n<!-- end -->\n")
    return report.PAGE


def test_table_lists_median_range_and_goal_per_case() -> None:
    assert report.table(FIGURES).splitlines() == [
        "|  | messages (1/s) | requests (per 1000) |",
        "| --- | ---: | ---: |",
        "| one text | **25,100** (24,000–26,400) ✓ ≥ 25,000 | **1** (1–1.02) ✓ ≤ 1 |",
        "| names < differ & so | **9,000** ✗ ≥ 10,000 |  |",
    ]


def test_rewriting_replaces_only_its_own_section(page: Path) -> None:
    result = Result(figures=FIGURES, plots=(Plot("messages"),), notes=("A note.",))

    for _ in range(2):
        report.write("draining", "how fast?", result, machine.describe(), "make bench")

    text = page.read_text()
    assert text.startswith("before\n<!-- draining -->\n\n![messages](benchmarks/draining.svg)\n\n|  | messages")
    assert text.count("A note.") == 1
    assert text.endswith("<!-- end -->\nafter\n<!-- peers -->\nkept\n<!-- end -->\n")
    record = json.loads((page.parent / "benchmarks" / "draining.json").read_text())
    assert record["figures"][0]["values"] == [24_000.0, 26_400.0, 25_100.0]
    assert record["machine"]["cores"] >= 1


def test_question_without_a_section_is_an_error(page: Path) -> None:
    with pytest.raises(SystemExit, match=r"no place for latency"):
        report.write("latency", "how long?", Result(figures=FIGURES), machine.describe(), "make bench")


def test_pictures_are_well_formed_for_any_case_name() -> None:
    curve = [Figure(case=f"{size:,}", name="claim", unit="ms", values=(1.0, 2.0)) for size in (10_000, 100_000, 1_000_000)]

    bars = parseString(draw(Plot("messages"), FIGURES))  # noqa: S318  # it is ours
    line = parseString(draw(Plot("claim", kind="line", x="rows"), curve))  # noqa: S318

    assert any("names &lt; differ &amp; so" in text.toxml() for text in bars.getElementsByTagName("text"))
    assert len(line.getElementsByTagName("circle")) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (13_123.4, "13,100"), (4.7, "4.7"), (100.4, "100"), (999_999, "1,000,000")],
)
def test_numbers_show_three_digits_that_count(value: float, text: str) -> None:
    assert report.number(value) == text
