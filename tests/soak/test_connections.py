"""Connections opened and closed by the thousand leave memory, descriptors and objects where they were."""

from __future__ import annotations

import os
from typing import Any

import pytest
from measuring import MEASURING

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))
CONNECTIONS = 2000 * SCALE

pytestmark = [pytest.mark.soak, pytest.mark.hang_limit(120 + 60 * SCALE)]

MEASURED = (
    MEASURING
    + """
    import struct

    class Echo(asyncio.Protocol):
        def __init__(self):
            alive.add(self)

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    class BufferedEcho(asyncio.BufferedProtocol):
        def __init__(self):
            alive.add(self)
            self.buffer = bytearray(1000)

        def connection_made(self, transport):
            self.transport = transport

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            self.transport.write(bytes(self.buffer[:nbytes]))

    class Question(asyncio.Protocol):
        def __init__(self):
            alive.add(self)
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            self.transport = transport
            transport.write(b"question")

        def data_received(self, data):
            self.transport.close()

        def connection_lost(self, exc):
            if not self.lost.done():
                self.lost.set_result(None)

    async def ask(loop, address):
        transport, protocol = await loop.create_connection(Question, *address)
        alive.add(transport)
        await protocol.lost

    async def ask_streams(loop, address):
        reader, writer = await aio.open_connection(*address)
        alive.add(reader)
        writer.write(b"question")
        await reader.readexactly(8)
        writer.close()
        await writer.wait_closed()

    async def ask_and_reset(loop, address):
        transport, protocol = await loop.create_connection(Question, *address)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        await protocol.lost

    async def refused(loop, address):
        try:
            await loop.create_connection(Question, "127.0.0.1", 1)
        except ConnectionRefusedError:
            return
        raise AssertionError("somebody listens on port 1")

    async def cancelled(loop, address):
        task = asyncio.ensure_future(loop.create_connection(Question, *address))
        await asyncio.sleep(0)
        task.cancel()
        try:
            transport, _ = await task
            transport.abort()
        except asyncio.CancelledError:
            pass

    async def ask_sock(loop, address):
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            await loop.sock_sendall(sock, b"question")
            received = b""
            while len(received) < 8:
                received += await loop.sock_recv(sock, 8)

    async def main(loop, work, protocol, count):
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        await measure(work, (loop, address), count)
        server.close()
        await server.wait_closed()

    loop = aio.new_event_loop()
    work, protocol, count = sys.argv[1:]
    loop.run_until_complete(main(loop, globals()[work], globals()[protocol], int(count)))
    loop.close()
"""
)


@pytest.mark.parametrize(
    ("work", "protocol"),
    [
        ("ask", "Echo"),
        ("ask", "BufferedEcho"),
        ("ask_streams", "Echo"),
        ("ask_and_reset", "Echo"),
        ("ask_sock", "Echo"),
        ("refused", "Echo"),
        ("cancelled", "Echo"),
    ],
)
def test_connections_leave_everything_where_it_was(script: Any, work: str, protocol: str) -> None:
    result = script(MEASURED, work, protocol, str(CONNECTIONS), timeout=100 + 60 * SCALE)
    assert (result.stderr, result.returncode) == ("", 0)
    # A page kept per ten connections is 800 KiB here and grows with the count; an allocator's slack does not.
    assert int(result.stdout) < 1_000_000, (
        f"{CONNECTIONS} connections left {result.stdout.strip()} bytes behind"
    )


LOOPS = (
    MEASURING
    + """
    async def handle(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async def main():
        async with await aio.start_server(handle, "127.0.0.1", 0) as server:
            reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"question\\n")
            assert await reader.readline() == b"question\\n"
            writer.close()
            await writer.wait_closed()

    def loops(count):
        for _ in range(count):
            loop = aio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before, memory = loops(100), resident()
    after, grown = loops(int(sys.argv[1])), resident() - memory
    assert before == after, (before, after)
    print(grown)
"""
)


def test_loops_with_a_server_each_leave_everything_where_it_was(script: Any) -> None:
    result = script(LOOPS, str(CONNECTIONS // 4), timeout=100 + 60 * SCALE)
    assert (result.stderr, result.returncode) == ("", 0)
    assert int(result.stdout) < 1_000_000, (
        f"{CONNECTIONS // 4} loops left {result.stdout.strip()} bytes behind"
    )
