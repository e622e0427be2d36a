"""Queues as classes: their orders, their arguments, shutdown, and what a subclass may override."""

from __future__ import annotations

import asyncio
import collections
import inspect
import math
import sys
import types
from typing import Any

import pytest
from turns import Trace

KINDS = ["Queue", "PriorityQueue", "LifoQueue"]
every_kind = pytest.mark.parametrize("kind", KINDS)
with_shutdown = pytest.mark.skipif(sys.version_info < (3, 13), reason="shutdown() came with 3.13")


@pytest.fixture
def aio(implementation: Any) -> Any:
    return implementation.module


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("Queue", [3, 1, 2, 0]), ("PriorityQueue", [0, 1, 2, 3]), ("LifoQueue", [0, 2, 1, 3])],
)
def test_the_order_that_items_leave_in(aio: Any, kind: str, expected: list[int]) -> None:
    queue = getattr(aio, kind)()
    for item in (3, 1, 2, 0):
        queue.put_nowait(item)
    assert queue.qsize() == 4
    assert [queue.get_nowait() for _ in range(4)] == expected
    assert queue.empty()


def test_items_that_cannot_be_compared_are_refused_by_their_order(aio: Any) -> None:
    queue = aio.PriorityQueue()
    queue.put_nowait((1, object()))
    with pytest.raises(TypeError, match=r"'<' not supported"):
        queue.put_nowait((1, object()))
    assert queue._unfinished_tasks == 1


def test_a_comparison_may_look_at_the_queue(aio: Any) -> None:
    queue = aio.PriorityQueue()
    trace = Trace()

    class Item:
        def __init__(self, number: int) -> None:
            self.number = number

        def __lt__(self, other: Item) -> bool:
            trace.note(queue.qsize() > 0)
            return self.number < other.number

    for number in (2, 1):
        queue.put_nowait(Item(number))
    assert queue.get_nowait().number == 1
    assert trace and all(trace)


@every_kind
def test_without_items_or_room_the_quick_ones_raise(aio: Any, kind: str) -> None:
    queue = getattr(aio, kind)(1)
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    assert queue.empty() and not queue.full()
    queue.put_nowait(item=1)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(2)
    assert queue.full() and not queue.empty()
    assert queue.get_nowait() == 1


@every_kind
def test_what_it_may_be_made_with(aio: Any, kind: str) -> None:
    make = getattr(aio, kind)
    assert make().maxsize == 0
    assert make(maxsize=3).maxsize == 3
    assert make(-1).maxsize == -1
    assert not make(-1).full()
    assert make(math.inf).maxsize == math.inf
    assert inspect.signature(make).parameters["maxsize"].default == 0
    for arguments in ((1, 2), ("1",)):
        with pytest.raises(TypeError):
            queue = make(*arguments)
            queue.put_nowait(1)
    with pytest.raises(AttributeError):
        make().maxsize = 1
    with pytest.raises(TypeError):
        make(loop=None)


@pytest.mark.parametrize("arguments", [(), (1, 2)])
def test_wrong_arguments_are_type_errors(aio: Any, arguments: tuple[int, ...]) -> None:
    queue = aio.Queue()
    for method in (queue.put, queue.put_nowait):
        with pytest.raises(TypeError, match=r"put"):
            method(*arguments)
        with pytest.raises(TypeError, match=r"unexpected keyword argument 'other'"):
            method(other=1)
        with pytest.raises(TypeError, match=r"multiple values for argument 'item'"):
            method(1, item=1)
    for method in (queue.get, queue.get_nowait, queue.qsize, queue.empty, queue.full, queue.task_done):
        with pytest.raises(TypeError):
            method(1)


@every_kind
def test_it_is_generic(aio: Any, kind: str) -> None:
    make: Any = getattr(aio, kind)
    alias: Any = make[int]
    assert repr(type(alias)) == repr(types.GenericAlias)
    assert alias.__origin__ is make
    assert alias.__args__ == (int,)
    assert type(alias()) is make


def test_its_items_are_in_a_deque_that_programs_look_into(aio: Any) -> None:
    queue = aio.Queue()
    for item in (1, 2, 3):
        queue.put_nowait(item)
    assert isinstance(queue._queue, collections.deque)
    queue._queue.remove(2)
    queue._queue.appendleft(0)
    assert [queue.get_nowait() for _ in range(3)] == [0, 1, 3]
    assert type(aio.PriorityQueue()._queue) is type(aio.LifoQueue()._queue) is list


def test_a_subclass_may_keep_its_items_in_its_own_way(aio: Any, run: Any) -> None:
    class UniqueQueue(aio.Queue):  # type: ignore[misc]
        def _init(self, maxsize: int) -> None:
            self.size_at_first = maxsize
            self._queue: dict[object, None] = {}

        def _put(self, item: object) -> None:
            self._queue[item] = None

        def _get(self) -> object:
            return self._queue.popitem()[0]

    async def main() -> None:
        queue = UniqueQueue(2)
        assert queue.size_at_first == 2
        for item in "aab":
            await queue.put(item)
        assert queue.qsize() == 2 and queue.full()
        assert await queue.get() == "b"
        assert queue.get_nowait() == "a"
        assert queue.empty()
        assert queue._unfinished_tasks == 3

    run(main)


