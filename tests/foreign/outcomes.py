"""What the tests of a suite came to by the report of pytest, and what rasyncio fails that asyncio passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

Outcomes = dict[str, str]
"""`passed`, `failed` or `skipped` by the names of the tests."""


def read(report: Path) -> Outcomes:
    """The outcomes in a report in JUnit's format. A test that is there twice failed if it failed once."""
    found: Outcomes = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        failed = case.find("failure") is not None or case.find("error") is not None
        outcome = "failed" if failed else "skipped" if case.find("skipped") is not None else "passed"
        if found.get(name) != "failed":
            found[name] = outcome
    return found


def summary(outcomes: Outcomes) -> str:
    counts = Counter(outcomes.values())
    return ", ".join(f"{counts[what]} {what}" for what in ("passed", "failed", "skipped"))


@dataclass(frozen=True)
class Comparison:
    """How rasyncio differs from asyncio."""

    # What asyncio passes and rasyncio does not: fails, skips, or never came to.
    worse: list[str]
    # The other way round.
    better: list[str]


def compare(oracle: Outcomes, ours: Outcomes) -> Comparison:
    worse = [name for name, outcome in oracle.items() if outcome == "passed" and ours.get(name) != "passed"]
    better = [name for name, outcome in ours.items() if outcome == "passed" and oracle.get(name) == "failed"]
    return Comparison(worse, better)


@dataclass(frozen=True)
class Verdict:
    """What of the worse nobody excused, and which excuses are out of date."""

    unexpected: list[str]
    stale: list[str]


def judge(worse: list[str], ours: Outcomes, excused: Collection[str]) -> Verdict:
    """An excuse holds for a test with all its parameters, and is out of date when all of these pass."""
    unexpected = [name for name in worse if function_of(name) not in excused]
    failing = {function_of(name) for name, outcome in ours.items() if outcome != "passed"}
    passing = {function_of(name) for name in ours} - failing
    return Verdict(unexpected, [name for name in excused if name in passing])


def function_of(name: str) -> str:
    """The name of a test without its parameters."""
    return name.partition("[")[0]
