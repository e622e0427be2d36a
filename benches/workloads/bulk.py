"""Much in one direction, over TCP and over TLS: 1 MiB is received and 1 KiB sent, or the other way round."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from harness.certificates import server_context
from harness.server_rows import ServerRow

LARGE = 1024 * 1024
SMALL = 1024


class Receiver(asyncio.Protocol):
    """Answers so many bytes with the first few of them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast(), not an assertion: not every rival's transport is an instance of asyncio.Transport.
        self.transport = cast(asyncio.Transport, transport)
        self.answer = b""
        self.received = 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if len(self.answer) < SMALL:
            self.answer += data[: SMALL - len(self.answer)]
        if self.received == LARGE:
            self.transport.write(self.answer)
            self.answer = b""
            self.received = 0


class Sender(asyncio.Protocol):
    """Answers a few bytes, which come as a whole, with many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data * (LARGE // SMALL))


def row(name: str, protocol: Callable[[], asyncio.Protocol], kind: str, size: int, answer: int) -> ServerRow:
    async def serve() -> asyncio.Server:
        context: ssl.SSLContext | None = server_context() if kind == "tls" else None
        return await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=context)

    group = "tls" if kind == "tls" else "sockets"
    return ServerRow(name, group, "message", 4, size, 1_000, serve, kind, answer=answer)


ROWS = [
    row("tls_upload_1m_x4", Receiver, "tls", LARGE, SMALL),
    row("tls_download_1m_x4", Sender, "tls", SMALL, LARGE),
    row("tcp_upload_1m_x4", Receiver, "tcp", LARGE, SMALL),
    row("tcp_download_1m_x4", Sender, "tcp", SMALL, LARGE),
]
