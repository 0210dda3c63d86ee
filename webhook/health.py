"""The health checks: whether the app runs, and whether the database answers."""

import asyncio
import time

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from jobs.gateway.recorder import Recorder
from webhook.schema_gate import SchemaGate


async def healthz(_request: Request) -> Response:
    """Answers 200 while the process runs."""
    return PlainTextResponse("alive\n")


class Readiness:
    """Answers 200 if the database answers and its schema fits.

    Anyone may call this, so it calls the database at most once a second, for at most two seconds.
    """

    def __init__(self, recorder: Recorder, gate: SchemaGate | None = None, *, fresh: float = 1.0, timeout: float = 2.0) -> None:
        self._recorder = recorder
        self._gate = gate
        self._fresh = fresh
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._ready = False

    async def readyz(self, _request: Request) -> Response:
        reason = await self.reason()
        return PlainTextResponse("ready\n") if reason is None else PlainTextResponse(f"{reason}\n", 503)

    async def problem(self, ready: bool) -> str | None:
        """The same for `outbox health`. That this process answers shows that it is alive."""
        return await self.reason() if ready else None

    async def reason(self) -> str | None:
        """Why the app is not ready; None if it is."""
        if self._gate is not None and self._gate.reason is not None:
            return "callbacks are held back, the log says why"
        async with self._lock:
            if time.monotonic() - self._asked_at > self._fresh:
                self._ready = await self._ask()
                self._asked_at = time.monotonic()
        return None if self._ready else "the database does not answer"

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                await self._recorder.ping()
        except Exception:  # noqa: BLE001  # whatever it is, callbacks would meet it too
            return False
        return True
