"""What must be reached: reads targets.toml and holds a run against it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.results import Run

BEST_RIVAL = "best rival"


@dataclass(frozen=True)
class Target:
    """`contestant` is to be `at_least` times as good as `against` in `figure` of `row`."""

    row: str
    figure: str
    contestant: str
    against: str
    at_least: float


@dataclass(frozen=True)
class Verdict:
    target: Target
    reached: float | None
    opponent: str

    @property
    def is_met(self) -> bool:
        return self.reached is not None and self.reached >= self.target.at_least

    def __str__(self) -> str:
        target = self.target
        state = "met   " if self.is_met else "MISSED"
        against = self.opponent if self.opponent == target.against else f"{target.against} ({self.opponent})"
        wanted = f"{target.row}: {target.contestant} against {against} in {target.figure}"
        reached = "not measured" if self.reached is None else f"{self.reached:.2f}x"
        return f"{state} {wanted}: {reached}, wanted at least {target.at_least:.2f}x"


def targets_from_toml(text: str) -> list[Target]:
    """One `[[target]]` may name several rows."""
    entries: Sequence[dict[str, Any]] = tomllib.loads(text)["target"]
    return [
        Target(
            row=str(row),
            figure=str(entry["figure"]),
            contestant=str(entry["contestant"]),
            against=str(entry["against"]),
            at_least=float(entry["at_least"]),
        )
        for entry in entries
        for row in entry["rows"]
    ]


def read_targets(path: Path) -> list[Target]:
    return targets_from_toml(path.read_text())


def judge(run: Run, targets: Sequence[Target]) -> list[Verdict]:
    """A verdict on each target whose row was asked for; without figures it counts as missed."""
    verdicts = []
    for target in targets:
        row = next((row for row in run.rows if row.name == target.row), None)
        if row is None:
            continue
        best = target.against == BEST_RIVAL
        other = row.best_rival(target.figure) if best else target.against
        reached = row.ratio(target.contestant, other, target.figure)
        verdicts.append(Verdict(target, reached, other or "nobody"))
    return verdicts
