"""A task's whole life: created, run to its end in one step, awaited."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow


async def trivial() -> None:
    pass


async def create_task(operations: int) -> int:
    for _ in range(operations):
        await asyncio.create_task(trivial())
    return operations


ROWS = [LoopRow("create_task", "tasks", "task", 300_000, create_task)]
