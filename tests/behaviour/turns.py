"""Small steps the tests of loop, futures and tasks have in common."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any


def turn(loop: asyncio.AbstractEventLoop, times: int = 1) -> None:
    """Runs exactly that many turns of the loop."""
    for _ in range(times):
        loop.stop()
        loop.run_forever()


@contextlib.contextmanager
def current_loop(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Makes `loop` the one `get_event_loop()` answers outside of callbacks."""
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)


class Trace(list[Any]):
    """A list with callbacks that append to it."""

    def note(self, *values: Any) -> Any:
        """Appends the value, or the tuple of values; typed so that a lambda may contain a call of it."""
        self.append(values[0] if len(values) == 1 else values)
