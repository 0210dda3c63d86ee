"""Calls an HTTP hook as Supabase Auth calls it.

After supabase/auth at bc32168, `internal/hooks/hookshttp` and `hookserrors`: up to three attempts within five seconds in all,
a new id and time for each attempt over the same bytes, several signatures joined by a comma and a blank, no wait before an
attempt after 429 or 503, and two seconds after a failed connection.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Final
from uuid import uuid4

import httpx

from jobs.runtime.standard_webhooks import key_of, sign

_ATTEMPTS: Final = 3
_BUDGET_SECONDS: Final = 5.0
_BACKOFF_SECONDS: Final = 2.0
_LARGEST_ANSWER: Final = 200 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the user of Auth gets: status 200 if the code was handed over. ``attempts`` is how many requests were made."""

    status: int
    message: str
    attempts: int


class AuthClient:
    """``secrets`` have the form ``whsec_…``."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        secrets: Sequence[str],
        *,
        budget: float = _BUDGET_SECONDS,
        backoff: float = _BACKOFF_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._keys = [key for key in map(key_of, secrets) if key is not None]
        self._budget = budget
        self._backoff = backoff
        self._clock = clock
        self._attempts = 0

    async def send_sms(self, url: str, event: object) -> Outcome:
        """Hand one event to the hook at ``url``."""
        raw = json.dumps(event).encode()
        self._attempts = 0
        try:
            async with asyncio.timeout(self._budget):
                status, message = await self._dispatch(url, raw)
        except TimeoutError:
            status, message = 422, "Failed to reach hook within maximum time"
        return Outcome(status, message, self._attempts)

    async def _dispatch(self, url: str, raw: bytes) -> tuple[int, str]:
        while self._attempts < _ATTEMPTS:
            self._attempts += 1
            try:
                response = await self._http.post(url, content=raw, headers=self._headers(raw), follow_redirects=True)
            except httpx.TransportError:
                if self._attempts == _ATTEMPTS:
                    return 422, "Failed to reach hook after maximum retries"
                await asyncio.sleep(self._backoff)
                continue
            if response.status_code in (429, 503) and response.headers.get("retry-after"):
                continue
            return _read(response)
        return 500, "Service currently unavailable due to hook"

    def _headers(self, raw: bytes) -> dict[str, str]:
        message_id, timestamp = str(uuid4()), str(int(self._clock()))
        signatures = [sign(key, raw, message_id=message_id, timestamp=timestamp) for key in self._keys]
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": ", ".join(signatures),
            "accept-encoding": "identity",
        }


def _read(response: httpx.Response) -> tuple[int, str]:
    match response.status_code:
        case 200 | 202 | 204:
            return _read_success(response)
        case 429 | 503:
            return 500, "Service currently unavailable due to hook"
        case 400:
            return 500, "Invalid payload sent to hook"
        case 401:
            return 500, "Hook requires authorization token"
        case status:
            return 500, f"Unexpected status code returned from hook: {status}"


def _read_success(response: httpx.Response) -> tuple[int, str]:
    declared = response.headers.get("content-type", "")
    if not declared and response.status_code == 204:
        return 200, ""
    if _media_type(declared) != "application/json":
        return 400, f"Invalid Content-Type: {declared or 'missing'}"
    if len(response.content) > _LARGEST_ANSWER:
        return 422, "Payload size exceeded size limit"
    try:
        answer = json.loads(response.content)
    except ValueError:
        return 500, "Error unmarshaling JSON output."
    error = answer.get("error") or {}
    # An error without words counts as success, and one without a status as a fault.
    return (error.get("http_code") or 500, error["message"]) if error.get("message") else (200, "")


def _media_type(declared: str) -> str:
    header = Message()
    header["content-type"] = declared
    return header.get_content_type() if declared else ""
