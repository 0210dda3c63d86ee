"""``GET /_sim``: the controls, each with an example to copy, how to reach the providers, and the numbers that fail."""

import textwrap
from collections.abc import Iterator
from typing import Final, get_args

from sandbox.simulator.behaviour import Behaviour, Kind
from sandbox.simulator.outcomes import Rule

EXAMPLES: Final[tuple[tuple[str, str, str, str | None], ...]] = (
    ("GET", "", "this page", None),
    ("GET", "/phones", "the phones and their texts, as a page for a browser", None),
    ("GET", "/health", "whether the simulator runs", None),
    ("GET", "/books", "messages and requests as totals; ?provider=vonage for one provider", None),
    (
        "GET",
        "/books/accepted",
        "every accepted message, one a line; ?after=100 leaves out the first",
        None,
    ),
    ("GET", "/books/tallies", "how often each number got each text; ?least=2 lists texts sent twice", None),
    ("GET", "/books/requests", "every request and its answer; ?after=100 leaves out the first", None),
    ("GET", "/callbacks", "the results of callbacks, as totals", None),
    ("GET", "/callbacks/tried", "each try of a callback, if record_callbacks is set", None),
    (
        "POST",
        "/inbounds",
        "a phone texts a Sinch number",
        '{"sender": "+12025550123", "to": "+12025550100", "body": "STOP"}',
    ),
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
    ("GET", "/plans", "Sinch's service plans", None),
    ("PUT", "/plans", "add or change a service plan", '{"id": "another", "token": "secret", "rate": 5}'),
    ("GET", "/vonage/applications", "Vonage's applications", None),
    (
        "PUT",
        "/vonage/applications",
        "add or change one; public_key is PEM text, without it any signature is taken",
        '{"id": "another", "public_key": null, "api_key": "other123", "api_secret": "secret", "signature_secrets": ["s"]}',
    ),
    (
        "POST",
        "/vonage/inbounds",
        "a phone sends a text to a Vonage number; with media an MMS",
        '{"sender": "+12025550123", "to": "+12025550100", "text": "STOP"}',
    ),
    ("GET", "/vonage/accounts", "what each Vonage account spent on Reports, and who opted out", None),
    (
        "PATCH",
        "/faults",
        "Vonage's own; here: no lag of Reports, half of the webhooks unsigned at first",
        '{"vonage": {"records_lag": 0, "unsigned": 0.5}}',
    ),
    (
        "POST",
        "/refuse",
        "refuse all connections for so long; both providers share the port",
        '{"seconds": 0}',
    ),
    ("POST", "/advance", "move the simulator's clock forward", '{"seconds": 60}'),
    ("POST", "/settle", "finish all messages and callbacks now, then answer", '{"seconds": 10}'),
    ("POST", "/wait", "answer once this many messages were accepted", '{"messages": 0}'),
    ("POST", "/reset", "delete everything", None),
)
"""Method, path under ``/_sim``, effect, and a body."""


_WIDTH: Final = 80
_FAULTS: Final = (
    'A fault\'s effect is "answer" (with "status", such as 503), "hang" for so many "seconds", "reset", "close", "cut" (half '
    'an answer), "delay", "overtaken" (a callback comes before the answer), "stale" (the answer before it), or for lists '
    '"unreferenced", "rewritten" (their numbers) and "unreadable" (one item more). It applies to requests "on" '
    f'{", ".join(get_args(Kind))}; with "accept" the request takes effect nevertheless. "provider", "contains", '
    '"probability" and "times" limit it; the first fault that matches applies.'
)
_VONAGE: Final = (
    "Vonage's Messages API is {base}/v1/messages, its Reports API {base}/v2/reports/records. To let it check your tokens, "
    "make a key (openssl genrsa -out vonage.key 2048) and start the simulator with --vonage-key vonage.key, or with "
    "VONAGE_PRIVATE_KEY in its environment. It reads VONAGE_APPLICATION_ID, VONAGE_API_KEY, VONAGE_API_SECRET, "
    "VONAGE_SIGNATURE_SECRETS and VONAGE_CALLBACK_URL likewise, but not the file .env. Tokens live by the real time, "
    "also after the simulator's clock was moved. To let one provider die and not the other, start a simulator for each on "
    "ports of their own, for SINCH_BASE_URL and VONAGE_BASE_URL."
)


def guide(base: str, behaviour: Behaviour) -> str:
    """The page, for a simulator whose controls are under ``base``."""
    return "\n".join(
        [
            *_routes(base),
            "",
            textwrap.fill(_FAULTS, _WIDTH),
            "",
            textwrap.fill(_VONAGE.format(base=base.removesuffix("/_sim")), _WIDTH, break_on_hyphens=False),
            "",
            "At Sinch, numbers that end in",
            *_numbers(behaviour.rules),
            "All others are delivered.",
            "",
            "At Vonage, numbers that end in",
            *_numbers(tuple(rule for rule in behaviour.vonage.rules if not _ends_with_its_code(rule))),
            *textwrap.wrap(_codes(behaviour.vonage.rules), _WIDTH, initial_indent="  ", subsequent_indent="    "),
            "All others are delivered. The phone gets the texts of 1330 and 1490 as well.",
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


def _ends_with_its_code(rule: Rule) -> bool:
    return rule.outcome is not None and rule.suffix == f"999{rule.outcome.code}"


def _codes(rules: tuple[Rule, ...]) -> str:
    codes = [str(rule.outcome.code) for rule in rules if rule.outcome is not None and _ends_with_its_code(rule)]
    return f"999 and a code  rejected with that code: {', '.join(codes)}"


def _numbers(rules: tuple[Rule, ...]) -> Iterator[str]:
    for rule in rules:
        end = "refused when sent" if rule.outcome is None else f"{rule.outcome.status} with code {rule.outcome.code}"
        yield f"  {rule.suffix}  {end}{'' if rule.times is None else f', the first {rule.times} of each'}"
