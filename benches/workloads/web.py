"""Web servers and clients that people use: aiohttp, uvicorn, websockets."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from harness.loop_rows import SERVER, LoopRow
from harness.server_rows import ServerRow
from harness.servers import http_server

BODY = b"Hello, world!"
SIDE_BY_SIDE = 50
MESSAGE = b"x" * 1024


class Listening:
    """A listening socket in the place of a server that is ended with its process."""

    def __init__(self) -> None:
        # With its protocol named, as create_server() has it: asyncio sets TCP_NODELAY only then.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        self.sockets = [listener]

    def close(self) -> None:
        self.sockets[0].close()


async def serve_aiohttp() -> Listening:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type="text/plain")

    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    listening = Listening()
    await web.SockSite(runner, listening.sockets[0]).start()
    return listening


class Uvicorn(Listening):
    """Keeps the task in which it serves."""

    def __init__(self) -> None:
        super().__init__()
        import uvicorn

        config = uvicorn.Config(
            hello_asgi, http="httptools", lifespan="off", log_level="warning", access_log=False
        )
        self.task = asyncio.create_task(uvicorn.Server(config).serve(self.sockets))


async def hello_asgi(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def serve_uvicorn() -> Uvicorn:
    return Uvicorn()


async def aiohttp_client(operations: int) -> int:
    import aiohttp

    url = os.environ[SERVER]
    rounds = max(1, operations // SIDE_BY_SIDE)
    async with aiohttp.ClientSession() as session:

        async def fetch() -> bytes:
            async with session.get(url) as response:
                return await response.read()

        for _ in range(rounds):
            if set(await asyncio.gather(*[fetch() for _ in range(SIDE_BY_SIDE)])) != {BODY}:
                raise AssertionError("another answer")
    return rounds * SIDE_BY_SIDE


async def websockets_echo(operations: int) -> int:
    """Both ends are in this process; the CPU time is of both."""
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None) as connection:
            for _ in range(operations):
                await connection.send(MESSAGE)
                if await connection.recv() != MESSAGE:
                    raise AssertionError("another answer")
    return operations


def server_row(name: str, serve: Any, *packages: str) -> ServerRow:
    connections, messages = 64, 20_000
    return ServerRow(
        name, "web", "request", connections, 1, messages, serve, "http", limit="http", packages=packages
    )


ROWS = [
    server_row("aiohttp_server_x64", serve_aiohttp, "aiohttp"),
    server_row("uvicorn_server_x64", serve_uvicorn, "uvicorn", "httptools"),
    LoopRow(
        "aiohttp_client_x50", "web", "request", 10_000, aiohttp_client, http_server, packages=("aiohttp",)
    ),
    LoopRow("websockets_echo_1k", "web", "message", 10_000, websockets_echo, packages=("websockets",)),
]
