"""One run: every sample as measured, what follows from them, and both as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.contestants import BASELINE, rivals
from harness.figures import Figure, best_of, figures_of, times_as_good
from harness.rows import Row, Sample


@dataclass
class RowResult:
    """What each contestant did in one row; a contestant that failed has the reason instead of figures."""

    name: str
    group: str
    operation: str
    primary: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    # Per operation, where they were counted.
    instructions: dict[str, float] = field(default_factory=dict)
    # Why nobody was measured, if nobody was.
    not_measured: str | None = None

    @classmethod
    def of(cls, row: Row) -> RowResult:
        return cls(row.name, row.group, row.operation, row.primary)

    def figures(self, contestant: str) -> dict[str, Figure]:
        if contestant in self.failures:
            return {}
        return figures_of(self.samples.get(contestant, []))

    def median(self, contestant: str, figure: str | None = None) -> float | None:
        found = self.figures(contestant).get(figure or self.primary)
        return found.median if found else None

    def best_rival(self, figure: str | None = None) -> str | None:
        """Never one of rasyncio's own contestants."""
        medians = {name: self.median(name, figure) for name in rivals()}
        present = {name: value for name, value in medians.items() if value is not None}
        return best_of(figure or self.primary, present)

    def ratio(self, contestant: str, other: str | None, figure: str | None = None) -> float | None:
        """How many times as good `contestant` is as `other`; None when either has no figure."""
        ours = self.median(contestant, figure)
        theirs = self.median(other, figure) if other else None
        if ours is None or theirs is None:
            return None
        return times_as_good(figure or self.primary, ours, theirs)

    def as_json(self) -> dict[str, Any]:
        contestants: dict[str, Any] = {}
        for name in [*self.samples, *(name for name in self.failures if name not in self.samples)]:
            figures = self.figures(name)
            contestants[name] = {
                "medians": {figure: value.median for figure, value in figures.items()},
                "spreads": {figure: value.spread for figure, value in figures.items()},
                "times_as_good_as_asyncio": self.ratio(name, BASELINE),
                "times_as_good_as_best_rival": self.ratio(name, self.best_rival()),
                "instructions": self.instructions.get(name),
                "failure": self.failures.get(name),
                "samples": self.samples.get(name, []),
            }
        return {
            "name": self.name,
            "group": self.group,
            "operation": self.operation,
            "primary": self.primary,
            "best_rival": self.best_rival(),
            "not_measured": self.not_measured,
            "contestants": contestants,
        }


@dataclass
class Run:
    """A whole comparison and what it was measured on."""

    command: str
    started: str
    machine: dict[str, object]
    versions: dict[str, str]
    not_installed: list[str]
    rounds: int
    scale: float
    rows: list[RowResult] = field(default_factory=list)
    load_average_before: float = 0.0
    load_average_after: float = 0.0

    @property
    def contestants(self) -> list[str]:
        return list(self.versions)

    def as_json(self) -> dict[str, Any]:
        everything = dict(vars(self))
        everything["rows"] = [row.as_json() for row in self.rows]
        return everything

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n")
