"""Coroutine functions and methods: functions of Python to `inspect`, `pickle` and `unittest.mock`."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import types
import weakref
from typing import Any
from unittest import mock

import pytest

METHODS = [
    "Barrier.wait",
    "Barrier.__aenter__",
    "Lock.acquire",
    "Lock.__aenter__",
    "Semaphore.acquire",
    "BoundedSemaphore.__aexit__",
    "Event.wait",
    "Queue.get",
    "Queue.put",
    "Queue.join",
    "LifoQueue.get",
    "Condition.wait",
    "Condition.wait_for",
    "Timeout.__aenter__",
    "StreamReader.read",
    "StreamReader.__anext__",
    "StreamWriter.drain",
    "TaskGroup.__aexit__",
    "EventLoop.create_server",
    "EventLoop.create_connection",
    "EventLoop.shutdown_default_executor",
]
FUNCTIONS = ["sleep", "wait", "wait_for", "to_thread", "open_connection", "create_subprocess_exec"]


def loop_class(aio: Any) -> Any:
    return asyncio.SelectorEventLoop if aio is asyncio else aio.EventLoop


def thing(aio: Any, place: str) -> Any:
    if place.startswith("EventLoop."):
        return getattr(loop_class(aio), place.partition(".")[2])
    return functools.reduce(getattr, place.split("."), aio)


@pytest.mark.parametrize("place", METHODS + FUNCTIONS)
def test_it_is_a_function_to_inspect(aio: Any, place: str) -> None:
    function = thing(aio, place)
    assert inspect.isfunction(function) and isinstance(function, types.FunctionType)
    assert inspect.iscoroutinefunction(function)
    assert inspect.iscoroutinefunction(functools.partial(function, None))
    assert not inspect.isbuiltin(function)
    assert function.__code__.co_flags & inspect.CO_COROUTINE
    assert function.__name__ == place.rpartition(".")[2]
    assert function.__qualname__.rpartition(".")[2] == function.__name__
    assert repr(function).startswith(f"<function {function.__qualname__} at 0x")
    assert callable(function) and weakref.ref(function)() is function


@pytest.mark.parametrize("place", METHODS + FUNCTIONS)
def test_it_is_copied_as_itself(aio: Any, place: str) -> None:
    function = thing(aio, place)
    assert copy.copy(function) is function and copy.deepcopy(function) is function
    assert pickle.loads(pickle.dumps(function)) is function


def test_of_an_object_it_is_a_method(aio: Any) -> None:
    barrier = aio.Barrier(1)
    wait = barrier.wait
    assert inspect.ismethod(wait) and inspect.iscoroutinefunction(wait)
    assert wait == barrier.wait and wait != aio.Barrier(1).wait
    assert repr(wait) == f"<bound method Barrier.wait of {barrier!r}>"
    assert weakref.WeakMethod(wait)() == wait
    assert wait.__self__ is barrier and wait.__func__ is aio.Barrier.wait


def test_it_is_called_by_all_ways(aio: Any, run: Any) -> None:
    class Derived(aio.StreamReader):  # type: ignore[misc]
        async def read(self, n: int = -1) -> Any:
            inherited: Any = super()
            return await inherited.read(n)

    def filled(kind: Any) -> Any:
        reader = kind()
        reader.feed_data(b"0123456789")
        reader.feed_eof()
        return reader

    async def main() -> None:
        reader = filled(aio.StreamReader)
        unbound, bound = aio.StreamReader.read, reader.read
        assert [await reader.read(1), await reader.read(n=1), await bound(1), await bound(n=1)] == list(
            map(str.encode, "0123")
        )
        assert [await unbound(reader, 1), await unbound(reader, n=1)] == [b"4", b"5"]
        assert await functools.partial(unbound, reader)(1) == b"6"
        assert await functools.partial(bound, n=1)() == b"7"
        assert await reader.read() == b"89" and await unbound(reader) == b""
        assert await filled(Derived).read(2) == b"01"
        assert await filled(aio.StreamReader).readline() == b"0123456789"
        assert await aio.StreamReader.readline(filled(Derived)) == b"0123456789"

    run(main)


@pytest.mark.parametrize(
    ("arguments", "named"), [((), {}), ((1, 2), {}), ((), {"other": 1}), ((1,), {"item": 2})]
)
def test_wrong_arguments_are_refused(aio: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    queue = aio.Queue()
    with pytest.raises(TypeError, match=r"wait_for\(\)"):
        aio.Condition().wait_for(*arguments, **named)
    with pytest.raises(TypeError):
        queue.join(1)
    with pytest.raises(TypeError):
        queue.join(other=1)
    with pytest.raises(TypeError):
        aio.Queue.join()


@pytest.mark.rasyncio_only(reason="asyncio's method takes any object, and fails when it is awaited")
def test_of_another_class_an_object_is_refused(aio: Any) -> None:
    for method in aio.Barrier.wait, aio.StreamReader.read, aio.StreamReader.__anext__:
        with pytest.raises(TypeError, match=r"^descriptor '\w+' (for|requires)"):
            method(object())


def lines_of(aio: Any) -> Any:
    return type("Lines", (aio.StreamReader,), {})


@pytest.mark.parametrize("derive", [lambda aio: aio.StreamReader, lines_of], ids=["its class", "subclass"])
def test_lines_are_iterated_over(aio: Any, run: Any, derive: Any) -> None:
    async def main() -> None:
        reader = derive(aio)()
        reader.feed_data(b"a\nb\nc\n")
        reader.feed_eof()
        assert await reader.__anext__() == b"a\n"
        assert await anext(reader) == b"b\n"
        assert [line async for line in reader] == [b"c\n"]

    run(main)


def test_a_subclass_may_iterate_by_its_base(aio: Any, run: Any) -> None:
    class Shouting(aio.StreamReader):  # type: ignore[misc]
        async def __anext__(self) -> Any:
            return (await super().__anext__()).upper()

    async def main() -> None:
        reader = Shouting()
        reader.feed_data(b"a\nb\n")
        reader.feed_eof()
        assert [line async for line in reader] == [b"A\n", b"B\n"]

    run(main)


def test_a_mock_of_a_class_can_be_awaited_where_the_class_can(aio: Any, run: Any) -> None:
    async def main() -> None:
        reader = mock.create_autospec(aio.StreamReader, instance=True)
        reader.read.return_value = b"read"
        assert await reader.read(5) == b"read"
        reader.read.assert_awaited_once_with(5)
        assert not isinstance(reader.at_eof, mock.AsyncMock)
        loop = mock.Mock(spec=loop_class(aio))
        loop.create_connection.return_value = (1, 2)
        assert await loop.create_connection(None) == (1, 2)
        with pytest.raises(TypeError):
            await loop.call_soon(None)

    run(main)


@pytest.mark.parametrize(
    ("make", "waits", "plain"),
    [
        (lambda aio: aio.Lock(), "acquire", "release"),
        (lambda aio: aio.Semaphore(3), "acquire", "release"),
        (lambda aio: aio.Event(), "wait", "set"),
        (lambda aio: aio.Condition(), "acquire", "release"),
        (lambda aio: aio.Condition(), "wait", "notify"),
        (lambda aio: aio.Queue(), "get", "get_nowait"),
    ],
    ids=["lock", "semaphore", "event", "condition's lock", "condition", "queue"],
)
def test_a_primitive_between_tasks_can_be_mocked(
    aio: Any, run: Any, make: Any, waits: str, plain: str
) -> None:
    async def main() -> None:
        thing = make(aio)
        for double in mock.create_autospec(thing), mock.MagicMock(spec=thing):
            getattr(double, waits).return_value = "got"
            assert await getattr(double, waits)() == "got"
            getattr(double, waits).assert_awaited_once_with()
            assert not isinstance(getattr(double, plain), mock.AsyncMock)

    run(main)


def test_a_patched_method_of_a_queue_can_be_awaited(aio: Any, run: Any) -> None:
    async def main() -> None:
        with mock.patch.object(aio.Queue, "get", autospec=True, return_value="item") as get:
            queue = aio.Queue()
            assert await queue.get() == "item"
            get.assert_awaited_once_with(queue)
        queue.put_nowait(1)
        assert await queue.get() == 1

    run(main)


def test_a_mock_of_a_lock_can_be_entered(aio: Any, run: Any) -> None:
    async def main() -> None:
        lock = mock.create_autospec(aio.Lock, instance=True)
        async with lock:
            pass
        lock.__aenter__.assert_awaited_once_with()
        assert lock.__aexit__.await_count == 1

    run(main)


def test_a_mock_with_the_signature_refuses_other_arguments(aio: Any, run: Any) -> None:
    async def main() -> None:
        sleep = mock.create_autospec(aio.sleep, return_value="slept")
        assert inspect.isfunction(sleep)
        assert await sleep(1, result=2) == "slept"
        with pytest.raises(TypeError):
            await sleep(1, 2, 3)
        reader = mock.create_autospec(aio.StreamReader, instance=True)
        with pytest.raises(TypeError):
            await reader.readexactly()
        with pytest.raises(TypeError):
            await reader.readexactly(1, other=2)

    run(main)


def test_a_patched_method_of_a_loop_can_be_awaited(loop: Any) -> None:
    async def main() -> None:
        with mock.patch.object(loop, "create_connection", autospec=True, spec_set=True) as create:
            create.return_value = "made"
            assert await loop.create_connection(None, "localhost", 80) == "made"
            create.assert_awaited_once_with(None, "localhost", 80)
            with pytest.raises(TypeError):
                await loop.create_connection(nothing=0)
        with mock.patch.object(loop, "sock_recv") as receive:
            receive.return_value = b"bytes"
            assert await loop.sock_recv(None, 5) == b"bytes"

    loop.run_until_complete(main())


def test_a_wrapper_looks_like_it(aio: Any) -> None:
    @functools.wraps(aio.StreamReader.read)
    def wrapper(*arguments: Any) -> None:
        """Replaced."""

    assert wrapper.__name__ == "read" and wrapper.__qualname__ == "StreamReader.read"
    assert wrapper.__doc__ == aio.StreamReader.read.__doc__ is not None
    assert list(inspect.signature(wrapper).parameters) == ["self", "n"]
