"""Small SVG charts: the same numbers give the same bytes, readable on a light and on a dark page."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.result import Figure, Plot

_WIDTH = 720
_LABELS = 230
_ROW = 30
_TOP = 34
_INK, _BAR, _GOAL = "#7d8590", "#3b82f6", "#d97706"
_HEIGHT_OF_LINE = 280


def draw(plot: Plot, figures: Sequence[Figure]) -> str:
    """One figure of all cases: bars with the range of the repetitions, or a line over numeric cases."""
    shown = [figure for figure in figures if figure.name == plot.figure]
    body, height = _line(plot, shown) if plot.kind == "line" else _bars(shown)
    unit = shown[0].unit
    title = f"{plot.figure} ({unit})" if unit else plot.figure
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="13" fill="{_INK}">\n'
        f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>\n{body}\n</svg>\n'
    )


def _bars(figures: Sequence[Figure]) -> tuple[str, int]:
    most = max(value for figure in figures for value in (*figure.values, figure.goal or 0.0))
    scale = (_WIDTH - _LABELS - 90) / most if most else 0.0
    lines: list[str] = []
    for row, figure in enumerate(figures):
        top = _TOP + row * _ROW
        middle = top + 10
        end = _LABELS + figure.median * scale
        low, high = (_LABELS + value * scale for value in (min(figure.values), max(figure.values)))
        lines += [
            f'<text x="{_LABELS - 8}" y="{top + 14}" text-anchor="end">{escape(figure.case)}</text>',
            f'<rect x="{_LABELS}" y="{top}" width="{end - _LABELS:.1f}" height="20" fill="{_BAR}"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="{_INK}" stroke-width="2"/>',
            f'<text x="{max(end, high) + 6:.1f}" y="{top + 14}">{_short(figure.median)}</text>',
        ]
        if figure.goal is not None:
            x = _LABELS + figure.goal * scale
            lines.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 3}" y2="{top + 23}" stroke="{_GOAL}" stroke-width="2" '
                'stroke-dasharray="3 2"><title>goal</title></line>'
            )
    return "\n".join(lines), _TOP + len(figures) * _ROW + 6


def _line(plot: Plot, figures: Sequence[Figure]) -> tuple[str, int]:
    """A logarithmic x axis, and a y axis from zero. Cases that are not numbers have no place on it."""
    figures = [figure for figure in figures if figure.case.replace(",", "").isdigit()]
    left, right, bottom = 60, _WIDTH - 20, _HEIGHT_OF_LINE - 40
    xs = [math.log10(float(figure.case.replace(",", ""))) for figure in figures]
    first, last = min(xs), max(xs)
    most = max(max(figure.values) for figure in figures) * 1.1 or 1.0

    def x_of(value: float) -> float:
        return left + (right - left) * ((value - first) / (last - first) if last > first else 0.5)

    def y_of(value: float) -> float:
        return bottom - (bottom - _TOP) * value / most

    points = " ".join(f"{x_of(x):.1f},{y_of(figure.median):.1f}" for x, figure in zip(xs, figures, strict=True))
    lines = [
        f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="{_INK}"/>',
        f'<line x1="{left}" x2="{left}" y1="{_TOP}" y2="{bottom}" stroke="{_INK}"/>',
        f'<text x="{left - 6}" y="{_TOP + 8}" text-anchor="end">{_short(most)}</text>',
        f'<text x="{(left + right) // 2}" y="{_HEIGHT_OF_LINE - 4}" text-anchor="middle">{escape(plot.x)}</text>',
        f'<polyline points="{points}" fill="none" stroke="{_BAR}" stroke-width="2"/>',
    ]
    for x, figure in zip(xs, figures, strict=True):
        at = f"{x_of(x):.1f}"
        low, high = y_of(min(figure.values)), y_of(max(figure.values))
        lines += [
            f'<line x1="{at}" x2="{at}" y1="{low:.1f}" y2="{high:.1f}" stroke="{_BAR}"/>',
            f'<circle cx="{at}" cy="{y_of(figure.median):.1f}" r="3.5" fill="{_BAR}"/>',
            f'<text x="{at}" y="{bottom + 16}" text-anchor="middle">{escape(figure.case)}</text>',
            f'<text x="{at}" y="{y_of(figure.median) - 8:.1f}" text-anchor="middle">{_short(figure.median)}</text>',
        ]
    return "\n".join(lines), _HEIGHT_OF_LINE


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
