"""The arithmetic of a comparison: medians, spreads, and ratios in which above 1 is always the better."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.rows import HIGHER_IS_BETTER, Sample


@dataclass(frozen=True)
class Figure:
    """One figure over all rounds. `spread` is half of the range as a share of the median: 0.05 reads ±5 %."""

    median: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        median = statistics.median(values)
        half_range = (max(values) - min(values)) / 2
        return cls(median, half_range / median if median else 0.0)


def figures_of(samples: Sequence[Sample]) -> dict[str, Figure]:
    """The figures that every round has."""
    if not samples:
        return {}
    names = [name for name in samples[0] if all(name in sample for sample in samples)]
    return {name: Figure.of([sample[name] for sample in samples]) for name in names}


def times_as_good(figure_name: str, ours: float, other: float) -> float:
    """How many times as good `ours` is as `other`: 2.0 is twice as fast, or half the CPU time."""
    if figure_name in HIGHER_IS_BETTER:
        ours, other = other, ours
    return other / ours if ours else math.inf


def best_of(figure_name: str, medians: Mapping[str, float]) -> str | None:
    """The contestant with the best median, the first of them when equal; None when there is nobody."""
    if not medians:
        return None
    return (max if figure_name in HIGHER_IS_BETTER else min)(medians, key=lambda name: medians[name])


def geometric_mean(ratios: Iterable[float]) -> float | None:
    present = list(ratios)
    return statistics.geometric_mean(present) if present else None
