"""``python -m tests.chaos.restore``: restores PostgreSQL from a copy of its files while messages are sent, then adopts.

The processes are real. One of them lives through the restore, and one sleeps until the adoption.
Exit code 1 if a message was sent twice or lost.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Annotated, Final

import typer

from sandbox.demo.parts import SENDER
from sandbox.demo.work import Message, number
from sandbox.local import processes
from sandbox.local.binaries import REPOSITORY
from sandbox.local.folder import DataFolder
from sandbox.local.stack import LocalStack
from sandbox.simulator import server
from sandbox.simulator.server import Running
from sandbox.simulator.sinch.plans import PlanSettings
from tests.chaos.database import Database

_LEFT_ALONE_SECONDS: Final = 10.0
"""How long the processes run after the restore, before the adoption."""
_LONGEST_WAIT_SECONDS: Final = 300.0
_INSERT: Final = (
    "insert into public.outbox (idempotency_key, recipient, body)"
    " select * from unnest(%s::text[], %s::text[], %s::text[]) on conflict (idempotency_key) do nothing"
)


class Restore:
    """One run. ``messages`` are sent between the backup and the restore; half of them have their rows in the backup."""

    def __init__(self, stack: LocalStack, sinch: Running, folder: Path, messages: int) -> None:
        self._stack = stack
        self._sinch = sinch
        self._folder = folder
        self._count = messages
        self._db = Database(stack.admin_url)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "SINCH_", "OUTBOX_"))},
            **stack.env,
            "PYTHONPATH": str(REPOSITORY),
            "SINCH_SERVICE_PLAN_ID": sinch.plan.id,
            "SINCH_API_TOKEN": sinch.plan.token,
            "SINCH_BASE_URL": sinch.url,
            "SINCH_FROM_NUMBER": SENDER,
            "LOG_FORMAT": "json",
        }

    def run(self) -> bool:
        """Returns whether nothing was lost or sent twice."""
        ordinary = [Message(number(n), f"Your code is {n}." if n % 2 else "Doors open at eight.") for n in range(self._count)]
        half = self._count // 2
        with ExitStack() as children:
            living, sleeping = self._start("scheduler-1"), self._start("scheduler-0")
            children.callback(living.terminate)
            children.callback(sleeping.kill)
            self._insert([Message(number(n), "Before the backup.") for n in range(200)])
            self._wait_for(200)
            # Suspended, so that the backup holds messages that wait.
            for process in (living, sleeping):
                process.send_signal(signal.SIGSTOP)
            self._insert(ordinary[:half])
            self._copy(to_backup=True)
            for process in (living, sleeping):
                process.send_signal(signal.SIGCONT)
            self._insert(ordinary[half:])
            self._wait_for(200 + self._count)
            # It sleeps through the restore and its adoption, and must not stop the plan after that.
            sleeping.send_signal(signal.SIGSTOP)
            self._copy(to_backup=False)
            children.callback(self._start("scheduler-2").terminate)
            sleep(_LEFT_ALONE_SECONDS)
            self._say("before the adoption")
            self._command("adopt", "--since", "30m")
            began = monotonic()
            self._command("adopt", "--since", "30m", "--yes")
            typer.echo(f"adopted in {monotonic() - began:.1f} s")
            sleeping.send_signal(signal.SIGCONT)
            sleep(_LEFT_ALONE_SECONDS / 4)
            self._insert(ordinary[half:])
            self._insert([Message(number(n), "After the restore.") for n in range(200)])
            self._wait_for(400 + self._count)
            sleep(_LEFT_ALONE_SECONDS)
            self._say("at the end")
        accepted, twice = self._sent()
        return (accepted, twice) == (400 + self._count, 0)

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "scheduler", "run"]
        log = self._folder / f"{name}.log"
        return processes.start(command, log=log, cwd=self._folder, dies_by="KILL", env=self._environment)

    def _command(self, *arguments: str) -> None:
        began = monotonic()
        subprocess.run([sys.executable, "-m", "scheduler", *arguments], env=self._environment, check=False)
        typer.echo(f"outbox {' '.join(arguments)}: {monotonic() - began:.1f} s")

    def _insert(self, messages: list[Message]) -> None:
        keys = [f"{message.recipient} {message.text}" for message in messages]
        texts = [message.text for message in messages]
        self._db.does(_INSERT, keys, [message.recipient for message in messages], texts)

    def _wait_for(self, messages: int) -> None:
        end = monotonic() + _LONGEST_WAIT_SECONDS
        while self._sinch.control.summary().messages < messages and monotonic() < end:
            sleep(0.2)

    def _copy(self, *, to_backup: bool) -> None:
        """Make the base backup, or restore it. PostgreSQL stands still meanwhile; the processes wait for it."""
        files, backup = DataFolder(self._stack.data_dir).postgres, self._folder / "backup"
        self._db.close()
        self._stack.stop_postgres()
        if not to_backup:
            shutil.rmtree(files)
        subprocess.run(["cp", "-a", *map(str, (files, backup) if to_backup else (backup, files))], check=True)
        self._stack.start_postgres()

    def _sent(self) -> tuple[int, int]:
        books = self._sinch.control.summary()
        return books.messages, books.sent_twice

    def _say(self, when: str) -> None:
        accepted, twice = self._sent()
        rows = self._db.ask("select status, count(*) from public.outbox group by 1 order by 1") or []
        counts = ", ".join(f"{count} {status}" for status, count in rows)
        typer.echo(f"{when}: {accepted} messages accepted, {twice} sent twice; rows: {counts}")


def restore(messages: Annotated[int, typer.Option(help="How many messages the backup lacks.", min=10)] = 2000) -> None:
    """Back up PostgreSQL, send messages, restore it, and count what is sent twice before and after `outbox adopt`."""
    with ExitStack() as parts:
        folder = Path(parts.enter_context(TemporaryDirectory(prefix="outbox-restore-")))
        folder.chmod(0o711)
        plan = PlanSettings(callback_url="http://127.0.0.1:9/webhooks/sinch/delivery")
        sinch = parts.enter_context(server.running(plan=plan))
        stack = parts.enter_context(LocalStack(folder / "supabase", port=0, durable=True, fresh=True))
        good = Restore(stack, sinch, folder, messages).run()
    typer.echo("nothing was lost and nothing sent twice" if good else "BROKEN")
    raise typer.Exit(0 if good else 1)


if __name__ == "__main__":
    typer.run(restore)
