"""Pipes opened and closed by the thousand leave memory, descriptors and objects where they were."""

from __future__ import annotations

import os
from typing import Any

import pytest
from measuring import MEASURING

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))
PIPES = 10_000 * SCALE

pytestmark = [pytest.mark.soak, pytest.mark.hang_limit(120 + 60 * SCALE)]

MEASURED = (
    MEASURING
    + """
    def pipe():
        reading, writing = os.pipe()
        return open(reading, "rb", 0), open(writing, "wb", 0)

    def sockets():
        return socket.socketpair()

    def terminal():
        reading, writing = os.openpty()
        return open(reading, "rb", 0), open(writing, "wb", 0)

    class Keeping(asyncio.Protocol):
        def __init__(self):
            alive.add(self)
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            alive.add(transport)
            self.transport = transport

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def both(loop, ends):
        reading, writing = ends()
        _, reader = await loop.connect_read_pipe(Keeping, reading)
        transport, writer = await loop.connect_write_pipe(Keeping, writing)
        transport.write(b"x" * 100)
        transport.close()
        await writer.lost
        await reader.lost

    async def hang_up(loop, ends):
        reading, writing = ends()
        transport, writer = await loop.connect_write_pipe(Keeping, writing)
        transport.write(b"x" * 70_000)
        reading.close()
        await writer.lost

    async def paused_and_closed(loop, ends):
        reading, writing = ends()
        transport, reader = await loop.connect_read_pipe(Keeping, reading)
        transport.pause_reading()
        transport.resume_reading()
        transport.close()
        await reader.lost
        writing.close()

    async def cancelled(loop, ends):
        reading, writing = ends()
        task = asyncio.ensure_future(loop.connect_read_pipe(Keeping, reading))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        writing.close()

    async def refused(loop, ends):
        with open("/proc/self/stat", "rb") as file:
            try:
                await loop.connect_read_pipe(Keeping, file)
            except ValueError:
                return
        raise AssertionError("a regular file was taken")

    loop = aio.new_event_loop()
    work, ends, count = sys.argv[1:]
    loop.run_until_complete(measure(globals()[work], (loop, globals()[ends]), int(count)))
    loop.close()
"""
)


@pytest.mark.parametrize(
    ("work", "ends"),
    [
        ("both", "pipe"),
        ("both", "sockets"),
        ("both", "terminal"),
        ("hang_up", "pipe"),
        ("paused_and_closed", "pipe"),
        ("cancelled", "pipe"),
        ("refused", "pipe"),
    ],
)
def test_pipes_leave_everything_where_it_was(script: Any, work: str, ends: str) -> None:
    result = script(MEASURED, work, ends, str(PIPES), timeout=100 + 60 * SCALE)
    assert (result.stderr, result.returncode) == ("", 0)
    # A hundred bytes kept per pipe are a megabyte here; an allocator's slack does not grow with the count.
    assert int(result.stdout) < 1_000_000, f"{PIPES} pipes left {result.stdout.strip()} bytes behind"
