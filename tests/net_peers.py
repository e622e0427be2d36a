"""The other end of the wire for the network tests: plain sockets, recording protocols, ways to wait.

Peers are raw blocking sockets driven from threads, so that the loop under test is on one side of a test only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

PATIENCE = 20.0
"""Seconds after which a peer gives up: far more than any test needs, so that it only ever ends a hang."""

MORE_THAN_FITS = bytes(range(256)) * 4096
"""One megabyte: more than the kernel holds of a `connected_pair`, so sending it waits for the reader."""


def resolving(loop: Any, *addresses: tuple[Any, ...]) -> None:
    """Makes every name resolve to these addresses, in this order."""
    answer = [
        (socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
        for address in addresses
    ]

    async def getaddrinfo(*_args: Any, **_options: Any) -> list[Any]:
        return answer

    loop.getaddrinfo = getaddrinfo


def has_ipv6() -> bool:
    """Whether this machine can listen on ::1 (containers often cannot)."""
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


LOOPBACKS = [(socket.AF_INET, "127.0.0.1")] + ([(socket.AF_INET6, "::1")] if has_ipv6() else [])


def listener(host: str = "127.0.0.1", family: int = socket.AF_INET, backlog: int = 128) -> socket.socket:
    """A blocking listening socket on a port the kernel chose."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.bind((host, 0))
    sock.listen(backlog)
    return sock


def unused_port(host: str = "127.0.0.1", family: int = socket.AF_INET) -> int:
    """A port nobody listens on: connecting to it is refused."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def stalled_address() -> Iterator[tuple[str, int]]:
    """An address that neither answers nor refuses: its queue is full, so the kernel drops the SYN."""
    with contextlib.ExitStack() as held:
        server = held.enter_context(listener(backlog=0))
        for _ in range(16):
            client = held.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            if not select.select([], [client], [], 0.2)[1]:
                break
        else:
            raise AssertionError("the queue of a listener with backlog 0 never filled")
        yield server.getsockname()


def connected_pair(
    host: str = "127.0.0.1", family: int = socket.AF_INET
) -> tuple[socket.socket, socket.socket]:
    """A TCP connection: the non-blocking end for the loop, and the blocking end of the peer.

    Between them the kernel holds about 64 KiB: a fixed size switches its tuning off. Less would make it slow.
    """
    with listener(host, family) as server:
        ours = connect(server.getsockname())
        peer, _ = server.accept()
    for sock in ours, peer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    ours.setblocking(False)
    peer.settimeout(PATIENCE)
    return ours, peer


def connect(address: tuple[Any, ...]) -> socket.socket:
    """A blocking client of a server under test; the kernel accepts it, whatever the server does."""
    return socket.create_connection(address[:2], timeout=PATIENCE)


def reset(sock: socket.socket) -> None:
    """Closes with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    """Blocks until `count` bytes arrived, or the stream ended."""
    chunks = bytearray()
    while len(chunks) < count:
        chunk = sock.recv(min(count - len(chunks), 1 << 20))
        if not chunk:
            break
        chunks += chunk
    return bytes(chunks)


def receive_to_end(sock: socket.socket) -> bytes:
    """Blocks until the other end sent FIN."""
    return receive_exactly(sock, 1 << 62)


def in_thread(function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
    """Runs one blocking step of a peer while the loop goes on."""
    return asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, function, *args), PATIENCE)


def ring(bell: asyncio.Future[Any], value: Any = None) -> None:
    """Completes a future that may be complete already: a callback may come more than once."""
    if not bell.done():
        bell.set_result(value)


async def soon(awaitable: Awaitable[Any]) -> Any:
    """Waits for what must come; a hang becomes a failure."""
    return await asyncio.wait_for(awaitable, PATIENCE)


