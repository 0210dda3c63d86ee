"""Charts as SVG, made by the server: bars and lines, each with a table of the same figures.

Colours are classes (``tone-good``), because a strict policy for content forbids style attributes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from dashboard.times import duration

DURATION: Final = "duration"
"""The unit of values that are seconds: they are written as durations."""
_WIDTH: Final = 720.0
_HEIGHT: Final = 160.0
_LEFT: Final = 44.0
_BOTTOM: Final = 22.0
_TOP: Final = 8.0
_LABELS: Final = 6
_STEPS: Final = (1, 2, 2.5, 5, 10)
_DURATIONS: Final = (2, 10, 30, 60, 120, 600, 1800, 3600, 7200, 14400, 43200, 86400, 172800)
_CLOSE: Final = 12.0
"""Dots on a line are smaller where labels are closer than this."""

_BAR: Final = Markup("<rect class='bar tone-{}' x='{:.1f}' y='{:.1f}' width='{:.1f}' height='{:.1f}'><title>{}</title></rect>")
_LINE: Final = Markup("<path class='line tone-{}' d='{}'/>")
_DOT: Final = Markup("<circle class='dot tone-{}' cx='{:.1f}' cy='{:.1f}' r='{}'><title>{}</title></circle>")
_GRID: Final = Markup(
    "<line class='grid' x1='{}' x2='{}' y1='{:.1f}' y2='{:.1f}'/><text class='axis end' x='{}' y='{:.1f}'>{}</text>"
)
_LABEL: Final = Markup("<text class='axis middle' x='{:.1f}' y='{:.1f}'>{}</text>")
_SVG: Final = Markup("<svg class='chart {}' viewBox='0 0 {:.0f} {:.0f}' role='img' aria-label='{}'>{}{}{}</svg>")
_LEGEND: Final = Markup("<li><span class='swatch tone-{}'></span>{}</li>")
_FIGURE: Final = Markup(
    "<figure class='figure'><figcaption>{}<ul class='legend'>{}</ul></figcaption>{}"
    "<details class='figures'><summary>Figures</summary><div class='scroll' tabindex='0' role='region' aria-label='{}'>"
    "<table><thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table></div></details></figure>"
)
_HEAD: Final = Markup("<th scope='col' class='number'>{}</th>")
_ROW: Final = Markup("<tr><th scope='row'>{}</th>{}</tr>")
_LINK: Final = Markup("<a href='{}'>{}</a>")
_CELL: Final = Markup("<td class='number'>{}</td>")


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one name, one for each label; None where there is no value. ``tone`` is a colour, as of a status."""

    name: str
    tone: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class _Chart:
    """What is drawn: ``top`` is the value at the upper end of the axis, ``slot`` the width of each label.

    ``links`` are the addresses of the rows behind each label, empty where there are none.
    """

    kind: str
    title: str
    labels: Sequence[str]
    series: Sequence[Series]
    unit: str
    links: Sequence[str]
    top: float

    @property
    def slot(self) -> float:
        return (_WIDTH - _LEFT) / max(1, len(self.labels))

    def middle(self, place: int) -> float:
        return _LEFT + self.slot * (place + 0.5)

    def words(self, value: float) -> str:
        if self.unit == DURATION:
            return duration(value)
        suffix = self.unit if self.unit in ("", "%") else f" {self.unit}"
        return f"{value:,.0f}{suffix}" if value == round(value) else f"{value:,.1f}{suffix}"


def bars(title: str, labels: Sequence[str], series: Sequence[Series], unit: str = "", links: Sequence[str] = ()) -> Markup:
    """Stacked bars, one for each label. ``links`` has an address for each label, in the table of the figures."""
    totals = (sum(one.values[place] or 0 for one in series) for place in range(len(labels)))
    chart = _Chart("bars", title, labels, series, unit, links, _top(max(totals, default=0), unit))
    return _figure(chart, _joined(bar for place in range(len(labels)) for bar in _stack(chart, place)))


