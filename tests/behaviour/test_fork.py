"""fork: what the child may and may not do with what the parent's loop left it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from turns import Trace, turn

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def in_child(work: Callable[[], str]) -> str:
    """Forks, runs `work` in the child and returns what it returned there, or how it failed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            try:
                answer = work()
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(writing, answer.encode())
        finally:
            # Nothing of pytest may run on in the child.
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answers:
        answer = answers.read().decode()
    os.waitpid(child, 0)
    return answer


def test_a_child_runs_a_loop_of_its_own(loop: Any, implementation: Any) -> None:
    async def answer() -> str:
        await asyncio.sleep(0.001)
        return "from the child"

    def work() -> str:
        own = implementation.new_event_loop()
        try:
            return str(own.run_until_complete(answer()))
        finally:
            own.close()

    turn(loop)
    assert in_child(work) == "from the child"
    assert loop.run_until_complete(answer()) == "from the child"


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="before 3.12 the running loop was not reset in a child"
)
def test_in_a_child_forked_by_a_running_loop_none_is_running(loop: Any, implementation: Any) -> None:
    trace = Trace()

    def look() -> str:
        try:
            asyncio.get_running_loop()
        except RuntimeError as error:
            return str(error)
        return "one is running"

    loop.call_soon(lambda: trace.note(in_child(look)))
    turn(loop)
    assert trace == ["no running event loop"]


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="before 3.12 the running loop was not reset in a child"
)
def test_a_child_forked_by_a_running_loop_runs_its_own(loop: Any, implementation: Any) -> None:
    trace = Trace()

    async def answer() -> str:
        await asyncio.sleep(0)
        return "from the child"

    async def fork() -> None:
        trace.note(in_child(lambda: str(implementation.module.run(answer()))))
        await asyncio.sleep(0)
        trace.note("the parent goes on")

    loop.run_until_complete(fork())
    assert trace == ["from the child", "the parent goes on"]


def test_the_parent_is_not_disturbed_by_a_child_that_ends(loop: Any) -> None:
    """The child shares the parent's descriptors; ending must not take registrations along."""
    reading, writing = os.pipe()
    trace = Trace()
    loop.add_reader(reading, lambda: (trace.note(os.read(reading, 1)), loop.stop()))
    turn(loop)
    assert in_child(lambda: "ended") == "ended"
    os.write(writing, b".")
    loop.run_forever()
    loop.remove_reader(reading)
    os.close(reading)
    os.close(writing)
    assert trace == [b"."]


SHARING = "asyncio lets parent and child share one epoll set, which loses events in both"


@pytest.mark.rasyncio_only(reason=SHARING)
@pytest.mark.parametrize("use", ["run_forever", "run_until_complete", "call_soon_threadsafe", "add_reader"])
def test_a_child_that_uses_the_parents_loop_is_told_so(loop: Any, use: str) -> None:
    uses: dict[str, Callable[[], Any]] = {
        "run_forever": loop.run_forever,
        "run_until_complete": lambda: loop.run_until_complete(loop.create_future()),
        "call_soon_threadsafe": lambda: loop.call_soon_threadsafe(print),
        "add_reader": lambda: loop.add_reader(0, print),
    }
    turn(loop)

    def work() -> str:
        uses[use]()
        return "no error"

    answer = in_child(work)
    assert answer.startswith("RuntimeError: ")
    assert "fork" in answer


@pytest.mark.rasyncio_only(reason=SHARING)
def test_a_child_may_close_the_parents_loop_without_harm_to_it(loop: Any) -> None:
    reading, writing = os.pipe()
    trace = Trace()
    loop.add_reader(reading, lambda: (trace.note(os.read(reading, 1)), loop.stop()))
    turn(loop)

    def work() -> str:
        loop.close()
        return "closed" if loop.is_closed() else "open"

    assert in_child(work) == "closed"
    os.write(writing, b".")
    loop.run_forever()
    loop.remove_reader(reading)
    os.close(reading)
    os.close(writing)
    assert trace == [b"."]
