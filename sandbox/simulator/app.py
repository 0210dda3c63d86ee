"""The ASGI app: Sinch's XMS, Vonage's Messages and Reports, and the simulator's own controls under ``/_sim``.

A request to a provider goes through here by itself, without routing or middleware of a framework: load tests send
thousands a second.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from email.utils import formatdate

import msgspec
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from sandbox.simulator.behaviour import Behaviour, Fault, milliseconds
from sandbox.simulator.controls import control_routes
from sandbox.simulator.http import PROBLEM_JSON, Answer, Call, json_answer
from sandbox.simulator.lines import Lines
from sandbox.simulator.misleading import MISLEADING, misleading
from sandbox.simulator.sinch import api as sinch
from sandbox.simulator.sinch.plans import PlanSettings
from sandbox.simulator.vonage import api as vonage
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.world import World

_PAGE = b"<html><head><title>Service Unavailable</title></head><body><h1>Service Unavailable</h1></body></html>"
_NOTHING = Answer(0)
_PREFIXES = (sinch.PREFIX, *vonage.PREFIXES)


class Simulator:
    """The whole simulator as one ASGI app. Its world begins with the server's lifespan."""

    def __init__(
        self,
        behaviour: Behaviour,
        plans: Sequence[PlanSettings],
        applications: Sequence[ApplicationSettings],
        lines: Lines,
    ) -> None:
        self._behaviour = behaviour
        self._plans = list(plans)
        self._applications = list(applications)
        self._lines = lines
        self.refuse: Callable[[float, tuple[str, int]], None] = lambda _seconds, _but: None
        """Stops listening for some seconds and hangs up on all clients but one. Set by the server."""
        self._controls = Starlette(routes=control_routes(), lifespan=self._live)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            with suppress(asyncio.CancelledError):  # by a server that stops
                await (self._provider if scope["path"].startswith(_PREFIXES) else self._controls)(scope, receive, send)
        else:
            await self._controls(scope, receive, send)

    @asynccontextmanager
    async def _live(self, app: Starlette) -> AsyncIterator[None]:
        self.world = app.state.world = World(self._behaviour, self._plans, self._applications)
        app.state.refuse = self.refuse
        running = asyncio.create_task(self.world.core.run())
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def _provider(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, world = await _read(receive), self.world
        if scope["path"].startswith(sinch.PREFIX):
            found = sinch.read(world.sinch, scope, body)
        else:
            found = vonage.read(world.vonage, scope, body)
        if isinstance(found, Answer):
            await _write(send, found, world.core.clock.now())
            return
        call, effect = found
        books = world.core.books
        place = books.begin(world.core.clock.now(), call.kind, call.provider)
        world.outstanding += 1
        try:
            exchange = Exchange(world, call, effect, self._lines, scope["client"])
            answer = await exchange.run(receive, send)
        finally:
            world.outstanding -= 1
        books.end(place, answer.status, answer.accepted)
        world.core.changed()


class Exchange:
    """One request on its way through latency and faults to its answer."""

    def __init__(self, world: World, call: Call, effect: Callable[[], Answer], lines: Lines, client: tuple[str, int]) -> None:
        self._world = world
        self._books = world.core.books
        self._call = call
        self._effect = effect
        self._lines = lines
        self._client = client

    async def run(self, receive: Receive, send: Send) -> Answer:
        """Gives the answer as it was sent; status 0 where it was withheld."""
        world = self._world
        latency = milliseconds(world.behaviour.latency, world.core.random)
        if latency:
            await asyncio.sleep(latency / 1000)
        if world.behaviour.max_outstanding is not None and world.outstanding > world.behaviour.max_outstanding:
            answer = Answer(429)
        else:
            fault = world.faults.choose(self._call)
            if fault is not None:
                return await self._suffer(fault, receive, send)
            answer = self._take_effect()
            world.remember(self._call, answer)
        await self._write(send, answer)
        return answer

    async def _suffer(self, fault: Fault, receive: Receive, send: Send) -> Answer:
        if fault.effect == "delay":
            return await self._delay(fault, send)
        if fault.effect == "overtaken":
            return await self._overtaken(fault, send)
        if fault.effect in MISLEADING:
            real = self._take_effect() if fault.accept or fault.effect != "stale" else _NOTHING
            answer = real
            if fault.effect == "stale" or real.status < 400:
                answer = misleading(fault.effect, real, self._world.remembered(self._call))
            await self._write(send, answer)
            return answer
        real = self._take_effect() if fault.accept or fault.effect == "cut" else _NOTHING
        if fault.effect == "answer":
            answer = _faulty_answer(fault, real, self._call)
            await self._write(send, answer)
            return answer
        if fault.effect == "hang":
            await _until_gone(receive, milliseconds(fault.seconds, self._world.core.random) / 1000)
        elif fault.effect == "cut":
            await self._write(send, real, only=len(real.body) // 2)
        self._lines.hang_up(self._client, reset=fault.effect not in ("close", "cut"))
        return replace(real, status=0)

    async def _delay(self, fault: Fault, send: Send) -> Answer:
        """Without ``accept`` the request itself is late: it takes effect although its sender may have gone."""
        seconds = milliseconds(fault.seconds, self._world.core.random) / 1000
        real = self._take_effect() if fault.accept else None
        await asyncio.sleep(seconds)
        answer = self._take_effect() if real is None else real
        await self._write(send, answer)
        return answer

    async def _overtaken(self, fault: Fault, send: Send) -> Answer:
        """The callback arrives before the answer does."""
        core = self._world.core
        answer, tried = self._take_effect(), core.callbacks.concluded
        core.callbacks.awaited += 1
        try:
            await core.wait_until(lambda: core.callbacks.concluded > tried, milliseconds(fault.seconds, core.random) / 1000)
        finally:
            core.callbacks.awaited -= 1
        await self._write(send, answer)
        return answer

    async def _write(self, send: Send, answer: Answer, *, only: int | None = None) -> None:
        answer = replace(answer, headers=(*self._call.always, *answer.headers)) if self._call.always else answer
        await _write(send, answer, self._world.core.clock.now(), only=only)

    def _take_effect(self) -> Answer:
        if self._world.core.books is not self._books:
            return Answer(503)  # the request is older than a reset
        return self._effect()


def _faulty_answer(fault: Fault, real: Answer, call: Call) -> Answer:
    headers = tuple((name.lower().encode(), value.encode()) for name, value in fault.headers.items())
    if fault.page == "html":
        return Answer(fault.status, _PAGE, ((b"content-type", b"text/html"), *headers), real.accepted)
    if fault.page == "truncated":
        return Answer(fault.status, real.body[: len(real.body) // 2] or b'{"id": "01', (*real.headers, *headers), real.accepted)
    if fault.page == "empty" or (fault.code is None and not fault.text):
        return Answer(fault.status, b"", headers, real.accepted)
    if fault.page == "problem":
        problem = {"type": "https://developer.vonage.com/api-errors", "title": fault.code or fault.text, "detail": fault.text}
        problem["instance"] = next((value.decode() for name, value in call.always if name == b"x-request-id"), "")
        return Answer(fault.status, msgspec.json.encode(problem), (*PROBLEM_JSON, *headers), real.accepted)
    answer = json_answer(fault.status, _problem(fault), accepted=real.accepted)
    return replace(answer, headers=(*answer.headers, *headers))


def _problem(fault: Fault) -> dict[str, object]:
    """The body of a refusal in the fault's shape. Without a code it has none."""
    match fault.page:
        case "description":
            return {**_coded("code", fault), "description": fault.text}
        case "numeric":
            return {"code": fault.status * 100, **_coded("status", fault), "message": fault.text}
        case "envelope":
            return {"error": {"code": fault.status, "message": fault.text, **_coded("status", fault), "details": []}}
        case _:
            return {**_coded("code", fault), "text": fault.text}


def _coded(name: str, fault: Fault) -> dict[str, object]:
    return {} if fault.code is None else {name: fault.code}


async def _read(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _write(send: Send, answer: Answer, now: int, *, only: int | None = None) -> None:
    """Send an answer, or of its body no more than the first ``only`` bytes. Its date is that of the simulator's clock."""
    date = formatdate(now / 1000, usegmt=True).encode()
    headers = [(b"date", date), *answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body[:only], "more_body": only is not None})


async def _until_gone(receive: Receive, seconds: float) -> None:
    """Wait until the client hangs up, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
