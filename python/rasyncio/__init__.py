"""rasyncio: the whole of Python's asyncio, re-implemented in Rust.

Every public name of the running Python's ``asyncio`` is here; those that are native replace asyncio's.
Importing this package changes nothing elsewhere; see ``install()``.
"""

import asyncio as _asyncio
from asyncio import *  # noqa: F403

from rasyncio._rasyncio import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    EventLoop,
    EventLoopPolicy,
    Future,
    Handle,
    LifoQueue,
    Lock,
    PriorityQueue,
    Queue,
    Runner,
    Semaphore,
    Server,
    Task,
    TimerHandle,
    install,
    new_event_loop,
    run,
    uninstall,
)

__all__ = sorted({*_asyncio.__all__, "EventLoop", "EventLoopPolicy", "install", "uninstall"})


def __getattr__(name: str) -> object:
    # The names that asyncio itself gives only when asked for (the deprecated policy functions of 3.14).
    return getattr(_asyncio, name)
