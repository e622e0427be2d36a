"""Who takes part: each package's name, how its loop is made, and what it replaces beforehand."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True)
class Contestant:
    """One event loop, made by the factory that its package documents.

    `role`: one of ours, a rival, or the limit: a server in Rust, in the rows that it can serve.
    `installs` calls the package's `install()` first, which puts its own classes behind asyncio's names;
    without it the standard library's names run on the package's loop.
    """

    name: str
    package: str
    role: Literal["ours", "rival", "limit"] = "rival"
    installs: bool = False

    @property
    def is_rival(self) -> bool:
        return self.role == "rival"

    @property
    def is_ours(self) -> bool:
        return self.role == "ours"

    def is_installed(self) -> bool:
        if self.role == "limit":
            return True
        return importlib.util.find_spec(self.package) is not None

    def version(self) -> str:
        """The version of the distribution; asyncio comes with the interpreter, which is stated apart."""
        if self.package == "asyncio":
            return "of this Python"
        if self.role == "limit":
            return "epoll, one thread"
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "unknown"

    def prepare(self) -> LoopFactory:
        """Imports the package (in the process that measures it) and returns its loop factory."""
        module = importlib.import_module(self.package)
        if self.installs:
            module.install()
        factory: LoopFactory = module.new_event_loop
        return factory

    def owns(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the running loop really is this package's: a fallback must not pass as a measurement."""
        return type(loop).__module__.split(".")[0] == self.package


BASELINE = "asyncio"
LIMIT = "limit"

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(BASELINE, "asyncio"),
        Contestant("uvloop", "uvloop"),
        Contestant("rloop", "rloop"),
        Contestant("rsloop", "rsloop"),
        Contestant("zuvloop", "zuvloop"),
        Contestant("rasyncio", "rasyncio", "ours"),
        Contestant("rasyncio-installed", "rasyncio", "ours", installs=True),
        Contestant(LIMIT, "", "limit"),
    )
}


def rivals() -> list[str]:
    return [contestant.name for contestant in CONTESTANTS.values() if contestant.is_rival]
