"""Reference cycles through every native class are found by the garbage collector."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from net_peers import Recorder, kernel_asked, transport_to_peer
from tls_peers import NAME, client_context, tls_connection

ROUNDS = 50

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")


class Marker:
    """One link of each cycle; its weak reference tells whether the cycle was collected."""

    link: Any = None

    def __call__(self, *_arguments: Any) -> None:
        """So that it can be a callback."""


Maker = Callable[[Any, Any, Marker], None]
MAKERS: dict[str, Maker] = {}


def cycle(make: Maker) -> Maker:
    """Registers a function that ties the marker into a cycle; its name says through what."""
    MAKERS[make.__name__] = make
    return make


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.stop()
    loop.run_forever()


@cycle
def future_result(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.create_future()
    marker.link.set_result(marker)


@cycle
def future_exception(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.create_future()
    marker.link.set_exception(ValueError(marker))
    marker.link._log_traceback = False


@cycle
def future_one_callback(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.create_future()
    marker.link.add_done_callback(marker)


@cycle
def future_many_callbacks(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.create_future()
    for callback in (repr, marker, id, marker):
        marker.link.add_done_callback(callback)


@cycle
def future_context_of_a_callback(loop: Any, implementation: Any, marker: Marker) -> None:
    context = contextvars.copy_context()
    context.run(variable.set, marker)
    marker.link = loop.create_future()
    marker.link.add_done_callback(repr, context=context)


@cycle
def future_cancel_message(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.create_future()
    marker.link.cancel(marker)


@cycle
def future_attribute(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.create_future()
    marker.link.attribute = marker


@cycle
def future_subclass(loop: Any, implementation: Any, marker: Marker) -> None:
    class Mine(implementation.future_type):  # type: ignore[misc]
        pass

    marker.link = Mine(loop=loop)
    marker.link.attribute = marker


@cycle
def future_iterator(loop: Any, implementation: Any, marker: Marker) -> None:
    future = loop.create_future()
    future.set_result(marker)
    marker.link = iter(future)


@cycle
def task_result(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> Any:
        return marker

    marker.link = loop.create_task(work())
    turn(loop)


@cycle
def task_exception(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> Any:
        raise ValueError(marker)

    marker.link = loop.create_task(work())
    turn(loop)
    marker.link._log_traceback = False


@cycle
def task_context(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> Any:
        variable.set(marker)

    marker.link = loop.create_task(work())
    turn(loop)


@cycle
def task_callback(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> Any:
        """Done at once; what is added afterwards is scheduled."""

    marker.link = loop.create_task(work())
    marker.link.add_done_callback(marker)
    turn(loop)
    turn(loop)


@cycle
def task_subclass(loop: Any, implementation: Any, marker: Marker) -> None:
    class Mine(implementation.task_type):  # type: ignore[misc]
        pass

    async def work() -> Any:
        return marker

    marker.link = Mine(work(), loop=loop)
    marker.link.attribute = marker
    turn(loop)


@cycle
def task_that_waits_when_its_loop_is_closed(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> None:
        keep = marker
        await own.create_future()
        del keep

    own = implementation.new_event_loop()
    marker.link = own.create_task(work())
    marker.link._log_destroy_pending = False
    turn(own)
    own.close()


@cycle
def task_that_never_began_when_its_loop_is_closed(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> Any:
        return marker.link

    own = implementation.new_event_loop()
    coroutine = work()
    marker.link = own.create_task(coroutine)
    marker.link._log_destroy_pending = False
    # It must not warn that it was never awaited.
    coroutine.close()
    own.close()


@cycle
def handle(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.call_soon(marker, marker)
    turn(loop)


@cycle
def handle_context(loop: Any, implementation: Any, marker: Marker) -> None:
    context = contextvars.copy_context()
    context.run(variable.set, marker)
    marker.link = loop.call_soon(repr, 1, context=context)
    turn(loop)


@cycle
def handle_made_while_the_loop_runs(loop: Any, implementation: Any, marker: Marker) -> None:
    def schedule() -> None:
        marker.link = loop.call_soon(marker, marker)

    loop.call_soon(schedule)
    turn(loop)
    turn(loop)


@cycle
def handle_left_when_the_loop_stopped(loop: Any, implementation: Any, marker: Marker) -> None:
    own = implementation.new_event_loop()

    def schedule() -> None:
        marker.link = own.call_soon(marker, own)

    own.call_soon(schedule)
    turn(own)
    own.close()


@cycle
def handle_from_another_thread(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.call_soon_threadsafe(marker, 1, 2, marker)
    turn(loop)


@cycle
def handle_from_another_thread_that_never_ran(loop: Any, implementation: Any, marker: Marker) -> None:
    own = implementation.new_event_loop()
    marker.link = own.call_soon_threadsafe(marker, own)
    own.close()


@cycle
def handle_that_never_ran(loop: Any, implementation: Any, marker: Marker) -> None:
    own = implementation.new_event_loop()
    marker.link = own.call_soon(marker, own)
    own.close()


@cycle
def timer(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = loop.call_later(0, marker, marker)
    turn(loop)


@cycle
def timer_that_never_fired(loop: Any, implementation: Any, marker: Marker) -> None:
    own = implementation.new_event_loop()
    marker.link = own.call_later(3600, marker, own)
    own.close()


@cycle
def loop_attribute(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = implementation.new_event_loop()
    marker.link.attribute = marker
    marker.link.close()


@cycle
def loop_exception_handler(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = implementation.new_event_loop()
    marker.link.set_exception_handler(marker)
    marker.link.close()


@cycle
def loop_task_factory(loop: Any, implementation: Any, marker: Marker) -> None:
    marker.link = implementation.new_event_loop()
    marker.link.set_task_factory(marker)
    marker.link.close()


@cycle
def loop_reader(loop: Any, implementation: Any, marker: Marker) -> None:
    ours, theirs = socket.socketpair()
    marker.link = implementation.new_event_loop()
    marker.link.add_reader(ours, marker)
    marker.link.add_writer(ours, marker)
    marker.link.close()
    ours.close()
    theirs.close()


@cycle
def loop_open_generator(loop: Any, implementation: Any, marker: Marker) -> None:
    async def generator() -> Any:
        yield marker

    marker.link = implementation.new_event_loop(), generator()
    marker.link[0].run_until_complete(marker.link[1].__anext__())
    marker.link[0].close()


@cycle
def coroutine(loop: Any, implementation: Any, marker: Marker) -> None:
    class Socket(socket.socket):
        marker: Any = None

    mine = Socket()
    mine.setblocking(False)
    mine.marker = marker
    marker.link = loop.sock_recv(mine, 1)
    with pytest.raises(OSError):
        # It ends at once, as the socket is not connected, but may keep its arguments.
        marker.link.send(None)
    mine.close()


@cycle
def coroutine_that_waits(loop: Any, implementation: Any, marker: Marker) -> None:
    class Socket(socket.socket):
        marker: Any = None

    ours, theirs = socket.socketpair()
    mine = Socket(fileno=ours.detach())
    mine.setblocking(False)
    mine.marker = marker
    marker.link = loop.sock_recv(mine, 1)
    future = marker.link.send(None)
    loop.remove_reader(mine)
    future.cancel()
    turn(loop)
    marker.link.close()
    mine.close()
    theirs.close()


@cycle
def runner(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> None:
        variable.set(marker)

    with implementation.module.Runner() as used:
        used.run(work())
    marker.link = used


@cycle
def server(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> Any:
        made = await loop.create_server(marker, "127.0.0.1", 0)
        made.close()
        return made

    marker.link = loop.run_until_complete(work())


class MarkedProtocol(asyncio.Protocol):
    marker: Any = None


class MarkedFile(io.FileIO):
    marker: Any = None


def pipe_transport(loop: Any, implementation: Any, marker: Marker, direction: str) -> Any:
    """A transport whose protocol leads back to it; it has lost its pipe, so nothing is warned of."""
    numbers = os.pipe()
    pipe = MarkedFile(numbers[direction == "write"], "rb" if direction == "read" else "wb", closefd=False)
    connect = getattr(loop, f"connect_{direction}_pipe")
    transport, protocol = loop.run_until_complete(connect(MarkedProtocol, pipe))
    transport._pipe = None
    protocol.marker, marker.link = marker, transport
    return transport, numbers


@cycle
def read_pipe_that_is_paused(loop: Any, implementation: Any, marker: Marker) -> None:
    transport, numbers = pipe_transport(loop, implementation, marker, "read")
    transport.pause_reading()
    for number in numbers:
        os.close(number)


@cycle
def pipes_of_a_closed_loop(loop: Any, implementation: Any, marker: Marker) -> None:
    own = implementation.new_event_loop()
    transports = [pipe_transport(own, implementation, marker, direction) for direction in ("read", "write")]
    own.close()
    marker.link = own, transports
    for _, numbers in transports:
        for number in numbers:
            os.close(number)


@cycle
def pipes_that_were_closed(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> list[Any]:
        reading, writing = os.pipe()
        pipes = MarkedFile(reading, "rb"), MarkedFile(writing, "wb")
        for pipe in pipes:
            pipe.marker = marker
        reader, _ = await loop.connect_read_pipe(MarkedProtocol, pipes[0])
        writer, _ = await loop.connect_write_pipe(MarkedProtocol, pipes[1])
        reader.close()
        writer.close()
        await asyncio.sleep(0)
        return [reader, writer]

    marker.link = loop.run_until_complete(work())
    turn(loop)


@cycle
def tls_transport(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> Any:
        protocol = Recorder()
        protocol.marker = marker  # type: ignore[attr-defined]
        async with tls_connection(protocol) as (transport, _):
            return transport, protocol

    marker.link = loop.run_until_complete(work())


@cycle
def tls_handshake_when_its_loop_is_closed(loop: Any, implementation: Any, marker: Marker) -> None:
    async def work() -> None:
        protocol = Recorder()
        plain, sock = await transport_to_peer(protocol)
        marker.link = plain, protocol
        protocol.marker = marker  # type: ignore[attr-defined]
        task = asyncio.ensure_future(own.start_tls(plain, protocol, client_context(), server_hostname=NAME))
        task._log_destroy_pending = False
        protocol.task = task  # type: ignore[attr-defined]
        await kernel_asked()
        sock.close()

    own = implementation.new_event_loop()
    own.run_until_complete(work())
    own.close()


@pytest.fixture
def nothing_else_is_garbage() -> Iterator[None]:
    gc.collect()
    yield
    gc.collect()


@pytest.mark.soak
# A loop that is closed in the midst of a connection leaves that to the collector, which is looked at here.
@pytest.mark.filterwarnings("ignore:unclosed (transport|<socket):ResourceWarning")
@pytest.mark.parametrize("name", MAKERS)
def test_a_cycle_through_it_is_collected(
    nothing_else_is_garbage: None, loop: Any, implementation: Any, name: str
) -> None:
    references = []
    for _ in range(ROUNDS):
        marker = Marker()
        references.append(weakref.ref(marker))
        MAKERS[name](loop, implementation, marker)
        del marker
    gc.collect()
    gc.collect()
    assert [reference() for reference in references if reference() is not None] == []


def test_a_collection_may_begin_while_an_object_is_made(script: Any) -> None:
    """Up to Python 3.12 an object's dictionary is made before the object is filled in."""
    finished = script(
        """
        import asyncio, gc

        async def main():
            loop = asyncio.get_running_loop()
            gc.set_threshold(1, 1, 1)
            pipe = asyncio.subprocess.PIPE
            for _ in range(20):
                loop.create_future().cancel()
                await asyncio.ensure_future(asyncio.sleep(0))
                loop.call_later(0, aio.Lock)
                process = await aio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
                assert await process.communicate(b"hello") == (b"hello", None)

        aio.run(main())
        """
    )
    assert (finished.returncode, finished.stderr) == (0, "")
