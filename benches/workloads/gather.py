"""Ten thousand coroutines gathered at once."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

WIDTH = 10_000


async def trivial() -> None:
    pass


async def gather_10k(operations: int) -> int:
    rounds = max(1, operations // WIDTH)
    for _ in range(rounds):
        await asyncio.gather(*[trivial() for _ in range(WIDTH)])
    return rounds * WIDTH


ROWS = [LoopRow("gather_10k", "tasks", "coroutine", 200_000, gather_10k)]
