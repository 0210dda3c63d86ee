"""The webhook app, timed: says its port, serves until it is told to end, and says when each of its calls began and ended."""

from time import monotonic
from typing import Any
from unittest import mock

from benchmarks import worker
from jobs.gateway.rpc import Rpc
from jobs.settings import SupabaseSettings, TelemetrySettings, WebhookSettings, load
from jobs.telemetry import configure
from webhook.commands import listen, serve


def main() -> None:
    calls: list[tuple[str, float, float]] = []
    call = Rpc.call

    async def timed(rpc: Rpc, function: str, arguments: dict[str, Any]) -> Any:
        began = monotonic()
        answer = await call(rpc, function, arguments)
        calls.append((function, began, monotonic()))
        return answer

    configure(load(TelemetrySettings), component="benchmark")
    with mock.patch.object(Rpc, "call", timed), listen("127.0.0.1", 0) as listener:
        worker.say(port=listener.getsockname()[1])
        serve(load(WebhookSettings), load(SupabaseSettings), listener)
    worker.say(calls=calls)


if __name__ == "__main__":
    main()
