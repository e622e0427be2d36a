"""What must be reached: reads targets.toml and holds a run against it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.figures import geometric_mean
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
class GroupTarget:
    """Every row of the group is to be `each` times as good as the best rival, their geometric mean `mean`."""

    group: str
    contestant: str
    figure: str
    each: float | None
    mean: float | None


@dataclass(frozen=True)
class MeanVerdict:
    target: GroupTarget
    reached: float | None

    @property
    def is_met(self) -> bool:
        return self.target.mean is None or (self.reached is not None and self.reached >= self.target.mean)

    def __str__(self) -> str:
        state = "met   " if self.is_met else "MISSED"
        reached = "not measured" if self.reached is None else f"{self.reached:.2f}x"
        where = f"group {self.target.group}: {self.target.contestant} in {self.target.figure}"
        return (
            f"{state} {where}, mean against {BEST_RIVAL}: {reached}, wanted at least {self.target.mean:.2f}x"
        )


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


def group_targets_from_toml(text: str) -> list[GroupTarget]:
    entries: Sequence[dict[str, Any]] = tomllib.loads(text).get("group", [])
    return [
        GroupTarget(
            group=str(entry["name"]),
            contestant=str(entry["contestant"]),
            figure=str(entry["figure"]),
            each=entry.get("each"),
            mean=entry.get("mean"),
        )
        for entry in entries
    ]


def judge_groups(run: Run, targets: Sequence[GroupTarget]) -> list[Verdict | MeanVerdict]:
    """Verdicts on the groups of which the run has every row that was asked for."""
    verdicts: list[Verdict | MeanVerdict] = []
    for target in targets:
        rows = [row for row in run.rows if row.group == target.group]
        if target.each is not None:
            wanted = [
                Target(row.name, target.figure, target.contestant, BEST_RIVAL, target.each) for row in rows
            ]
            verdicts += judge(run, wanted)
        if target.mean is not None and rows:
            ratios = [
                row.ratio(target.contestant, row.best_rival(target.figure), target.figure) for row in rows
            ]
            present = [ratio for ratio in ratios if ratio is not None]
            mean = geometric_mean(present) if len(present) == len(ratios) else None
            verdicts.append(MeanVerdict(target, mean))
    return verdicts


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
