"""A local API with Realtime: it passes each request on to the local server, and tells of each write as Realtime would.

The local server has no Realtime. This one speaks as much of its protocol (Phoenix channels) as a listener to one table hears.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
from aiohttp import web

_HOP_BY_HOP: Final = {"connection", "content-encoding", "content-length", "host", "transfer-encoding"}


class RealtimeFront:
    """``published`` says whether the table is in the publication of Realtime. Set it before the server starts."""

    def __init__(self, upstream: str, *, published: bool = True) -> None:
        self.upstream = upstream
        self.published = published
        self._listeners: list[tuple[web.WebSocketResponse, str]] = []
        self._stopped: set[str] = set()

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        if "database" in self._stopped:
            raise web.HTTPServiceUnavailable
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, self.upstream + request.path_qs, headers=headers, data=await request.read()) as got,
        ):
            kept = {name: value for name, value in got.headers.items() if name.lower() not in _HOP_BY_HOP}
            answer = web.Response(status=got.status, headers=kept, body=await got.read())
        if request.method != "GET":
            await self._tell()
        return answer

    async def listen(self, request: web.Request) -> web.StreamResponse:
        if "realtime" in self._stopped:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            join_ref, ref, topic, event, payload = json.loads(message.data)
            response = {}
            if event == "phx_join":
                wanted = payload["config"]["postgres_changes"]
                response = {"postgres_changes": [{"id": number, **one} for number, one in enumerate(wanted, 1)]}
            await socket.send_json([join_ref, ref, topic, "phx_reply", {"status": "ok", "response": response}])
            if event == "phx_join":
                await self._confirm(socket, topic)
        return socket

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """``POST /stop/realtime`` ends its connections and takes no new ones. ``POST /stop/database`` refuses the others."""
        self._stopped.add(request.match_info["part"])
        for socket, _topic in self._listeners:
            await socket.close()
        self._listeners.clear()
        return web.Response(status=204)

    async def _confirm(self, socket: web.WebSocketResponse, topic: str) -> None:
        said = {"extension": "postgres_changes", "status": "ok" if self.published else "error", "message": "as to the table"}
        await socket.send_json([None, None, topic, "system", said])
        if self.published:
            self._listeners.append((socket, topic))

    async def _tell(self) -> None:
        change: dict[str, Any] = {
            "schema": "public",
            "table": "outbox",
            "type": "INSERT",
            "columns": [],
            "record": {},
            "errors": None,
        }
        told = {"ids": [1], "data": {**change, "commit_timestamp": "2026-01-01T00:00:00Z"}}
        for socket, topic in self._listeners:
            await socket.send_json([None, None, topic, "postgres_changes", told])


@contextmanager
def realtime_front(upstream: str, *, published: bool = True) -> Iterator[str]:
    """The address of such an API, served by a thread of this process."""
    front = RealtimeFront(upstream, published=published)
    app = web.Application()
    app.router.add_get("/realtime/v1/websocket", front.listen)
    app.router.add_post("/stop/{part}", front.stop)
    app.router.add_route("*", "/{path:.*}", front.pass_on)
    runner = web.AppRunner(app, shutdown_timeout=0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="realtime-front")
    thread.start()

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
