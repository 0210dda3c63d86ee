"""The image as a user runs it: its root made of the Dockerfile's steps, and messages sent from it (`make image`).

With IMAGE_BASE, the archive of an earlier run is taken instead of Debian's packages: `mmdebstrap` makes one.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sandbox.local import ports, processes
from sandbox.local.stack import LocalStack
from tests.engine import insert, statuses
from tests.image import context, instructions, root
from tests.image.instructions import Stage
from tests.image.root import Container
from tests.stack import Connection

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(root.missing() is not None, reason=root.missing() or ""),
]
WAIT_SECONDS = 90.0
STOP_SECONDS = 12.0
SILENT_SECONDS = 150.0
"""`outbox status` calls a scheduler gone after 90 seconds."""
SECRET = "secret-of-callbacks"
BURST = 300


@dataclass(frozen=True, slots=True)
class Image:
    root: Path
    stage: Stage


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    base = Path(os.environ.get("IMAGE_BASE") or folder / "base.tar")
    if not base.is_file():
        root.make_base(base)
    stages = instructions.read(context.ROOT / "deploy" / "Dockerfile")
    return Image(root.build(stages, base, folder), stages[-1])


class Machine:
    """The containers of one host, which share its network."""

    def __init__(self, image: Image, stack: LocalStack, folder: Path, open_ones: ExitStack) -> None:
        self._image, self._folder, self._open = image, folder, open_ones
        self.webhook, self.metrics, sinch = (ports.free_port() for _ in range(3))
        callback = f"http://{ports.HOST}:{self.webhook}/webhooks/sinch/delivery"
        self.settings = {
            **stack.env,
            "SINCH_SERVICE_PLAN_ID": "image-plan",
            "SINCH_API_TOKEN": "image-token",
            "SINCH_BASE_URL": f"http://{ports.HOST}:{sinch}",
            "SINCH_FROM_NUMBER": "+12025550100",
            "SINCH_CALLBACK_URL": callback,
            "SINCH_WEBHOOK_SECRETS": SECRET,
            "METRICS_PORT": str(self.metrics),
            "PORT": str(self.webhook),
        }
        self.start("simulator", "--port", str(sinch))
        assert waited(lambda: answers(f"http://{ports.HOST}:{sinch}/_sim/health")), self.said("simulator")

    def start(self, *words: str) -> Container:
        log = self._folder / f"{words[0]}.log"
        container = Container.start(self._image.root, self._image.stage, words, self.settings, log)
        self._open.callback(container.end)
        return container

    def said(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()[-3000:]


@pytest.fixture
def machine(image: Image, stack: LocalStack, tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as open_ones:
        yield Machine(image, stack, tmp_path, open_ones)


def waited(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
    return processes.wait_until(condition, seconds)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def is_healthy(container: Container) -> bool:
    started = container.process.poll() is None and root.children(container.process.pid) != []
    return started and container.execute(*container.stage.health, "--ready").returncode == 0


def value(port: int, name: str) -> float:
    lines = httpx.get(f"http://{ports.HOST}:{port}/metrics", trust_env=False).text.splitlines()
    return max(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def everything(machine: Machine) -> Iterator[Container]:
    container = machine.start("all")
    assert waited(lambda: is_healthy(container)), machine.said("all")
    yield container


def test_burst_is_delivered_and_sigterm_drains(machine: Machine, db: Connection) -> None:
    with everything(machine) as container:
        insert(db, BURST)
        assert waited(lambda: statuses(db) == {"delivered": BURST}), (statuses(db), machine.said("all"))
        assert container.execute("outbox", "status", "--check").stdout == "sending\n"

        assert container.execute(*container.stage.health).returncode == 0
        assert value(machine.metrics, "outbox_database_up") == value(machine.webhook, "outbox_database_up") == 1

        insert(db, BURST, first=BURST)
        os.kill(container.first, signal.SIGTERM)
        assert container.process.wait(STOP_SECONDS) == 0, machine.said("all")
        row = db.execute("select count(*) from outbox_engine.dispatches where state = 'open'").fetchone()
        assert row == (0,)


def test_killed_process_starts_again(machine: Machine, db: Connection) -> None:
    with everything(machine) as container:
        for victim in root.children(container.first):
            os.kill(victim, signal.SIGKILL)
            assert waited(lambda victim=victim: victim not in root.children(container.first) and is_healthy(container))  # type: ignore[misc]
        insert(db, 10)
        assert waited(lambda: statuses(db) == {"delivered": 10}), machine.said("all")


def test_root_cannot_be_written_to(machine: Machine) -> None:
    with everything(machine) as container:
        for place in ("/opt/outbox/new", "/etc/new", "/new"):
            refused = container.execute("touch", place, user="0")
            assert "Read-only file system" in refused.stderr
        assert container.execute("id", "-u").stdout == "65532\n"


def test_killed_scheduler_shows_in_status(machine: Machine, db: Connection) -> None:
    scheduler, webhook = machine.start("run"), machine.start("webhook")
    assert waited(lambda: is_healthy(scheduler) and is_healthy(webhook)), machine.said("run")
    insert(db, 1)
    assert waited(lambda: statuses(db) == {"delivered": 1}), (statuses(db), machine.said("run"), machine.said("webhook"))
    last = value(machine.webhook, 'outbox_job_last_tick_timestamp_seconds{job="dispatch"')

    os.kill(scheduler.first, signal.SIGKILL)
    scheduler.process.wait()

    assert webhook.execute("outbox", "status", "--check").returncode == 0
    assert waited(lambda: webhook.execute("outbox", "status", "--check").returncode == 1, SILENT_SECONDS)
    assert webhook.execute("outbox", "status", "--check").stdout.startswith("NOT SENDING: ")
    assert value(machine.webhook, 'outbox_job_last_tick_timestamp_seconds{job="dispatch"') <= last + 15