async def kernel_asked() -> None:
    """Returns once the loop has asked the kernel and run what it answered, twice over.

    It is the barrier for "nothing more arrives": what was pending when this began is delivered when it ends.
    """
    loop = asyncio.get_running_loop()
    for _ in range(2):
        ours, peer = socket.socketpair()
        with ours, peer:
            ours.setblocking(False)
            peer.send(b"x")
            seen = loop.create_future()
            loop.add_reader(ours, ring, seen)
            try:
                await soon(seen)
            finally:
                loop.remove_reader(ours)


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop turn until `condition` holds: for facts that no callback announces."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition never came true"
        await kernel_asked()


def open_sockets() -> dict[int, str]:
    """The sockets this process has open. What a loop opens for itself at its first run is no socket."""
    held = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:"):
                held[int(name)] = target
    return held


@contextlib.contextmanager
def no_socket_left() -> Iterator[None]:
    """Fails when what ran inside left a socket open, or closed one it did not own."""
    before = open_sockets()
    yield
    after = open_sockets()
    assert after == before, f"opened or closed: {set(after.items()) ^ set(before.items())}"


class Calls(asyncio.BaseProtocol):
    """Writes down every call the transport makes, in order, and lets a test wait for each."""

    def __init__(self, *, keep_open_at_eof: bool = False) -> None:
        self.loop = asyncio.get_running_loop()
        self.calls: list[str] = []
        self.received = bytearray()
        self.transport: asyncio.Transport | None = None
        self.error: BaseException | None = None
        self.keep_open_at_eof = keep_open_at_eof
        self.made: asyncio.Future[asyncio.Transport] = self.loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = self.loop.create_future()
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self.paused: asyncio.Future[None] = self.loop.create_future()
        self.resumed: asyncio.Future[None] = self.loop.create_future()
        self._wanted: tuple[int, asyncio.Future[bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.made.set_result(transport)

    def opened(self) -> asyncio.Transport:
        """The transport, which a test may ask for once connection_made came."""
        assert self.transport is not None
        return self.transport

    def note(self, call: str, data: bytes) -> None:
        """Keeps what arrived and wakes who waits for it; in how many pieces it came does not matter."""
        if self.calls[-1:] != [call]:
            self.calls.append(call)
        self.received += data
        if self._wanted is not None and len(self.received) >= self._wanted[0] and not self._wanted[1].done():
            self._wanted[1].set_result(bytes(self.received))

    async def read(self, count: int) -> bytes:
        """All that was received, once it is at least `count` bytes."""
        if len(self.received) < count:
            self._wanted = count, self.loop.create_future()
            await soon(self._wanted[1])
        return bytes(self.received)

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        self.ended.set_result(None)
        return self.keep_open_at_eof

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")
        ring(self.paused)

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")
        ring(self.resumed)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        self.error = exc
        self.lost.set_result(exc)


class Recorder(Calls, asyncio.Protocol):
    """The recording protocol that is handed bytes."""

    def data_received(self, data: bytes) -> None:
        self.note("data_received", data)


class BufferedRecorder(Calls, asyncio.BufferedProtocol):
    """The recording protocol whose bytes land in a buffer of its own."""

    def __init__(self, size: int = 1 << 16, *, keep_open_at_eof: bool = False) -> None:
        super().__init__(keep_open_at_eof=keep_open_at_eof)
        self.buffer = bytearray(size)
        self.hints: list[int] = []

    def get_buffer(self, sizehint: int) -> Any:
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.note("buffer_updated", bytes(memoryview(self.buffer)[:nbytes]))


async def transport_to_peer(
    protocol: asyncio.BaseProtocol, host: str = "127.0.0.1", family: int = socket.AF_INET
) -> tuple[asyncio.Transport, socket.socket]:
    """A transport of the loop under test on one end of a connection, and the raw socket of the other."""
    ours, peer = connected_pair(host, family)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
    return transport, peer


async def closed(transport: asyncio.Transport, protocol: Calls, peer: socket.socket) -> None:
    """Ends a connection that a test is done with, so that nothing of it is left."""
    transport.abort()
    await soon(protocol.lost)
    peer.close()
