"""Child processes: started and waited for, and talked to through pipes."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow

MESSAGE = b"x" * 1024


async def spawn(operations: int) -> int:
    for _ in range(operations):
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()
    return operations


async def pipe_echo(operations: int) -> int:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(operations):
        process.stdin.write(MESSAGE)
        await process.stdout.readexactly(len(MESSAGE))
    process.stdin.close()
    await process.wait()
    return operations


ROWS = [
    LoopRow("spawn", "children", "child", 1_000, spawn),
    LoopRow("pipe_echo_1k", "children", "message", 30_000, pipe_echo),
]
