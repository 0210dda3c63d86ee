"""The receivers for comparison, as most projects write them: one callback, one update, one answer.

``python -m benchmarks.receivers direct|api`` prints its port and serves until a signal. Both verify the signature and
answer after the commit, like the app. Neither keeps a history, ranks reports or recognises repetitions.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.providers.sinch.signature import verifies
from webhook.commands import listen, server_config

_CONNECTIONS = 10
_UPDATE = "update public.bench_messages set status = $1, status_code = $2, reported_at = $3::text::timestamptz where key = $4"

Update = Callable[[dict[str, Any]], Awaitable[None]]


async def direct() -> Update:
    """An update over a direct connection: prepared once, each committed by itself, and without a pool that resets it."""
    idle: asyncio.Queue[asyncpg.Connection] = asyncio.Queue()
    for _ in range(_CONNECTIONS):
        idle.put_nowait(await asyncpg.connect(os.environ["BENCH_DB_URL"]))

    async def update(report: dict[str, Any]) -> None:
        connection = await idle.get()
        try:
            await connection.execute(_UPDATE, report["status"].lower(), report["code"], report["at"], key_of(report))
        finally:
            idle.put_nowait(connection)

    return update


async def api() -> Update:
    """An update over the project's API, without the usual client, whose pool would be the bottleneck."""
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
    """One text column finds the row, so that both peers use one index."""
    return f"{report['batch_id']}/{report['recipient']}"


def app(update: Update, secret: str) -> ASGIApp:
    """The receiver. Like ours it uses no framework for callbacks."""
    starlette = Starlette()

    async def callback(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await starlette(scope, receive, send)
            return
        request = Request(scope, receive)
        raw = await request.body()
        verified = verifies([secret], request.headers, raw)
        if verified:
            await update(json.loads(raw))
        await Response(status_code=204 if verified else 401)(scope, receive, send)

    return callback


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
