"""The webhook app, timed: prints its port, serves until SIGTERM, and prints the begin and end of each of its calls."""

from unittest import mock

from benchmarks import worker
from benchmarks.drainer import TimedRpc
from jobs.gateway import gateway
from jobs.runtime.settings import ProcessSettings, SupabaseSettings, TelemetrySettings, WebhookSettings, load
from jobs.runtime.telemetry import configure
from webhook.commands import listen, serve


def main() -> None:
    configure(load(TelemetrySettings), component="benchmark")
    with mock.patch.object(gateway, "Rpc", TimedRpc), listen("127.0.0.1", 0) as listener:
        worker.say(port=listener.getsockname()[1])
        serve(load(WebhookSettings), load(SupabaseSettings), load(ProcessSettings), listener)
    worker.say(calls=TimedRpc.calls)


if __name__ == "__main__":
    main()
