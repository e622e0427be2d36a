"""Timers that never fire, as every timeout of a request that is answered in time, and timers that all do."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

# So many timers are pending together before they are cancelled.
BATCH = 1000
DELAY_SECONDS = 60.0
# Those that fire are due within so long.
SPAN_SECONDS = 0.005
PRIME = 10_007


def never_called() -> None:
    raise AssertionError("a cancelled timer fired")


async def call_later_cancel(operations: int) -> int:
    loop = asyncio.get_running_loop()
    batches = max(1, operations // BATCH)
    for _ in range(batches):
        for timer in [loop.call_later(DELAY_SECONDS, never_called) for _ in range(BATCH)]:
            timer.cancel()
        # One turn, in which the loop may tidy up what was cancelled.
        await asyncio.sleep(0)
    return batches * BATCH


async def timers_firing(operations: int) -> int:
    """All are pending together, due within a few milliseconds in no order."""
    loop = asyncio.get_running_loop()
    all_fired = loop.create_future()
    left = operations

    def fire() -> None:
        nonlocal left
        left -= 1
        if not left:
            all_fired.set_result(None)

    for number in range(operations):
        # A permutation of the numbers below the prime.
        loop.call_later((number * 7919 % PRIME) / PRIME * SPAN_SECONDS, fire)
    await all_fired
    return operations


async def sleep(operations: int) -> int:
    rounds = max(1, operations // BATCH)

    async def sleep_often(delay: float) -> None:
        for _ in range(rounds):
            await asyncio.sleep(delay)

    await asyncio.gather(*[sleep_often(number / BATCH * SPAN_SECONDS) for number in range(BATCH)])
    return rounds * BATCH


ROWS = [
    LoopRow("call_later_cancel", "scheduling", "timer", 800_000, call_later_cancel),
    LoopRow("timers_firing_100k", "scheduling", "timer", 100_000, timers_firing),
    LoopRow("sleep", "scheduling", "sleep", 100_000, sleep),
]
