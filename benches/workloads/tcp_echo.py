"""A TCP echo server on asyncio.Protocol."""

from __future__ import annotations

import asyncio
from typing import cast

from harness.server_rows import ServerRow


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast(), not an assertion: not every rival's transport is an instance of asyncio.Transport.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve() -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)


def echo(name: str, connections: int, size: int, messages: int) -> ServerRow:
    return ServerRow(name, "sockets", "message", connections, size, messages, serve)


ROWS = [
    echo("tcp_echo_1k_x1", 1, 1024, 30_000),
    echo("tcp_echo_1k_x64", 64, 1024, 100_000),
    echo("tcp_echo_64k_x16", 16, 64 * 1024, 20_000),
]
