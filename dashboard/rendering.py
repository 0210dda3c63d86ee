"""Renders templates. Everything in them is escaped, and a value that is missing is an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from dashboard import charts, times, words
from jobs.runtime import counts

FOLDER: Final = Path(__file__).parent / "templates"


def environment() -> Environment:
    """The templates with the filters that all of them use."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "time": times.time,
        "duration": times.duration,
        "status": words.status,
        "code": words.code,
        "counted": counts.counted,
        "a_second": counts.messages_a_second,
    }
    made.globals |= {"bars": charts.bars, "lines": charts.lines}
    return made


class Rendering:
    """Renders pages."""

    def __init__(self) -> None:
        self._environment = environment()

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """The page. Its template extends ``parent``: ``layout.html``, or ``part.html`` for its ``<main>`` alone."""
        return self._environment.get_template(template).render(context)
