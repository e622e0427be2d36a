"""A file of 10 MiB sent over TCP to a process that counts the bytes, through a transport and a socket."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable
from typing import IO, Any, cast

from harness.loop_rows import SERVER, LoopRow
from harness.servers import sink

SIZE = 10 * 1024 * 1024


async def through_transport(sock: socket.socket, file: IO[bytes], files: int) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock.dup())
    for _ in range(files):
        await loop.sendfile(cast(Any, transport), file)
    transport.close()
    await asyncio.sleep(0)


async def through_socket(sock: socket.socket, file: IO[bytes], files: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(files):
        await loop.sock_sendfile(sock, file)


def sending(
    send: Callable[[socket.socket, IO[bytes], int], Awaitable[None]],
) -> Callable[[int], Awaitable[int]]:
    async def body(operations: int) -> int:
        port = int(os.environ[SERVER])
        with socket.create_connection(("127.0.0.1", port)) as sock, tempfile.TemporaryFile() as file:
            file.truncate(SIZE)
            sock.setblocking(False)
            await send(sock, cast("IO[bytes]", file), operations)
            sock.setblocking(True)
            sock.shutdown(socket.SHUT_WR)
            received = int(sock.makefile().read())
        if received != operations * SIZE:
            raise AssertionError(f"{received} bytes of {operations} files arrived")
        return operations

    return body


ROWS = [
    LoopRow("sendfile_10m", "files", "file", 100, sending(through_transport), sink),
    LoopRow("sock_sendfile_10m", "files", "file", 100, sending(through_socket), sink),
]
