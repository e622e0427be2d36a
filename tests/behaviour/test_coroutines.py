"""The coroutines a loop hands out (sock_recv, create_connection, ...) are coroutines in every respect.

In asyncio they are `async def`s; in rasyncio some are written in Rust, and nobody should be able to tell.
"""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import socket
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from turns import turn

MAKERS: dict[str, Callable[[Any, socket.socket], Any]] = {
    "create_connection": lambda loop, sock: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
    "create_server": lambda loop, sock: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
    "connect_accepted_socket": lambda loop, sock: loop.connect_accepted_socket(asyncio.Protocol, sock),
    "getaddrinfo": lambda loop, sock: loop.getaddrinfo("127.0.0.1", 1),
    "getnameinfo": lambda loop, sock: loop.getnameinfo(("127.0.0.1", 1)),
    "shutdown_asyncgens": lambda loop, sock: loop.shutdown_asyncgens(),
    "shutdown_default_executor": lambda loop, sock: loop.shutdown_default_executor(),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"data"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"data", ("127.0.0.1", 1)),
}

every_maker = pytest.mark.parametrize("name", MAKERS)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def sock(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    return pair[0]


@every_maker
def test_it_is_a_coroutine_to_every_question(loop: Any, sock: socket.socket, name: str) -> None:
    coroutine = MAKERS[name](loop, sock)
    assert asyncio.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine)
    assert isinstance(coroutine, collections.abc.Coroutine)
    assert isinstance(coroutine, collections.abc.Awaitable)
    assert not asyncio.isfuture(coroutine)
    coroutine.close()


@every_maker
def test_it_tells_its_name_and_state(loop: Any, sock: socket.socket, name: str) -> None:
    coroutine = MAKERS[name](loop, sock)
    assert coroutine.__name__ == name
    assert coroutine.__qualname__.endswith(f".{name}")
    assert name in repr(coroutine)
    assert coroutine.cr_running is False
    assert coroutine.cr_await is None
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    assert coroutine.cr_frame.f_code.co_name == coroutine.cr_code.co_name == name
    assert coroutine.cr_code.co_flags & inspect.CO_COROUTINE
    coroutine.close()
    assert coroutine.cr_running is False
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert coroutine.cr_frame is None


def test_it_is_suspended_while_it_waits_and_running_while_it_runs(aio: Any, run: Any) -> None:
    async def main() -> None:
        class Asked:
            """Is awaited by wait_for(), in whose coroutine it asks."""

            def __await__(self) -> Any:
                states.append(inspect.getcoroutinestate(waiting))
                yield from future
                states.append(inspect.getcoroutinestate(waiting))

        async def asked() -> None:
            await Asked()

        states: list[str] = []
        future = asyncio.get_running_loop().create_future()
        waiting = aio.wait_for(asked(), None)
        task = aio.create_task(waiting)
        await aio.sleep(0)
        assert inspect.getcoroutinestate(waiting) == inspect.CORO_SUSPENDED
        frames = [waiting.cr_frame for _ in range(100)]
        assert {frame.f_code for frame in frames} == {waiting.cr_code}
        future.set_result(None)
        await task
        assert states == [inspect.CORO_RUNNING] * 2
        assert inspect.getcoroutinestate(waiting) == inspect.CORO_CLOSED

    run(main)


