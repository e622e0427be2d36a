"""Scenarios that do something wrong, to see that it is noticed."""

from __future__ import annotations

import asyncio
import logging


async def leave_an_exception_unread() -> None:
    async def failing() -> None:
        raise ValueError("nobody asks for this")

    task = asyncio.create_task(failing())
    await asyncio.wait([task])


async def leave_a_connection_open() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, _ = await asyncio.open_connection("127.0.0.1", port)
    await reader.read()
    server.close()
    await server.wait_closed()


async def raise_in_a_callback() -> None:
    def callback() -> None:
        raise ValueError("from a callback")

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)


async def forget_to_await() -> None:
    forgotten = asyncio.sleep(0)
    del forgotten


async def log_a_warning() -> None:
    logging.getLogger("asyncio").warning("something is odd")
