"""The receiver as an ASGI app: it verifies each event, keeps it, and gives the answer that its path names."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from jobs.runtime.standard_webhooks import key_of, verifies

GUIDE: Final = """\
POST /hook                    verify the event, keep it, answer 204; 401 if the signature is wrong
POST /status/N                the same, but answer N, such as 500 or 410
POST /status/429?after=7      with Retry-After: 7
POST /redirect                answer 302 to /hook
POST /hang                    never answer
GET  /events                  the events that came, as JSON
"""
_HANG_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request with an event. ``status`` is what it was answered, 0 while it hangs."""

    path: str
    headers: dict[str, str]
    body: bytes
    verified: bool
    status: int

    @property
    def event_id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """What came in. ``answers`` are the next statuses, whatever the path says; ``secrets`` verify, all of them at any time.

    ``on_event`` is called with each event, in the thread of the server.
    """

    secrets: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    on_event: Callable[[Received], None] | None = None
    url: str = ""
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def events(self, *, path: str = "/hook") -> list[Received]:
        """The events that were verified and answered by 2xx, each as often as it came."""
        return [one for one in self.received if one.path == path and one.verified and 200 <= one.status < 300]

    def wait_for(self, is_enough: Callable[[Sequence[Received]], bool], *, seconds: float = 30.0) -> bool:
        """Wait until the requests so far are enough. Returns whether they are. Not for the thread of the server."""
        with self._changed:
            return self._changed.wait_for(lambda: is_enough(self.received), timeout=seconds)

    def keep(self, received: Received) -> None:
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()
        if self.on_event is not None:
            self.on_event(received)

    @property
    def app(self) -> Starlette:
        routes = [
            Route("/", lambda _: PlainTextResponse(GUIDE)),
            Route("/events", self._list),
            Route("/{path:path}", self._take, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _take(self, request: Request) -> Response:
        raw = await request.body()
        headers = {name.lower(): value for name, value in request.headers.items()}
        keys = [key for key in map(key_of, self.secrets) if key]
        verified = not keys or verifies(keys, headers, raw, now=time.time())
        path = request.url.path
        status = self.answers.pop(0) if self.answers else _status(path) if verified else 401
        self.keep(Received(path, headers, raw, verified, status))
        if path == "/hang":
            await _until_gone(request)
        answer = Response(status_code=status or 204)
        if (after := request.query_params.get("after")) is not None:
            answer.headers["retry-after"] = after
        if 300 <= status < 400:
            answer.headers["location"] = "/hook"
        return answer

    async def _list(self, _request: Request) -> Response:
        events = [
            {"path": one.path, "id": one.event_id, "verified": one.verified, "status": one.status, "event": one.json}
            for one in self.received
        ]
        return Response(json.dumps(events, ensure_ascii=False) + "\n", media_type="application/json")


def _status(path: str) -> int:
    kind, _, number = path.strip("/").partition("/")
    if kind == "status" and number.isdecimal() and 200 <= int(number) <= 599:
        return int(number)
    return {"redirect": 302, "hang": 0}.get(kind, 204)


async def _until_gone(request: Request) -> None:
    """Wait until the other side hangs up."""
    try:
        async with asyncio.timeout(_HANG_SECONDS):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass
