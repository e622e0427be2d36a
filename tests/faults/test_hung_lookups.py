"""A resolver that hangs: cancelling, closing, forking and exiting wait for nothing.

The C library reads the file that HOSTALIASES names before it asks a name server for a host without a dot. A
FIFO that nobody writes to keeps it there, so no name server is ever asked. Such a thread cannot be
released, so every test is a process of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.rasyncio_only(reason="asyncio's executor waits for the threads of hung lookups"),
]

PREAMBLE = """
    import asyncio, gc, os, signal, socket, sys, time, warnings
    warnings.simplefilter("error")
    os.environ["HOSTALIASES"] = sys.argv[1]
    WORKERS = 32


    def threads():
        return len(os.listdir("/proc/self/task"))


    async def hang(loop, count=1):
        # So many lookups that hang.
        wanted = min(threads() + count, 1 + WORKERS)
        tasks = [asyncio.ensure_future(loop.getaddrinfo("stuck", 80)) for _ in range(count)]
        while threads() < wanted:
            await asyncio.sleep(0)
        return tasks
"""


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = tmp_path / "aliases"
    os.mkfifo(path)
    return str(path)


def output(script: Any, fifo: str, source: str) -> list[str]:
    """What the program printed; it must end by itself, without a complaint."""
    ended = script(PREAMBLE + source, fifo, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()  # type: ignore[no-any-return]


def test_a_cancelled_lookup_ends_at_once_and_others_go_on(script: Any, fifo: str) -> None:
    source = """
    async def main():
        loop = asyncio.get_running_loop()
        [task] = await hang(loop)
        task.cancel()
        await asyncio.wait([task])
        print(task.cancelled(), bool(await loop.getaddrinfo("localhost", 80)))

    aio.run(main())
    """
    assert output(script, fifo, source) == ["True", "True"]


def test_a_lookup_obeys_a_timeout(script: Any, fifo: str) -> None:
    source = """
    async def main():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.open_connection("stuck", 80)
        except TimeoutError:
            print("timeout")

    aio.run(main())
    """
    assert output(script, fifo, source) == ["timeout"]


def test_hung_lookups_occupy_a_bounded_number_of_threads(script: Any, fifo: str) -> None:
    source = """
    async def main():
        loop = asyncio.get_running_loop()
        tasks = await hang(loop, 500)
        print(threads(), sum(task.done() for task in tasks))
        # What needs no lookup is answered all the same.
        print(bool(await loop.getaddrinfo("127.0.0.1", 80)))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        print(sum(task.cancelled() for task in tasks))

    aio.run(main())
    """
    assert output(script, fifo, source) == ["33", "0", "True", "500"]


def test_a_loop_is_closed_with_lookups_under_way(script: Any, fifo: str) -> None:
    source = """
    import weakref

    async def main():
        return await hang(asyncio.get_running_loop(), 40)

    loop = aio.new_event_loop()
    tasks = loop.run_until_complete(main())
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()
    known = weakref.ref(loop)
    del task, tasks, loop
    gc.collect()
    print(known())
    """
    assert output(script, fifo, source) == ["None"]


@pytest.mark.parametrize("closing", ["loop.close()", "pass"])
def test_the_interpreter_ends_with_a_lookup_under_way(script: Any, fifo: str, closing: str) -> None:
    source = f"""
    loop = aio.new_event_loop()
    lookups = loop.run_until_complete(hang(loop, 3))
    for lookup in lookups:
        lookup._log_destroy_pending = False
    del lookup
    warnings.simplefilter("ignore")
    {closing}
    print("end")
    """
    assert output(script, fifo, source) == ["end"]


def test_a_forked_child_closes_the_loop_and_has_lookups_of_its_own(script: Any, fifo: str) -> None:
    source = """
    warnings.simplefilter("ignore", DeprecationWarning)

    async def ask():
        return bool(await asyncio.get_running_loop().getaddrinfo("localhost", 80))

    async def main():
        loop = asyncio.get_running_loop()
        lookups = await hang(loop, 40)
        child = os.fork()
        if not child:
            signal.alarm(20)
            asyncio._set_running_loop(None)
            for lookup in lookups:
                lookup._log_destroy_pending = False
            loop.close()
            del loop, lookup, lookups
            gc.collect()
            print(aio.run(ask()), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        for lookup in lookups:
            lookup.cancel()
        await asyncio.wait(lookups)

    aio.run(main())
    """
    assert output(script, fifo, source) == ["True", "0"]


def test_signals_reach_the_program_while_lookups_hang(script: Any, fifo: str) -> None:
    source = """
    async def main():
        loop = asyncio.get_running_loop()
        received = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, received.set_result, "signal")
        lookups = await hang(loop, 8)
        os.kill(os.getpid(), signal.SIGUSR1)
        print(await received)
        for lookup in lookups:
            lookup.cancel()

    aio.run(main())
    """
    assert output(script, fifo, source) == ["signal"]
