"""Check 1: the settings can be read, no name is misspelled, and all running processes have the same destinations."""

import os
from collections.abc import Iterator, Sequence

from jobs.examining.findings import Finder, Finding, some
from jobs.gateway.doctor import Dispatcher
from jobs.gateway.errors import GatewayError
from jobs.runtime import environment
from jobs.runtime.counts import counted
from scheduler.doctor.installation import Environment, Installation, NotConnected

find = Finder("settings")
Allowed = tuple[str, ...] | None


async def look(installation: Installation) -> Sequence[Finding]:
    here = installation.environment
    findings = [*read(here)]
    try:
        dispatchers = (await installation.facts()).processes.dispatchers
    except (GatewayError, NotConnected):
        return findings
    return [*findings, *destinations(here, dispatchers)]


def read(here: Environment) -> Iterator[Finding]:
    """The names and origins of the settings that have a value, and what is wrong with the others. Never a value."""
    origins = here.origins
    for problem in here.problems:
        yield find.failed(problem, "set it in .env or in the environment: docs/settings.md")
    # Only a webhook app needs these, and it may run elsewhere.
    if here.webhook_problems and any(_has_callbacks(here)):
        for problem in here.webhook_problems:
            yield find.warning(problem, "`outbox webhook` does not start with these settings")
    for name, similar in here.misspelled:
        yield find.warning(f"{name} is set and is no setting", f"did you mean {similar}?")
    for name in origins.overruled:
        yield find.warning(f"{name} has two values: the environment's counts, that of the file does not", "remove one")
    if not here.problems:
        yield find.ok("; ".join(filter(None, [_from(_file(), origins.file), _from("environment", origins.environment)])))


def _file() -> str:
    return "the file of OUTBOX_ENV_FILE" if os.environ.get(environment.FILE) else ".env"


def _from(origin: str, names: Sequence[str]) -> str:
    return f"from {origin}: {', '.join(names)}" if names else ""


def _has_callbacks(here: Environment) -> Iterator[bool]:
    from jobs.providers import registry

    for chosen in here.accounts:
        yield registry.account(chosen).callback_url is not None


def destinations(here: Environment, dispatchers: Sequence[Dispatcher]) -> Iterator[Finding]:
    """Which process claims a message must not decide whether it may be sent."""
    lists = sorted({one.allowed for one in dispatchers}, key=lambda allowed: (allowed is not None, allowed or ()))
    if len(lists) > 1:
        yield find.failed(
            f"running processes have different destinations: {' / '.join(_words(allowed) for allowed in lists)}",
            "give all of them the same ALLOWED_COUNTRIES and ALLOWED_RECIPIENTS",
        )
    elif lists and here.engine is not None:
        own: Allowed = None if (given := here.engine.allowed_destinations) is None else tuple(sorted(given))
        if lists[0] is not None:
            lists = [tuple(sorted(lists[0]))]
        if own != lists[0]:
            yield find.warning(
                f"running processes send to {_words(lists[0])}, and the settings here say {_words(own)}",
                "restart the processes, or compare ALLOWED_COUNTRIES and ALLOWED_RECIPIENTS",
            )


def _words(allowed: Allowed) -> str:
    """Without the numbers in it."""
    if allowed is None:
        return "all countries"
    countries = [one for one in allowed if not one.startswith("+")]
    numbers = len(allowed) - len(countries)
    return ", ".join(filter(None, [some(countries, 12), counted(numbers, "beginning") + " of numbers" if numbers else ""]))
