"""rasyncio: the whole of Python's asyncio, re-implemented in Rust.

Every public name of the running Python's ``asyncio`` is here; those that are native replace asyncio's.
Importing this package changes nothing elsewhere; see ``install()``.
"""

import asyncio as _asyncio
import sys as _sys
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
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    Task,
    TaskGroup,
    Timeout,
    TimerHandle,
    as_completed,
    create_subprocess_exec,
    create_subprocess_shell,
    create_task,
    ensure_future,
    gather,
    install,
    new_event_loop,
    open_connection,
    open_unix_connection,
    run,
    run_coroutine_threadsafe,
    shield,
    sleep,
    start_server,
    start_unix_server,
    timeout,
    timeout_at,
    to_thread,
    uninstall,
    wait,
    wait_for,
    wrap_future,
)

if _sys.version_info >= (3, 12):
    from rasyncio._rasyncio import create_eager_task_factory, eager_task_factory
if _sys.version_info >= (3, 14):
    from rasyncio._rasyncio import future_add_to_awaited_by, future_discard_from_awaited_by

__all__ = sorted({*_asyncio.__all__, "EventLoop", "EventLoopPolicy", "install", "uninstall"})


def __getattr__(name: str) -> object:
    # The names that asyncio itself gives only when asked for (the deprecated policy functions of 3.14).
    return getattr(_asyncio, name)
