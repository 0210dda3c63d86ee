"""The dispatch job in a process of its own: it says when it is ready, drains when told to, and says how that went."""

import asyncio
import resource
from pathlib import Path
from time import monotonic, process_time
from typing import Any, ClassVar
from uuid import uuid4

from benchmarks import worker
from jobs.dispatch import Dispatcher
from jobs.gateway import Gateway, Plan
from jobs.gateway.rpc import Rpc
from jobs.providers import registry
from jobs.settings import EngineSettings, SinchSettings, SupabaseSettings, TelemetrySettings, load
from jobs.telemetry import configure


class TimedRpc(Rpc):
    """Notes each call: the function, when it began and when it ended, in seconds of one clock.

    Not a claim that brings nothing: with two under way there is one when the backlog is gone.
    """

    calls: ClassVar[list[tuple[str, float, float]]] = []

    async def call(self, function: str, arguments: dict[str, Any]) -> Any:
        began = monotonic()
        answer = await super().call(function, arguments)
        if function != "outbox_claim" or answer["dispatches"]:
            self.calls.append((function, began, monotonic()))
        return answer


async def drain() -> dict[str, Any]:
    sinch = load(SinchSettings)
    gateway = Gateway(await TimedRpc.connect(load(SupabaseSettings)))
    provider = registry.build(sinch)
    plan = Plan(
        provider=provider.name,
        plan=provider.plan,
        host=provider.host,
        credential=provider.credential,
        messages_per_second=sinch.sinch_messages_per_second,
        requests_per_minute=sinch.sinch_requests_per_minute,
    )
    job = Dispatcher(gateway=gateway, provider=provider, plan=plan, worker=str(uuid4()), settings=load(EngineSettings))
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
    return {"seconds": took, "cpu": cpu, "calls": calls, "peak_mib": _peak_kib() / 1024}


def _peak_kib() -> int:
    """The most that was resident since this program began; `getrusage` would count what the process it was forked from held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    configure(load(TelemetrySettings), component="benchmark")
    worker.say(**asyncio.run(drain()))
    worker.wait()
