"""Runs one scenario: a coroutine function that uses a library as a program would and gives back what it saw.

In this process with a loop factory, or (``python -m rasyncio scenario.py MODULE FUNCTION JSON``) in a process
of its own, where the outcome is printed as JSON. Whatever was complained about on the way (the loop's
exception handler, logged warnings, resources left open) is part of the outcome, so that a test can require
silence.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import sys
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Scenario = Callable[..., Awaitable[Any]]
SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a scenario gave, on which loop, and what was complained about meanwhile."""

    value: Any
    loop: str
    complaints: list[str]


class Runner(Protocol):
    """What a test gets: runs a scenario by its module's and its function's name and gives its value."""

    def __call__(self, module: str, function: str, **arguments: object) -> Any: ...


class Complaints(logging.Handler):
    """Collects log records of asyncio and the libraries, from WARNING on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def __enter__(self) -> Complaints:
        logging.getLogger().addHandler(self)
        self.hook, sys.unraisablehook = sys.unraisablehook, self.on_unraisable
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self.hook
        logging.getLogger().removeHandler(self)

    def on_unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        self.lines.append(f"{unraisable.err_msg}: {unraisable.exc_value!r}")


async def bounded(scenario: Scenario, arguments: dict[str, Any]) -> tuple[Any, str]:
    """The scenario's value and the loop's class; a scenario that hangs ends with TimeoutError."""
    loop = asyncio.get_running_loop()
    # Debug mode reports slow callbacks; on a busy machine that says nothing about the loop.
    loop.slow_callback_duration = SECONDS
    async with asyncio.timeout(SECONDS):
        value = await scenario(**arguments)
    return value, f"{type(loop).__module__}.{type(loop).__qualname__}"


def run(scenario: Scenario, arguments: dict[str, Any], loop_factory: LoopFactory | None = None) -> Outcome:
    """Run a scenario in debug mode; its value makes a trip through JSON, so that all ways agree."""
    with Complaints() as complaints, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        warnings.simplefilter("always", RuntimeWarning)
        with asyncio.Runner(debug=True, loop_factory=loop_factory) as runner:
            value, loop = runner.run(bounded(scenario, arguments))
        gc.collect()
    complaints.lines += [str(warning.message) for warning in caught]
    return Outcome(json.loads(json.dumps(value)), loop, complaints.lines)


def main() -> None:
    module, function, arguments = sys.argv[1:]
    scenario: Scenario = getattr(importlib.import_module(module), function)
    json.dump(asdict(run(scenario, json.loads(arguments))), sys.stdout)


if __name__ == "__main__":
    main()