def test_a_subclass_that_calls_what_it_overrides(aio: Any, run: Any) -> None:
    trace = Trace()

    class Traced(aio.PriorityQueue):  # type: ignore[misc]
        def _init(self, maxsize: int) -> None:
            trace.note("init", maxsize)
            super()._init(maxsize)

        def _put(self, item: object) -> None:
            trace.note("put", item)
            super()._put(item)

        def _get(self) -> object:
            trace.note("get")
            return super()._get()

    async def main() -> None:
        queue = Traced(3)
        await queue.put(2)
        queue.put_nowait(1)
        assert [await queue.get(), queue.get_nowait()] == [1, 2]

    run(main)
    assert trace == [("init", 3), ("put", 2), ("put", 1), "get", "get"]


def test_a_subclass_that_overrides_what_others_call(aio: Any, run: Any) -> None:
    trace = Trace()

    class Traced(aio.Queue):  # type: ignore[misc]
        def put_nowait(self, item: object) -> None:
            trace.note("put_nowait", item)
            super().put_nowait(item)

        def get_nowait(self) -> object:
            trace.note("get_nowait")
            return super().get_nowait()

        def full(self) -> bool:
            trace.note("full")
            return super().full()  # type: ignore[no-any-return]

        def empty(self) -> bool:
            trace.note("empty")
            return super().empty()  # type: ignore[no-any-return]

        def qsize(self) -> int:
            trace.note("qsize")
            return super().qsize()  # type: ignore[no-any-return]

    async def main() -> None:
        queue = Traced(1)
        await queue.put("item")
        assert await queue.get() == "item"

    run(main)
    assert trace == [
        *("full", "qsize", ("put_nowait", "item"), "full", "qsize"),
        *("empty", "get_nowait", "empty"),
    ]


def test_a_subclass_may_wake_those_who_wait_itself(aio: Any, run: Any) -> None:
    class Returning(aio.Queue):  # type: ignore[misc]
        def put_back(self, item: object) -> None:
            self._queue.appendleft(item)
            self._wakeup_next(self._getters)

    async def main() -> None:
        queue = Returning()
        task = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put_back("item")
        assert await task == "item"

    run(main)


def test_the_size_may_be_changed(aio: Any) -> None:
    queue = aio.Queue(1)
    queue.put_nowait(1)
    queue._maxsize = 2
    queue.put_nowait(2)
    assert queue.maxsize == 2 and queue.full()


@with_shutdown
@every_kind
def test_after_a_shutdown_what_is_inside_may_be_taken_out(aio: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        queue = getattr(aio, kind)()
        queue.put_nowait(1)
        queue.shutdown()
        with pytest.raises(aio.QueueShutDown):
            queue.put_nowait(2)
        with pytest.raises(aio.QueueShutDown):
            await queue.put(2)
        assert await queue.get() == 1
        for _ in range(2):
            with pytest.raises(aio.QueueShutDown):
                await queue.get()
            with pytest.raises(aio.QueueShutDown):
                queue.get_nowait()
        assert str(queue).endswith("tasks=1 shutdown>")
        queue.task_done()
        await queue.join()

    run(main)


@with_shutdown
def test_an_immediate_shutdown_throws_away_what_is_inside(aio: Any, run: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        for item in range(3):
            queue.put_nowait(item)
        queue.get_nowait()
        joining = asyncio.ensure_future(queue.join())
        await asyncio.sleep(0)
        queue.shutdown(immediate=True)
        with pytest.raises(aio.QueueShutDown):
            queue.get_nowait()
        await asyncio.sleep(0)
        assert not joining.done()
        queue.task_done()
        await joining

    run(main)


@with_shutdown
@pytest.mark.parametrize("immediate", [False, True])
def test_a_shutdown_wakes_everybody(aio: Any, run: Any, immediate: bool) -> None:
    async def main() -> None:
        empty, full = aio.Queue(), aio.Queue(1)
        full.put_nowait(0)
        tasks = [asyncio.ensure_future(empty.get()) for _ in range(2)]
        tasks += [asyncio.ensure_future(full.put(1)) for _ in range(2)]
        await asyncio.sleep(0)
        empty.shutdown(immediate)
        full.shutdown(immediate)
        for task in tasks:
            with pytest.raises(aio.QueueShutDown):
                await task
        assert not empty._getters and not full._putters

    run(main)


def test_shutdown_is_there_where_asyncio_has_it(aio: Any) -> None:
    assert hasattr(aio.Queue, "shutdown") is hasattr(asyncio.Queue, "shutdown")