def lines(title: str, labels: Sequence[str], series: Sequence[Series], unit: str = "", links: Sequence[str] = ()) -> Markup:
    """One line for each series. A missing value interrupts its line. The unit ``duration`` is for seconds."""
    values = (value or 0 for one in series for value in one.values)
    chart = _Chart("lines", title, labels, series, unit, links, _top(max(values, default=0), unit))
    return _figure(chart, _joined(_line(chart, one) for one in series))


def _stack(chart: _Chart, place: int) -> Iterable[Markup]:
    below = 0.0
    gap = min(2.0, chart.slot * 0.15)
    for one in chart.series:
        value = one.values[place] or 0
        if value:
            height = max(1.0, value / chart.top * _HEIGHT)
            words = f"{chart.labels[place]}: {chart.words(value)} {one.name}"
            left, width = _LEFT + chart.slot * place + gap / 2, max(0.5, chart.slot - gap)
            yield _BAR.format(one.tone, left, _y(below / chart.top) - height, width, height, words)
        below += value


def _line(chart: _Chart, series: Series) -> Markup:
    path: list[str] = []
    dots: list[Markup] = []
    is_begun = False
    for place, value in enumerate(series.values):
        if value is None:
            is_begun = False
            continue
        x, y = chart.middle(place), _y(value / chart.top)
        path.append(f"{'L' if is_begun else 'M'}{x:.1f} {y:.1f}")
        radius = 3 if chart.slot >= _CLOSE else 1.5
        dots.append(_DOT.format(series.tone, x, y, radius, f"{chart.labels[place]}: {chart.words(value)} {series.name}"))
        is_begun = True
    return _LINE.format(series.tone, " ".join(path)) + _joined(dots)


def _figure(chart: _Chart, drawn: Markup) -> Markup:
    height = _HEIGHT + _TOP + _BOTTOM
    svg = _SVG.format(chart.kind, _WIDTH, height, chart.title, _axis(chart), drawn, _labels(chart))
    legend = _joined(_LEGEND.format(one.tone, one.name) for one in chart.series)
    head = _joined(_HEAD.format(one.name) for one in chart.series)
    rows = _joined(_ROW.format(_label(chart, place), _cells(chart, place)) for place in range(len(chart.labels)))
    return _FIGURE.format(chart.title, legend, svg, f"Figures: {chart.title}", head, rows)


def _axis(chart: _Chart) -> Markup:
    places = ((share, _y(share)) for share in (0.0, 0.5, 1.0))
    return _joined(_GRID.format(_LEFT, _WIDTH, y, y, _LEFT - 6, y + 4, chart.words(chart.top * share)) for share, y in places)


def _labels(chart: _Chart) -> Markup:
    every = max(1, -(-len(chart.labels) // _LABELS))
    shown = ((place, label) for place, label in enumerate(chart.labels) if place % every == 0)
    return _joined(_LABEL.format(chart.middle(place), _HEIGHT + _TOP + 16, label) for place, label in shown)


def _label(chart: _Chart, place: int) -> Markup | str:
    link = chart.links[place] if chart.links else ""
    return _LINK.format(link, chart.labels[place]) if link else chart.labels[place]


def _cells(chart: _Chart, place: int) -> Markup:
    values = (one.values[place] for one in chart.series)
    return _joined(_CELL.format("–" if value is None else chart.words(value)) for value in values)


def _y(share: float) -> float:
    return _TOP + _HEIGHT * (1 - share)


def _top(value: float, unit: str) -> float:
    if unit == "%":
        return 100.0
    if unit == DURATION:
        return next((float(top) for top in _DURATIONS if top >= value), _round_up(value))
    return _round_up(value)


def _round_up(value: float) -> float:
    """The next round number, at least 1, so that the axis has plain figures."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next((size * step for step in _STEPS if size * step >= value), size * 10)


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
