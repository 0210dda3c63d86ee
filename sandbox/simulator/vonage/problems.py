"""Refusals with Vonage's bodies: problem details with a title, and for wrong content the parameters that are wrong."""

from typing import Final

import msgspec

from sandbox.simulator.http import JSON, PROBLEM_JSON, Answer, Headers

_ERRORS: Final = "https://developer.vonage.com/api-errors"
_NUMBERS: Final = {
    "Unsupported channel": ("1400", "1100"),
    "Invalid channel parameters": ("1410", "1110"),
    "Invalid sender": ("1420", "1120"),
    "Invalid recipient": ("1430", "110"),
    "Invalid message type": ("1440", "1140"),
    "Missing params": ("1010", "1150"),
    "Invalid params": ("1020", "1150"),
    "Invalid client reference": ("1450", "1060"),
}
"""The number of each title in the specification's list of errors, and in its examples."""


class Problem(Exception):
    """Ends a request. ``wrong`` are the names of parameters with the reasons."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        kind: str = "",
        wrong: tuple[tuple[str, str], ...] = (),
        headers: Headers = (),
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.kind = kind
        self.wrong = wrong
        self.headers = headers


def wrong(title: str, *parameters: tuple[str, str]) -> Problem:
    """A 422 for the content of a message."""
    return Problem(422, title, "The value of one or more parameters is invalid.", wrong=parameters)


def no_json(reason: str) -> Problem:
    return Problem(422, "The request body did not contain valid JSON", reason, kind="#invalid-json")


def unauthorized() -> Problem:
    return Problem(
        401,
        "You did not provide correct credentials.",
        "Check that you're using the correct credentials, and that your account has this feature enabled",
        kind="/#unathorized",  # as the provider spells it
    )


def throttled(most: int, now: int) -> Problem:
    """More requests than the ``most`` allowed in a second, at ``now`` in milliseconds."""
    headers = (
        (b"retry-after", b"1"),
        (b"x-ratelimit-limit", b"%d" % most),
        (b"x-ratelimit-remaining", b"0"),
        (b"x-ratelimit-reset", b"%d" % (now + 1000)),
    )
    return Problem(429, "Rate Limit Hit", "Please wait, then retry your request", kind="#throttled", headers=headers)


def answer(problem: Problem, trace: str, *, example_types: bool) -> Answer:
    """The answer for a problem. ``trace`` names the request."""
    body: dict[str, object] = {
        "type": _ERRORS + (problem.kind or f"/messages#{_number(problem.title, example_types)}"),
        # The list has a number of its own for what is missing, but no title.
        "title": "Invalid params" if problem.title == "Missing params" else problem.title,
        "detail": problem.detail,
        "instance": trace,
    }
    if problem.wrong:
        body["invalid_parameters"] = [{"name": name, "reason": reason} for name, reason in problem.wrong]
    headers = JSON if problem.status == 422 else PROBLEM_JSON
    return Answer(problem.status, msgspec.json.encode(body), (*headers, *problem.headers))


def _number(title: str, example_types: bool) -> str:
    return _NUMBERS.get(title, ("1030", "1000"))[example_types]
