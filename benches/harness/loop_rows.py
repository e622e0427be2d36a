"""Rows measured inside one process: a coroutine function that performs a number of operations on its loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from harness import children
from harness.rows import DEADLINE_SECONDS, Row, Sample, scaled
from harness.usage import Usage

# The interpreter specialises code while it runs; a tenth of the work brings it to its steady state.
WARM_UP_SHARE = 0.1
# Where a body finds the address of the server that its row needs.
SERVER = "BENCH_SERVER"


@dataclass(frozen=True)
class LoopRow(Row):
    """`body(n)` performs about n operations and returns how many they were.

    `server` runs while the row is measured, one for all; its address is in the environment, as `SERVER`.
    """

    operations: int
    body: Callable[[int], Awaitable[int]]
    server: Callable[[], contextlib.AbstractContextManager[str]] | None = None

    @property
    def needs_echo_client(self) -> bool:
        # The HTTP server that some need is one of its programs.
        return self.server is not None

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[None]:
        if self.server is None:
            yield
            return
        with self.server() as address:
            os.environ[SERVER] = address
            try:
                yield
            finally:
                del os.environ[SERVER]

    def measure(self, contestant: str, workload: str, scale: float) -> Sample:
        return children.sample_of_worker(contestant, workload, self.name, scale, DEADLINE_SECONDS)

    def run_inside(self, runner: asyncio.Runner, scale: float) -> None:
        print(json.dumps(runner.run(self._timed(scaled(self.operations, scale)))), flush=True)

    async def _timed(self, operations: int) -> Sample:
        before = await self.body(scaled(operations, WARM_UP_SHARE))
        gc.collect()
        begin = Usage.now()
        done = await self.body(operations)
        return Usage.now().per_operation_since(begin, done) | {"operations": before + done}
