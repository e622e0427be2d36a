"""Doing one thing very often leaves memory and objects where they were.

RASYNCIO_SOAK multiplies the counts: at 100 it is ten million call_soon and a million tasks.
"""

from __future__ import annotations

import os
import textwrap
from typing import Any

import pytest

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))

pytestmark = [pytest.mark.soak, pytest.mark.hang_limit(120 + 60 * SCALE)]

BLOCKS_ALLOWED = 400
"""What caches and free lists of the interpreter may take; one object lost per round would be thousands."""

BYTES_ALLOWED = 3 * 1024 * 1024
"""What the allocators may take for themselves between two measurements."""

PREAMBLE = """
    import asyncio, concurrent.futures, contextvars, gc, os, resource, signal, socket, sys, threading

    PAGE = resource.getpagesize()
    COUNT = int(sys.argv[1])

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * PAGE

    def measure(work, batch=1000):
        \"\"\"Prints what COUNT rounds left behind, after a few that fill the caches.\"\"\"
        for _ in range(3):
            work(batch)
        gc.collect()
        blocks, size, descriptors = sys.getallocatedblocks(), resident(), len(os.listdir("/proc/self/fd"))
        for _ in range(max(COUNT // batch, 1)):
            work(batch)
        gc.collect()
        print(sys.getallocatedblocks() - blocks, resident() - size,
              len(os.listdir("/proc/self/fd")) - descriptors)

    def nothing(*_arguments):
        pass

    loop = aio.new_event_loop()

    def turn():
        loop.call_soon(loop.stop)
        loop.run_forever()
"""

