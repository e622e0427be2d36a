"""What a program calls between two awaits: groups, timeouts and the functions that wait for several."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

WIDTH = 1000
# Never reached: what is measured is a timer that is set and given up.
SECONDS = 60.0


async def trivial() -> None:
    pass


async def yield_once() -> None:
    await asyncio.sleep(0)


async def task_group_1000(operations: int) -> int:
    rounds = max(1, operations // WIDTH)
    for _ in range(rounds):
        async with asyncio.TaskGroup() as group:
            for _ in range(WIDTH):
                group.create_task(trivial())
    return rounds * WIDTH


async def wait_for(operations: int) -> int:
    for _ in range(operations):
        await asyncio.wait_for(yield_once(), SECONDS)
    return operations


async def wait_for_future(operations: int) -> int:
    loop = asyncio.get_running_loop()
    for _ in range(operations):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await asyncio.wait_for(future, SECONDS)
    return operations


async def timeout(operations: int) -> int:
    for _ in range(operations):
        async with asyncio.timeout(SECONDS):
            pass
    return operations


async def shield(operations: int) -> int:
    loop = asyncio.get_running_loop()
    for _ in range(operations):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await asyncio.shield(future)
    return operations


async def as_completed_1000(operations: int) -> int:
    rounds = max(1, operations // WIDTH)
    for _ in range(rounds):
        for earliest in asyncio.as_completed([trivial() for _ in range(WIDTH)]):
            await earliest
    return rounds * WIDTH


async def wait_1000(operations: int) -> int:
    rounds = max(1, operations // WIDTH)
    for _ in range(rounds):
        await asyncio.wait([asyncio.create_task(trivial()) for _ in range(WIDTH)])
    return rounds * WIDTH


ROWS = [
    LoopRow("task_group_1000", "tasks", "task", 200_000, task_group_1000),
    LoopRow("wait_for", "tasks", "wait", 100_000, wait_for),
    LoopRow("wait_for_future", "tasks", "wait", 100_000, wait_for_future),
    LoopRow("timeout", "tasks", "block", 200_000, timeout),
    LoopRow("shield", "tasks", "wait", 200_000, shield),
    LoopRow("as_completed_1000", "tasks", "coroutine", 100_000, as_completed_1000),
    LoopRow("wait_1000", "tasks", "task", 200_000, wait_1000),
]
