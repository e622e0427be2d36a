"""An echo server of datagrams on asyncio.DatagramProtocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from harness.server_rows import ServerRow


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast(), not an assertion: not every rival's transport is an instance of asyncio.DatagramTransport.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class Bound:
    """One transport in the place of a server."""

    def __init__(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    @property
    def sockets(self) -> Sequence[Any]:
        return [self._transport.get_extra_info("socket")]

    def close(self) -> None:
        self._transport.close()


async def serve() -> Bound:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    return Bound(transport)


def echo(name: str, connections: int, size: int, messages: int) -> ServerRow:
    return ServerRow(name, "datagrams", "message", connections, size, messages, serve, "udp", limit="udp")


ROWS = [
    echo("udp_echo_1k_x1", 1, 1024, 30_000),
    echo("udp_echo_1k_x64", 64, 1024, 100_000),
]
