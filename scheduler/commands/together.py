"""`outbox all`: the scheduler, the webhook app and maybe the dashboard in one process group, for the smallest deployment."""

import asyncio
import signal
from collections.abc import Sequence
from functools import partial

from jobs.runtime import environment, liveness, settings, telemetry
from jobs.runtime.dashboard import DashboardSettings
from jobs.runtime.settings import EngineSettings, ProcessSettings, SupabaseSettings, TelemetrySettings, WebhookSettings
from scheduler.supervisor import Member, Supervisor


def run_all(*, host: str, port: int | None, workers: int, plans: Sequence[str] = ()) -> int:
    """Run all processes until SIGTERM or SIGINT, and return the exit code.

    Raises SettingsError for the settings that are wrong, before a process is started. Those of the accounts are checked by
    the scheduler, because that loads the providers' clients.
    """
    local, logs, pages, *_ = settings.gathered(
        lambda: settings.load(ProcessSettings),
        lambda: settings.load(TelemetrySettings),
        lambda: settings.load(DashboardSettings),
        lambda: settings.load(SupabaseSettings),
        lambda: settings.load(EngineSettings),
        lambda: settings.load(WebhookSettings),
    )
    telemetry.configure(logs, component="all")
    environment.warn_of_misspelled(settings.names())
    return asyncio.run(_run(local, members(host=host, port=port, workers=workers, plans=plans, pages=pages)))


def members(
    *, host: str, port: int | None, workers: int, plans: Sequence[str] = (), pages: DashboardSettings | None = None
) -> list[Member]:
    """The processes that `outbox all` keeps running. The dashboard is one of them where it has a port."""
    listening = ["--host", host, "--workers", str(workers), *([] if port is None else ["--port", str(port)])]
    made = [
        Member("scheduler", ("run", *(word for plan in plans for word in ("--plan", plan)))),
        Member("webhook", ("webhook", *listening)),
    ]
    if pages is not None and pages.dashboard_port is not None:
        made.append(Member("dashboard", ("dashboard", "--host", host, "--port", str(pages.dashboard_port))))
    return made


async def _run(local: ProcessSettings, chosen: Sequence[Member]) -> int:
    supervisor = Supervisor(
        chosen,
        answers=partial(liveness.answers, directory=local.outbox_run_dir),
        hangs=partial(liveness.hangs, directory=local.outbox_run_dir),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    async with liveness.answering("all", local.outbox_run_dir, supervisor.problem):
        return await supervisor.keep()
