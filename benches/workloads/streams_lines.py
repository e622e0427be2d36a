"""Lines through asyncio's streams: many that came at once, and one after the other as question and answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.loop_rows import LoopRow

LINE = b"x" * 99 + b"\n"
LINES_AT_ONCE = 100

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def opened(sock: socket.socket) -> AsyncIterator[Stream]:
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def readline(operations: int) -> int:
    ours, peer = socket.socketpair()
    block = LINE * LINES_AT_ONCE
    rounds = max(1, operations // LINES_AT_ONCE)
    with peer:
        async with opened(ours) as (reader, _):
            for _ in range(rounds):
                peer.sendall(block)
                for _ in range(LINES_AT_ONCE):
                    await reader.readline()
    return rounds * LINES_AT_ONCE


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()


async def ping_pong(operations: int) -> int:
    client, server = socket.socketpair()
    async with opened(server) as stream:
        answering = asyncio.ensure_future(answer(*stream))
        async with opened(client) as (reader, writer):
            for _ in range(operations):
                writer.write(LINE)
                await reader.readline()
        await answering
    return operations


ROWS = [
    LoopRow("streams_readline", "streams", "line", 500_000, readline),
    LoopRow("streams_ping_pong", "streams", "question", 50_000, ping_pong),
]
