"""Classes derived from asyncio's, with constructors of their own; attributes and weak references."""

from __future__ import annotations

import asyncio
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest

# What asyncio's own constructor wants, where it wants something.
ARGUMENTS: dict[str, Callable[[Any, asyncio.AbstractEventLoop], tuple[Any, ...]]] = {
    "Barrier": lambda aio, loop: (2,),
    "BoundedSemaphore": lambda aio, loop: (3,),
    "Condition": lambda aio, loop: (),
    "Event": lambda aio, loop: (),
    "Future": lambda aio, loop: (),
    "Handle": lambda aio, loop: (print, (1, 2), loop),
    "LifoQueue": lambda aio, loop: (3,),
    "Lock": lambda aio, loop: (),
    "PriorityQueue": lambda aio, loop: (3,),
    "Queue": lambda aio, loop: (3,),
    "Runner": lambda aio, loop: (),
    "Semaphore": lambda aio, loop: (3,),
    "StreamReader": lambda aio, loop: (1024,),
    "StreamReaderProtocol": lambda aio, loop: (aio.StreamReader(),),
    "TaskGroup": lambda aio, loop: (),
    "Timeout": lambda aio, loop: (loop.time() + 1000,),
    "TimerHandle": lambda aio, loop: (loop.time() + 1000, print, (), loop),
}
# They have slots and nothing else.
CLOSED = {"Handle", "TimerHandle"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_subclass_may_have_other_arguments(
    aio: Any, loop: asyncio.AbstractEventLoop, run: Any, name: str
) -> None:
    base: Any = getattr(aio, name)

    async def body() -> None:
        arguments = ARGUMENTS[name](aio, loop)

        class Own(base):  # type: ignore[misc]
            def __init__(self, first: str, *more: int, option: str) -> None:
                super().__init__(*arguments)
                self.given = (first, more, option)

        own = Own("first", 2, 3, option="four")
        plain = base(*arguments)
        assert own.given == ("first", (2, 3), "four")
        assert isinstance(own, base) and not isinstance(plain, Own)

    run(body)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_constructors_refuse_what_they_do_not_know(
    aio: Any, loop: asyncio.AbstractEventLoop, run: Any, name: str
) -> None:
    async def body() -> None:
        arguments = ARGUMENTS[name](aio, loop)
        with pytest.raises(TypeError, match=r"keyword argument .*colour|colour.* keyword argument"):
            getattr(aio, name)(*arguments, colour="blue")

    run(body)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_objects_take_attributes_and_weak_references(
    aio: Any, loop: asyncio.AbstractEventLoop, run: Any, name: str
) -> None:
    async def body() -> None:
        made: Any = getattr(aio, name)(*ARGUMENTS[name](aio, loop))
        reference: Any = weakref.ref(made)
        assert reference() is made
        if name in CLOSED:
            with pytest.raises(AttributeError):
                made.colour = "blue"
        else:
            made.colour = "blue"
            assert made.colour == "blue"

    run(body)


def test_a_server_takes_attributes(aio: Any, loop: asyncio.AbstractEventLoop, run: Any) -> None:
    async def body() -> None:
        server: Any = await loop.create_server(aio.Protocol, "127.0.0.1", 0)
        reference: Any = weakref.ref(server)
        server.colour = "blue"
        assert server.colour == "blue" and reference() is server
        server.close()
        await server.wait_closed()

    run(body)


def test_a_timeout_with_a_constructor_of_its_own_ends_its_block(aio: Any, run: Any) -> None:
    class Deadline(aio.Timeout):  # type: ignore[misc]
        def __init__(self, delay: float, loop: asyncio.AbstractEventLoop) -> None:
            super().__init__(loop.time() + delay)
            self.delay = delay

    async def body() -> None:
        deadline = Deadline(0.001, aio.get_running_loop())
        with pytest.raises(TimeoutError):
            async with deadline:
                await aio.sleep(1000)
        assert deadline.expired() and deadline.delay == 0.001

    run(body)


def test_a_group_with_a_constructor_of_its_own_waits_for_its_tasks(aio: Any, run: Any) -> None:
    class Limited(aio.TaskGroup):  # type: ignore[misc]
        def __init__(self, limit: int) -> None:
            super().__init__()
            self.places = aio.Semaphore(limit)

        def create_task(self, coro: Any, **options: Any) -> Any:
            async def in_turn() -> Any:
                async with self.places:
                    return await coro

            return super().create_task(in_turn(), **options)

    async def body() -> None:
        order: list[int] = []

        async def work(number: int) -> None:
            order.append(number)
            await aio.sleep(0)
            order.append(-number)

        async with Limited(1) as group:
            for number in (1, 2, 3):
                group.create_task(work(number))
        assert order == [1, -1, 2, -2, 3, -3]

    run(body)


def test_a_runner_with_a_constructor_of_its_own_runs(aio: Any) -> None:
    class Named(aio.Runner):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            super().__init__(debug=True)
            self.name = name

    async def debugging() -> bool:
        return bool(aio.get_running_loop().get_debug())

    with Named("mine") as runner:
        assert runner.name == "mine"
        assert runner.run(debugging()) is True


def test_a_process_with_a_constructor_of_its_own(aio: Any) -> None:
    class Named(aio.subprocess.Process):  # type: ignore[misc]
        def __init__(self, name: str, transport: Any) -> None:
            streams = types.SimpleNamespace(stdin=None, stdout=None, stderr=None)
            super().__init__(transport, streams, None)
            self.name = name

    transport = types.SimpleNamespace(get_pid=lambda: 4321, get_returncode=lambda: 7)
    process = Named("mine", transport)
    assert (process.name, process.pid, process.returncode, process.stdout) == ("mine", 4321, 7, None)


def test_a_handle_with_a_constructor_of_its_own_runs(aio: Any, loop: asyncio.AbstractEventLoop) -> None:
    class Counted(aio.Handle):  # type: ignore[misc]
        def __init__(self, calls: list[str]) -> None:
            super().__init__(calls.append, ("called",), loop)
            self.calls = calls

    calls: list[str] = []
    counted = Counted(calls)
    counted._run()
    assert calls == ["called"]
    counted.cancel()
    assert counted.cancelled() and "cancelled" in repr(counted)
