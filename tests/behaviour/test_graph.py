"""Call graphs: who awaits a future, through each of the functions that wait."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs came with 3.14")


newer: Any = asyncio
"""asyncio again, for the names that the oldest version this is checked against has not got."""


def current() -> Any:
    return asyncio.current_task()


def graph_of(future: Any) -> Any:
    return newer.capture_call_graph(future)


def awaiters(future: Any) -> set[Any]:
    return {entry.future for entry in graph_of(future).awaited_by}


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "gather": lambda aio, future: aio.gather(future),
    "shield": lambda aio, future: aio.shield(future),
    "wait": lambda aio, future: aio.wait([future]),
    "wait_for": lambda aio, future: aio.wait_for(future, 10),
    "as_completed": lambda aio, future: next(iter(aio.as_completed([future]))),
    "itself": lambda aio, future: future,
}


@pytest.mark.parametrize("way", WAYS)
def test_who_awaits_through(loop: Any, run: Any, aio: Any, way: str) -> None:
    async def wait(future: Any) -> None:
        await WAYS[way](aio, future)

    async def main() -> None:
        future = loop.create_future()
        task = aio.create_task(wait(future), name="waits")
        await aio.sleep(0)
        assert awaiters(future) == {task}
        assert task.get_name() in newer.format_call_graph(future)
        future.set_result(1)
        await task
        assert awaiters(future) == set()

    run(main)


def test_a_group_awaits_its_tasks(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.TaskGroup() as group:
            task = group.create_task(aio.sleep(0))
            assert awaiters(task) == {current()}
        assert awaiters(task) == set()

    run(main)


def test_those_that_outlive_a_failed_gather_are_awaited_by_nobody(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        first, second = loop.create_future(), loop.create_future()
        gathered = aio.gather(first, second)
        assert awaiters(second) == {current()}
        first.set_exception(KeyError())
        with pytest.raises(KeyError):
            await gathered
        assert awaiters(second) == set()

    run(main)


def test_named_by_hand(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        assert future._asyncio_awaited_by is None
        for _ in range(2):
            aio.future_add_to_awaited_by(future, current())
        aio.future_add_to_awaited_by(future, "no future")
        assert awaiters(future) == {current()}
        for _ in range(2):
            aio.future_discard_from_awaited_by(future, current())
        assert not future._asyncio_awaited_by

    run(main)


def test_the_frames_of_a_waiting_task(run: Any, aio: Any) -> None:
    async def inner() -> None:
        await aio.sleep(10)

    async def outer() -> None:
        await inner()

    async def main() -> None:
        task = aio.create_task(outer())
        await aio.sleep(0)
        names = [entry.frame.f_code.co_name for entry in graph_of(task).call_stack]
        assert names == ["sleep", "inner", "outer"]
        assert "async sleep()" in newer.format_call_graph(task)
        task.cancel()
        printed = io.StringIO()
        newer.print_call_graph(file=printed)
        assert "async test_the_frames_of_a_waiting_task.<locals>.main()" in printed.getvalue()

    run(main)
