"""Counts the outcomes and prints them: a table, the failures, and the line with the percentage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .expectations import LOOP_TESTS
from .isolation import Outcome

COLUMNS = ("passed", "failed", "hang", "crash", "excluded", "skipped")


@dataclass
class Count:
    """How many tests ended in which way."""

    passed: int = 0
    failed: int = 0
    hang: int = 0
    crash: int = 0
    excluded: int = 0
    skipped: int = 0

    @property
    def failed_in_any_way(self) -> int:
        return self.failed + self.hang + self.crash

    @property
    def percentage(self) -> float:
        """Of the tests that apply, which one that is excluded or skips itself does not."""
        applicable = self.passed + self.failed_in_any_way
        return 100.0 * self.passed / applicable if applicable else 0.0

    def line(self) -> str:
        counted = f"passed {self.passed}, failed {self.failed_in_any_way}, excluded {self.excluded}"
        return f"{counted} ({rounded_down(self.percentage)} % of those that apply)"


def rounded_down(percentage: float) -> str:
    """One decimal, never 100.0 for anything less than all."""
    return f"{int(percentage * 10 + 1e-9) / 10:.1f}"


def count(outcomes: Iterable[Outcome]) -> Count:
    result = Count()
    for outcome in outcomes:
        setattr(result, outcome.status, getattr(result, outcome.status) + 1)
    return result


def table(outcomes: Sequence[Outcome], show: Callable[[str], None]) -> None:
    """One row per group and module, in the order of first appearance."""
    rows: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault((outcome.group, outcome.identity.partition(".")[0]), []).append(outcome)
    show(f"{'group':<12} {'module':<22}" + "".join(f"{column:>10}" for column in COLUMNS))
    for (group, module), members in rows.items():
        counts = count(members)
        show(f"{group:<12} {module:<22}" + "".join(f"{getattr(counts, column):>10}" for column in COLUMNS))


def failures(outcomes: Iterable[Outcome], verbose: bool, show: Callable[[str], None]) -> None:
    for outcome in outcomes:
        if outcome.is_failure:
            show(f"{outcome.status.upper():<6} {outcome.identity}: {outcome.reason}")
            if verbose:
                show("".join(f"       | {line}\n" for line in outcome.details.splitlines()))


def summary(outcomes: Sequence[Outcome], show: Callable[[str], None]) -> Count:
    """A line per group, then the line of the whole."""
    groups = list(dict.fromkeys(outcome.group for outcome in outcomes))
    for group in groups:
        show(f"{group}: {count(one for one in outcomes if one.group == group).line()}")
    total = count(outcomes)
    if total.skipped:
        show(f"{total.skipped} skipped by a condition of their own (--verbose lists them)")
    show(total.line())
    return total


def skips(outcomes: Iterable[Outcome], show: Callable[[str], None]) -> None:
    for outcome in outcomes:
        if outcome.status in ("skipped", "excluded"):
            show(f"{outcome.status} {outcome.identity}: {outcome.reason}")


CELLS = 4
"""Of each run in the README's table: passed, of those that apply, excluded, skipped."""


def with_cells(document: str, version: str, run: str, total: Count) -> str:
    """The README with the cells of this run in this version's line replaced; the other run's stay."""
    minor = ".".join(version.split(".")[:2])
    pattern = re.compile(rf"^\| {re.escape(minor)}\.\S* \|.*\|$", re.MULTILINE)
    rows: list[str] = pattern.findall(document)
    if len(rows) != 1:
        raise ValueError(f"the README has {len(rows)} lines for Python {minor} in its table, not one")
    _, *cells = (cell.strip() for cell in rows[0].strip("|").split("|"))
    applicable = total.passed + total.failed_in_any_way
    begin = 0 if run == LOOP_TESTS else CELLS
    numbers = (total.passed, applicable, total.excluded, total.skipped)
    cells[begin : begin + CELLS] = [str(number) for number in numbers]
    return pattern.sub(f"| {version} | {' | '.join(cells)} |", document)
