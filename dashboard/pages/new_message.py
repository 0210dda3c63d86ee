"""A test message: what an app would insert, typed by an operator."""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from dashboard.forms import read_json
from dashboard.numbers import read_numbers, regions
from dashboard.visit import Visit
from jobs.gateway.errors import GatewayRefused
from jobs.runtime.times import all_in_utc

_LONGEST_TEXT: Final = 2000
_MOST_PRIORITY: Final = 2**15 - 1
_FIELDS: Final = ("recipient", "region", "body", "template", "parameters", "priority")


async def ask(visit: Visit) -> Response:
    return _page(visit, visit.query, secrets.token_urlsafe(12))


async def send(visit: Visit) -> Response:
    """Insert it. What the database refuses is shown in its words, above the form."""
    form = await visit.form()
    key = form.get("key", "")[:40] or secrets.token_urlsafe(12)
    message, problem = read_message(form)
    if message is None:
        return _page(visit, form, key, problem)
    try:
        number = await visit.operating.browsing.send_test({**message, "idempotency_key": f"dashboard-test-{key}"})
    except GatewayRefused as error:
        words = str(error).partition(": ")[2]
        return _page(visit, form, key, all_in_utc(f"{words}. {error.hint or ''}".strip()))
    return visit.redirect(f"/messages/{number}")


def read_message(form: Mapping[str, str]) -> tuple[dict[str, Any] | None, str]:
    """The message of the form, or what is wrong with it. A number is never guessed where it is sent to."""
    written = form.get("recipient", "").strip()
    region = form.get("region", "").upper()
    typed = read_numbers(written, region if region in regions() else None)
    # With a country the number is one of its own; else the database reads it, and refuses what is no number with its code.
    recipient = typed.recipients[0] if typed.recipients and region and not written.startswith(("+", "00")) else written
    parameters: object = None
    if text := form.get("parameters", "").strip():
        try:
            parameters = read_json(text)
        except ValueError:
            return None, 'Parameters are not JSON. Write them as {"name": "Ada"}.'
        if not isinstance(parameters, dict):
            return None, 'Parameters are not a JSON object. Write them as {"name": "Ada"}.'
    priority = form.get("priority", "").strip()
    is_number = priority.isascii() and priority.isdecimal() and len(priority) <= len(str(_MOST_PRIORITY))
    if priority and not (is_number and int(priority) <= _MOST_PRIORITY):
        return None, "The priority is not a number. Leave it empty for the usual one."
    return {
        "recipient": recipient,
        "body": form.get("body", "").replace("\r\n", "\n") or None,
        "template": form.get("template", "").strip() or None,
        "parameters": parameters,
        "priority": int(priority) if priority else None,
    }, ""


def _page(visit: Visit, given: Mapping[str, str], key: str, problem: str = "") -> Response:
    return visit.render(
        "new_message.html",
        title="Send a test message",
        given={name: given.get(name, "") for name in _FIELDS},
        regions=regions(),
        longest=_LONGEST_TEXT,
        key=key,
        problem=problem,
    )
