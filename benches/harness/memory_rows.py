"""What something costs that only waits: resident memory of the process, divided by how many there are."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from harness import children
from harness.rows import DEADLINE_SECONDS, Row, Sample, scaled

PAGE = 4096


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@dataclass(frozen=True)
class MemoryRow(Row):
    """Within `hold(n)` there are n of them, waiting. A few are made and let go before, to fill caches."""

    number: int
    hold: Callable[[int], AbstractAsyncContextManager[None]]
    primary: str = field(default="bytes", kw_only=True)

    def measure(self, contestant: str, workload: str, scale: float) -> Sample:
        return children.sample_of_worker(contestant, workload, self.name, scale, DEADLINE_SECONDS)

    def run_inside(self, runner: asyncio.Runner, scale: float) -> None:
        print(json.dumps({"bytes": runner.run(self._held(scaled(self.number, scale)))}), flush=True)

    async def _held(self, number: int) -> float:
        async with self.hold(scaled(number, 0.01)):
            pass
        gc.collect()
        before = resident_bytes()
        async with self.hold(number):
            return (resident_bytes() - before) / number
