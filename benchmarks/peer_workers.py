"""What we are compared with, each in a process of its own: ``python -m benchmarks.peer_workers NAME``.

All of them do the same for each message: post it to the provider with aiohttp, and keep the batch id in the message's row.
"""

import asyncio
import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import aiohttp
import asyncpg
import procrastinate
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

from benchmarks import worker

DATABASE = os.environ["PEER_DB_URL"]
BATCHES = f"{os.environ['SINCH_BASE_URL']}/xms/v1/{os.environ['SINCH_SERVICE_PLAN_ID']}/batches"
TOKEN = os.environ["SINCH_API_TOKEN"]
SENDER = os.environ["SINCH_FROM_NUMBER"]

AT_ONCE = 50
"""The number of jobs that a library processes concurrently."""

RECORD = "update peers.messages set status = 'sent', batch_id = $2, sent_at = now() where id = any ($1)"


class Sender:
    """The provider and the message's table, as every peer uses them."""

    def __init__(self, http: aiohttp.ClientSession, pool: asyncpg.Pool) -> None:
        self._http = http
        self.pool = pool

    async def send(self, ids: list[int], recipients: list[str], body: str) -> None:
        await self.record(ids, await self.post(recipients, body))

    async def post(self, recipients: list[str], body: str) -> str:
        batch = {"from": SENDER, "to": recipients, "body": body, "delivery_report": "per_recipient"}
        async with self._http.post(BATCHES, json=batch) as answer:
            batch_id: str = (await answer.json())["id"]
            return batch_id

    async def record(self, ids: list[int], batch_id: str) -> None:
        await self.pool.execute(RECORD, ids, batch_id)


Go = Callable[[], Awaitable[None]]


async def loop(sender: Sender, go: Go) -> None:
    """The loop of tutorials: select one, post it, update it."""
    await go()
    while True:
        row = await sender.pool.fetchrow(
            "select id, recipient, body from peers.messages where status = 'pending' order by id limit 1"
        )
        if row is None:
            return
        await sender.send([row["id"]], [row["recipient"]], row["body"])


async def bare(sender: Sender, go: Go) -> None:
    """The upper bound: 1000 rows for each statement and request, two at a time, without any safety."""
    claim = """
        with next as (
          select id from peers.messages where status = 'pending' order by id limit 1000 for update skip locked
        )
        update peers.messages m set status = 'sending' from next where m.id = next.id returning m.id, m.recipient, m.body
    """

    async def work() -> None:
        while rows := await sender.pool.fetch(claim):
            await sender.send([row["id"] for row in rows], [row["recipient"] for row in rows], rows[0]["body"])

    await go()
    await asyncio.gather(work(), work())


async def bare_by_api(sender: Sender, go: Go) -> None:
    """The same in two functions that the project's API calls, four at a time."""
    secret = os.environ["SUPABASE_SECRET_KEY"]
    headers = {"apikey": secret, "authorization": f"Bearer {secret}"}

    async with aiohttp.ClientSession(os.environ["SUPABASE_URL"], headers=headers, raise_for_status=True) as api:

        async def call(function: str, **arguments: object) -> Any:
            async with api.post(f"/rest/v1/rpc/{function}", json=arguments) as answer:
                return json.loads(await answer.read() or b"null")

        async def work() -> None:
            while (rows := await call("bench_claim"))["ids"]:
                batch = await sender.post(rows["recipients"], rows["body"])
                await call("bench_sent", ids=[str(one) for one in rows["ids"]], batch=batch)

        await go()
        await asyncio.gather(*(work() for _ in range(4)))


async def pgqueuer(sender: Sender, go: Go) -> None:
    queue = PgQueuer(AsyncpgPoolDriver(sender.pool))

    @queue.entrypoint("send")  # type: ignore[untyped-decorator]
    async def send(job: Job) -> None:
        message = json.loads(job.payload or b"")
        await sender.send([message["id"]], [message["recipient"]], message["body"])

    await go()
    await queue.run(batch_size=AT_ONCE, max_concurrent_tasks=4 * AT_ONCE, mode=QueueExecutionMode.drain)


async def procrastinating(sender: Sender, go: Go) -> None:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DATABASE, min_size=10, max_size=10))

    @app.task(name="send")  # type: ignore[untyped-decorator]
    async def send(id: int, recipient: str, body: str) -> None:  # noqa: A002  # arguments of a task have the payload's names
        await sender.send([id], [recipient], body)

    async with app.open_async():
        await go()
        await app.run_worker_async(concurrency=AT_ONCE, wait=False, listen_notify=False, install_signal_handlers=False)


PEERS = {"loop": loop, "bare": bare, "bare_by_api": bare_by_api, "pgqueuer": pgqueuer, "procrastinate": procrastinating}


async def main(name: str) -> None:
    began = 0.0

    async def go() -> None:
        nonlocal began
        worker.say(ready=True)
        await asyncio.to_thread(worker.wait)
        began = monotonic()

    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        asyncpg.create_pool(DATABASE, min_size=10, max_size=10) as pool,
        aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as http,
    ):
        await PEERS[name](Sender(http, pool), go)
        took = monotonic() - began
    worker.say(seconds=took, peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    worker.wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
