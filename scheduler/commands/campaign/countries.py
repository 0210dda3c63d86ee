"""Compares ALLOWED_COUNTRIES here with the lists of the running schedulers, which decide and which a preview shows."""

from collections.abc import Sequence

import typer

from jobs.runtime import settings
from jobs.runtime.settings import CountrySettings

ProcessCountries = Sequence[tuple[str, ...] | None]
"""The allowed countries of the running processes, each list once. None is all countries."""


def say_differences(process_countries: ProcessCountries) -> None:
    """Warn on stderr if ALLOWED_COUNTRIES here differs from ``process_countries``, or processes differ from each other."""
    own = settings.load(CountrySettings).allowed_countries
    for warning in _differences(None if own is None else tuple(sorted(own)), process_countries):
        typer.echo(f"warning: {warning}", err=True)


def _differences(own: tuple[str, ...] | None, process_countries: ProcessCountries) -> list[str]:
    if len(process_countries) > 1:
        theirs = "; ".join(map(_words, process_countries))
        return [f"the running schedulers differ in ALLOWED_COUNTRIES ({theirs}): the one that claims a message decides"]
    if own is None:
        return []
    here = f"ALLOWED_COUNTRIES is {_words(own)} here"
    if not process_countries:
        return [f"{here}, but no scheduler has run yet with its own list: the preview shows all countries as allowed"]
    if process_countries[0] != own:
        theirs = _words(process_countries[0])
        return [f"{here}, but the schedulers use {theirs}: the preview shows theirs"]
    return []


def _words(countries: tuple[str, ...] | None) -> str:
    return "all" if countries is None else ",".join(countries)
