"""What callbacks are measured against: the receiver most projects write. One callback, one update, one answer.

``python -m benchmarks.receivers direct|api`` prints its port and serves until it is told to stop. Both verify the signature and
answer after the commit, like the app; neither keeps a trail, ranks what arrives or knows a repeat from news.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import psycopg
import uvicorn
from psycopg import AsyncConnection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobs.providers.sinch.signature import verifies
from webhook.commands import listen, server_config

_CONNECTIONS = 10
_UPDATE = "update public.bench_messages set status = %s, status_code = %s, reported_at = %s where key = %s"

Update = Callable[[dict[str, Any]], Awaitable[None]]


async def direct() -> Update:
    """An update over a connection of our own: prepared once, committed by itself."""
    idle: asyncio.Queue[AsyncConnection[Any]] = asyncio.Queue()
    for _ in range(_CONNECTIONS):
        idle.put_nowait(await psycopg.AsyncConnection.connect(os.environ["BENCH_DB_URL"], autocommit=True, prepare_threshold=0))

    async def update(report: dict[str, Any]) -> None:
        connection = await idle.get()
        try:
            await connection.execute(_UPDATE, [report["status"].lower(), report["code"], report["at"], key_of(report)])
        finally:
            idle.put_nowait(connection)

    return update


async def api() -> Update:
    """An update over the project's API. Not with the client everybody uses, whose pool would be the bottleneck."""
    secret = os.environ["SUPABASE_SECRET_KEY"]
    http = aiohttp.ClientSession(
        os.environ["SUPABASE_URL"],
        headers={"apikey": secret, "authorization": f"Bearer {secret}", "prefer": "return=minimal"},
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
        raise_for_status=True,
    )

    async def update(report: dict[str, Any]) -> None:
        values = {"status": report["status"].lower(), "status_code": report["code"], "reported_at": report["at"]}
        async with http.patch("/rest/v1/bench_messages", params={"key": f"eq.{key_of(report)}"}, json=values):
            pass

    return update


def key_of(report: dict[str, Any]) -> str:
    """One text column finds the row, so that both peers look it up in one index."""
    return f"{report['batch_id']}/{report['recipient']}"


def app(update: Update, secret: str) -> Starlette:
    """The receiver."""

    async def callback(request: Request) -> Response:
        raw = await request.body()
        if not verifies([secret], request.headers, raw):
            return Response(status_code=401)
        await update(json.loads(raw))
        return Response(status_code=204)

    return Starlette(routes=[Route("/", callback, methods=["POST"])])


async def serve(kind: str) -> None:
    listener = listen("127.0.0.1", 0)
    update = await {"direct": direct, "api": api}[kind]()
    server = uvicorn.Server(server_config(app(update, os.environ["BENCH_SECRET"])))
    print(listener.getsockname()[1], flush=True)
    await server.serve(sockets=[listener])


def main() -> None:
    with asyncio.Runner(loop_factory=server_config(None).get_loop_factory()) as runner:
        runner.run(serve(sys.argv[1]))


if __name__ == "__main__":
    main()
