"""A task that is suspended and resumed below many coroutines; tasks that end before they ever wait."""

from __future__ import annotations

import asyncio
import sys

from harness.loop_rows import LoopRow

DEPTH = 100


async def trivial() -> None:
    pass


async def nested_100(operations: int) -> int:
    async def descend(depth: int) -> None:
        if depth:
            await descend(depth - 1)
            return
        for _ in range(operations):
            await asyncio.sleep(0)

    await descend(DEPTH)
    return operations


ROWS = [LoopRow("nested_100", "nested", "switch", 100_000, nested_100)]

if sys.version_info >= (3, 12):

    async def eager_task(operations: int) -> int:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        try:
            for _ in range(operations):
                await asyncio.create_task(trivial())
        finally:
            loop.set_task_factory(None)
        return operations

    ROWS.append(LoopRow("eager_task", "tasks", "task", 300_000, eager_task))
