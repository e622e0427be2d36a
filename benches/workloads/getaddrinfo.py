"""Names to addresses: an IP address, and a name of this machine, which no name server is asked for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from harness.loop_rows import LoopRow

# So many questions are under way together.
SIDE_BY_SIDE = 10


def lookups(host: str) -> Callable[[int], Awaitable[int]]:
    async def body(operations: int) -> int:
        loop = asyncio.get_running_loop()
        rounds = max(1, operations // SIDE_BY_SIDE)
        for _ in range(rounds):
            questions = [loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM) for _ in range(SIDE_BY_SIDE)]
            await asyncio.gather(*questions)
        return rounds * SIDE_BY_SIDE

    return body


ROWS = [
    LoopRow("getaddrinfo_literal", "names", "answer", 20_000, lookups("127.0.0.1")),
    LoopRow("getaddrinfo_localhost", "names", "answer", 10_000, lookups("localhost")),
]
