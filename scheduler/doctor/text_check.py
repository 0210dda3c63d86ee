"""Check 10, only if it is asked for: one text to the operator's own phone, followed to its end."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from jobs.examining.findings import Finder, Finding
from jobs.gateway.errors import GatewayError, GatewayRefused
from jobs.gateway.verdict import IN_PART, SENDING
from jobs.runtime import phone
from jobs.runtime.masking import mask, scrub
from jobs.runtime.settings import DestinationSettings
from scheduler.doctor.installation import Installation

find = Finder("text")
_BODY: Final = "Test of the outbox: this text shows that messages arrive."
_EVERY_SECONDS: Final = 0.5
_LIVES: Final = timedelta(minutes=10)
"""Nobody waits longer for it, so it must not be sent later."""
Say = Callable[[str], None]


class NotAllowed(ValueError):
    """The text may not go to this number. The message names what is wrong, and not the number."""


def recipient(given: str, destinations: DestinationSettings | None) -> str:
    """The number as E.164. Raises :class:`NotAllowed`."""
    number = phone.e164(given) if given.strip().startswith("+") else None
    if number is None or phone.has_trunk_zero(number):
        raise NotAllowed("is no E.164 number. Use + and the country code, such as +14155550123")
    if destinations is not None:
        beginnings, countries = destinations.allowed_recipients, destinations.allowed_countries
        if beginnings is not None and not any(number.startswith(one) for one in beginnings):
            raise NotAllowed("is not among ALLOWED_RECIPIENTS")
        if countries is not None and _country(number) not in countries:
            raise NotAllowed("is not in ALLOWED_COUNTRIES")
    return number


def _country(number: str) -> str | None:
    # Imported here, because loading the tables of all countries takes time that other checks save.
    import phonenumbers

    return phonenumbers.region_code_for_number(phonenumbers.parse(number))


async def look(installation: Installation, number: str, *, wait: float, say: Say) -> Sequence[Finding]:
    """Send one text and follow it for ``wait`` seconds. ``say`` gets each new status."""
    connection = installation.connection
    verdict = await connection.verdicts.ask(project=installation.environment.host)
    if verdict.verdict not in (SENDING, IN_PART):
        return [find.skipped(f"no text was sent: {verdict.line}", "see sending")]
    expires = datetime.now(UTC) + _LIVES
    try:
        message = await connection.examination.insert_text(number, _BODY, key=f"doctor:{uuid4()}", expires_at=expires)
    except GatewayRefused as error:
        return [find.failed(f"the text was refused: {scrub(str(error))}", scrub(error.hint or ""))]
    except GatewayError as error:
        return [find.failed(f"the text could not be inserted: {scrub(str(error))}", "see supabase")]
    return [await _follow(installation, message, number, wait=wait, say=say)]


async def _follow(installation: Installation, message: int, number: str, *, wait: float, say: Say) -> Finding:
    status, error, is_final = "pending", None, False
    try:
        async with asyncio.timeout(wait):
            while not is_final:
                trace = await installation.connection.trace(message, show_body=False)
                if trace is None:
                    return find.failed(f"message {message} was deleted")
                if trace.message["status"] != status:
                    status = str(trace.message["status"])
                    say(f"message {message} to {mask(number)}: {status}")
                error, is_final = trace.message["error"], trace.message["finalized_at"] is not None
                if not is_final:
                    await asyncio.sleep(_EVERY_SECONDS)
    except TimeoutError:
        return _unfinished(message, status, wait)
    if status == "delivered":
        return find.ok(f"message {message} to {mask(number)} was delivered")
    return find.failed(f"message {message} to {mask(number)} is {status}: {error or 'no reason was given'}", _trace(message))


def _unfinished(message: int, status: str, wait: float) -> Finding:
    if status in ("sent", "dispatched"):
        found = f"message {message} is {status} after {wait:g} s: the provider took it, and no final report came yet"
        return find.warning(found, f"see callbacks; {_trace(message)}")
    return find.failed(f"message {message} is {status} after {wait:g} s", _trace(message))


def _trace(message: int) -> str:
    return f"`outbox trace {message}` has its history"
