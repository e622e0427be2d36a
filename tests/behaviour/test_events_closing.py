"""close: what it ends, and that a closed loop refuses everything with asyncio's words."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from turns import Trace, turn

CLOSED = "^Event loop is closed$"


def test_close_may_be_called_twice(loop: Any) -> None:
    assert not loop.is_closed()
    loop.close()
    assert loop.is_closed() is True
    loop.close()
    assert loop.is_closed()


def test_a_running_loop_cannot_be_closed(loop: Any) -> None:
    trace = Trace()

    def close() -> None:
        with pytest.raises(RuntimeError, match=r"^Cannot close a running event loop$"):
            loop.close()
        trace.note("refused")

    loop.call_soon(close)
    turn(loop)
    assert trace == ["refused"]
    assert not loop.is_closed()


def test_what_was_scheduled_never_runs_after_close(loop: Any) -> None:
    trace = Trace()
    loop.call_soon(trace.note, "soon")
    loop.call_later(0, trace.note, "later")
    loop.call_soon_threadsafe(trace.note, "threadsafe")
    loop.close()
    with pytest.raises(RuntimeError, match=CLOSED):
        loop.run_forever()
    assert trace == []


def test_what_was_scheduled_is_dropped_by_close(loop: Any) -> None:
    class Callback:
        def __call__(self) -> None:
            raise AssertionError("ran")

    references = []
    for schedule in (loop.call_soon, loop.call_soon_threadsafe, lambda c: loop.call_later(1, c)):
        callback = Callback()
        schedule(callback)
        references.append(weakref.ref(callback))
        del callback
    loop.close()
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


CALLS: dict[str, Callable[[Any], Any]] = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(0, print),
    "call_at": lambda loop: loop.call_at(0, print),
    "run_forever": lambda loop: loop.run_forever(),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "add_signal_handler": lambda loop: loop.add_signal_handler(2, print),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_loop_refuses(loop: Any, name: str) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match=CLOSED):
        CALLS[name](loop)


def test_a_closed_loop_refuses_to_run_a_coroutine(loop: Any) -> None:
    async def never() -> None:
        raise AssertionError("ran")

    loop.close()
    coroutine = never()
    with pytest.raises(RuntimeError, match=CLOSED):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_a_closed_loop_refuses_to_make_a_task(loop: Any) -> None:
    async def never() -> None:
        raise AssertionError("ran")

    loop.close()
    coroutine = never()
    with pytest.raises(RuntimeError, match=CLOSED):
        loop.create_task(coroutine)
    coroutine.close()


def test_a_closed_loop_refuses_descriptors(loop: Any) -> None:
    ours, theirs = socket.socketpair()
    loop.close()
    with ours, theirs:
        with pytest.raises(RuntimeError, match=CLOSED):
            loop.add_reader(ours, print)
        with pytest.raises(RuntimeError, match=CLOSED):
            loop.add_writer(ours, print)


def test_some_questions_are_answered_when_closed(loop: Any) -> None:
    loop.close()
    assert loop.is_running() is False
    assert loop.get_debug() is False
    assert loop.get_exception_handler() is None
    assert loop.get_task_factory() is None
    assert isinstance(loop.time(), float)
    loop.stop()


def test_a_future_of_a_closed_loop_can_still_be_set(loop: Any) -> None:
    future = loop.create_future()
    loop.close()
    future.set_result(1)
    assert future.result() == 1


def test_a_future_with_callbacks_cannot_be_set_once_its_loop_is_closed(loop: Any) -> None:
    future = loop.create_future()
    future.add_done_callback(print)
    loop.close()
    with pytest.raises(RuntimeError, match=CLOSED):
        future.set_result(1)
    assert future.done()


def test_a_sleeping_task_of_a_closed_loop_is_reported_as_pending(loop: Any, asyncio_log: Any) -> None:
    async def sleeps() -> None:
        await loop.create_future()

    task = loop.create_task(sleeps(), name="of a closed loop")
    turn(loop)
    loop.close()
    # The handler is asked through the closed loop, which must still be able to tell.
    del task
    gc.collect()
    [message] = asyncio_log.errors()
    assert message.startswith(
        "Task was destroyed but it is pending!\ntask: <Task pending name='of a closed loop'"
    )


def test_a_loop_that_was_never_closed_warns(implementation: Any) -> None:
    loop = implementation.new_event_loop()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    [warning] = [w for w in caught if "event loop" in str(w.message)]
    assert issubclass(warning.category, ResourceWarning)
    assert str(warning.message).startswith("unclosed event loop <")


def test_a_loop_that_was_never_closed_gives_its_descriptors_back(implementation: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop = implementation.new_event_loop()
        loop.call_soon(loop.stop)
        loop.run_forever()
        del loop
        gc.collect()


def test_close_waits_for_no_thread_of_the_executor(loop: Any) -> None:
    release = threading.Event()
    started = threading.Event()

    def block() -> None:
        started.set()
        release.wait(20)

    loop.run_in_executor(None, block)
    assert started.wait(20)
    loop.close()
    assert not release.is_set()
    release.set()


def test_a_loop_closed_inside_another_running_loop(loop: Any, implementation: Any) -> None:
    other = implementation.new_event_loop()
    loop.call_soon(other.close)
    turn(loop)
    assert other.is_closed()


def test_a_closed_loop_is_collected(implementation: Any) -> None:
    loop = implementation.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    reference = weakref.ref(loop)
    del loop
    gc.collect()
    assert reference() is None


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="event loop policies went away in 3.16")
def test_a_new_loop_is_not_the_current_one(implementation: Any) -> None:
    loop = implementation.new_event_loop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy = asyncio.get_event_loop_policy()
        before = getattr(policy._local, "_loop", None)  # type: ignore[attr-defined]
    assert before is not loop
    loop.close()


def test_live_connections_and_servers_survive_the_close_of_their_loop(loop: Any, run: Any) -> None:
    """What is left of them is harmless: it can be looked at and dropped, and tells that it was not closed."""

    async def main() -> tuple[Any, Any]:
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        return server, transport

    server, transport = run(main)
    with pytest.warns(ResourceWarning, match="unclosed"):
        loop.close()
        assert server.is_serving() and not transport.is_closing()
        assert transport.get_extra_info("socket").fileno() > 0
        assert transport.get_write_buffer_size() == 0 and transport.is_reading()
        transport.pause_reading()
        with pytest.raises(RuntimeError, match=CLOSED):
            transport.close()
        server.close()
        assert not server.is_serving() and not server.sockets
        assert repr(transport) and repr(server)
        del server, transport
        gc.collect()


@pytest.mark.rasyncio_only("asyncio tries to send at once, loop or no loop")
def test_nothing_is_sent_once_the_loop_is_closed(loop: Any, run: Any) -> None:
    ours, peer = socket.socketpair()
    transport, _ = run(loop.create_connection(asyncio.Protocol, sock=ours))
    loop.close()
    with pytest.raises(RuntimeError, match=CLOSED):
        transport.write(b"too late")
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()
    ours.close()
    peer.close()
