"""Type-check case: rasyncio's own names, with nothing of asyncio replaced. Checked by mypy, never run."""

import asyncio
import contextvars
import socket
from typing import Any, assert_type

import rasyncio


async def answer() -> int:
    return 42


async def greet(name: str) -> str:
    return name


class Echo(asyncio.Protocol):
    """A protocol of the standard library."""


def entry_points() -> None:
    assert_type(rasyncio.run(answer()), int)
    assert_type(rasyncio.run(answer(), debug=True), int)
    with rasyncio.Runner(debug=False, loop_factory=rasyncio.new_event_loop) as runner:
        assert_type(runner.run(answer(), context=contextvars.copy_context()), int)
        assert_type(runner.get_loop(), asyncio.AbstractEventLoop)
    with asyncio.Runner(loop_factory=rasyncio.new_event_loop) as plain:
        assert_type(plain.run(greet("you")), str)
    asyncio.Runner(loop_factory=rasyncio.EventLoop)
    rasyncio.install()
    rasyncio.uninstall()
    assert_type(rasyncio.EventLoopPolicy().new_event_loop(), rasyncio.EventLoop)


def scheduling(loop: rasyncio.EventLoop) -> None:
    abstract: asyncio.AbstractEventLoop = loop
    assert_type(abstract.time(), float)
    assert_type(loop.backend, str)
    assert_type(loop.call_soon(print, "now"), rasyncio.Handle)
    assert_type(loop.call_later(0.5, print), rasyncio.TimerHandle)
    assert_type(loop.call_at(loop.time(), print).when(), float)
    assert_type(loop.call_soon_threadsafe(print, context=contextvars.copy_context()).cancelled(), bool)
    assert_type(loop.run_until_complete(answer()), int)
    assert_type(loop.run_until_complete(loop.run_in_executor(None, len, "text")), int)
    loop.slow_callback_duration = 0.2


def futures_and_tasks(loop: rasyncio.EventLoop) -> None:
    future: rasyncio.Future[int] = rasyncio.Future(loop=loop)
    future.set_result(1)
    future.add_done_callback(lambda done: done.result().bit_length())
    plain: asyncio.Future[int] = future
    assert_type(plain.result(), int)
    task = loop.create_task(greet("you"), name="greeter")
    assert_type(task, rasyncio.Task[str])
    assert_type(task.cancelling(), int)
    assert_type(rasyncio.Task(answer(), loop=loop).result(), int)
    awaited: asyncio.Task[str] = task
    assert_type(awaited.get_name(), str)
    assert_type(rasyncio.current_task(loop), asyncio.Task[Any] | None)


async def network(loop: rasyncio.EventLoop, connected: socket.socket) -> None:
    transport, protocol = await loop.create_connection(
        Echo, "::1", 80, happy_eyeballs_delay=0.25, interleave=1
    )
    assert_type(transport, asyncio.Transport)
    assert_type(protocol, Echo)
    _, protocol = await loop.create_connection(Echo, sock=connected)
    server = await loop.create_server(Echo, ["127.0.0.1", "::1"], 0, reuse_port=True)
    assert_type(server, rasyncio.Server)
    async with server:
        assert_type(server.sockets, tuple[socket.socket, ...])
        await server.serve_forever()
    assert_type(await loop.sock_recv(connected, 100), bytes)
    assert_type(await loop.sock_recv_into(connected, bytearray(100)), int)
    await loop.sock_sendall(connected, b"text")
    loop.add_reader(connected, print, "readable")
    assert_type(loop.remove_reader(connected.fileno()), bool)
    assert_type(await loop.getnameinfo(("127.0.0.1", 80)), tuple[str, str])
