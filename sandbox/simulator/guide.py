"""``GET /_sim``: the controls, each with an example to copy, and the numbers that fail."""

import textwrap
from collections.abc import Iterator
from typing import Final, get_args

from sandbox.simulator.behaviour import Behaviour, Kind, Rule

EXAMPLES: Final[tuple[tuple[str, str, str, str | None], ...]] = (
    ("GET", "", "this page", None),
    ("GET", "/health", "whether the simulator runs", None),
    ("GET", "/books", "accepted and delivered messages, and requests, as totals", None),
    ("GET", "/books/accepted", "every accepted message, one a line; ?after=100 leaves out the first", None),
    ("GET", "/books/tallies", "how often each number got each text; ?least=2 lists texts sent twice", None),
    ("GET", "/books/requests", "every request and its answer; ?after=100 leaves out the first", None),
    ("GET", "/callbacks", "the results of callbacks, as totals", None),
    ("GET", "/callbacks/tried", "each try of a callback, if record_callbacks is set", None),
    ("POST", "/inbounds", "a phone sends a text", '{"sender": "+12025550123", "to": "+12025550100", "body": "STOP"}'),
    ("GET", "/faults", "the current behaviour, and how often each fault was applied", None),
    (
        "POST",
        "/faults",
        "add a fault; here: the next request is accepted and its answer lost",
        '{"effect": "reset", "accept": true, "times": 1}',
    ),
    (
        "POST",
        "/faults",
        "another: each text that contains these words is refused",
        '{"effect": "answer", "status": 400, "code": "content_refused", "text": "Not allowed", "contains": "free money"}',
    ),
    (
        "PATCH",
        "/faults",
        "change some fields; here: no request faults, a third of the callbacks lost",
        '{"requests": [], "reports": {"lost": 0.33}}',
    ),
    ("PUT", "/faults", "replace all; here: no faults", "{}"),
    ("GET", "/plans", "the service plans", None),
    ("PUT", "/plans", "add or change a service plan", '{"id": "another", "token": "secret", "rate": 5}'),
    ("POST", "/advance", "move the simulator's clock forward", '{"seconds": 60}'),
    ("POST", "/settle", "finish all messages and callbacks now, then answer", '{"seconds": 10}'),
    ("POST", "/wait", "answer once this many messages were accepted", '{"messages": 0}'),
    ("POST", "/reset", "delete everything", None),
)
"""Method, path under ``/_sim``, effect, and a body."""


_WIDTH: Final = 80
_FAULTS: Final = (
    'A fault\'s effect is "answer" (with "status", such as 503), "hang" for so many "seconds", "reset", "cut" (half an '
    'answer), "delay", "stale" (the answer before it), or for lists "unreferenced", "rewritten" (their numbers) and '
    f'"unreadable" (one item more). It applies to requests "on" {", ".join(get_args(Kind))}; with "accept" the request '
    'takes effect nevertheless. "contains", "probability" and "times" limit it; the first fault that matches applies.'
)


def guide(base: str, behaviour: Behaviour) -> str:
    """The page, for a simulator whose controls are under ``base``."""
    return "\n".join(
        [
            *_routes(base),
            "",
            textwrap.fill(_FAULTS, _WIDTH),
            "",
            "Numbers that end in",
            *_numbers(behaviour.rules),
            "All others are delivered.",
            "",
        ]
    )


def _routes(base: str) -> Iterator[str]:
    for method, path, does, body in EXAMPLES:
        yield does
        yield f"  {curl(base + path, method, body)}"


def curl(url: str, method: str, body: str | None) -> str:
    """A line to copy. With a body curl uses POST by default."""
    usual = "GET" if body is None else "POST"
    return " ".join(
        ["curl", *([] if method == usual else ["-X", method]), f"'{url}'", *([] if body is None else [f"-d '{body}'"])]
    )


def _numbers(rules: tuple[Rule, ...]) -> Iterator[str]:
    for rule in rules:
        end = "refused when sent" if rule.outcome is None else f"{rule.outcome.status} with code {rule.outcome.code}"
        yield f"  {rule.suffix}  {end}{'' if rule.times is None else f', the first {rule.times} of each'}"
