"""Whether what is allowed here is what the running schedulers go by: theirs decides, and a preview shows theirs."""

from collections.abc import Sequence

import typer

from jobs.runtime import settings
from jobs.runtime.settings import CountrySettings

Told = Sequence[tuple[str, ...] | None]
"""The lists that the running processes go by, each once; None is all countries."""


def say_differences(told: Told) -> None:
    """Warn on stderr where ``told`` differs from our own ALLOWED_COUNTRIES, or the processes from one another."""
    own = settings.load(CountrySettings).allowed_countries
    for warning in _differences(None if own is None else tuple(sorted(own)), told):
        typer.echo(f"warning: {warning}", err=True)


def _differences(own: tuple[str, ...] | None, told: Told) -> list[str]:
    if len(told) > 1:
        theirs = "; ".join(map(_words, told))
        return [f"the running schedulers differ in ALLOWED_COUNTRIES ({theirs}): whichever claims a message decides"]
    if own is None:
        return []
    if not told:
        return [f"ALLOWED_COUNTRIES is {_words(own)} here, but no scheduler ran yet and said so: all are shown as allowed"]
    if told[0] != own:
        return [f"ALLOWED_COUNTRIES is {_words(own)} here, but the schedulers go by {_words(told[0])}: that is what is shown"]
    return []


def _words(countries: tuple[str, ...] | None) -> str:
    return "all" if countries is None else ",".join(countries)
