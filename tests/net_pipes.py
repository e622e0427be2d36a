"""Pipes for the tests: one end for the loop, the other a plain one that a test reads and writes itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
import tty
from collections.abc import Iterator
from typing import Any

from net_peers import Recorder, soon

KINDS = ["pipe", "fifo", "socket", "terminal"]
"""Everything that a pipe transport takes."""

WITH_AN_END = ["pipe", "fifo", "socket"]
"""Those that tell the reader of the end, and the writer that nobody reads. A terminal has errors instead."""


class PipeRecorder(Recorder):
    """The recording protocol of the tests, on a transport that moves bytes in one direction only."""

    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")
        self.transport = transport
        self.made.set_result(transport)  # type: ignore[arg-type]

    def opened(self) -> Any:
        return self.transport


def unbuffered(file: Any, mode: str, *, closefd: bool = True) -> Any:
    """Opens a path or a descriptor, for somebody else to close."""
    return open(file, mode, 0, closefd=closefd)


def ends(kind: str) -> tuple[Any, Any]:
    """Both ends, blocking: the object that is read, and the one that is written."""
    if kind == "socket":
        reading, writing = socket.socketpair()
        return reading, writing
    if kind == "pipe":
        numbers = os.pipe()
    elif kind == "terminal":
        numbers = os.openpty()
        tty.setraw(numbers[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "fifo")
            os.mkfifo(path)
            reading_number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            numbers = reading_number, os.open(path, os.O_WRONLY)
            os.set_blocking(reading_number, True)
    return unbuffered(numbers[0], "rb"), unbuffered(numbers[1], "wb")


async def reading_from(kind: str, protocol: asyncio.BaseProtocol) -> tuple[Any, Any]:
    """A transport of the loop under test on the reading end, and the writing end."""
    ours, peer = ends(kind)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, ours)
    return transport, peer


async def writing_to(kind: str, protocol: asyncio.BaseProtocol) -> tuple[Any, Any]:
    """A transport of the loop under test on the writing end, and the reading end."""
    peer, ours = ends(kind)
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: protocol, ours)
    return transport, peer


def put(peer: Any, data: bytes) -> None:
    """Blocks until all of `data` is written."""
    while data:
        data = data[os.write(peer.fileno(), data) :]


def take(peer: Any, count: int) -> bytes:
    """Blocks until `count` bytes were read, or the stream ended."""
    taken = bytearray()
    while len(taken) < count:
        chunk = os.read(peer.fileno(), min(count - len(taken), 1 << 20))
        if not chunk:
            break
        taken += chunk
    return bytes(taken)


def take_to_end(peer: Any) -> bytes:
    """Blocks until the other end is closed."""
    return take(peer, 1 << 62)


def filled(transport: Any, piece: bytes = b"x" * 4096) -> int:
    """Writes until the kernel takes no more of it; how many bytes that were."""
    written = 0
    while not transport.get_write_buffer_size():
        transport.write(piece)
        written += len(piece)
    return written


async def ended(transport: Any, protocol: PipeRecorder, peer: Any) -> None:
    """Ends a transport that a test is done with, so that nothing of it is left."""
    getattr(transport, "abort", transport.close)()
    await soon(protocol.lost)
    peer.close()


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Fails when what ran inside left a descriptor open, or closed one it did not own."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    after = set(os.listdir("/proc/self/fd"))
    assert after == before, f"opened or closed: {after ^ before}"
