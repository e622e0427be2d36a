"""Task switches: a thousand tasks that only yield to each other."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

TASKS = 1000


async def sleep0(operations: int) -> int:
    switches = max(1, operations // TASKS)

    async def yield_often() -> None:
        for _ in range(switches):
            await asyncio.sleep(0)

    await asyncio.gather(*[yield_often() for _ in range(TASKS)])
    return switches * TASKS


ROWS = [LoopRow("sleep0", "scheduling", "switch", 2_000_000, sleep0)]
