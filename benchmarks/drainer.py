"""The dispatch job in a process of its own: it reports that it is ready, drains on a command, and reports the result."""

import asyncio
import os
from time import monotonic, process_time
from typing import Any, ClassVar
from uuid import uuid4

from benchmarks import worker
from jobs.dispatch import Dispatcher
from jobs.gateway.gateway import Gateway
from jobs.gateway.rpc import Rpc
from jobs.gateway.values import Plan
from jobs.providers import registry
from jobs.runtime.clocks import Clocks
from jobs.runtime.settings import EngineSettings, SupabaseSettings, TelemetrySettings, load
from jobs.runtime.telemetry import configure


class TimedRpc(Rpc):
    """Records each call: the function, its begin and its end, in seconds of one clock. Counts claims that return nothing."""

    calls: ClassVar[list[tuple[str, float, float]]] = []
    in_vain: ClassVar[int] = 0

    async def call(self, function: str, arguments: dict[str, Any]) -> Any:
        began = monotonic()
        answer = await super().call(function, arguments)
        if function in ("outbox_claim", "outbox_claim_due") and not answer["dispatches"]:
            TimedRpc.in_vain += 1
        else:
            self.calls.append((function, began, monotonic()))
        return answer


async def drain() -> dict[str, Any]:
    account = registry.account(registry.configured()[0])
    gateway = Gateway(await TimedRpc.connect(load(SupabaseSettings)))
    clocks = Clocks()
    provider = account.build(clocks)
    plan = Plan(
        provider=provider.name,
        plan=provider.plan,
        host=provider.host,
        credential=provider.credential,
        messages_per_second=account.messages_per_second,
        requests_per_minute=account.requests_per_minute,
    )
    job = Dispatcher(
        gateway=gateway, provider=provider, plan=plan, worker=str(uuid4()), settings=load(EngineSettings), clocks=clocks
    )
    await gateway.ping()
    worker.say(ready=True)
    await asyncio.to_thread(worker.wait)

    TimedRpc.calls.clear()
    cpu, began = process_time(), monotonic()
    await job.tick()
    await job.finish()
    took, cpu = monotonic() - began, process_time() - cpu
    calls = [(function, start - began, end - began) for function, start, end in TimedRpc.calls]

    await job.drain()
    await provider.aclose()
    await gateway.aclose()
    return {"seconds": took, "cpu": cpu, "calls": calls, "in_vain": TimedRpc.in_vain, "peak_mib": worker.peak_mib(os.getpid())}


if __name__ == "__main__":
    configure(load(TelemetrySettings), component="benchmark")
    worker.say(**asyncio.run(drain()))
    worker.wait()
