"""What a row of the benchmark is, and where the rows come from: `ROWS` of every file in workloads/.

A kind of row says how it is measured from outside, by starting processes, and what runs inside a fresh one.
To add a kind (a start-up time, a memory size), derive from `Row` in a file of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import importlib
import importlib.util
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.contestants import CONTESTANTS

# One measurement: its figures by name. In all of them less is better, except throughput.
Sample = dict[str, float]
HIGHER_IS_BETTER = frozenset({"operations_per_second"})
# Enough for the slowest row of the slowest contestant: slowness is measured, only a hang is caught.
DEADLINE_SECONDS = 120.0


@dataclass(frozen=True)
class Row(ABC):
    """`operation` names in the singular what one operation is, `primary` the figure that is compared.

    `packages` are those that the row needs beside a contestant.
    """

    name: str
    group: str
    operation: str
    primary: str = field(default="cpu_ns", kw_only=True)
    packages: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def needs_echo_client(self) -> bool:
        """Whether a program of echo_client/ takes part."""
        return False

    def missing(self) -> list[str]:
        """What is not installed of that."""
        return [package for package in self.packages if importlib.util.find_spec(package) is None]

    def takes(self, contestant: str) -> bool:
        """Whether that contestant takes part in this row."""
        return CONTESTANTS[contestant].role != "limit"

    def surroundings(self) -> contextlib.AbstractContextManager[None]:
        """What all measurements of the row have in common, such as a server that they talk to."""
        return contextlib.nullcontext()

    @abstractmethod
    def measure(self, contestant: str, workload: str, scale: float) -> Sample:
        """Runs one measurement in fresh processes; raises MeasurementFailed."""

    @abstractmethod
    def run_inside(self, runner: asyncio.Runner, scale: float) -> None:
        """The part of the fresh process; prints what `measure` reads."""


@dataclass(frozen=True)
class Entry:
    """A row with the workload file that it comes from."""

    workload: str
    row: Row

    def is_selected_by(self, pattern: str) -> bool:
        names = (self.row.name, self.workload, self.row.group)
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def workload_rows(workload: str) -> list[Row]:
    module: Any = importlib.import_module(f"workloads.{workload}")
    return list(module.ROWS)


def all_entries() -> list[Entry]:
    """Sorted by group, then by file, then as the file lists them."""
    package = importlib.import_module("workloads")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    entries = [Entry(name, row) for name in names for row in workload_rows(name)]
    return sorted(entries, key=lambda entry: entry.row.group)


def selected_entries(patterns: Iterable[str]) -> list[Entry]:
    """The rows that any pattern selects by row, workload or group name; all of them without a pattern."""
    entries = all_entries()
    chosen: set[str] = set()
    wanted = list(patterns)
    for pattern in wanted:
        names = {entry.row.name for entry in entries if entry.is_selected_by(pattern)}
        if not names:
            raise LookupError(f"no row, workload or group is called {pattern!r}")
        chosen |= names
    return [entry for entry in entries if not wanted or entry.row.name in chosen]


def scaled(count: int, scale: float) -> int:
    return max(1, round(count * scale))
