"""Fixtures every test shares: the implementations under test, their loops, checks for what is left behind.

A test that asks for `implementation`, `loop` or `run` runs once per row of IMPLEMENTATIONS, the oracle first.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import importlib
import inspect
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@dataclass(frozen=True)
class Implementation:
    """One row of the table: where the names come from, and the environment that selects the backend."""

    id: str
    module_name: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(self.module_name)

    @property
    def is_oracle(self) -> bool:
        return self.module_name == "asyncio"

    @property
    def future_type(self) -> type[Any]:
        """The type `loop.create_future()` makes."""
        return self.module.Future  # type: ignore[no-any-return]

    @property
    def task_type(self) -> type[Any]:
        """The type `loop.create_task()` makes."""
        return self.module.Task  # type: ignore[no-any-return]

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return self.module.new_event_loop()  # type: ignore[no-any-return]


# RASYNCIO_BACKEND=uring runs every test on that backend.
BACKEND = os.environ.get("RASYNCIO_BACKEND", "epoll")
IMPLEMENTATIONS = (
    Implementation("asyncio", "asyncio"),
    Implementation("rasyncio", "rasyncio", {"RASYNCIO_BACKEND": BACKEND}),
)

# What is about TLS runs once more, with records read and written by Python's methods: elsewhere OpenSSL is
# called without Python, if this interpreter's build allows it.
TLS_BY_METHODS = Implementation(
    "rasyncio-tls-python", "rasyncio", {"RASYNCIO_BACKEND": BACKEND, "RASYNCIO_TLS": "python"}
)

MARKERS = (
    "rasyncio_only(reason): the behaviour has no counterpart in asyncio, so the oracle is left out",
    "hang_limit(seconds): how long this test may take before the run is ended with a traceback",
    "soak: repeats one thing very often and watches memory; RASYNCIO_SOAK multiplies the counts",
)

HANG_LIMIT_SECONDS = 60.0
REAL_STDERR = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--implementation",
        action="append",
        choices=[row.id for row in IMPLEMENTATIONS],
        help="run only on this implementation (may be given more than once)",
    )


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    # First in the list is weakest: what pyproject.toml or a mark says about a warning still wins.
    config.getini("filterwarnings").insert(0, "error")
    config.stash[REAL_STDERR] = os.dup(2)
    # A run in the background of a shell begins with it ignored, and so would every child of the tests.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[REAL_STDERR])


def pytest_collection_finish(session: pytest.Session) -> None:
    # Every test ends with a full collection; pytest's own objects need not be walked each time.
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "implementation" not in metafunc.fixturenames:
        return
    rows = [row for row in IMPLEMENTATIONS if row.id in selected_ids(metafunc)]
    if "_tls_" in f"{metafunc.definition.path.stem}_" and any(not row.is_oracle for row in rows):
        rows.append(TLS_BY_METHODS)
    metafunc.parametrize("implementation", rows, ids=[row.id for row in rows], indirect=True)
    if "streams" in metafunc.fixturenames:
        names = [row.module_name for row in IMPLEMENTATIONS if row.id in selected_ids(metafunc)]
        ids = [f"streams-of-{name}" for name in names]
        metafunc.parametrize("streams", names, ids=ids, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is about rasyncio alone when only the oracle was asked for."""
    wanted = config.getoption("--implementation")
    if not wanted or any(not row.is_oracle for row in IMPLEMENTATIONS if row.id in wanted):
        return
    left_out = [item for item in items if item.get_closest_marker("rasyncio_only")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def selected_ids(metafunc: pytest.Metafunc) -> set[str]:
    """Which rows this test runs on, after its marks and the command line."""
    wanted = set(metafunc.config.getoption("--implementation") or [row.id for row in IMPLEMENTATIONS])
    mark = metafunc.definition.get_closest_marker("rasyncio_only")
    if mark is not None:
        if not (mark.args or mark.kwargs.get("reason")):
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: rasyncio_only needs a reason")
        wanted -= {row.id for row in IMPLEMENTATIONS if row.is_oracle}
    return wanted


@pytest.fixture(autouse=True)
def asyncgen_hooks_restored() -> Iterator[None]:
    """A refused ``run_forever`` of asyncio 3.13.0 leaves the hooks of its loop to the tests behind it."""
    before = sys.get_asyncgen_hooks()
    yield
    sys.set_asyncgen_hooks(*before)


@pytest.fixture(autouse=True)
def no_child_watcher_left() -> Iterator[None]:
    """Up to 3.13 asyncio leaves a watcher of its own to the tests behind it, where ours would use it."""
    yield
    if sys.version_info < (3, 14):
        asyncio.get_event_loop_policy()._watcher = None  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _end_the_run_when_a_test_hangs(request: pytest.FixtureRequest) -> Iterator[None]:
    mark = request.node.get_closest_marker("hang_limit")
    limit = float(mark.args[0]) if mark is not None else HANG_LIMIT_SECONDS
    faulthandler.dump_traceback_later(limit, exit=True, file=request.config.stash[REAL_STDERR])
    yield
    faulthandler.cancel_dump_traceback_later()


class LogRecords(logging.Handler):
    """Keeps what the logger "asyncio" was told."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def errors(self) -> list[str]:
        formatter = logging.Formatter()
        return [formatter.format(record) for record in self.records if record.levelno >= logging.ERROR]


@pytest.fixture
def asyncio_log(request: pytest.FixtureRequest) -> Iterator[LogRecords]:
    """The records of the logger "asyncio". A test that asks for it may cause errors there."""
    handler = LogRecords()
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def implementation(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, asyncio_log: LogRecords
) -> Iterator[Implementation]:
    """The row of the table this test runs on; checks at the end that nothing was logged or left behind."""
    row: Implementation = request.param
    for name, value in row.environment.items():
        monkeypatch.setenv(name, value)
    assert row.module.new_event_loop  # An import may open descriptors; have it done before they are counted.
    with nothing_left_behind():
        yield row
        # What the test dropped must report itself now, not in a later test.
        gc.collect()
    # asyncio_log is a dependency here, so look at what the test function itself asked for.
    if "asyncio_log" not in inspect.signature(request.function).parameters:
        assert not asyncio_log.errors(), "unexpected errors in the logger 'asyncio'"


@pytest.fixture
def aio(implementation: Implementation) -> Any:
    """The module under test; typed so that names that only some versions have may be used."""
    return implementation.module


@pytest.fixture
def streams(request: pytest.FixtureRequest) -> ModuleType:
    """Whose streams and child processes: either implementation's run on either's loop."""
    return importlib.import_module(request.param)


@contextlib.contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Fails when descriptors or threads that were not there before are there afterwards."""
    descriptors = open_descriptors()
    threads = set(threading.enumerate())
    native_threads = native_thread_count()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
        assert not thread.is_alive(), f"thread left behind: {thread!r}"
    deadline = time.monotonic() + 5
    while native_thread_count() > native_threads and time.monotonic() < deadline:
        # A thread that was joined may stay in the kernel's list a moment longer; there is nothing to wait on.
        os.sched_yield()
    assert native_thread_count() <= native_threads, "threads left behind that Python does not know"
    left = {number: target for number, target in open_descriptors().items() if number not in descriptors}
    assert not left, f"descriptors left behind: {left}"


def open_descriptors() -> dict[int, str]:
    """Every open descriptor of this process and what it refers to."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        # The descriptor of the listing itself is closed by now.
        with contextlib.suppress(OSError):
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
    return found


def native_thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


@pytest.fixture
def loop(implementation: Implementation) -> Iterator[asyncio.AbstractEventLoop]:
    """A fresh loop, not set as the current one; the test may close it itself."""
    loop = implementation.new_event_loop()
    yield loop
    if not loop.is_closed():
        finish_and_close(loop)


def finish_and_close(loop: asyncio.AbstractEventLoop) -> None:
    """Ends a loop as a Runner does, so that the threads of its executor are joined too."""
    loop.set_task_factory(None)
    try:
        leftover = asyncio.all_tasks(loop)
        for task in leftover:
            task.cancel()
        if leftover:
            loop.run_until_complete(asyncio.gather(*leftover, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Callable[[Any], Any]:
    """Runs a coroutine, or an async function without arguments, to its end on `loop`."""

    def run_to_the_end(work: Any) -> Any:
        return loop.run_until_complete(work() if inspect.iscoroutinefunction(work) else work)

    return run_to_the_end


@pytest.fixture
def loop_errors(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """The contexts given to the exception handler of `loop`. Asking for it lets the test cause errors."""
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: contexts.append(context))
    return contexts


Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(implementation: Implementation, tmp_path: Path) -> Script:
    """Runs source text in a fresh interpreter where `aio` is the module under test; returns how it ended."""

    def run_script(source: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(f"import {implementation.module_name} as aio\n" + textwrap.dedent(source))
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            env={**os.environ, **implementation.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run_script
