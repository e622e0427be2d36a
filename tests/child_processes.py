"""Child processes for tests: what they run, who watches them, and how to know that one is really gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from multiprocessing import resource_tracker
from typing import Any

from net_peers import soon

PYTHON = [sys.executable, "-I", "-S"]
"""An interpreter that starts fast; `-c` and a program follow."""

FOREVER = ["sleep", "3600"]
NO_PIPES = {"stdin": None, "stdout": None, "stderr": None}
"""The child has the standard streams of this process."""


class Watcher(asyncio.SubprocessProtocol):
    """Writes down what it is told of a child, and lets a test wait for the end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.calls: list[Any] = []
        self.data = {1: b"", 2: b""}
        self.transport: asyncio.SubprocessTransport | None = None
        self.exited: asyncio.Future[None] = self.loop.create_future()
        self.lost: asyncio.Future[None] = self.loop.create_future()
        self._arrived: asyncio.Event = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self.transport = transport
        self.calls.append("connection_made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.calls[-1:] != [("data", fd)]:
            self.calls.append(("data", fd))
        self.data[fd] += data
        self._arrived.set()

    def pipe_connection_lost(self, fd: int, exc: BaseException | None) -> None:
        self.calls.append(("pipe_lost", fd, type(exc)) if exc else ("pipe_lost", fd))

    def process_exited(self) -> None:
        self.calls.append("process_exited")
        self.exited.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        assert exc is None
        self.calls.append("connection_lost")
        self.lost.set_result(None)

    async def read(self, fd: int, count: int) -> bytes:
        """All that the child wrote there, once it is at least `count` bytes."""
        while len(self.data[fd]) < count:
            self._arrived.clear()
            await soon(self._arrived.wait())
        return self.data[fd]


async def started(loop: asyncio.AbstractEventLoop, *command: Any, **options: Any) -> tuple[Any, Watcher]:
    """A child that was started without pipes, unless some are asked for."""
    return await loop.subprocess_exec(Watcher, *command, **{**NO_PIPES, **options})


async def ended(transport: asyncio.SubprocessTransport, watcher: Watcher) -> int | None:
    """Waits until the child and its pipes are gone, closes the transport and returns the returncode."""
    await soon(watcher.lost)
    transport.close()
    return transport.get_returncode()


async def returncode_of(loop: asyncio.AbstractEventLoop, *command: Any, **options: Any) -> int | None:
    return await ended(*await started(loop, *command, **options))


def children() -> list[int]:
    """The numbers of this process' children, zombies too, but for the one that multiprocessing keeps."""
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/task/{thread}/children") as file:
            found += map(int, file.read().split())
    return sorted(pid for pid in found if pid != tracker)


def is_zombie(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def end_unnoticed(pid: int, number: int = signal.SIGTERM) -> None:
    """Ends a child behind the loop's back, and leaves its status to whoever is to have it."""
    os.kill(pid, number)
    # On 3.11 the oracle's own thread may have the status already.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
