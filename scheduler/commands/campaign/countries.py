"""Compares ALLOWED_COUNTRIES and ALLOWED_RECIPIENTS here with those of the schedulers, which a preview shows."""

from collections.abc import Sequence

import typer

from jobs.runtime import settings
from jobs.runtime.settings import DestinationSettings

ProcessCountries = Sequence[tuple[str, ...] | None]
"""The countries and beginnings of numbers that the running processes allow, each list once. None is all."""
_SETTINGS = "ALLOWED_COUNTRIES and ALLOWED_RECIPIENTS"


def say_differences(process_countries: ProcessCountries) -> None:
    """Warn on stderr if ALLOWED_COUNTRIES here differs from ``process_countries``, or processes differ from each other."""
    own = settings.load(DestinationSettings).allowed_destinations
    for warning in _differences(None if own is None else tuple(sorted(own)), process_countries):
        typer.echo(f"warning: {warning}", err=True)


def _differences(own: tuple[str, ...] | None, process_countries: ProcessCountries) -> list[str]:
    if len(process_countries) > 1:
        theirs = "; ".join(map(_words, process_countries))
        return [f"the running schedulers differ in {_SETTINGS} ({theirs}): the one that claims a message decides"]
    if own is None:
        return []
    here = f"{_SETTINGS} allow {_words(own)} here"
    if not process_countries:
        return [f"{here}, but no scheduler has run yet with its own list: the preview shows all recipients as allowed"]
    if set(process_countries[0] or ()) != set(own):
        theirs = _words(process_countries[0])
        return [f"{here}, but the schedulers use {theirs}: the preview shows theirs"]
    return []


def _words(allowed: tuple[str, ...] | None) -> str:
    """Countries by name. Numbers are counted, because they are personal."""
    if allowed is None:
        return "all"
    numbers = sum(one.startswith("+") for one in allowed)
    counted = f"{numbers} number{'s' if numbers > 1 else ''}"
    return ",".join([one for one in allowed if not one.startswith("+")] + ([counted] if numbers else []))
