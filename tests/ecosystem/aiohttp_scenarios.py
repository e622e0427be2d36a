"""What programs do with aiohttp's client and server, both ends on the same loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# A pattern whose period shares nothing with the sizes of buffers: a piece lost or doubled changes the digest.
PATTERN = bytes(range(251)) * 1044
GRACE_SECONDS = 30.0
# No limit of its own: the whole scenario has one.
UNLIMITED = aiohttp.ClientTimeout(total=None)


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """A server on a free port that gives every request to one handler."""
    application = web.Application(client_max_size=64 * 2**20)
    application.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=GRACE_SECONDS, **options)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(handler: Handler, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A server with that handler, and a session whose addresses begin at it."""
    async with (
        serving(handler, **options) as address,
        aiohttp.ClientSession(address, timeout=UNLIMITED) as session,
    ):
        yield session


async def get() -> Any:
    """Paths, queries, headers, cookies, JSON, redirects and errors."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/moved":
            raise web.HTTPFound("/here?from=moved")
        if request.path == "/missing":
            raise web.HTTPNotFound(text="nothing here")
        answer = {
            "path": request.path,
            "query": dict(request.query),
            "header": request.headers.get("X-Name"),
            "cookie": request.cookies.get("flavour"),
        }
        response = web.json_response(answer, headers={"X-Answer": "yes"})
        response.set_cookie("flavour", "ginger")
        return response

    seen = []
    async with client_of(handler) as session:
        session.cookie_jar.update_cookies({"flavour": "vanilla"})
        for path in ("/a%20b?x=1&y=zwei", "/moved"):
            async with session.get(path, headers={"X-Name": "rät"}) as response:
                seen.append([response.status, response.headers["X-Answer"], await response.json()])
        async with session.get("/missing") as response:
            seen.append([response.status, response.reason, await response.text()])
        async with session.head("/a") as response:
            seen.append([response.status, await response.text()])
    return seen


async def post(size: int) -> Any:
    """JSON, forms, files and plain bytes to the server, with their digests back."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.content_type == "application/json":
            return web.json_response({"json": await request.json()})
        if request.content_type == "application/octet-stream":
            body = await request.read()
            return web.json_response({"bytes": len(body), "digest": hashlib.sha256(body).hexdigest()})
        fields: dict[str, object] = {}
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                fields[name] = [value.filename, hashlib.sha256(value.file.read()).hexdigest()]
                value.file.close()
            else:
                fields[name] = value
        return web.json_response(fields)

    body = (PATTERN * (size // len(PATTERN) + 1))[:size]
    form = aiohttp.FormData({"name": "öl"})
    form.add_field("file", body, filename="body.bin", content_type="application/x-body")
    sent: list[dict[str, Any]] = [
        {"json": {"list": [1, 2.5, None], "text": "öl"}},
        {"data": {"name": "öl", "amount": "3"}},
        {"data": form},
        {"data": body, "headers": {"Expect": "100-continue"}},
    ]
    async with client_of(handler) as session:
        seen = []
        for arguments in sent:
            async with session.post("/", **arguments) as response:
                seen.append(await response.json())
    digest = hashlib.sha256(body).hexdigest()
    expected = [sent[0], sent[1]["data"], {"name": "öl", "file": ["body.bin", digest]}]
    return {"equal": seen == [*expected, {"bytes": size, "digest": digest}]}


async def stream_down(pieces: int) -> Any:
    """A long body in pieces to a reader that does not read at first: the server has to wait for it."""
    held_back, finished = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(pieces):
            writing = asyncio.ensure_future(response.write(PATTERN))
            await asyncio.sleep(0)
            if not writing.done():
                held_back.set()
            await writing
        await response.write_eof()
        finished.set()
        return response

    async with client_of(handler) as session, session.get("/") as response:
        either = [asyncio.create_task(event.wait()) for event in (held_back, finished)]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        waited = held_back.is_set() and not finished.is_set()
        for task in either:
            task.cancel()
        amount, digest = 0, hashlib.sha256()
        async for piece in response.content.iter_any():
            amount += len(piece)
            digest.update(piece)
    whole = hashlib.sha256()
    for _ in range(pieces):
        whole.update(PATTERN)
    return {"server waited": waited, "bytes": amount, "equal": digest.digest() == whole.digest()}


async def stream_up(pieces: int) -> Any:
    """A long body from a generator, read by the server piece by piece, with an answer that also streams."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        amount, digest = 0, hashlib.sha256()
        async for piece in request.content.iter_chunked(100_000):
            amount += len(piece)
            digest.update(piece)
        await response.write(f"{amount}\n".encode())
        await response.write(f"{digest.hexdigest()}\n".encode())
        await response.write_eof()
        return response

    sent = hashlib.sha256()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            await asyncio.sleep(0)
            sent.update(PATTERN)
            yield PATTERN

    async with client_of(handler) as session, session.post("/", data=body()) as response:
        lines = [line.decode().strip() async for line in response.content]
    return {"bytes": int(lines[0]), "equal": lines[1] == sent.hexdigest()}


async def send_file(folder: str, copies: int) -> Any:
    """A file whole, a part of it, and one that is not there."""
    path = Path(folder) / "pattern.bin"
    path.write_bytes(PATTERN * copies)

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path if request.path == "/there" else path.with_name("missing"))

    async with client_of(handler) as session:
        async with session.get("/there") as response:
            whole = await response.read() == PATTERN * copies
        async with session.get("/there", headers={"Range": "bytes=100-299"}) as response:
            part = [response.status, await response.read() == PATTERN[100:300]]
        async with session.get("/missing") as response:
            missing = response.status
    return {"whole": whole, "part": part, "missing": missing}


async def websocket(messages: int) -> Any:
    """Text, bytes, JSON, pings, one large message, many small ones, and a close with a code."""

    async def handler(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.data == "close":
                await socket.close(code=4001, message=b"as you wish")
            elif message.type is aiohttp.WSMsgType.TEXT:
                await socket.send_str(message.data.upper())
            else:
                await socket.send_bytes(message.data[::-1])
        return socket

    large = PATTERN * 16
    async with client_of(handler) as session:
        async with session.ws_connect("/", max_msg_size=0, compress=15) as socket:
            await socket.send_str("hör zu")
            seen: list[Any] = [await socket.receive_str()]
            await socket.send_json({"a": [1]})
            seen.append(await socket.receive_json())
            await socket.ping(b"there?")
            await socket.send_bytes(large)
            seen.append(await socket.receive_bytes() == large[::-1])
            for number in range(messages):
                await socket.send_str(f"m{number}")
            echoed = [await socket.receive_str() for _ in range(messages)]
            seen.append(echoed == [f"M{number}" for number in range(messages)])
            await socket.send_str("close")
            last = await socket.receive()
            seen.append([last.type.name, last.data, last.extra, socket.close_code])
        async with session.ws_connect("/") as socket:
            await socket.close(code=4002)
            seen.append([socket.closed, socket.close_code])
    return seen


async def keep_alive(requests: int) -> Any:
    """Requests one after the other use one connection, unless told to close it."""
    clients: set[tuple[str, int]] = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        clients.add(request.transport.get_extra_info("peername"))
        return web.Response(text="x" * 10_000)

    used = []
    for force_close in (False, True):
        clients.clear()
        async with (
            serving(handler) as address,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=force_close)) as session,
        ):
            for _ in range(requests):
                async with session.get(address) as response:
                    await response.read()
        used.append(len(clients))
    return {"kept": used[0], "closed": used[1]}


async def many_at_once(requests: int, connections: int) -> Any:
    """Many requests together over a limited number of connections."""
    inside = most = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        number = int(request.query["n"])
        return web.Response(body=PATTERN[number : number + number * 10])

    async def ask(session: aiohttp.ClientSession, number: int) -> bool:
        async with session.get("/", params={"n": number}) as response:
            return await response.read() == PATTERN[number : number + number * 10]

    async with (
        serving(handler) as address,
        aiohttp.TCPConnector(limit=connections) as connector,
        aiohttp.ClientSession(address, connector=connector, timeout=UNLIMITED) as session,
    ):
        answers = await asyncio.gather(*(ask(session, number) for number in range(requests)))
    return {"right": sum(answers), "at most": most}
