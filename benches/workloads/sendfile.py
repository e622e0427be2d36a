"""A file of 10 MiB sent to a thread that counts its bytes, through a transport and through a socket."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable
from typing import IO, Any, cast

from harness.loop_rows import LoopRow

SIZE = 10 * 1024 * 1024


class Receiver(threading.Thread):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock
        self.received = 0

    def run(self) -> None:
        memory = bytearray(1 << 20)
        while count := self.sock.recv_into(memory):
            self.received += count


async def through_transport(ours: socket.socket, file: IO[bytes], files: int) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
    for _ in range(files):
        await loop.sendfile(cast(Any, transport), file)
    transport.close()
    await asyncio.sleep(0)


async def through_socket(ours: socket.socket, file: IO[bytes], files: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(files):
        await loop.sock_sendfile(ours, file)


def sending(
    send: Callable[[socket.socket, IO[bytes], int], Awaitable[None]],
) -> Callable[[int], Awaitable[int]]:
    async def body(operations: int) -> int:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        receiver = Receiver(peer)
        with peer, tempfile.TemporaryFile() as file:
            file.truncate(SIZE)
            receiver.start()
            with ours:
                await send(ours, cast("IO[bytes]", file), operations)
            receiver.join()
        if receiver.received != operations * SIZE:
            raise AssertionError(f"{receiver.received} bytes of {operations} files arrived")
        return operations

    return body


ROWS = [
    LoopRow("sendfile_10m", "files", "file", 100, sending(through_transport)),
    LoopRow("sock_sendfile_10m", "files", "file", 100, sending(through_socket)),
]
