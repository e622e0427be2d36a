"""Queues: one task that puts and gets, and producers and consumers that wait for each other."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

SIDES = 10
ROOM = 5
ITEMS = 100


async def through(queue: asyncio.Queue[int], operations: int) -> int:
    """Some items are in it all the time, as the order of a `PriorityQueue` costs nothing otherwise."""
    for number in range(ITEMS):
        queue.put_nowait(number * 7919 % ITEMS)
    for number in range(operations):
        await queue.put(number * 7919 % ITEMS)
        await queue.get()
    return operations


async def between(queue: asyncio.Queue[int], operations: int) -> int:
    each = max(1, operations // SIDES)

    async def produce() -> None:
        for number in range(each):
            await queue.put(number)

    async def consume() -> None:
        for _ in range(each):
            await queue.get()
            queue.task_done()

    await asyncio.gather(*[produce() for _ in range(SIDES)], *[consume() for _ in range(SIDES)])
    await queue.join()
    return each * SIDES


async def queue(operations: int) -> int:
    return await through(asyncio.Queue(), operations)


async def queue_contended(operations: int) -> int:
    return await between(asyncio.Queue(ROOM), operations)


async def queue_nowait(operations: int) -> int:
    queue: asyncio.Queue[int] = asyncio.Queue()
    for number in range(operations):
        queue.put_nowait(number)
        queue.get_nowait()
    return operations


async def priority_queue(operations: int) -> int:
    return await through(asyncio.PriorityQueue(), operations)


async def priority_queue_contended(operations: int) -> int:
    return await between(asyncio.PriorityQueue(ROOM), operations)


async def lifo_queue(operations: int) -> int:
    return await through(asyncio.LifoQueue(), operations)


async def lifo_queue_contended(operations: int) -> int:
    return await between(asyncio.LifoQueue(ROOM), operations)


ROWS = [
    LoopRow("queue", "queues", "item", 500_000, queue),
    LoopRow("queue_contended", "queues", "item", 200_000, queue_contended),
    LoopRow("queue_nowait", "queues", "item", 500_000, queue_nowait),
    LoopRow("priority_queue", "queues", "item", 500_000, priority_queue),
    LoopRow("priority_queue_contended", "queues", "item", 200_000, priority_queue_contended),
    LoopRow("lifo_queue", "queues", "item", 500_000, lifo_queue),
    LoopRow("lifo_queue_contended", "queues", "item", 200_000, lifo_queue_contended),
]
