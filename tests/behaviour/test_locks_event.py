"""Event: everybody waits for one flag."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from turns import Trace, turn


@pytest.fixture
def aio(implementation: Any) -> Any:
    return implementation.module


def test_waiting_for_a_set_event_takes_no_turn(aio: Any) -> None:
    event = aio.Event()
    assert event.is_set() is False
    event.set()
    assert event.is_set() is True
    with pytest.raises(StopIteration) as ended:
        event.wait().send(None)
    assert ended.value.value is True
    event.clear()
    assert event.is_set() is False


def test_setting_it_wakes_everybody_in_the_order_of_arrival(aio: Any, run: Any) -> None:
    trace = Trace()

    async def wait(event: Any, number: int) -> None:
        assert await event.wait() is True
        trace.note(number)

    async def main() -> None:
        event = aio.Event()
        tasks = [asyncio.ensure_future(wait(event, number)) for number in range(10)]
        await asyncio.sleep(0)
        assert trace == []
        event.set()
        event.set()
        await asyncio.gather(*tasks)

    run(main)
    assert trace == list(range(10))


def test_who_was_woken_goes_on_even_if_it_is_cleared_at_once(aio: Any, run: Any) -> None:
    async def main() -> None:
        event = aio.Event()
        task = asyncio.ensure_future(event.wait())
        await asyncio.sleep(0)
        event.set()
        event.clear()
        late = asyncio.ensure_future(event.wait())
        assert await task is True
        assert not late.done()
        event.set()
        assert await late is True

    run(main)


def test_who_is_cancelled_leaves_no_trace(aio: Any, run: Any) -> None:
    async def main() -> None:
        event = aio.Event()
        gone, stays = (asyncio.ensure_future(event.wait()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        assert gone.cancelled()
        assert len(event._waiters) == 1
        event.set()
        assert await stays is True
        assert not event._waiters

    run(main)


def test_who_is_woken_and_cancelled_at_once_is_cancelled(aio: Any, run: Any) -> None:
    async def main() -> None:
        event = aio.Event()
        task = asyncio.ensure_future(event.wait())
        await asyncio.sleep(0)
        event.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_its_repr_tells_the_state_and_how_many_wait(aio: Any, loop: Any) -> None:
    event = aio.Event()
    assert repr(event).endswith(f"Event object at {id(event):#x} [unset]>")
    tasks = [loop.create_task(event.wait()) for _ in range(2)]
    turn(loop)
    assert repr(event).endswith(" [unset, waiters:2]>")
    event.set()
    loop.run_until_complete(asyncio.wait(tasks))
    assert repr(event).endswith(" [set]>")


def test_it_takes_no_arguments(aio: Any) -> None:
    assert not inspect.signature(aio.Event).parameters
    event = aio.Event()
    for call in (aio.Event, event.set, event.clear, event.is_set, event.wait):
        with pytest.raises(TypeError):
            call(1)


def test_a_subclass_whose_init_takes_other_arguments(aio: Any, run: Any) -> None:
    class Named(aio.Event):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    event = Named("event")
    event.set()
    assert run(event.wait()) is True
    assert event.name == "event"
    assert "Named object at" in repr(event)
