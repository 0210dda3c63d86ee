"""``GET /_sim``: the controls, each with an example to copy, and the numbers that fail."""

from collections.abc import Iterator
from typing import Final, get_args

from sandbox.simulator.behaviour import Behaviour, Kind, Rule

EXAMPLES: Final[tuple[tuple[str, str, str, str | None], ...]] = (
    ("GET", "", "this page", None),
    ("GET", "/health", "whether it is up", None),
    ("GET", "/books", "what it accepted, delivered and was asked", None),
    ("GET", "/books/accepted", "every accepted message, one a line; ?after=100 leaves out the first", None),
    ("GET", "/books/tallies", "how often each number got each text; ?least=2 for what was sent twice", None),
    ("GET", "/books/requests", "every request and its answer; ?after=100 leaves out the first", None),
    ("GET", "/callbacks", "how its callbacks fared", None),
    ("GET", "/callbacks/tried", "each callback it tried, where record_callbacks is set", None),
    ("POST", "/inbounds", "a phone texts us", '{"sender": "+12025550123", "to": "+12025550100", "body": "STOP"}'),
    ("GET", "/faults", "how it behaves, and how often each fault has struck", None),
    (
        "POST",
        "/faults",
        "one more fault: here the next request is accepted and its answer lost",
        '{"effect": "reset", "accept": true, "times": 1}',
    ),
    (
        "PATCH",
        "/faults",
        "change some fields: here no more faults, and a third of the callbacks lost",
        '{"requests": [], "reports": {"lost": 0.33}}',
    ),
    ("PUT", "/faults", "replace all: here good health", "{}"),
    ("GET", "/plans", "the plans it serves", None),
    ("PUT", "/plans", "agree on a plan", '{"id": "another", "token": "secret", "rate": 5}'),
    ("POST", "/advance", "its clock goes forward", '{"seconds": 60}'),
    ("POST", "/settle", "answer once everything came to rest", '{"seconds": 10}'),
    ("POST", "/wait", "answer once so many messages were accepted", '{"messages": 0}'),
    ("POST", "/reset", "forget everything", None),
)
"""Method, path under ``/_sim``, effect, and a body."""


_FAULTS = (
    'A fault\'s effect is "answer" (with "status", such as 503), "hang" for so many "seconds", "reset", "cut" (half an',
    'answer) or "delay".',
    f'It strikes requests "on" {", ".join(get_args(Kind))}; "accept" has the request taken all the same.',
    '"contains", "probability" and "times" narrow it down; the first that applies strikes.',
)


def guide(base: str, behaviour: Behaviour) -> str:
    """The page, for a simulator whose controls are under ``base``."""
    return "\n".join(
        [*_routes(base), "", *_FAULTS, "", "Numbers that end in", *_numbers(behaviour.rules), "All others are delivered.", ""]
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
