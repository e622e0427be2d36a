"""Producers and consumers that wait for each other.

A queue with room for three, a queue that sorts, a condition both sides wait on, a chain of queues, and an
event that starts everybody together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

SECONDS_FOR_ALL = 30.0


async def bounded_queue() -> None:
    """The queue's size holds fast producers back; join tells when all that was put is also done."""
    queue: asyncio.Queue[tuple[str, int]] = asyncio.Queue(maxsize=3)
    fullest = 0
    eaten: Counter[str] = Counter()
    log: list[str] = []

    async def produce(name: str, amount: int) -> None:
        nonlocal fullest
        for number in range(amount):
            await queue.put((name, number))
            fullest = max(fullest, queue.qsize())

    async def consume(name: str, slowness: int) -> None:
        while True:
            kind, number = await queue.get()
            for _ in range(slowness):
                await asyncio.sleep(0)
            eaten[kind] += 1
            log.append(f"{name}:{kind}{number}")
            queue.task_done()

    consumers = [asyncio.create_task(consume(name, slowness)) for name, slowness in (("x", 1), ("y", 3))]
    await asyncio.gather(produce("bread", 8), produce("milk", 5))
    await queue.join()
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    print(f"eaten: {dict(eaten)}, never more than {fullest} waiting")
    print(f"order: {' '.join(log)}")


async def priority_queue() -> None:
    """The most urgent first; equals in the order of their numbers."""
    queue: asyncio.PriorityQueue[tuple[int, str]] = asyncio.PriorityQueue()
    for urgency, name in ((3, "sweep"), (1, "fire"), (2, "phone"), (1, "doctor")):
        queue.put_nowait((urgency, name))
    print("by urgency:", [(await queue.get())[1] for _ in range(queue.qsize())])
    stack: asyncio.LifoQueue[int] = asyncio.LifoQueue(maxsize=2)
    stack.put_nowait(1)
    stack.put_nowait(2)
    try:
        stack.put_nowait(3)
    except asyncio.QueueFull:
        print(f"the stack is full, its top is {stack.get_nowait()}")


class Warehouse:
    """Stock behind a condition: takers wait until there is enough for them."""

    def __init__(self) -> None:
        self.stock = 0
        self.changed = asyncio.Condition()

    async def deliver(self, amount: int) -> None:
        async with self.changed:
            self.stock += amount
            self.changed.notify_all()

    async def take(self, amount: int, tell: Callable[[str], None]) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.stock >= amount)
            self.stock -= amount
            tell(f"{amount} taken, {self.stock} left")


async def condition() -> None:
    warehouse = Warehouse()
    told: list[str] = []
    async with asyncio.TaskGroup() as group:
        for amount in (5, 2, 3):
            group.create_task(warehouse.take(amount, told.append))
        for _ in range(5):
            group.create_task(warehouse.deliver(2))
    print("warehouse:", "; ".join(told))


async def pipeline() -> None:
    """Three stages, each a task, with a sentinel that travels through all of them."""
    first: asyncio.Queue[int | None] = asyncio.Queue(2)
    second: asyncio.Queue[int | None] = asyncio.Queue(2)

    async def numbers() -> None:
        for number in range(1, 201):
            await first.put(number)
        await first.put(None)

    async def squares() -> None:
        while (number := await first.get()) is not None:
            await second.put(number * number)
        await second.put(None)

    async def total() -> int:
        found = 0
        while (number := await second.get()) is not None:
            found += number
        return found

    async with asyncio.TaskGroup() as group:
        group.create_task(numbers())
        group.create_task(squares())
        summing = group.create_task(total())
    print(f"pipeline: {summing.result()}")


async def starting_together() -> None:
    """An event holds everybody back; a semaphore then lets two in at a time."""
    start = asyncio.Event()
    doors = asyncio.Semaphore(2)
    inside = most = 0

    async def visitor() -> None:
        nonlocal inside, most
        await start.wait()
        async with doors:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(visitor())
        await asyncio.sleep(0)
        print(f"before the start: {inside} inside")
        start.set()
    print(f"afterwards: {inside} inside, {most} at most")


async def main() -> None:
    async with asyncio.timeout(SECONDS_FOR_ALL):
        for part in (bounded_queue, priority_queue, condition, pipeline, starting_together):
            await part()


if __name__ == "__main__":
    asyncio.run(main())
