"""Child watchers, which asyncio had up to Python 3.13.

One that the program chose is asked; without one the loop watches by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from child_processes import FOREVER, Watcher, children, ended, returncode_of, started
from net_peers import soon

pytestmark = [
    pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio has no watchers from 3.14 on"),
    pytest.mark.filterwarnings("ignore:.*child_watcher.*|.*ChildWatcher.*:DeprecationWarning"),
]

watchers_of: Any = asyncio
"""What a type checker that looks at the newest Python does not know."""

# MultiLoopChildWatcher loses children now and then on any loop (bpo-38323).
WATCHERS = ["ThreadedChildWatcher", "PidfdChildWatcher", "SafeChildWatcher", "FastChildWatcher"]

Chosen = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def fresh_policy() -> Iterator[None]:
    asyncio.set_event_loop_policy(None)
    yield
    asyncio.set_event_loop_policy(None)


@pytest.fixture
def chosen(loop: Any) -> Iterator[Chosen]:
    """Makes a watcher that of the process, until the end of the test."""

    def choose(watcher: Any) -> Any:
        watcher.attach_loop(loop)
        watchers_of.set_child_watcher(watcher)
        return watcher

    yield choose
    watcher = watchers_of.get_child_watcher()
    watcher.attach_loop(None)
    watchers_of.set_child_watcher(None)


with warnings.catch_warnings():
    # That there are watchers at all is deprecated from 3.12 on.
    warnings.simplefilter("ignore", DeprecationWarning)

    class Recording(asyncio.ThreadedChildWatcher if sys.version_info < (3, 14) else object):  # type: ignore[misc]
        """Writes down how it is used."""

        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def __enter__(self) -> Any:
            self.calls.append("enter")
            return super().__enter__()

        def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
            self.calls.append("exit" if kind is None else f"exit {kind.__name__}")
            super().__exit__(kind, error, traceback)

        def is_active(self) -> bool:
            self.calls.append("is_active")
            active: bool = super().is_active()
            return active

        def add_child_handler(self, pid: int, callback: Any, *args: Any) -> None:
            self.calls.append("add_child_handler")
            super().add_child_handler(pid, callback, *args)


@pytest.mark.parametrize("name", WATCHERS)
def test_every_watcher_of_asyncio_works(loop: Any, run: Any, chosen: Chosen, name: str) -> None:
    async def main() -> None:
        assert await returncode_of(loop, "sh", "-c", "exit 3") == 3
        transport, watcher = await started(loop, *FOREVER)
        transport.terminate()
        assert await ended(transport, watcher) == -signal.SIGTERM
        assert watcher.calls == ["connection_made", "process_exited", "connection_lost"]
        codes = [returncode_of(loop, "sh", "-c", f"exit {number}") for number in range(20)]
        assert await asyncio.gather(*codes) == list(range(20))

    chosen(getattr(asyncio, name)())
    run(main())
    assert children() == []


def test_a_watcher_is_used_in_asyncios_order(loop: Any, run: Any, chosen: Chosen) -> None:
    watcher = chosen(Recording())
    assert run(returncode_of(loop, "sh", "-c", "exit 3")) == 3
    assert watcher.calls == ["enter", "is_active", "add_child_handler", "exit"]


def test_a_watcher_hears_of_a_program_that_cannot_be_run(loop: Any, run: Any, chosen: Chosen) -> None:
    watcher = chosen(Recording())
    with pytest.raises(FileNotFoundError):
        run(loop.subprocess_exec(Watcher, "no such program"))
    assert watcher.calls == ["enter", "is_active", "exit FileNotFoundError"]


def test_an_inactive_watcher_starts_nothing(loop: Any, run: Any, chosen: Chosen) -> None:
    class Inactive(Recording):
        def is_active(self) -> bool:
            super().is_active()
            return False

    watcher = chosen(Inactive())
    with pytest.raises(RuntimeError) as caught:
        run(started(loop, "true"))
    text = "asyncio.get_child_watcher() is not activated, subprocess support is not installed."
    assert str(caught.value) == text
    assert watcher.calls == ["enter", "is_active", "exit RuntimeError"]
    assert children() == []


def test_a_watcher_may_answer_something_else_when_it_is_entered(loop: Any, run: Any, chosen: Chosen) -> None:
    class Answering(Recording):
        def __enter__(self) -> Any:
            super().__enter__()
            return answer

    answer = Recording()
    watcher = chosen(Answering())
    assert run(returncode_of(loop, "sh", "-c", "exit 3")) == 3
    asked = ["is_active", "add_child_handler"]
    # 3.11 goes on with the answer, later versions with the watcher.
    if sys.version_info < (3, 12):
        assert (watcher.calls, answer.calls) == (["enter", "exit"], asked)
    else:
        assert (watcher.calls, answer.calls) == (["enter", *asked, "exit"], [])


def test_a_watcher_may_call_back_from_any_thread(loop: Any, run: Any, chosen: Chosen) -> None:
    class FromAThread(Recording):
        def _do_waitpid(self, loop: Any, expected_pid: int, callback: Any, args: Any) -> None:
            _, status = os.waitpid(expected_pid, 0)
            callback(expected_pid, os.waitstatus_to_exitcode(status), *args)
            self._threads.pop(expected_pid)

    chosen(FromAThread())
    assert run(returncode_of(loop, "sh", "-c", "exit 3")) == 3


def test_a_watcher_may_report_what_it_likes(loop: Any, run: Any, chosen: Chosen) -> None:
    class Liar(Recording):
        def add_child_handler(self, pid: int, callback: Any, *args: Any) -> None:
            super().add_child_handler(pid, lambda pid, code, *args: callback(pid, code + 100, *args), *args)

    chosen(Liar())
    assert run(returncode_of(loop, "sh", "-c", "exit 3")) == 103


def test_a_policy_may_have_a_watcher_of_its_own(loop: Any, run: Any) -> None:
    watcher = Recording()

    class Policy(asyncio.DefaultEventLoopPolicy):
        def get_child_watcher(self) -> Any:
            return watcher

    asyncio.set_event_loop_policy(Policy())
    assert run(returncode_of(loop, "sh", "-c", "exit 3")) == 3
    assert watcher.calls == ["enter", "is_active", "add_child_handler", "exit"]


def test_a_child_of_a_cancelled_start_is_gone(loop: Any, run: Any, chosen: Chosen) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(started(loop, *FOREVER))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)

    watcher = chosen(Recording())
    run(main())
    assert watcher.calls[:3] == ["enter", "is_active", "add_child_handler"]
    assert watcher.calls[3:] == ["exit CancelledError"]
    assert children() == []


@pytest.mark.rasyncio_only("asyncio asks its policy for a watcher, which starts a thread per child on 3.11")
def test_without_a_choice_the_loop_needs_no_watcher(loop: Any, run: Any) -> None:
    assert run(returncode_of(loop, "sh", "-c", "exit 3")) == 3
    assert asyncio.get_event_loop_policy()._watcher is None  # type: ignore[attr-defined]
