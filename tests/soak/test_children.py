"""A thousand children leave memory, descriptors and objects where they were."""

from __future__ import annotations

import os
from typing import Any

import pytest

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))
CHILDREN = 1000 * SCALE

pytestmark = [pytest.mark.soak, pytest.mark.hang_limit(120 + 60 * SCALE)]

MEASURED = """
    import asyncio, gc, os, resource, sys, threading, time, weakref

    PAGE = resource.getpagesize()
    AT_ONCE = 10
    PIPE = asyncio.subprocess.PIPE
    alive = weakref.WeakSet()

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * PAGE

    def held():
        # Those of asyncio's watcher, each of which ends behind its child.
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join()
        gc.collect()
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            zombies = len(file.read().split())
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), zombies, len(alive)

    class Watcher(asyncio.SubprocessProtocol):
        def __init__(self):
            alive.add(self)
            self.lost = asyncio.get_running_loop().create_future()

        def connection_lost(self, exc):
            self.lost.set_result(None)

    async def bare(loop):
        no_pipes = dict.fromkeys(["stdin", "stdout", "stderr"])
        transport, protocol = await loop.subprocess_exec(Watcher, "true", **no_pipes)
        alive.add(transport)
        await protocol.lost
        transport.close()

    async def killed(loop):
        transport, protocol = await loop.subprocess_exec(Watcher, "sleep", "3600")
        alive.add(transport)
        transport.close()
        await protocol.lost

    async def communicating(loop):
        process = await aio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        alive.add(process)
        assert await process.communicate(b"hello") == (b"hello", None)

    async def cancelled(loop):
        starting = asyncio.ensure_future(loop.subprocess_exec(Watcher, "sleep", "3600"))
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])

    async def failing(loop):
        try:
            await loop.subprocess_exec(Watcher, "no such program")
        except FileNotFoundError:
            pass

    async def main(kind, count):
        loop = asyncio.get_running_loop()
        for _ in range(count // AT_ONCE):
            await asyncio.gather(*(kind(loop) for _ in range(AT_ONCE)))

    count, kind = int(sys.argv[1]), globals()[sys.argv[2]]
    loop = aio.new_event_loop()
    loop.run_until_complete(main(kind, 100))
    before, size = held(), resident()
    loop.run_until_complete(main(kind, count))
    # The kernel may list a thread a moment longer than its end.
    deadline = time.monotonic() + 10
    while (after := held()) != before and time.monotonic() < deadline:
        pass
    print(before == after or (before, after), resident() - size < 3 * 1024 * 1024 or resident() - size)
    loop.close()
"""


@pytest.mark.parametrize("kind", ["bare", "killed", "communicating", "cancelled", "failing"])
def test_children_leave_nothing(script: Any, kind: str) -> None:
    finished = script(MEASURED, str(CHILDREN), kind, timeout=100 + 60 * SCALE)
    assert (finished.stdout, finished.stderr) == ("True True\n", "")
