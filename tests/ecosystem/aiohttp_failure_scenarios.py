"""What programs do with aiohttp when something goes wrong at one end, or when it is time to stop."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp_scenarios import PATTERN, UNLIMITED, client_of, serving


def names_of(error: BaseException) -> list[str]:
    """The classes an ``except`` would catch it by, as far as they are public knowledge."""
    return [kind.__name__ for kind in type(error).__mro__]


async def client_leaves_in_the_middle() -> Any:
    """The client closes its connection while the server writes: the handler ends, others are served."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/short":
            return web.Response(text="served")
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(PATTERN)
        except ConnectionError:
            ended.set_result("connection lost")
        return response

    async with client_of(handler) as session:
        response = await session.get("/endless")
        first = await response.content.readexactly(1000)
        response.close()
        how = await ended
        async with session.get("/short") as short:
            after = await short.text()
    return {"first": first == PATTERN[:1000], "handler": how, "after": after}


async def client_leaves_while_the_server_thinks() -> Any:
    """With handler_cancellation a handler is cancelled as soon as nobody waits for its answer."""
    thinking = asyncio.Event()
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.StreamResponse:
        thinking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set_result("cancelled")
            raise
        return web.Response()

    async with client_of(handler, handler_cancellation=True) as session:
        asking = asyncio.create_task(session.get("/"))
        await thinking.wait()
        asking.cancel()
        await asyncio.wait([asking])
        return {"client": asking.cancelled(), "handler": await ended}


async def server_leaves_in_the_middle() -> Any:
    """The server breaks the connection before all that it announced is sent."""

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if request.path == "/at-once":
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        await response.write(b"the beginning")
        request.transport.close()
        return response

    raised = []
    async with client_of(handler) as session:
        try:
            async with session.get("/in-the-middle") as response:
                await response.read()
        except aiohttp.ClientPayloadError as error:
            raised.append("ClientPayloadError" in names_of(error))
        try:
            await session.post("/at-once")
        except aiohttp.ClientConnectionError as error:
            raised.append("OSError" in names_of(error) or "ServerDisconnectedError" in names_of(error))
    return raised


async def timeouts() -> Any:
    """aiohttp's own limits for the whole request and for one read, and asyncio's around it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if request.path == "/body":
            await response.prepare(request)
            await response.write(b"something")
        await asyncio.Event().wait()
        return response

    raised = []
    async with client_of(handler, handler_cancellation=True) as session:
        for path in ("/head", "/body"):
            for limit in (aiohttp.ClientTimeout(total=0.05), aiohttp.ClientTimeout(sock_read=0.05)):
                try:
                    async with session.get(path, timeout=limit) as response:
                        await response.read()
                except TimeoutError as error:
                    raised.append([path, "ServerTimeoutError" in names_of(error)])
        try:
            async with asyncio.timeout(0.05), session.get("/head") as response:
                await response.read()
        except TimeoutError as error:
            raised.append(["outside", "ServerTimeoutError" in names_of(error)])
    return raised


async def nobody_listens() -> Any:
    """A port where nothing listens."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    raised = []
    async with aiohttp.ClientSession() as session:
        try:
            await session.get(f"http://127.0.0.1:{port}/")
        except aiohttp.ClientConnectorError as error:
            raised.append([type(error).__name__, type(error.os_error).__name__])
    return raised


async def handler_raises() -> Any:
    """An HTTP error raised by a handler is the answer to that request and nothing else."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/bad":
            raise web.HTTPInternalServerError(text="caught")
        return web.Response(text="good")

    seen = []
    async with client_of(handler) as session:
        for path in ("/good", "/bad", "/good"):
            async with session.get(path) as response:
                seen.append([response.status, await response.text()])
    return seen


async def graceful_shutdown() -> Any:
    """A request that is being served when the server stops is answered; a new one is refused."""
    inside, stopped, may_go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    order: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        inside.set()
        await may_go_on.wait()
        order.append("answered")
        return web.Response(text="finished")

    async def on_shutdown(application: web.Application) -> None:
        order.append("shutdown")
        stopped.set()

    async def on_cleanup(application: web.Application) -> None:
        order.append("cleanup")

    application = web.Application()
    application.router.add_get("/", handler)
    application.on_shutdown.append(on_shutdown)
    application.on_cleanup.append(on_cleanup)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=30)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = "http://{}:{}/".format(*runner.addresses[0][:2])
    async with aiohttp.ClientSession(timeout=UNLIMITED) as session, aiohttp.ClientSession() as late:
        asking = asyncio.create_task(session.get(address))
        await inside.wait()
        stopping = asyncio.create_task(runner.cleanup())
        await stopped.wait()
        try:
            await late.get(address)
        except aiohttp.ClientConnectorError:
            order.append("refused")
        may_go_on.set()
        async with await asking as response:
            answer = await response.text()
        await stopping
    # Whether the client has read its answer before or after the cleanup is left to the loop.
    return {"order": order, "answer": answer}


async def raw_requests() -> Any:
    """A client that is no HTTP library: pipelined requests in odd pieces, and nonsense."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"[{request.method} {request.path} {await request.text()}]")

    async def talk(port: int, *pieces: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
        return received

    pipelined = (
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Le",
        b"ngth: 5\r\n\r\nhe",
        b"lloGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    async with serving(handler) as address:
        port = int(address.rpartition(":")[2])
        answered = await talk(port, *pipelined)
        nonsense = await talk(port, b"\x16\x03\x01 this is no request\r\n\r\n")
    bodies = [part.partition(b"]")[0].decode() for part in answered.split(b"[")[1:]]
    return {
        "bodies": bodies,
        "nonsense": nonsense.split(b"\r\n")[0].decode(),
    }
