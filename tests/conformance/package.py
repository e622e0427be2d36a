"""Finds the tests of the whole package: the suites, and every class beside them, which runs as it stands."""

from __future__ import annotations

import importlib
import unittest
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

from .isolation import Batch
from .suites import AS_IT_STANDS, Case, Suite, cases_of, import_tests

GROUP = "rest"
"""Of the classes that are in no suite."""


def cases(package: str, suites: Sequence[Suite]) -> tuple[list[Case], dict[str, str]]:
    """Every test of the package once, and the modules that skip themselves, with their reason.

    A test that a suite has is the suite's, whatever its class: CPython derives one for each of its own loops.
    """
    of_suites = [case for suite in suites for case in cases_of(suite)]
    covered = {ancestor for suite in suites for ancestor in suite.origin().__mro__}
    rest: list[Case] = []
    skipped: dict[str, str] = {}
    for name in module_names(package):
        try:
            module = importlib.import_module(f"{package}.{name}")
        except unittest.SkipTest as reason:
            skipped[name] = str(reason)
            continue
        rest += [case for test_class in classes_of(module) for case in beside(test_class, covered)]
    return of_suites + rest, skipped


def module_names(package: str) -> list[str]:
    (folder,) = import_tests(package).__path__
    return sorted(path.stem for path in Path(folder).glob("test_*.py"))


def classes_of(module: ModuleType) -> Iterator[type[unittest.TestCase]]:
    for member in vars(module).values():
        if (
            isinstance(member, type)
            and issubclass(member, unittest.TestCase)
            and member.__module__ == module.__name__
        ):
            yield member


def beside(test_class: type[unittest.TestCase], covered: set[type[Any]]) -> list[Case]:
    """The tests of a class that no suite has."""
    suite = Suite(GROUP, test_class.__module__, test_class.__name__, AS_IT_STANDS)
    return [case for case in cases_of(suite) if owner_of(test_class, case.method) not in covered]


def owner_of(test_class: type[Any], method: str) -> type[Any]:
    return next(owner for owner in test_class.__mro__ if method in vars(owner))


def batches(cases: Iterable[Case], is_alone: Callable[[Suite], bool]) -> list[Batch]:
    """The tests of a class together, but for the classes of which each test needs a process of its own."""
    found: list[Batch] = []
    for suite, members in groupby(cases, key=lambda case: case.suite):
        together = list(members)
        found += [[case] for case in together] if is_alone(suite) else [together]
    return found
