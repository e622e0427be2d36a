"""A TCP echo server on asyncio's streams."""

from __future__ import annotations

import asyncio

from harness.server_rows import ServerRow

READ_SIZE = 64 * 1024


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ_SIZE):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve() -> asyncio.Server:
    return await asyncio.start_server(echo, "127.0.0.1", 0)


ROWS = [ServerRow("streams_echo_1k_x64", "streams", "message", 64, 1024, 60_000, serve, limit="tcp")]
