"""What is under test, by name, and the ways a test class of CPython can be made to use it."""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.events
import asyncio.futures
import asyncio.selector_events
import asyncio.tasks
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True)
class Subject:
    """The loop under test, and the module whose names stand in the place of asyncio's, if they shall."""

    factory: LoopFactory
    installed: ModuleType | None = None

    def make_current(self) -> None:
        """What every test begins with, whatever the one before it left."""
        if self.installed:
            self.installed.uninstall()
            self.installed.install()
        else:
            install_policy(self.factory)


def subject_of(name: str, *, install: bool) -> Subject:
    """`name`: asyncio, or any module that has `new_event_loop`, and with `install` that and `uninstall` too.

    To be called before any test module is imported: many take names of asyncio for good.
    """
    if name == "asyncio":
        # Not asyncio.new_event_loop: that one asks the policy, which will ask us.
        return Subject(asyncio.SelectorEventLoop)
    module = importlib.import_module(name)
    if install:
        module.install()
        replace_accelerated()
    return Subject(module.new_event_loop, module if install else None)


def replace_accelerated() -> None:
    """Where tests name asyncio's accelerated classes and functions, beside those in Python, they mean ours.

    `tasks._CTask` becomes what `tasks.Task` is after an installation, `tasks._c_all_tasks` likewise.
    """
    for module in (asyncio.events, asyncio.futures, asyncio.tasks):
        for name in list(vars(module)):
            prefix = next((prefix for prefix in ("_C", "_c_") if name.startswith(prefix)), "")
            public = name.removeprefix(prefix)
            if prefix and hasattr(module, public):
                setattr(module, name, getattr(module, public))


def install_policy(factory: LoopFactory) -> None:
    """Make `asyncio.new_event_loop`, `asyncio.run` and `asyncio.Runner` use `factory` in this process.

    From 3.14 on the public names of policies warn, and tests look for warnings, so the private ones are used.
    """
    events: Any = asyncio.events
    if sys.version_info >= (3, 14):
        default = importlib.import_module("asyncio.unix_events")._DefaultEventLoopPolicy
        set_policy = events._set_event_loop_policy
    else:
        default, set_policy = asyncio.DefaultEventLoopPolicy, asyncio.set_event_loop_policy
    policy = type("PolicyUnderTest", (default,), {"new_event_loop": lambda self: factory()})
    set_policy(policy())


def replace_selector_loop(factory: LoopFactory) -> None:
    """For classes that call `asyncio.SelectorEventLoop()` by name in their `setUp`."""
    asyncio.SelectorEventLoop = factory  # type: ignore[assignment]


def replace_base_loops(factory: LoopFactory) -> None:
    """For classes that make a `BaseEventLoop` or `BaseSelectorEventLoop` by name, or derive from it."""
    probe = factory()
    probe.close()
    asyncio.base_events.BaseEventLoop = type(probe)  # type: ignore[assignment,misc]
    asyncio.selector_events.BaseSelectorEventLoop = type(probe)  # type: ignore[assignment,misc]
