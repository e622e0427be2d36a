"""Wake-ups: two tasks that wake each other through futures of the loop."""

from __future__ import annotations

import asyncio

from harness.loop_rows import LoopRow


async def ping_pong(operations: int) -> int:
    loop = asyncio.get_running_loop()
    rounds = max(1, operations // 2)
    waiting: list[asyncio.Future[None] | None] = [None, None]

    def wake(side: int) -> None:
        future = waiting[side]
        if future is not None:
            waiting[side] = None
            future.set_result(None)

    async def play(side: int) -> None:
        for _ in range(rounds):
            waiting[side] = future = loop.create_future()
            wake(1 - side)
            await future
        # The one that ends first leaves the other waiting for its last wake-up.
        wake(1 - side)

    await asyncio.gather(play(0), play(1))
    return 2 * rounds


ROWS = [LoopRow("ping_pong", "tasks", "wake-up", 600_000, ping_pong)]
