"""Cancelled at every await: connecting, accepting, receiving, sending, starting children.

Each operation is cancelled after 0, 1, 2... steps of the loop, until one attempt gets through before that.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from child_processes import FOREVER, children, ended, started
from net_peers import (
    MORE_THAN_FITS,
    Recorder,
    connect,
    connected_pair,
    in_thread,
    kernel_asked,
    listener,
    no_socket_left,
    receive_to_end,
    resolving,
    soon,
    stalled_address,
)

MOST_STEPS = 200
STEPS_WITHOUT_THREADS = 25


async def cancelled_after(steps: int, work: Awaitable[Any]) -> Any:
    """Runs `work` for so many steps, cancels it, and answers its result, or None when the cancellation won.

    The first steps are turns of the loop. What needs more of them waits for another thread, which no turn
    waits for, so the later steps go to a thread and back.
    """
    task = asyncio.ensure_future(work)
    for step in range(steps):
        await (asyncio.sleep(0) if step < STEPS_WITHOUT_THREADS else in_thread(threading.get_ident))
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


async def at_every_step(attempt: Callable[[int], Awaitable[bool]]) -> None:
    """Tries with more and more steps until an attempt says that it got through."""
    for steps in range(MOST_STEPS):
        if await attempt(steps):
            return
    raise AssertionError(f"no attempt got through within {MOST_STEPS} steps")


def connect_at_every_step(loop: Any, run: Any, host: str, **options: Any) -> None:
    """Cancels create_connection at each of its steps, several times over, and looks for what is left."""

    async def main(port: int) -> None:
        async def attempt(steps: int) -> bool:
            made = await cancelled_after(steps, loop.create_connection(Recorder, host, port, **options))
            if made is None:
                return False
            made[0].abort()
            await soon(made[1].lost)
            return True

        for _ in range(3):
            await at_every_step(attempt)
        await kernel_asked()

    with listener() as server, no_socket_left():
        run(main(server.getsockname()[1]))


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("127.0.0.1", {}),
        ("127.0.0.1", {"local_addr": ("127.0.0.2", 0)}),
        ("localhost", {"family": socket.AF_INET}),
    ],
)
def test_create_connection_leaks_nothing(loop: Any, run: Any, host: str, options: dict[str, Any]) -> None:
    connect_at_every_step(loop, run, host, **options)


@pytest.mark.rasyncio_only("asyncio forgets the socket that won the race in the turn of the cancellation")
def test_create_connection_with_happy_eyeballs_leaks_nothing(loop: Any, run: Any) -> None:
    connect_at_every_step(loop, run, "127.0.0.1", happy_eyeballs_delay=0.01)


@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0}, {"happy_eyeballs_delay": 0.001}])
def test_create_connection_to_addresses_that_stall_leaks_nothing(
    loop: Any, run: Any, options: dict[str, float]
) -> None:
    async def main() -> None:
        for steps in range(30):
            work = loop.create_connection(Recorder, "some name", 1, **options)
            assert await cancelled_after(steps, work) is None
        await kernel_asked()

    with stalled_address() as stalled, no_socket_left():
        resolving(loop, stalled, stalled, stalled)
        run(main())


def test_create_connection_over_a_socket_leaks_nothing(loop: Any, run: Any) -> None:
    async def main() -> None:
        async def attempt(steps: int) -> bool:
            ours, peer = connected_pair()
            made = await cancelled_after(steps, loop.create_connection(Recorder, sock=ours))
            if made is not None:
                made[0].abort()
                await soon(made[1].lost)
            elif steps == 0:
                # Nothing ran, so the socket still belongs to who made it.
                ours.close()
            assert await in_thread(receive_to_end, peer) == b""
            peer.close()
            return made is not None

        await at_every_step(attempt)

    with no_socket_left():
        run(main())


@pytest.mark.rasyncio_only("asyncio leaves the sockets of a cancelled create_server to the garbage collector")
def test_create_server_leaks_nothing(loop: Any, run: Any) -> None:
    async def main() -> None:
        async def attempt(steps: int) -> bool:
            server = await cancelled_after(steps, loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], 0))
            if server is None:
                return False
            server.close()
            await soon(server.wait_closed())
            return True

        await at_every_step(attempt)

    with no_socket_left():
        run(main())


def read_now(sock: socket.socket) -> bytes:
    """What still waits in the kernel."""
    try:
        return sock.recv(100)
    except BlockingIOError:
        return b""


@pytest.mark.rasyncio_only("asyncio loses what it received in the turn of the cancellation")
@pytest.mark.parametrize("method", ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"])
def test_receiving_loses_no_byte(loop: Any, run: Any, method: str) -> None:
    async def receive(sock: socket.socket) -> bytes:
        if method.endswith("into"):
            buffer = bytearray(100)
            answer = await getattr(loop, method)(sock, buffer)
            return bytes(buffer[: answer if method == "sock_recv_into" else answer[0]])
        answer = await getattr(loop, method)(sock, 100)
        return answer if method == "sock_recv" else answer[0]  # type: ignore[no-any-return]

    async def main() -> None:
        async def attempt(steps: int) -> bool:
            ours, peer = connected_pair()
            task = asyncio.ensure_future(receive(ours))
            await kernel_asked()
            peer.sendall(b"every byte")
            received = await cancelled_after(steps, task) or b""
            assert received + read_now(ours) == b"every byte"
            assert loop.remove_reader(ours) is False
            ours.close()
            peer.close()
            return bool(received)

        for _ in range(3):
            await at_every_step(attempt)

    run(main())


@pytest.mark.rasyncio_only("asyncio loses the client it accepted in the turn of the cancellation")
def test_accepting_loses_no_client(loop: Any, run: Any) -> None:
    async def main(server: socket.socket) -> None:
        async def attempt(steps: int) -> bool:
            task = asyncio.ensure_future(loop.sock_accept(server))
            await kernel_asked()
            with connect(server.getsockname()) as client:
                accepted = await cancelled_after(steps, task)
                conn, address = accepted or await soon(loop.sock_accept(server))
                conn.close()
                assert address == client.getsockname()
            assert loop.remove_reader(server) is False
            return accepted is not None

        for _ in range(3):
            await at_every_step(attempt)

    with listener() as server, no_socket_left():
        server.setblocking(False)
        run(main(server))


def test_sending_sends_a_prefix_and_leaves_no_writer(loop: Any, run: Any) -> None:
    async def main() -> None:
        for steps in range(30):
            ours, peer = connected_pair()
            receiving = asyncio.ensure_future(in_thread(receive_to_end, peer))
            await cancelled_after(steps, loop.sock_sendall(ours, MORE_THAN_FITS))
            assert loop.remove_writer(ours) is False
            ours.close()
            assert MORE_THAN_FITS.startswith(await receiving)
            peer.close()

    with no_socket_left():
        run(main())


def test_connecting_leaves_no_writer(loop: Any, run: Any) -> None:
    async def main(address: Any) -> None:
        for steps in range(10):
            with socket.socket() as sock:
                sock.setblocking(False)
                await cancelled_after(steps, loop.sock_connect(sock, address))
                assert loop.remove_writer(sock) is False

    with listener() as server, stalled_address() as stalled:
        for address in server.getsockname(), stalled:
            run(main(address))


def test_open_connection_under_a_timeout_leaks_nothing(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(streams.open_connection(*stalled), 0.001)
        await kernel_asked()

    with stalled_address() as stalled, no_socket_left():
        run(main())


@pytest.mark.parametrize("pipes", [{}, {"stdin": -1}, {"stdin": -1, "stdout": -1, "stderr": -1}], ids=len)
def test_starting_a_child_leaves_nothing(loop: Any, run: Any, pipes: dict[str, int]) -> None:
    async def main() -> None:
        before = children()

        async def attempt(steps: int) -> bool:
            made = await cancelled_after(steps, started(loop, *FOREVER, **pipes))
            if made is not None:
                made[0].kill()
                await ended(*made)
            assert children() == before
            return made is not None

        for _ in range(3):
            await at_every_step(attempt)
        # The pipes of a child that was cancelled are closed in the turns after it.
        await kernel_asked()

    run(main())
