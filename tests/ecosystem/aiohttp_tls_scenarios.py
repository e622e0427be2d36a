"""What programs do with aiohttp over TLS, both ends on the same loop; `folder` holds the certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp_scenarios import GRACE_SECONDS, PATTERN, UNLIMITED, Handler

NAME = "rasyncio.test"


def server_side(folder: str) -> ssl.SSLContext:
    """Shows its certificate, and asks for one that the same authority signed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=Path(folder) / "authority.pem")
    context.load_cert_chain(Path(folder) / "server.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_side(folder: str, certificate: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=Path(folder) / "authority.pem")
    if certificate:
        context.load_cert_chain(Path(folder) / certificate)
    return context


@asynccontextmanager
async def serving(handler: Handler, folder: str) -> AsyncIterator[tuple[str, int]]:
    """A TLS server on a free port that gives every request to one handler; the address."""
    application = web.Application(client_max_size=64 * 2**20)
    application.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=GRACE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_side(folder)).start()
        yield runner.addresses[0][:2]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(
    address: tuple[str, int], context: ssl.SSLContext, **options: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose addresses begin at the server, and which expects it to show `NAME`."""
    connector = aiohttp.TCPConnector(ssl=context, **options)
    async with aiohttp.ClientSession(
        f"https://{address[0]}:{address[1]}", connector=connector, timeout=UNLIMITED
    ) as session:
        yield session


async def requests(folder: str, size: int) -> Any:
    """Who asks is known by the certificate; one connection serves all, and another after it was closed."""
    connections: set[Any] = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        connections.add(request.transport.get_extra_info("peername"))
        shown = request.transport.get_extra_info("peercert")
        seen = {
            "scheme": request.scheme,
            "version": request.transport.get_extra_info("ssl_object").version(),
            "client": dict(shown["subjectAltName"])["DNS"] if shown else None,
            "bytes": len(await request.read()),
        }
        return web.json_response(seen, headers={"Connection": "close" if request.query else "keep-alive"})

    body = (PATTERN * (size // len(PATTERN) + 1))[:size]
    seen = []
    async with serving(handler, folder) as address:
        for certificate in ("client.pem", None):
            async with client_of(address, client_side(folder, certificate)) as session:
                for path in ("/", "/", "/?last=yes", "/"):
                    async with session.post(path, data=body, server_hostname=NAME) as response:
                        seen.append(await response.json())
    unlike = [answer for answer in seen if answer["scheme"] != "https" or answer["version"] != "TLSv1.3"]
    return {
        "unlike": unlike,
        "clients": [answer["client"] for answer in seen],
        "bytes": [answer["bytes"] for answer in seen],
        "connections": len(connections),
    }


async def stream(folder: str, pieces: int) -> Any:
    """A long body to a client that does not read at first, and a file."""
    path = Path(folder) / "pattern.bin"
    path.write_bytes(PATTERN * 20)
    held_back, finished = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/file":
            return web.FileResponse(path)
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(pieces):
            writing = asyncio.ensure_future(response.write(PATTERN))
            await asyncio.sleep(0)
            if not writing.done():
                held_back.set()
            await writing
        finished.set()
        return response

    async with (
        serving(handler, folder) as address,
        client_of(address, client_side(folder)) as session,
    ):
        async with session.get("/", server_hostname=NAME) as response:
            await held_back.wait()
            waited = not finished.is_set()
            whole = await response.read() == PATTERN * pieces
        async with session.get("/file", server_hostname=NAME) as response:
            file = await response.read() == PATTERN * 20
    return {"server waited": waited, "whole": whole, "file": file}


async def websocket(folder: str, messages: int) -> Any:
    async def handler(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data[::-1])
        return socket

    async with (
        serving(handler, folder) as address,
        client_of(address, client_side(folder)) as session,
        session.ws_connect("/", max_msg_size=0, server_hostname=NAME) as socket,
    ):
        sent = [PATTERN[number : number * 2] for number in range(messages)] + [PATTERN * 16]
        for message in sent:
            await socket.send_bytes(message)
        echoed = [await socket.receive_bytes() for _ in sent]
        await socket.close()
        return [echoed == [message[::-1] for message in sent], socket.closed, socket.close_code]


async def refusals(folder: str) -> Any:
    """A certificate for another name or from nobody, a client without TLS; the next one is served."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text="served")

    async def attempt(address: tuple[str, int], context: ssl.SSLContext, name: str) -> str:
        try:
            async with (
                client_of(address, context) as session,
                session.get("/", server_hostname=name) as response,
            ):
                return await response.text()
        except aiohttp.ClientConnectorError as error:
            return type(error).__name__

    # In debug mode a server reports each handshake that fails.
    asyncio.get_running_loop().set_debug(False)
    async with serving(handler, folder) as address:
        trusting = client_side(folder)
        seen: list[object] = [
            await attempt(address, trusting, "other.test"),
            await attempt(address, ssl.create_default_context(), NAME),
        ]
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        seen.append((await reader.read()).startswith(b"HTTP/1.1 200"))
        writer.close()
        await writer.wait_closed()
        seen.append(await attempt(address, trusting, NAME))
    return seen
