"""Turns the classes that `suites.toml` lists into test classes that take their loop from a given factory."""

from __future__ import annotations

import asyncio
import fnmatch
import importlib
import inspect
import sys
import tomllib
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from . import loops

LOOP_SOURCES = ("method", "policy", "set_up", "selector_class", "base_class")

AS_IT_STANDS = "as_it_stands"
"""The source of the loop of classes that are in no suite."""


class SuitesError(Exception):
    """`suites.toml` and the interpreter's test package do not fit together."""


@dataclass(frozen=True)
class Suite:
    """One class of the test package, and how it comes to its loop.

    `loop` is `method` (it calls `self.create_event_loop()` or `self.new_loop()`), `policy` (it calls
    `asyncio.new_event_loop` or `asyncio.run` or is an `IsolatedAsyncioTestCase`), `set_up` (it expects
    `self.loop` from somebody else's `setUp`), `selector_class` (it calls `asyncio.SelectorEventLoop()`) or
    `base_class` (it calls `base_events.BaseEventLoop()`, or derives from it), or AS_IT_STANDS.
    """

    group: str
    module: str
    class_name: str
    loop: str

    @property
    def prefix(self) -> str:
        return f"{self.module.rpartition('.')[2]}.{self.class_name}"

    def origin(self) -> type[Any]:
        origin = getattr(import_tests(self.module), self.class_name, None)
        if not isinstance(origin, type):
            raise SuitesError(f"suites.toml names {self.prefix}, which Python {version_name()} does not have")
        return origin


@dataclass(frozen=True)
class Case:
    """One test of one suite."""

    suite: Suite
    method: str

    @property
    def identity(self) -> str:
        return f"{self.suite.prefix}.{self.method}"


def import_tests(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SuitesError(f"this Python {version_name()} came without its own tests: {error}") from error


def version_name() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Catalogue:
    """What `suites.toml` says: the suites of this Python, and patterns of classes.

    `alone` are those of which each test needs a process of its own even in the run of the whole package.
    """

    suites: list[Suite]
    not_loop_tests: list[str]
    alone: list[str]

    def is_alone(self, suite: Suite) -> bool:
        return any(fnmatch.fnmatchcase(suite.prefix, pattern) for pattern in self.alone)


def load(path: Path) -> Catalogue:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    suites = []
    for entry in document["suite"]:
        if entry["loop"] not in LOOP_SOURCES:
            raise SuitesError(f"{entry['class']}: loop must be one of {', '.join(LOOP_SOURCES)}")
        if "versions" not in entry or version_name() in entry["versions"]:
            suites.append(Suite(entry["group"], entry["module"], entry["class"], entry["loop"]))
    others = {
        kind: [entry["class"] for entry in document.get(kind, []) if entry["reason"]]
        for kind in ("not_loop_tests", "alone")
    }
    return Catalogue(suites, **others)


def cases_of(suite: Suite) -> list[Case]:
    members = inspect.getmembers(suite.origin())
    return [Case(suite, name) for name, member in members if name.startswith("test") and callable(member)]


def unaccounted_classes(catalogue: Catalogue) -> list[str]:
    """Classes of the modules in use that hold tests, and are neither a suite nor declared to be no loop test.

    A new CPython may bring new classes; without this they would be missed in silence.
    """
    covered = {ancestor for suite in catalogue.suites for ancestor in suite.origin().__mro__}
    patterns = catalogue.not_loop_tests
    missed = set()
    for module in sorted({suite.module for suite in catalogue.suites}):
        for owner in _owners_of_tests(module):
            name = f"{module.rpartition('.')[2]}.{owner.__name__}"
            if owner not in covered and not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                missed.add(name)
    return sorted(missed)


def _owners_of_tests(module: str) -> Iterator[type[Any]]:
    for member in vars(import_tests(module)).values():
        is_own_class = isinstance(member, type) and member.__module__ == module
        if is_own_class and any(name.startswith("test_") for name in vars(member)):
            yield member


def adapt(suite: Suite, factory: loops.LoopFactory) -> type[unittest.TestCase]:
    """A runnable class like the ones CPython derives for its own loops, with the loop from `factory`."""
    origin = suite.origin()
    if suite.loop == AS_IT_STANDS:
        return origin
    make_loop = staticmethod(factory)
    namespace: dict[str, Any] = {
        "__module__": suite.module,
        "__qualname__": suite.class_name,
        "create_event_loop": make_loop,
        "new_loop": make_loop,
        "loop_factory": make_loop,
        "close_loop": staticmethod(close_loop),
    }
    bases: tuple[type[Any], ...] = (origin,)
    if not issubclass(origin, unittest.TestCase):
        bases += (_test_case_for(origin),)
    if suite.loop == "set_up":
        namespace["setUp"] = _set_up_with_loop(bases, factory)
    return type(suite.class_name, bases, namespace)


def _test_case_for(mixin: type[Any]) -> type[unittest.TestCase]:
    """The base that CPython's own concrete classes join with this mixin.

    A mixin with a `new_loop` closes its loop itself; the others leave that to the `TestCase` of `utils`.
    """
    if hasattr(mixin, "new_loop"):
        return unittest.TestCase
    test_case: type[unittest.TestCase] = importlib.import_module("test.test_asyncio.utils").TestCase
    return test_case


def _set_up_with_loop(bases: tuple[type[Any], ...], factory: loops.LoopFactory) -> Any:
    ordered: Any = type("Bases", bases, {})

    def set_up(self: Any) -> None:
        ordered.setUp(self)
        self.loop = factory()
        self.set_event_loop(self.loop)

    return set_up


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """`utils.TestCase.close_loop` without its look at `loop._default_executor`, which is private."""
    if not loop.is_closed():
        loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
