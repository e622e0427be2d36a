"""Echo servers over TCP and Unix sockets: on Protocol, BufferedProtocol, and the loop's `sock_*` methods."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Awaitable, Callable
from typing import cast

from harness.server_rows import ServerRow, Serving

# Folders of Unix sockets, which must not go before the process does.
KEPT: list[tempfile.TemporaryDirectory[str]] = []


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast(), not an assertion: not every rival's transport is an instance of asyncio.Transport.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve() -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.buffer = memoryview(bytearray(64 * 1024))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        # A copy, since the transport may keep what it cannot send at once.
        self.transport.write(bytes(self.buffer[:nbytes]))


async def serve_buffered() -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(BufferedEcho, "127.0.0.1", 0)


async def serve_unix() -> asyncio.Server:
    folder = tempfile.TemporaryDirectory()
    KEPT.append(folder)
    return await asyncio.get_running_loop().create_unix_server(Echo, f"{folder.name}/socket")


class AcceptedByHand:
    """A listening socket and the task that accepts, in the place of a server."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.sockets = [listener]
        self.tasks = {asyncio.create_task(self.accept())}

    async def accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self.sockets[0])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self.echo(connection))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def echo(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection:
            while data := await loop.sock_recv(connection, 64 * 1024):
                await loop.sock_sendall(connection, data)

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.sockets[0].close()


async def serve_by_hand() -> AcceptedByHand:
    return AcceptedByHand()


def echo(
    name: str,
    connections: int,
    size: int,
    messages: int,
    serve: Callable[[], Awaitable[Serving]] = serve,
    limit: str = "tcp",
) -> ServerRow:
    return ServerRow(name, "sockets", "message", connections, size, messages, serve, limit=limit)


ROWS = [
    echo("tcp_echo_1k_x1", 1, 1024, 30_000),
    echo("tcp_echo_1k_x64", 64, 1024, 100_000),
    echo("tcp_echo_1k_x1000", 1000, 1024, 100_000),
    echo("tcp_echo_64k_x16", 16, 64 * 1024, 20_000),
    echo("buffered_echo_1k_x64", 64, 1024, 100_000, serve_buffered),
    echo("unix_echo_1k_x64", 64, 1024, 100_000, serve_unix, "unix"),
    echo("sock_echo_1k_x64", 64, 1024, 60_000, serve_by_hand),
]
