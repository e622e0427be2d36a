"""Loops with methods of a program's own, in a subclass, the class or the object: who calls them."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest import mock

import pytest

Counts = collections.Counter[str]
WATCHED = ("call_soon", "call_at", "call_later", "create_task", "stop")


def in_a_subclass(base: Any, counts: Counts) -> Any:
    def watched(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return getattr(base, name)(self, *args, **kwargs)

        return method

    return type("Watched", (base,), {name: watched(name) for name in WATCHED})()


def in_the_object(base: Any, counts: Counts) -> Any:
    loop = base()

    def watched(own: Callable[..., Any], name: str) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return own(*args, **kwargs)

        return method

    for name in WATCHED:
        setattr(loop, name, watched(getattr(loop, name), name))
    return loop


@pytest.fixture
def counts() -> Counts:
    return collections.Counter()


@pytest.fixture(params=[in_a_subclass, in_the_object])
def watched(request: pytest.FixtureRequest, loop: Any, counts: Counts) -> Iterator[Any]:
    watched = request.param(type(loop), counts)
    yield watched
    watched.close()


async def nothing() -> None:
    pass


async def one_task() -> None:
    await asyncio.create_task(asyncio.sleep(0))


async def one_future() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    future.add_done_callback(lambda _: None)
    future.set_result(None)
    future.add_done_callback(lambda _: None)
    await asyncio.sleep(0)


async def a_gathering() -> None:
    await asyncio.gather(asyncio.sleep(0), nothing())


async def a_lock() -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    waits = asyncio.create_task(lock.acquire())
    await asyncio.sleep(0)
    lock.release()
    await waits


async def a_delay() -> None:
    await asyncio.sleep(0.001)


async def a_timeout() -> None:
    async with asyncio.timeout(1000):
        await asyncio.sleep(0)


# What asyncio's own loop is asked for by each.
EXPECTED: dict[Callable[[], Awaitable[None]], dict[str, int]] = {
    one_task: {"create_task": 1, "call_soon": 3},
    one_future: {"call_soon": 3},
    a_gathering: {"create_task": 2, "call_soon": 6},
    a_lock: {"create_task": 1, "call_soon": 4},
    a_delay: {"call_later": 1, "call_at": 1, "call_soon": 1},
    a_timeout: {"call_at": 1, "call_soon": 1},
}


@pytest.mark.parametrize("work", EXPECTED)
def test_tasks_and_futures_ask_for_what_they_need(
    watched: Any, counts: Counts, work: Callable[[], Awaitable[None]]
) -> None:
    async def main() -> Counts:
        counts.clear()
        await work()
        return counts.copy()

    assert watched.run_until_complete(main()) == EXPECTED[work]


def test_a_run_is_ended_by_stop(watched: Any, counts: Counts) -> None:
    watched.run_until_complete(nothing())
    assert counts["stop"] == 1


def test_a_cancelled_task_and_a_failure(watched: Any, counts: Counts) -> None:
    """Whichever way a step comes about, the task is the current one and in its own context."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen = []

    async def work(name: str) -> None:
        variable.set(name)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append((name, variable.get(), asyncio.current_task()))

    async def main() -> None:
        tasks = [asyncio.create_task(work("first")), asyncio.create_task(work("second"))]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
        assert seen == [("first", "first", tasks[0]), ("second", "second", tasks[1])]
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    watched.run_until_complete(main())


def test_a_loop_that_changes_the_order(loop: Any) -> None:
    """As tests do that look for races: what is ready runs in an order of its own."""
    order = []

    class Reversing(type(loop)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.held: list[tuple[Any, ...]] = []
            self.is_open = True

        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
            if not self.held:
                super().call_soon(self.let_go)
            context = contextvars.copy_context() if context is None else context
            handle = asyncio.Handle(callback, args, self, context)
            self.held.append((handle, callback, args, context))
            return handle

        def let_go(self) -> None:
            held, self.held = self.held, []
            for handle, callback, args, context in reversed(held):
                if not handle.cancelled():
                    super().call_soon(callback, *args, context=context)

    async def work(name: str) -> None:
        for step in range(2):
            order.append(f"{name}{step}")
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(work("a"), work("b"), work("c"))

    reversing = Reversing()
    reversing.run_until_complete(main())
    reversing.close()
    assert order == ["c0", "b0", "a0", "a1", "b1", "c1"]


def test_a_method_that_is_taken_back(loop: Any) -> None:
    seen = []
    own = loop.call_soon

    def call_soon(callback: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(callback)
        return own(callback, *args, **kwargs)

    async def main() -> None:
        await asyncio.sleep(0)
        assert not seen
        loop.call_soon = call_soon
        await asyncio.sleep(0)
        assert len(seen) == 1
        del loop.call_soon
        await asyncio.sleep(0)
        assert len(seen) == 1

    loop.run_until_complete(main())


def test_a_call_soon_that_fails(loop: Any) -> None:
    """Its exception comes out where the future was ended."""

    async def main() -> None:
        future = loop.create_future()
        future.add_done_callback(lambda _: None)

        def call_soon(callback: Any, *args: Any, **kwargs: Any) -> Any:
            raise LookupError("no")

        loop.call_soon = call_soon
        with pytest.raises(LookupError):
            future.set_result(None)
        del loop.call_soon

    loop.run_until_complete(main())


def test_attributes_that_hide_nothing(loop: Any) -> None:
    loop.own = 1
    assert loop.own == 1 and vars(loop)["own"] == 1
    del loop.own
    with pytest.raises(AttributeError):
        del loop.own
    with pytest.raises(AttributeError):
        _ = loop.own
    vars(loop)[1] = "no name"
    loop.slow_callback_duration = 0.5
    assert loop.slow_callback_duration == 0.5


def test_a_method_put_into_the_class(loop: Any) -> None:
    own = type(loop).call_soon
    seen = []

    def call_soon(self: Any, callback: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(callback)
        return own(self, callback, *args, **kwargs)

    async def main() -> int:
        seen.clear()
        await asyncio.sleep(0)
        return len(seen)

    with mock.patch.object(type(loop), "call_soon", call_soon):
        assert loop.run_until_complete(main()) == 1
    assert loop.run_until_complete(main()) == 0


def test_transports_call_their_protocols_without_call_soon(
    watched: Any, counts: Counts, implementation: Any
) -> None:
    """asyncio asks twice for each: for connection_made() and to begin reading."""

    async def main() -> int:
        ours, peer = socket.socketpair()
        begun = counts["call_soon"]
        transport, _ = await watched.create_unix_connection(asyncio.Protocol, sock=ours)
        asked = counts["call_soon"] - begun
        transport.abort()
        peer.close()
        return asked

    # The future that is awaited for the connection asks in any case, and wakes the task.
    assert (watched.run_until_complete(main()) > 2) is implementation.is_oracle


def test_a_method_put_into_asyncios_class_is_not_ours(loop: Any, implementation: Any) -> None:
    with mock.patch.object(asyncio.BaseEventLoop, "is_running", lambda self: "patched"):
        assert (loop.is_running() == "patched") is implementation.is_oracle
