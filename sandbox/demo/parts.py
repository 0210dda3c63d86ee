"""The processes of the demo, as a user would run them, and their end."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox.local import ports, processes
from sandbox.local.stack import LocalStack
from sandbox.simulator import server
from sandbox.simulator.control import Control
from sandbox.simulator.plans import PlanSettings

READY_SECONDS = 30.0


class PartFailed(Exception):
    """A process of the demo did not start. The text says which and shows the end of its log."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs, and where its logs are."""

    stack: LocalStack
    simulator: Control
    logs: Path


@contextmanager
def running(folder: Path, *, port: int) -> Iterator[Parts]:
    """Start everything; stop everything at the end, however that comes. Children also die with this process."""
    with ExitStack() as open_parts:
        webhook_port = ports.free_port()
        plan = PlanSettings(
            callback_url=f"http://127.0.0.1:{webhook_port}/webhooks/sinch/delivery", webhook_secret=secrets.token_urlsafe(24)
        )
        stack = open_parts.enter_context(LocalStack(port=port, table_browser=True))
        simulator = open_parts.enter_context(server.running(plan=plan))
        environment = {
            **os.environ,
            **stack.env,
            "SINCH_SERVICE_PLAN_ID": plan.id,
            "SINCH_API_TOKEN": plan.token,
            "SINCH_BASE_URL": simulator.url,
            "SINCH_FROM_NUMBER": "+12025550100",
            "SINCH_CALLBACK_URL": plan.callback_url or "",
            "SINCH_WEBHOOK_SECRETS": plan.webhook_secret or "",
            "SINCH_REQUESTS_PER_MINUTE": "60000",
            "RECONCILE_AFTER_SECONDS": "5",
            "RECONCILE_INTERVAL_SECONDS": "2",
        }
        webhook = open_parts.enter_context(
            _child(folder / "webhook.log", environment, "webhook", "--host", "127.0.0.1", "--port", str(webhook_port))
        )
        _wait_for(f"http://127.0.0.1:{webhook_port}/readyz", webhook, folder / "webhook.log")
        open_parts.enter_context(_child(folder / "scheduler.log", environment, "run"))
        yield Parts(stack, simulator.control, folder)


@contextmanager
def _child(log: Path, environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = processes.with_death_signal([sys.executable, "-m", "scheduler", *arguments], "KILL")
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(timeout=11)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _wait_for(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        if child.poll() is not None:
            return True
        try:
            return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    if not processes.wait_until(answers, READY_SECONDS) or child.poll() is not None:
        raise PartFailed(f"{log.stem} did not start:\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
