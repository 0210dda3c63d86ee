"""The network between the processes, as TCP proxies that a test makes fail: half-open, or cut.

A frozen flow carries nothing and closes nothing, as when a firewall has forgotten it. What its sender wrote meanwhile is
delivered at the thaw, late, unless the sender has reset the connection: then it never arrives, as on a real wire.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from sandbox.local.ports import HOST

T = TypeVar("T")
_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)


class Network:
    """Links by name, all in one thread of their own. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")
        self._links: dict[str, Link] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def connect(self, name: str, *targets: int) -> int:
        """Create a link to these ports of the loopback interface, used in turn. Returns the port that leads there."""
        link = self._links[name] = Link(targets)
        return asyncio.run_coroutine_threadsafe(link.listen(), self._loop).result()

    def freeze(self, name: str) -> None:
        """Stop carrying data over this link, and close nothing."""
        self._do(self._links[name].freeze)

    def forget_some(self, name: str, chance: random.Random) -> None:
        """Freeze about half of the flows that are open now. New ones get through."""
        self._do(lambda: self._links[name].forget_some(chance))

    def thaw(self, name: str) -> None:
        """Deliver the data that was held back, and carry data again."""
        self._do(self._links[name].thaw)

    def cut(self, name: str) -> None:
        """Reset every connection of this link."""
        self._do(self._links[name].cut)

    def refuse(self, name: str) -> None:
        """Reset every connection of this link, and take no new one."""
        self._do(self._links[name].refuse)

    def accept_again(self, name: str) -> None:
        """Take connections again, at the same port."""
        asyncio.run_coroutine_threadsafe(self._links[name].listen(), self._loop).result()

    def _do(self, work: Callable[[], T]) -> T:
        async def inside() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result()

    async def _close(self) -> None:
        for link in self._links.values():
            await link.close()


class Link:
    """One listening port and its connections."""

    def __init__(self, targets: Sequence[int]) -> None:
        self._targets = list(targets)
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None
        self._frozen = False
        self._flows: dict[Flow, asyncio.Task[None]] = {}

    async def listen(self) -> int:
        listener, self._held = self._held or _bound(0), None
        self._server = await asyncio.start_server(self._accept, sock=listener, backlog=512)
        port: int = listener.getsockname()[1]
        return port

    def freeze(self) -> None:
        self._frozen = True
        for flow in self._flows:
            flow.gate.clear()

    def forget_some(self, chance: random.Random) -> None:
        for flow in self._flows:
            if chance.random() < 0.5:
                flow.gate.clear()

    def thaw(self) -> None:
        self._frozen = False
        for flow in self._flows:
            flow.gate.set()

    def cut(self) -> None:
        for task in self._flows.values():
            task.cancel()

    def refuse(self) -> None:
        """The port stays bound without a listener: otherwise a connection to somewhere else may take it."""
        if self._server is not None:
            port = self._server.sockets[0].getsockname()[1]
            self._server.close()
            self._server, self._held = None, _bound(port)
        self.cut()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._held is not None:
            self._held.close()
        self.cut()
        await asyncio.gather(*self._flows.values(), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # In turn, so that each of several targets gets its share. A target that is down is skipped.
        self._targets.append(self._targets.pop(0))
        flow = Flow(End(reader, writer), tuple(self._targets))
        if not self._frozen:
            flow.gate.set()
        task = self._flows[flow] = asyncio.create_task(flow.run())
        task.add_done_callback(lambda _: self._flows.pop(flow, None))
        with suppress(asyncio.CancelledError):
            await task


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setblocking(False)
    bound.bind((HOST, port))
    return bound


class End:
    """One side of a flow."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._held: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(self) -> None:
        """Read until this side closes. A reset raises an error, and then nothing that was held back is delivered."""
        while chunk := await self._reader.read(_CHUNK):
            self._held.put_nowait(chunk)
        self._held.put_nowait(b"")

    async def deliver_to(self, other: "End", gate: asyncio.Event) -> None:
        while True:
            chunk = await self._held.get()
            await gate.wait()
            if not chunk:
                other._writer.write_eof()
                return
            other._writer.write(chunk)
            await other._writer.drain()

    def reset(self) -> None:
        """Reset the connection."""
        with suppress(OSError):
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()


class Flow:
    """One connection through a link. Its far end is opened once the gate is open."""

    def __init__(self, near: End, targets: Sequence[int]) -> None:
        self.gate = asyncio.Event()
        self._near = near
        self._targets = targets
        self._far: End | None = None

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._near.listen())
                tasks.create_task(self._join(tasks))
        except* OSError:
            pass  # A side reset it, or nothing listens: the other side gets a reset below.
        finally:
            for end in filter(None, (self._near, self._far)):
                end.reset()

    async def _join(self, tasks: asyncio.TaskGroup) -> None:
        await self.gate.wait()
        self._far = far = await self._open()
        tasks.create_task(far.listen())
        tasks.create_task(self._near.deliver_to(far, self.gate))
        tasks.create_task(far.deliver_to(self._near, self.gate))

    async def _open(self) -> End:
        for target in self._targets:
            with suppress(OSError):
                return End(*await asyncio.open_connection(HOST, target))
        raise ConnectionRefusedError
