"""What a process has used so far: CPU time of all its threads, and the wall clock beside it."""

from __future__ import annotations

import resource
import time
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Readings in nanoseconds; `cpu` is exact, its division into user and system is the kernel's estimate."""

    wall: float
    cpu: float
    user: float
    system: float

    @classmethod
    def now(cls) -> Usage:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            wall=time.perf_counter_ns(),
            cpu=time.process_time_ns(),
            user=used.ru_utime * 1e9,
            system=used.ru_stime * 1e9,
        )

    @classmethod
    def from_json(cls, readings: dict[str, Any]) -> Usage:
        return cls(**{name: float(readings[name]) for name in ("wall", "cpu", "user", "system")})

    def as_json(self) -> dict[str, float]:
        return asdict(self)

    def per_operation_since(self, begin: Usage, operations: int) -> dict[str, float]:
        """The figures of a sample: nanoseconds of each kind per operation."""
        return {
            f"{kind}_ns": (getattr(self, kind) - getattr(begin, kind)) / operations
            for kind in ("cpu", "user", "system", "wall")
        }
