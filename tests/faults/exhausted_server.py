"""The server of test_descriptor_exhaustion: echoes with few descriptors, and tells of itself when asked.

    python exhausted_server.py MODULE DESCRIPTORS

It prints its port, then for every line on its standard input one line of JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import resource
import sys
import time
from typing import Any


class Echo(asyncio.Protocol):
    """Counts itself and sends back what it gets."""

    made = 0
    lost = 0

    def connection_made(self, transport: Any) -> None:
        Echo.made += 1
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        Echo.lost += 1


class Reports:
    """What the exception handler of the loop was told, and when."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.seen.append(
            {
                "time": time.monotonic(),
                "message": context["message"],
                "errno": getattr(error, "errno", None),
                "socket": "socket" in context,
            }
        )


async def serve(reports: Reports) -> None:
    """Serves until the standard input ends."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(reports.note)
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = loop.create_future()

    def answer() -> None:
        if not os.read(0, 100):
            loop.remove_reader(0)
            ended.set_result(None)
            return
        state = {
            "made": Echo.made,
            "lost": Echo.lost,
            "processor_seconds": time.process_time(),
            "reports": reports.seen,
        }
        print(json.dumps(state), flush=True)

    loop.add_reader(0, answer)
    await ended
    server.close()


def main() -> None:
    module = importlib.import_module(sys.argv[1])
    loop = module.new_event_loop()
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    loop.run_until_complete(serve(Reports()))
    loop.close()


if __name__ == "__main__":
    main()
