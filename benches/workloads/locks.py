"""Locks and their like, free whenever they are wanted, and wanted by many at a time."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

TASKS = 100
PLACES = 10


Gate = asyncio.Lock | asyncio.Semaphore


async def passed_freely(gate: Gate, operations: int) -> int:
    for _ in range(operations):
        async with gate:
            pass
    return operations


async def passed_by_many(gate: Gate, operations: int) -> int:
    rounds = max(1, operations // TASKS)

    async def pass_often() -> None:
        for _ in range(rounds):
            async with gate:
                await asyncio.sleep(0)

    await asyncio.gather(*[pass_often() for _ in range(TASKS)])
    return rounds * TASKS


async def lock(operations: int) -> int:
    return await passed_freely(asyncio.Lock(), operations)


async def lock_contended(operations: int) -> int:
    return await passed_by_many(asyncio.Lock(), operations)


async def semaphore(operations: int) -> int:
    return await passed_freely(asyncio.Semaphore(PLACES), operations)


async def semaphore_contended(operations: int) -> int:
    return await passed_by_many(asyncio.Semaphore(PLACES), operations)


async def event(operations: int) -> int:
    event = asyncio.Event()
    for _ in range(operations):
        event.set()
        await event.wait()
        event.clear()
    return operations


async def event_contended(operations: int) -> int:
    event = asyncio.Event()
    rounds = max(1, operations // TASKS)

    async def wait_often() -> None:
        for _ in range(rounds):
            await event.wait()

    waiting = [asyncio.ensure_future(wait_often()) for _ in range(TASKS)]
    while not all(task.done() for task in waiting):
        event.clear()
        await asyncio.sleep(0)
        event.set()
        event.clear()
        await asyncio.sleep(0)
    return rounds * TASKS


async def condition(operations: int) -> int:
    condition = asyncio.Condition()
    for _ in range(operations):
        async with condition:
            condition.notify()
    return operations


async def condition_contended(operations: int) -> int:
    condition = asyncio.Condition()
    rounds = max(1, operations // TASKS)

    async def wait_often() -> None:
        for _ in range(rounds):
            async with condition:
                await condition.wait()

    waiting = [asyncio.ensure_future(wait_often()) for _ in range(TASKS)]
    while not all(task.done() for task in waiting):
        async with condition:
            condition.notify_all()
        await asyncio.sleep(0)
    return rounds * TASKS


async def barrier(operations: int) -> int:
    barrier = asyncio.Barrier(PLACES)
    rounds = max(1, operations // PLACES)

    async def wait_often() -> None:
        for _ in range(rounds):
            await barrier.wait()

    await asyncio.gather(*[wait_often() for _ in range(PLACES)])
    return rounds * PLACES


ROWS = [
    LoopRow("lock", "locks", "passage", 1_000_000, lock),
    LoopRow("lock_contended", "locks", "passage", 300_000, lock_contended),
    LoopRow("semaphore", "locks", "passage", 1_000_000, semaphore),
    LoopRow("semaphore_contended", "locks", "passage", 300_000, semaphore_contended),
    LoopRow("event", "locks", "passage", 1_000_000, event),
    LoopRow("event_contended", "locks", "wake-up", 500_000, event_contended),
    LoopRow("condition", "locks", "passage", 1_000_000, condition),
    LoopRow("condition_contended", "locks", "wake-up", 200_000, condition_contended),
    LoopRow("barrier", "locks", "passage", 200_000, barrier),
]
