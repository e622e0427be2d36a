"""Queues between tasks: who waits for room or for an item, who is woken, what cancellation leaves behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from turns import Trace, turn

KINDS = ["Queue", "PriorityQueue", "LifoQueue"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def aio(implementation: Any) -> Any:
    return implementation.module


@every_kind
def test_what_can_be_had_at_once_takes_no_turn(aio: Any, kind: str) -> None:
    queue = getattr(aio, kind)()
    with pytest.raises(StopIteration) as ended:
        queue.put("item").send(None)
    assert ended.value.value is None
    with pytest.raises(StopIteration) as ended:
        queue.get().send(None)
    assert ended.value.value == "item"


@pytest.mark.parametrize("item", [None, (1, 2), (), StopIteration(3), ValueError("item"), 7])
def test_any_object_may_be_an_item(aio: Any, run: Any, item: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        await queue.put(item)
        assert await queue.get() is item
        task = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        await queue.put(item=item)
        assert await task is item

    run(main)


def ended_by(step: Callable[[], Any]) -> StopIteration:
    try:
        step()
    except StopIteration as ended:
        return ended
    raise AssertionError("it is not over")


@pytest.mark.parametrize("item", [None, (1, 2), (), ValueError("item"), [7]], ids=repr)
def test_what_ends_a_step_has_the_item_as_its_value_and_argument(aio: Any, item: Any) -> None:
    queue = aio.Queue()
    arguments = () if item is None else (item,)
    for step in (
        lambda: queue.get().send(None),
        lambda: next(queue.get().__await__()),
    ):
        queue.put_nowait(item)
        ended = ended_by(step)
        assert ended.value is item
        assert ended.args == arguments
        assert ended.__cause__ is None


def test_what_ended_a_step_stays_as_it_was_when_others_end(aio: Any) -> None:
    queue = aio.Queue()
    endings = []
    for item in "abc":
        queue.put_nowait(item)
        ended = ended_by(lambda: next(queue.get().__await__()))
        ended.add_note(item)
        endings.append((ended, ended.args))
    assert [ended.value for ended, _ in endings] == ["a", "b", "c"]
    assert [(ended.args, arguments) for ended, arguments in endings] == [((x,), (x,)) for x in "abc"]
    arguments = [ended.args for ended, _ in endings]
    endings.clear()
    queue.put_nowait("d")
    assert ended_by(lambda: next(queue.get().__await__())).args == ("d",)
    assert arguments == [("a",), ("b",), ("c",)]


def test_nothing_keeps_an_item_that_was_taken_out(aio: Any, run: Any) -> None:
    class Item:
        """Something that can be watched."""

    async def main() -> None:
        queue = aio.Queue()
        for _ in range(2):
            # Again behind a collection, which takes tuples of nothing but numbers off its list.
            await queue.put(Item())
            item = weakref.ref(await queue.get())
            assert item() is None
            gc.collect()

    run(main)


@every_kind
def test_items_and_getters_meet_in_the_order_of_arrival(aio: Any, run: Any, kind: str) -> None:
    trace = Trace()

    async def take(queue: Any, name: str) -> None:
        trace.note(name, await queue.get())

    async def main() -> None:
        queue = getattr(aio, kind)()
        tasks = [asyncio.ensure_future(take(queue, name)) for name in "abc"]
        for item in range(3):
            await asyncio.sleep(0)
            queue.put_nowait(item)
        await asyncio.gather(*tasks)

    run(main)
    assert trace == [("a", 0), ("b", 1), ("c", 2)]


@every_kind
def test_putters_wait_for_room_in_the_order_of_arrival(aio: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        queue = getattr(aio, kind)(1)
        tasks = [asyncio.ensure_future(queue.put(item)) for item in range(4)]
        await asyncio.sleep(0)
        assert queue.full()
        assert [task.done() for task in tasks] == [True, False, False, False]
        assert [await queue.get() for _ in range(4)] == [0, 1, 2, 3]
        assert all(task.done() for task in tasks)

    run(main)


def test_somebody_quicker_may_take_the_item_of_who_was_woken(aio: Any, run: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        task = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait("first")
        assert queue.get_nowait() == "first"
        await asyncio.sleep(0)
        assert not task.done()
        queue.put_nowait("second")
        assert await task == "second"

    run(main)


def test_a_cancelled_getter_leaves_no_trace_and_loses_no_item(aio: Any, run: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        task = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert task.cancelled()
        assert len(queue._getters) == 0
        queue.put_nowait("item")
        assert await queue.get() == "item"

    run(main)


def test_a_getter_cancelled_after_it_was_woken_wakes_the_next(aio: Any, run: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        first, second = (asyncio.ensure_future(queue.get()) for _ in range(2))
        await asyncio.sleep(0)
        queue.put_nowait("item")
        first.cancel()
        assert await asyncio.wait_for(second, 5) == "item"
        assert first.cancelled()

    run(main)


def test_a_putter_cancelled_after_it_was_woken_wakes_the_next(aio: Any, run: Any) -> None:
    async def main() -> None:
        queue = aio.Queue(1)
        queue.put_nowait(0)
        first, second = (asyncio.ensure_future(queue.put(item)) for item in (1, 2))
        await asyncio.sleep(0)
        assert queue.get_nowait() == 0
        first.cancel()
        await asyncio.wait_for(second, 5)
        assert first.cancelled()
        assert queue.get_nowait() == 2
        assert queue.empty()

    run(main)


def test_a_cancelled_putter_puts_nothing(aio: Any, run: Any) -> None:
    async def main() -> None:
        queue = aio.Queue(1)
        queue.put_nowait(0)
        tasks = [asyncio.ensure_future(queue.put(item)) for item in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        assert len(queue._putters) == 2
        assert [await queue.get() for _ in range(3)] == [0, 1, 3]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert queue.empty()

    run(main)


def test_a_timeout_on_get_loses_no_item(aio: Any, run: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        for item in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(queue.get(), 0.0001)
            queue.put_nowait(item)
            assert queue.get_nowait() == item

    run(main)


def test_join_waits_until_all_work_is_done(aio: Any, run: Any) -> None:
    trace = Trace()

    async def main() -> None:
        queue = aio.Queue()
        await queue.join()
        queue.put_nowait(1)
        queue.put_nowait(2)
        joining = [asyncio.ensure_future(queue.join()) for _ in range(2)]
        for _ in range(2):
            await queue.get()
            await asyncio.sleep(0)
            trace.note(joining[0].done())
            queue.task_done()
        assert await asyncio.gather(*joining) == [None, None]
        assert queue._finished.is_set()
        queue.put_nowait(3)
        assert not queue._finished.is_set()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.join(), 0.001)

    run(main)
    assert trace == [False, False]


def test_task_done_more_often_than_items_is_an_error(aio: Any) -> None:
    queue = aio.Queue()
    with pytest.raises(ValueError, match=r"^task_done\(\) called too many times$"):
        queue.task_done()
    queue.put_nowait(1)
    queue.task_done()
    with pytest.raises(ValueError, match=r"^task_done\(\) called too many times$"):
        queue.task_done()


def test_producers_and_consumers_exchange_everything(aio: Any, run: Any) -> None:
    async def main() -> None:
        queue = aio.Queue(3)
        received: list[int] = []

        async def produce(first: int) -> None:
            for number in range(first, first + 50):
                await queue.put(number)

        async def consume() -> None:
            while True:
                received.append(await queue.get())
                queue.task_done()

        consumers = [asyncio.ensure_future(consume()) for _ in range(3)]
        await asyncio.gather(*[produce(first) for first in range(0, 200, 50)])
        await queue.join()
        for consumer in consumers:
            consumer.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
        assert sorted(received) == list(range(200))

    run(main)


def test_it_is_bound_to_the_loop_of_the_first_who_waits(aio: Any, implementation: Any) -> None:
    queue = aio.Queue(1)

    async def exchange() -> None:
        await queue.put(1)
        await queue.get()

    async def wait() -> None:
        await asyncio.wait_for(queue.get(), 0.001)

    def on_a_loop(coroutine: Any) -> None:
        loop = implementation.new_event_loop()
        try:
            loop.run_until_complete(coroutine)
        finally:
            loop.close()

    for _ in range(2):
        on_a_loop(exchange())
    with pytest.raises(asyncio.TimeoutError):
        on_a_loop(wait())
    with pytest.raises(RuntimeError, match=r"^<Queue at .*> is bound to a different event loop$"):
        on_a_loop(wait())


def test_its_repr_tells_what_is_inside_and_who_waits(aio: Any, loop: Any) -> None:
    queue = aio.Queue()
    assert repr(queue) == f"<Queue at {id(queue):#x} maxsize=0>"
    assert str(queue) == "<Queue maxsize=0>"
    task = loop.create_task(queue.get())
    turn(loop)
    assert str(queue) == "<Queue maxsize=0 _getters[1]>"
    queue.put_nowait("a")
    assert str(queue) == "<Queue maxsize=0 _queue=['a'] tasks=1>"
    loop.run_until_complete(task)
    assert str(queue) == "<Queue maxsize=0 tasks=1>"
    full = aio.Queue(maxsize=1)
    full.put_nowait(1)
    task = loop.create_task(full.put(2))
    turn(loop)
    assert str(full) == "<Queue maxsize=1 _queue=[1] _putters[1] tasks=1>"
    full.get_nowait()
    loop.run_until_complete(task)