@every_maker
def test_it_warns_when_it_is_never_awaited(loop: Any, sock: socket.socket, name: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        coroutine = MAKERS[name](loop, sock)
        del coroutine
        gc.collect()
    [warning] = caught
    assert warning.category is RuntimeWarning
    text = str(warning.message)
    assert text.startswith("coroutine '") and text.endswith(f"{name}' was never awaited")


@every_maker
def test_it_does_not_warn_when_it_was_closed(loop: Any, sock: socket.socket, name: str) -> None:
    coroutine = MAKERS[name](loop, sock)
    assert coroutine.close() is None
    assert coroutine.close() is None
    with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
        coroutine.send(None)


@every_maker
def test_throwing_into_it_before_it_began_raises_that(loop: Any, sock: socket.socket, name: str) -> None:
    coroutine = MAKERS[name](loop, sock)
    error = LookupError("thrown")
    with pytest.raises(LookupError) as caught:
        coroutine.throw(error)
    assert caught.value is error
    with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
        coroutine.throw(error)


@every_maker
def test_a_value_cannot_be_sent_before_it_began(loop: Any, sock: socket.socket, name: str) -> None:
    coroutine = MAKERS[name](loop, sock)
    with pytest.raises(TypeError, match=r"^can't send non-None value to a just-started coroutine$"):
        coroutine.send(1)
    coroutine.close()


@every_maker
def test_wrong_arguments_fail_at_the_call(loop: Any, sock: socket.socket, name: str) -> None:
    with pytest.raises(TypeError):
        getattr(loop, name)(no_such_argument=1)


def test_nothing_happens_before_it_is_awaited(loop: Any, run: Any, pair: Any) -> None:
    ours, theirs = pair
    theirs.send(b"data")
    unused = loop.sock_recv(ours, 10)
    turn(loop, 3)
    unused.close()
    assert run(loop.sock_recv(ours, 10)) == b"data"


def test_it_cannot_be_awaited_twice(loop: Any, run: Any, pair: Any) -> None:
    ours, theirs = pair
    theirs.send(b"data")

    async def main() -> None:
        coroutine = loop.sock_recv(ours, 10)
        assert await coroutine == b"data"
        with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
            await coroutine

    run(main)


def test_it_finishes_without_suspending_when_the_data_is_there(loop: Any, pair: Any) -> None:
    ours, theirs = pair
    theirs.send(b"data")
    with pytest.raises(StopIteration) as caught:
        loop.sock_recv(ours, 10).send(None)
    assert caught.value.value == b"data"


def test_it_yields_a_future_when_it_has_to_wait(loop: Any, pair: Any) -> None:
    ours, _theirs = pair
    coroutine = loop.sock_recv(ours, 10)
    future = coroutine.send(None)
    assert asyncio.isfuture(future)
    assert future._asyncio_future_blocking is True
    assert future.get_loop() is loop
    assert coroutine.cr_await is not None
    coroutine.close()
    future.cancel()
    turn(loop)
    assert loop.remove_reader(ours) is False


def test_throwing_into_it_while_it_waits_raises_that(loop: Any, pair: Any) -> None:
    ours, _theirs = pair
    coroutine = loop.sock_recv(ours, 10)
    coroutine.send(None)
    with pytest.raises(LookupError, match="thrown"):
        coroutine.throw(LookupError("thrown"))
    with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
        coroutine.send(None)
    # Nobody cancelled the future behind it, so asyncio still watches the socket.
    loop.remove_reader(ours)


def test_a_task_runs_it_directly(loop: Any, run: Any, pair: Any) -> None:
    ours, theirs = pair

    async def main() -> None:
        task = loop.create_task(loop.sock_recv(ours, 10), name="reads")
        await asyncio.sleep(0)
        assert not task.done()
        assert "sock_recv" in repr(task)
        theirs.send(b"data")
        assert await task == b"data"

    run(main)


def test_a_task_of_the_standard_library_runs_it(loop: Any, run: Any, pair: Any) -> None:
    ours, theirs = pair

    async def main() -> None:
        task = asyncio.Task(loop.sock_recv(ours, 10), loop=loop)
        await asyncio.sleep(0)
        theirs.send(b"data")
        assert await task == b"data"

    run(main)


def test_a_task_that_runs_it_can_be_cancelled(loop: Any, run: Any, pair: Any) -> None:
    ours, theirs = pair

    async def main() -> None:
        task = loop.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        theirs.send(b"data")
        assert await loop.sock_recv(ours, 10) == b"data"

    run(main)


def test_wait_for_and_timeout_end_it(loop: Any, run: Any, pair: Any) -> None:
    ours, _theirs = pair

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(ours, 10), 0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await loop.sock_recv(ours, 10)

    run(main)
    assert loop.remove_reader(ours) is False


def test_it_can_be_awaited_through_other_coroutines(loop: Any, run: Any, pair: Any) -> None:
    ours, theirs = pair

    async def inner() -> Any:
        return await loop.sock_recv(ours, 10)

    async def outer() -> Any:
        loop.call_soon(theirs.send, b"data")
        return await inner()

    assert run(outer) == b"data"


def test_two_tasks_cannot_run_one_coroutine(loop: Any, run: Any, pair: Any) -> None:
    ours, _theirs = pair

    async def main() -> None:
        coroutine = loop.sock_recv(ours, 10)
        first, second = loop.create_task(coroutine), loop.create_task(wrap(coroutine))
        await asyncio.sleep(0)
        with pytest.raises(
            RuntimeError, match=r"coroutine is being awaited already|Task got bad yield|was used instead"
        ):
            await second
        first.cancel()
        await asyncio.wait([first])

    async def wrap(coroutine: Any) -> Any:
        return await coroutine

    run(main)


def test_weak_references(loop: Any, sock: socket.socket) -> None:
    coroutine = loop.sock_recv(sock, 10)
    reference = weakref.ref(coroutine)
    coroutine.close()
    del coroutine
    gc.collect()
    assert reference() is None


def test_one_that_waits_is_dropped_with_its_task(loop: Any, loop_errors: Any, sock: socket.socket) -> None:
    task = loop.create_task(loop.sock_recv(sock, 10))
    turn(loop)
    reference = weakref.ref(task)
    loop.remove_reader(sock)
    loop.close()
    del task
    gc.collect()
    loop_errors.clear()
    gc.collect()
    assert reference() is None


def test_the_await_method_gives_an_iterator(loop: Any, pair: Any) -> None:
    ours, theirs = pair
    theirs.send(b"data")
    iterator = loop.sock_recv(ours, 10).__await__()
    assert isinstance(iterator, collections.abc.Iterator)
    with pytest.raises(StopIteration) as caught:
        next(iterator)
    assert caught.value.value == b"data"
