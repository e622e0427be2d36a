"""Callbacks for the next turn: many at once, with and without arguments, and one that schedules the next."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

# So many callbacks wait for a turn together; the future that ends the batch is then a thousandth of the work.
BATCH = 1000


def without_arguments() -> None:
    pass


def with_two_arguments(first: int, second: int) -> None:
    pass


async def call_soon(operations: int) -> int:
    loop = asyncio.get_running_loop()
    batches = max(1, operations // BATCH)
    for _ in range(batches):
        for _ in range(BATCH):
            loop.call_soon(without_arguments)
        all_ran = loop.create_future()
        loop.call_soon(all_ran.set_result, None)
        await all_ran
    return batches * BATCH


async def call_soon_two_arguments(operations: int) -> int:
    loop = asyncio.get_running_loop()
    batches = max(1, operations // BATCH)
    for _ in range(batches):
        for _ in range(BATCH):
            loop.call_soon(with_two_arguments, 1, 2)
        all_ran = loop.create_future()
        loop.call_soon(all_ran.set_result, None)
        await all_ran
    return batches * BATCH


async def call_soon_chain(operations: int) -> int:
    """One callback a turn, so this is also the price of a turn."""
    loop = asyncio.get_running_loop()
    end = loop.create_future()
    left = operations

    def schedule_next() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(schedule_next)
        else:
            end.set_result(None)

    loop.call_soon(schedule_next)
    await end
    return operations


ROWS = [
    LoopRow("call_soon", "scheduling", "callback", 2_000_000, call_soon),
    LoopRow("call_soon_two_arguments", "scheduling", "callback", 2_000_000, call_soon_two_arguments),
    LoopRow("call_soon_chain", "scheduling", "callback", 400_000, call_soon_chain),
]
