"""Memory of what only waits: tasks, and connections whose other end is another process."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator

from harness.certificates import server_context
from harness.memory_rows import MemoryRow

# Connects so often, says so, and holds the connections until its input ends.
CLIENT = """
import socket, ssl, sys
port, number, over_tls = map(int, sys.argv[1:])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
held = []
for _ in range(number):
    connection = socket.create_connection(("127.0.0.1", port))
    if over_tls:
        connection = context.wrap_socket(connection)
    # An answer shows that the other end has seen the connection.
    connection.sendall(b"?")
    connection.recv(1)
    held.append(connection)
print("ready", flush=True)
sys.stdin.read()
"""


class Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def tasks(number: int) -> AsyncIterator[None]:
    future = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await future

    waiting = [asyncio.create_task(wait()) for _ in range(number)]
    await asyncio.sleep(0)
    yield
    future.set_result(None)
    await asyncio.wait(waiting)


@contextlib.asynccontextmanager
async def connected(number: int, context: ssl.SSLContext | None) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    # The client inherits it.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = await loop.create_server(Answering, "127.0.0.1", 0, ssl=context, backlog=512)
    port = server.sockets[0].getsockname()[1]
    command = [sys.executable, "-c", CLIENT, *map(str, (port, number, int(context is not None)))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdin is not None
        # A thread of the default executor waits for the line.
        if await loop.run_in_executor(None, client.stdout.readline) != b"ready\n":
            raise AssertionError("the client failed")
        yield
        client.stdin.close()
    server.close()


def connections(number: int) -> contextlib.AbstractAsyncContextManager[None]:
    return connected(number, None)


def tls_connections(number: int) -> contextlib.AbstractAsyncContextManager[None]:
    return connected(number, server_context())


ROWS = [
    MemoryRow("idle_task", "memory", "task", 50_000, tasks),
    MemoryRow("idle_connection", "memory", "connection", 10_000, connections),
    MemoryRow("idle_tls_connection", "memory", "connection", 1_000, tls_connections, packages=("trustme",)),
]
