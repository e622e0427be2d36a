"""loop.add_reader, add_writer, remove_reader and remove_writer on sockets."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import os
import pathlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    Recorder,
    closed,
    connected_pair,
    kernel_asked,
    reset,
    ring,
    soon,
    transport_to_peer,
)

both_directions = pytest.mark.parametrize("direction", ["reader", "writer"])


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peer = connected_pair()
    with ours, peer:
        yield ours, peer


def add(loop: Any, direction: str) -> Callable[..., None]:
    method: Callable[..., None] = getattr(loop, f"add_{direction}")
    return method


def remove(loop: Any, direction: str) -> Callable[[Any], bool]:
    method: Callable[[Any], bool] = getattr(loop, f"remove_{direction}")
    return method


def fill(sock: socket.socket) -> None:
    """Makes a socket not writable."""
    while True:
        try:
            sock.send(MORE_THAN_FITS)
        except BlockingIOError:
            return


def make_ready(direction: str, ours: socket.socket, peer: socket.socket) -> None:
    """Makes the socket ready in that direction; a fresh connection is writable already."""
    if direction == "reader":
        peer.sendall(b"x")


@both_directions
def test_a_ready_socket_calls_back_with_the_arguments(loop: Any, run: Any, pair: Any, direction: str) -> None:
    ours, peer = pair

    async def main() -> Any:
        seen: asyncio.Future[tuple[Any, ...]] = loop.create_future()

        def callback(*args: Any) -> None:
            remove(loop, direction)(ours)
            seen.set_result(args)

        assert add(loop, direction)(ours, callback, 1, "two") is None
        make_ready(direction, ours, peer)
        return await soon(seen)

    assert run(main()) == (1, "two")


@both_directions
def test_the_callback_repeats_while_the_socket_stays_ready(
    loop: Any, run: Any, pair: Any, direction: str
) -> None:
    ours, peer = pair

    async def main() -> None:
        thrice: asyncio.Future[None] = loop.create_future()
        calls: list[None] = []

        def callback() -> None:
            calls.append(None)
            if len(calls) == 3:
                remove(loop, direction)(ours)
                thrice.set_result(None)

        add(loop, direction)(ours, callback)
        make_ready(direction, ours, peer)
        await soon(thrice)
        await kernel_asked()
        assert len(calls) == 3

    run(main())


def test_no_callback_while_the_socket_is_not_ready(loop: Any, run: Any, pair: Any) -> None:
    ours, _ = pair
    fill(ours)

    async def main() -> list[str]:
        calls: list[str] = []
        loop.add_reader(ours, calls.append, "reader")
        loop.add_writer(ours, calls.append, "writer")
        await kernel_asked()
        loop.remove_reader(ours)
        loop.remove_writer(ours)
        return calls

    assert run(main()) == []


@both_directions
def test_adding_again_replaces_the_callback(loop: Any, run: Any, pair: Any, direction: str) -> None:
    ours, peer = pair

    async def main() -> set[str]:
        calls: list[str] = []
        add(loop, direction)(ours, calls.append, "replaced")
        add(loop, direction)(ours, calls.append, "current")
        make_ready(direction, ours, peer)
        await kernel_asked()
        assert remove(loop, direction)(ours) is True
        assert remove(loop, direction)(ours) is False
        return set(calls)

    assert run(main()) == {"current"}


@both_directions
def test_removing_says_whether_there_was_a_callback(loop: Any, run: Any, pair: Any, direction: str) -> None:
    ours, _ = pair

    async def main() -> list[bool]:
        answers = [remove(loop, direction)(ours)]
        add(loop, direction)(ours, print)
        return [*answers, remove(loop, direction)(ours), remove(loop, direction)(ours)]

    assert run(main()) == [False, True, False]


def test_reader_and_writer_of_one_socket_are_independent(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair
    peer.sendall(b"x")

    async def main() -> None:
        calls: list[str] = []
        loop.add_reader(ours, calls.append, "reader")
        loop.add_writer(ours, calls.append, "writer")
        await kernel_asked()
        assert set(calls) == {"reader", "writer"}
        assert loop.remove_writer(ours) is True
        await kernel_asked()
        calls.clear()
        await kernel_asked()
        assert set(calls) == {"reader"}
        assert loop.remove_reader(ours) is True
        await kernel_asked()
        calls.clear()
        await kernel_asked()
        assert calls == []

    run(main())


def test_a_number_and_its_socket_name_the_same_watch(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> None:
        calls: list[str] = []
        loop.add_reader(ours.fileno(), calls.append, "by number")
        peer.sendall(b"x")
        await kernel_asked()
        assert "by number" in calls
        assert loop.remove_reader(ours) is True
        assert loop.remove_reader(ours.fileno()) is False

    run(main())


def test_a_reader_sees_the_peer_hang_up(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> bytes:
        seen: asyncio.Future[bytes] = loop.create_future()
        loop.add_reader(ours, lambda: ring(seen, ours.recv(10)))
        await kernel_asked()
        peer.close()
        data: bytes = await soon(seen)
        loop.remove_reader(ours)
        return data

    assert run(main()) == b""


@both_directions
def test_either_direction_sees_a_reset(loop: Any, run: Any, pair: Any, direction: str) -> None:
    ours, peer = pair
    fill(ours)

    async def main() -> None:
        seen: asyncio.Future[None] = loop.create_future()
        add(loop, direction)(ours, ring, seen)
        await kernel_asked()
        assert not seen.done()
        reset(peer)
        await soon(seen)
        remove(loop, direction)(ours)

    run(main())


def test_a_callback_removed_by_an_earlier_one_of_the_same_turn_does_not_run(loop: Any, run: Any) -> None:
    pairs = [connected_pair() for _ in range(2)]
    for _, peer in pairs:
        peer.sendall(b"x")

    async def main() -> list[int]:
        calls: list[int] = []

        def callback(which: int) -> None:
            calls.append(which)
            for ours, _ in pairs:
                loop.remove_reader(ours)

        for which, (ours, _) in enumerate(pairs):
            loop.add_reader(ours, callback, which)
        await kernel_asked()
        return calls

    assert len(run(main())) == 1
    for pair in pairs:
        for sock in pair:
            sock.close()


@both_directions
def test_a_raising_callback_is_reported_and_the_watch_stays(
    loop: Any, run: Any, loop_errors: Any, pair: Any, direction: str
) -> None:
    ours, peer = pair

    async def main() -> None:
        twice: asyncio.Future[None] = loop.create_future()
        calls: list[None] = []

        def callback() -> None:
            calls.append(None)
            if len(calls) == 2:
                remove(loop, direction)(ours)
                twice.set_result(None)
            raise ZeroDivisionError("from the callback")

        add(loop, direction)(ours, callback)
        make_ready(direction, ours, peer)
        await soon(twice)

    run(main())
    assert len(loop_errors) == 2
    for context in loop_errors:
        assert context["message"].startswith("Exception in callback ")
        assert isinstance(context["exception"], ZeroDivisionError)
        assert isinstance(context["handle"], asyncio.Handle)


@both_directions
def test_the_callback_sees_the_context_of_its_registration(
    loop: Any, run: Any, pair: Any, direction: str
) -> None:
    ours, peer = pair
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")

    async def main() -> str:
        seen: asyncio.Future[str] = loop.create_future()

        def callback() -> None:
            remove(loop, direction)(ours)
            seen.set_result(variable.get())

        variable.set("at registration")
        add(loop, direction)(ours, callback)
        variable.set("later")
        make_ready(direction, ours, peer)
        value: str = await soon(seen)
        return value

    assert run(main()) == "at registration"


@both_directions
def test_the_descriptor_of_a_transport_is_refused_while_it_is_open(
    loop: Any, run: Any, direction: str
) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        sock = transport.get_extra_info("socket")
        for of_transport in sock, sock.fileno():
            with pytest.raises(RuntimeError, match=r"File descriptor .* is used by transport"):
                add(loop, direction)(of_transport, print)
            with pytest.raises(RuntimeError, match=r"File descriptor .* is used by transport"):
                remove(loop, direction)(of_transport)
        await closed(transport, protocol, peer)

    run(main())


@both_directions
@pytest.mark.parametrize("wrong", ["text", object(), None, -1])
def test_what_has_no_descriptor_is_a_value_error(loop: Any, direction: str, wrong: Any) -> None:
    with pytest.raises(ValueError):
        add(loop, direction)(wrong, print)
    with pytest.raises(ValueError):
        remove(loop, direction)(wrong)


@both_directions
def test_a_closed_socket_cannot_be_added(loop: Any, pair: Any, direction: str) -> None:
    ours, _ = pair
    ours.close()
    with pytest.raises(ValueError):
        add(loop, direction)(ours, print)


@both_directions
def test_a_socket_closed_while_watched_can_still_be_removed_by_its_object(
    loop: Any, run: Any, pair: Any, direction: str
) -> None:
    ours, _ = pair

    async def main() -> None:
        calls: list[str] = []
        add(loop, direction)(ours, calls.append, "called")
        ours.close()
        assert remove(loop, direction)(ours) is True
        await kernel_asked()
        assert calls == []

    run(main())


@both_directions
def test_a_number_that_is_not_open_is_a_bad_descriptor(loop: Any, pair: Any, direction: str) -> None:
    ours, _ = pair
    number = ours.fileno()
    ours.close()
    with pytest.raises(OSError) as caught:
        add(loop, direction)(number, print)
    assert caught.value.errno == errno.EBADF
    assert remove(loop, direction)(number) is False


@both_directions
def test_a_regular_file_is_refused_by_the_kernel(loop: Any, tmp_path: pathlib.Path, direction: str) -> None:
    path = tmp_path / "file"
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            add(loop, direction)(descriptor, print)
    finally:
        os.close(descriptor)


@both_directions
def test_a_closed_loop_refuses_to_add_and_has_nothing_to_remove(loop: Any, pair: Any, direction: str) -> None:
    ours, _ = pair
    add(loop, direction)(ours, print)
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        add(loop, direction)(ours, print)
    assert remove(loop, direction)(ours) is False


def test_a_watch_added_from_outside_works_once_the_loop_runs(loop: Any, pair: Any) -> None:
    ours, peer = pair
    peer.sendall(b"x")
    loop.add_reader(ours, loop.stop)
    loop.run_forever()
    assert loop.remove_reader(ours) is True


def test_many_sockets_each_get_their_own_callback(loop: Any, run: Any) -> None:
    pairs = [connected_pair() for _ in range(50)]

    async def main() -> dict[int, bytes]:
        received: dict[int, bytes] = {}
        done: asyncio.Future[None] = loop.create_future()

        def callback(which: int, ours: socket.socket) -> None:
            received[which] = ours.recv(100)
            loop.remove_reader(ours)
            if len(received) == len(pairs):
                done.set_result(None)

        for which, (ours, peer) in enumerate(pairs):
            loop.add_reader(ours, functools.partial(callback, which), ours)
            peer.sendall(b"for %d" % which)
        await soon(done)
        return received

    assert run(main()) == {which: b"for %d" % which for which in range(50)}
    for pair in pairs:
        for sock in pair:
            sock.close()
