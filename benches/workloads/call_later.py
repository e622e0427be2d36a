"""Timers that never fire: set and cancelled again, as every timeout of a request that is answered in time."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

# So many timers are pending together before they are cancelled.
BATCH = 1000
DELAY_SECONDS = 60.0


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


ROWS = [LoopRow("call_later_cancel", "scheduling", "timer", 800_000, call_later_cancel)]