WORKS: dict[str, tuple[int, str]] = {
    "call_soon": (
        100_000,
        """
        def work(count):
            for _ in range(count):
                loop.call_soon(nothing, 1, 2)
            turn()
        """,
    ),
    "call_soon_with_a_context_and_cancelled": (
        20_000,
        """
        context = contextvars.copy_context()
        def work(count):
            for _ in range(count):
                loop.call_soon(nothing, [], context=context).cancel()
            turn()
        """,
    ),
    "call_soon_threadsafe": (
        50_000,
        """
        def work(count):
            def from_a_thread():
                for _ in range(count):
                    loop.call_soon_threadsafe(nothing, 1)
                loop.call_soon_threadsafe(loop.stop)
            thread = threading.Thread(target=from_a_thread)
            thread.start()
            loop.run_forever()
            thread.join()
        """,
    ),
    "raising_callbacks": (
        5_000,
        """
        loop.set_exception_handler(nothing)
        def fail():
            raise ValueError
        def work(count):
            for _ in range(count):
                loop.call_soon(fail)
            turn()
        """,
    ),
    "timers_that_fire": (
        50_000,
        """
        def work(count):
            for _ in range(count):
                loop.call_later(0, nothing, 1)
            turn()
        """,
    ),
    "timers_that_are_cancelled": (
        100_000,
        """
        def work(count):
            for _ in range(count):
                loop.call_later(3600, nothing, []).cancel()
            turn()
        """,
    ),
    "timers_cancelled_when_there_are_many": (
        20_000,
        """
        def work(count):
            for handle in [loop.call_later(3600 + number, nothing) for number in range(count)]:
                handle.cancel()
            turn()
        """,
    ),
    "futures": (
        50_000,
        """
        def work(count):
            for _ in range(count):
                future = loop.create_future()
                future.add_done_callback(nothing)
                future.add_done_callback(nothing)
                future.set_result([])
                cancelled = loop.create_future()
                cancelled.add_done_callback(nothing)
                cancelled.cancel("why")
            turn()
        """,
    ),
    "futures_with_exceptions_never_retrieved": (
        5_000,
        """
        loop.set_exception_handler(nothing)
        def work(count):
            for _ in range(count):
                loop.create_future().set_exception(ValueError([]))
            turn()
        """,
    ),
    "tasks": (
        10_000,
        """
        async def child():
            return []
        def work(count):
            async def main():
                for _ in range(count):
                    await asyncio.ensure_future(child())
            loop.run_until_complete(main())
        """,
    ),
    "tasks_that_switch": (
        20_000,
        """
        async def child():
            for _ in range(10):
                await asyncio.sleep(0)
        def work(count):
            async def main():
                await asyncio.gather(*(child() for _ in range(count // 10)))
            loop.run_until_complete(main())
        """,
    ),
    "tasks_cancelled_and_failing": (
        10_000,
        """
        async def child(future):
            await future
        async def fail():
            raise ValueError
        def work(count):
            async def main():
                for _ in range(count // 2):
                    task = asyncio.ensure_future(child(loop.create_future()))
                    failing = asyncio.ensure_future(fail())
                    await asyncio.sleep(0)
                    task.cancel("why")
                    await asyncio.wait([task, failing])
                    failing.exception()
            loop.run_until_complete(main())
        """,
    ),
    "tasks_in_groups_with_timeouts": (
        3_000,
        """
        def work(count):
            async def main():
                for _ in range(count // 3):
                    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                        group.create_task(asyncio.sleep(0))
                        group.create_task(asyncio.wait_for(asyncio.sleep(0), 60))
            loop.run_until_complete(main())
        """,
    ),
    "futures_that_wake_tasks": (
        20_000,
        """
        def work(count):
            async def main():
                for _ in range(count):
                    future = loop.create_future()
                    loop.call_soon(future.set_result, [])
                    await future
            loop.run_until_complete(main())
        """,
    ),
    "asynchronous_generators": (
        5_000,
        """
        async def numbers():
            yield []
            yield []
        def work(count):
            async def main():
                for _ in range(count):
                    async for _ in numbers():
                        break
                    await asyncio.sleep(0)
            loop.run_until_complete(main())
        """,
    ),
    "calls_in_the_executor": (
        3_000,
        """
        def work(count):
            async def main():
                for _ in range(count // 10):
                    await asyncio.gather(*(loop.run_in_executor(None, nothing, []) for _ in range(10)))
            loop.run_until_complete(main())
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(2))
        """,
    ),
    "coroutines_of_sockets": (
        10_000,
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        def work(count):
            async def main():
                for _ in range(count // 2):
                    reading = asyncio.ensure_future(loop.sock_recv(ours, 100))
                    await asyncio.sleep(0)
                    theirs.send(b"data")
                    await reading
                    await loop.sock_sendall(ours, b"data")
                    theirs.recv(100)
                    cancelled = asyncio.ensure_future(loop.sock_recv(ours, 100))
                    await asyncio.sleep(0)
                    cancelled.cancel()
                    await asyncio.wait([cancelled])
                    loop.sock_recv(ours, 100).close()
            loop.run_until_complete(main())
        """,
    ),
    "readers_and_writers": (
        10_000,
        """
        ours, theirs = socket.socketpair()
        def work(count):
            for _ in range(count):
                loop.add_reader(ours, nothing, [])
                loop.add_writer(ours, nothing, [])
                loop.add_reader(ours, nothing, [])
                loop.remove_reader(ours)
                loop.remove_writer(ours)
            turn()
        """,
    ),
    "addresses": (
        3_000,
        """
        def work(count):
            async def main():
                for _ in range(count):
                    await loop.getaddrinfo("127.0.0.1", 80)
            loop.run_until_complete(main())
        """,
    ),
    "lookups": (
        10_000,
        """
        def work(count):
            async def main():
                for _ in range(count // 100):
                    lookups = [asyncio.ensure_future(loop.getaddrinfo("localhost", 80)) for _ in range(100)]
                    await asyncio.sleep(0)
                    for lookup in lookups[50:]:
                        lookup.cancel()
                    await asyncio.wait(lookups)
                    await loop.getnameinfo(("127.0.0.1", 80))
            loop.run_until_complete(main())
            assert len(os.listdir("/proc/self/task")) <= 33
        """,
    ),
    "signal_handlers": (
        3_000,
        """
        def work(count):
            for _ in range(count):
                loop.add_signal_handler(signal.SIGUSR1, nothing, [])
                os.kill(os.getpid(), signal.SIGUSR1)
                turn()
                loop.remove_signal_handler(signal.SIGUSR1)
        """,
    ),
    "loops": (
        2_000,
        """
        def work(count):
            for _ in range(count // 5):
                fresh = aio.new_event_loop()
                fresh.call_later(3600, nothing, fresh)
                fresh.call_soon(nothing, fresh)
                fresh.call_soon(fresh.stop)
                fresh.run_forever()
                fresh.call_soon(nothing, fresh)
                fresh.close()
        """,
    ),
    "runs": (
        1_000,
        """
        async def main():
            asyncio.ensure_future(asyncio.sleep(3600))
            await asyncio.sleep(0)
        def work(count):
            for _ in range(count // 5):
                aio.run(main())
        """,
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_nothing_is_left_of(script: Any, name: str) -> None:
    count, source = WORKS[name]
    program = "\n".join(map(textwrap.dedent, (PREAMBLE, source, "measure(work)\nloop.close()\n")))
    done = script(program, str(count * SCALE), timeout=110 + 60 * SCALE)
    assert done.stderr == ""
    blocks, size, descriptors = map(int, done.stdout.split())
    assert blocks < BLOCKS_ALLOWED, f"{blocks} blocks of memory are left after {count * SCALE} rounds"
    assert size < BYTES_ALLOWED, f"{size} bytes are left after {count * SCALE} rounds"
    assert descriptors <= 0
