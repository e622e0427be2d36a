"""The loops under test by name, and the ways a test class of CPython can be made to use one of them."""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.events
import asyncio.selector_events
import importlib
import sys
from collections.abc import Callable
from typing import Any

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def factory_of(name: str) -> LoopFactory:
    """The function that makes a loop of `name`: of asyncio, or of any module that has `new_event_loop`."""
    if name == "asyncio":
        # Not asyncio.new_event_loop: that one asks the policy, which will ask us.
        return asyncio.SelectorEventLoop
    factory: LoopFactory = importlib.import_module(name).new_event_loop
    return factory


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
