"""Keeps the processes of `outbox all` running: starts them, replaces one that ends, and stops all of them."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from jobs.runtime.restarts import Restarts

log = structlog.get_logger()

_WRONG_CONFIGURATION: Final = 2
_MOST_IN_A_ROW: Final = 5
"""A process that ends so often, each time within a minute, is given up."""
_STOP_SECONDS: Final = 9.9
"""A process ends itself within 9.8 seconds of its signal."""
_LOOK_SECONDS: Final = 10.0
_MOST_UNANSWERED: Final = 3
"""A process that hangs is killed after so many looks in a row. Looks are counted, not seconds: a machine that slept wakes with
questions that ran out of time."""


@dataclass(frozen=True, slots=True)
class Member:
    """A process by its name in the log. ``command`` are the words after `outbox`."""

    name: str
    command: tuple[str, ...]


class Supervisor:
    """Runs ``members`` as processes of its own process group.

    ``answers`` tells whether a process has come so far that it answers `outbox health`. ``hangs`` asks it, every ``look``
    seconds: a process that hangs is killed and started again. None asks nothing.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        answers: Callable[[str, int], bool],
        restarts: Callable[[], Restarts] = Restarts,
        hangs: Callable[[str, int], Awaitable[bool]] | None = None,
        look: float = _LOOK_SECONDS,
    ) -> None:
        self._members = members
        self._answers = answers
        self._restarts = restarts
        self._hangs = hangs
        self._look = look
        self._running: dict[str, int] = {}
        self._stopping = asyncio.Event()
        self._missing = {member.name: "has not started yet" for member in members}
        self._exit_code = 0

    def stop(self) -> None:
        """Let :meth:`keep` return once all processes have ended."""
        self._stopping.set()

    async def keep(self) -> int:
        """Keep all members running until :meth:`stop`. Returns the exit code.

        That is 0 if it was stopped. If a member was given up, the others are stopped. The code is 2 if that member found its
        configuration wrong when it was first started, and 1 if it ended too often.
        """
        await asyncio.gather(*(self._keep_one(member) for member in self._members))
        return self._exit_code

    async def problem(self, ready: bool) -> str | None:
        """Which members do not run or, if they must be ready, do not answer yet. Those that do answer for themselves."""
        missing = dict(self._missing)
        if ready:
            missing |= {name: "is starting" for name, pid in self._running.items() if not self._answers(name, pid)}
        return ", ".join(f"{name} {why}" for name, why in missing.items()) or None

    async def _keep_one(self, member: Member) -> None:
        restarts = self._restarts()
        is_first = True
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run_one(member)
            if self._stopping.is_set():
                return
            pause = restarts.pause_after(time.monotonic() - began)
            if is_first and code == _WRONG_CONFIGURATION:
                self._give_up(member, code, exit_code=code)
            elif restarts.in_a_row >= _MOST_IN_A_ROW:
                self._give_up(member, code, exit_code=1)
            else:
                is_first = False
                log.error("process.ended", name=member.name, code=code, restarted_in=pause)
                self._missing[member.name] = f"ended with code {code} and is started again"
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)

    def _give_up(self, member: Member, code: int | None, *, exit_code: int) -> None:
        # Its last lines on stderr say what is wrong.
        log.error("process.given_up", name=member.name, code=code)
        self._missing[member.name] = f"ended with code {code}"
        self._exit_code = exit_code
        self.stop()

    async def _run_one(self, member: Member) -> int | None:
        """Run the process until it ends, by itself or because all stop. None if it cannot be started."""
        command = (sys.executable, "-P", "-m", "scheduler.attended", member.name, *member.command)
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=PIPE)
        except OSError as error:
            log.error("process.not_started", name=member.name, error=str(error))  # noqa: TRY400  # the text says everything
            return None
        log.info("process.started", name=member.name, pid=process.pid)
        self._missing.pop(member.name, None)
        self._running[member.name] = process.pid
        try:
            return await self._until_end(member, process)
        finally:
            del self._running[member.name]

    async def _until_end(self, member: Member, process: Process) -> int:
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        hanging = asyncio.create_task(self._until_hung(member.name, process.pid))
        await asyncio.wait([ended, stopping, hanging], return_when=asyncio.FIRST_COMPLETED)
        if hanging.done() and not ended.done() and not stopping.done():
            log.error("process.killed", name=member.name, hint="it does not answer: its event loop hangs")
            with suppress(ProcessLookupError):
                process.kill()
            await ended
        stopping.cancel()
        hanging.cancel()
        if not ended.done():
            with suppress(ProcessLookupError):
                process.terminate()
            _, late = await asyncio.wait([ended], timeout=_STOP_SECONDS)
            if late:
                log.error("process.killed", name=member.name, hint=f"it did not end within {_STOP_SECONDS:g} s")
                with suppress(ProcessLookupError):
                    process.kill()
        return await ended

    async def _until_hung(self, name: str, pid: int) -> None:
        """Return once the process has left several questions in a row unanswered."""
        unanswered = 0
        while unanswered < _MOST_UNANSWERED:
            await asyncio.sleep(self._look)
            is_hung = self._hangs is not None and await self._hangs(name, pid)
            unanswered = unanswered + 1 if is_hung else 0
