"""loop.sock_recv, sock_recv_into, sock_recvfrom and sock_recvfrom_into."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    Recorder,
    closed,
    connected_pair,
    in_thread,
    kernel_asked,
    receive_exactly,
    reset,
    soon,
    transport_to_peer,
)

Receive = Callable[[asyncio.AbstractEventLoop, socket.socket, int], Coroutine[Any, Any, bytes]]


async def receive_bytes(loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int) -> bytes:
    return await loop.sock_recv(sock, count)


async def receive_into(loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int) -> bytes:
    buffer = bytearray(count)
    return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])


async def receive_from(loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int) -> bytes:
    data, _ = await loop.sock_recvfrom(sock, count)
    return data


async def receive_from_into(loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int) -> bytes:
    buffer = bytearray(count)
    received, _ = await loop.sock_recvfrom_into(sock, buffer)
    return bytes(buffer[:received])


METHOD: dict[Receive, str] = {
    receive_bytes: "recv",
    receive_into: "recv_into",
    receive_from: "recvfrom",
    receive_from_into: "recvfrom_into",
}

every_way = pytest.mark.parametrize(
    "receive",
    [receive_bytes, receive_into, receive_from, receive_from_into],
    ids=["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"],
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peer = connected_pair()
    with ours, peer:
        yield ours, peer


@pytest.fixture
def datagrams() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        ours.bind(("127.0.0.1", 0))
        ours.setblocking(False)
        peer.bind(("127.0.0.1", 0))
        yield ours, peer


@every_way
def test_bytes_that_are_there_are_received_at_once(loop: Any, run: Any, pair: Any, receive: Receive) -> None:
    ours, peer = pair
    peer.sendall(b"hello")
    assert run(receive(loop, ours, 100)) == b"hello"


@every_way
def test_receiving_waits_for_bytes_that_come_later(loop: Any, run: Any, pair: Any, receive: Receive) -> None:
    ours, peer = pair

    async def main() -> bytes:
        task = asyncio.ensure_future(receive(loop, ours, 100))
        await kernel_asked()
        assert not task.done()
        peer.sendall(b"later")
        result: bytes = await soon(task)
        return result

    assert run(main()) == b"later"
    assert loop.remove_reader(ours) is False


@every_way
def test_no_more_than_asked_is_received_and_the_rest_waits(
    loop: Any, run: Any, pair: Any, receive: Receive
) -> None:
    ours, peer = pair
    peer.sendall(b"abcdef")

    async def main() -> list[bytes]:
        return [await receive(loop, ours, 4), await receive(loop, ours, 4)]

    assert run(main()) == [b"abcd", b"ef"]


@every_way
def test_end_of_stream_is_an_empty_answer_every_time(
    loop: Any, run: Any, pair: Any, receive: Receive
) -> None:
    ours, peer = pair

    async def main() -> list[bytes]:
        task = asyncio.ensure_future(receive(loop, ours, 10))
        await kernel_asked()
        peer.close()
        return [await soon(task), await receive(loop, ours, 10)]

    assert run(main()) == [b"", b""]


@every_way
def test_reset_by_the_peer_raises_connection_reset(loop: Any, run: Any, pair: Any, receive: Receive) -> None:
    ours, peer = pair

    async def main() -> None:
        task = asyncio.ensure_future(receive(loop, ours, 10))
        await kernel_asked()
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await soon(task)

    run(main())
    assert loop.remove_reader(ours) is False


@every_way
def test_a_blocking_socket_is_refused_in_debug_mode(loop: Any, run: Any, pair: Any, receive: Receive) -> None:
    ours, _ = pair
    ours.setblocking(True)
    loop.set_debug(True)
    with pytest.raises(ValueError, match="the socket must be non-blocking"):
        run(receive(loop, ours, 10))


@every_way
def test_a_socket_with_a_timeout_is_refused_in_debug_mode(
    loop: Any, run: Any, pair: Any, receive: Receive
) -> None:
    ours, _ = pair
    ours.settimeout(5)
    loop.set_debug(True)
    with pytest.raises(ValueError, match="the socket must be non-blocking"):
        run(receive(loop, ours, 10))


@every_way
def test_an_ssl_socket_is_refused(loop: Any, run: Any, receive: Receive) -> None:
    context = ssl.create_default_context()
    with (
        context.wrap_socket(
            socket.socket(), server_hostname="localhost", do_handshake_on_connect=False
        ) as sock,
        pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"),
    ):
        run(receive(loop, sock, 10))


@every_way
def test_a_closed_socket_is_a_bad_descriptor(loop: Any, run: Any, pair: Any, receive: Receive) -> None:
    ours, _ = pair
    ours.close()
    with pytest.raises(OSError) as caught:
        run(receive(loop, ours, 10))
    assert caught.value.errno == errno.EBADF


@every_way
def test_the_socket_of_a_transport_is_refused(loop: Any, run: Any, receive: Receive) -> None:
    async def main() -> None:
        protocol = Recorder()
        ours, peer = connected_pair()
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await receive(loop, ours, 10)
        peer.sendall(b"for the transport")
        assert await protocol.read(17) == b"for the transport"
        await closed(transport, protocol, peer)

    run(main())


@every_way
def test_cancelling_takes_the_reader_away(loop: Any, run: Any, pair: Any, receive: Receive) -> None:
    ours, _ = pair

    async def main() -> None:
        task = asyncio.ensure_future(receive(loop, ours, 10))
        await kernel_asked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.remove_reader(ours) is False

    run(main())


@every_way
def test_cancelling_before_the_kernel_was_asked_loses_no_byte(
    loop: Any, run: Any, pair: Any, receive: Receive
) -> None:
    ours, peer = pair

    async def main() -> bytes:
        task = asyncio.ensure_future(receive(loop, ours, 100))
        await kernel_asked()
        peer.sendall(b"kept")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await receive(loop, ours, 100)

    assert run(main()) == b"kept"


@every_way
def test_cancelling_an_overtaken_receive_leaves_the_later_one(
    loop: Any, run: Any, pair: Any, receive: Receive
) -> None:
    ours, peer = pair

    async def main() -> bytes:
        overtaken = asyncio.ensure_future(receive(loop, ours, 100))
        await kernel_asked()
        later = asyncio.ensure_future(receive(loop, ours, 100))
        await kernel_asked()
        overtaken.cancel()
        await kernel_asked()
        peer.sendall(b"for the later")
        result: bytes = await soon(later)
        with pytest.raises(asyncio.CancelledError):
            await overtaken
        return result

    assert run(main()) == b"for the later"


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_a_large_payload_arrives_whole_and_in_order(loop: Any, run: Any, family: int, host: str) -> None:
    payload = bytes(range(256)) * 16384
    ours, peer = connected_pair(host, family)

    async def main() -> bytes:
        sending = asyncio.ensure_future(in_thread(peer.sendall, payload))
        received = bytearray()
        buffer = bytearray(100_000)
        while len(received) < len(payload):
            count = await soon(loop.sock_recv_into(ours, buffer))
            assert count
            received += memoryview(buffer)[:count]
        await sending
        return bytes(received)

    with ours, peer:
        assert run(main()) == payload


def test_receiving_nothing_answers_nothing_at_once(loop: Any, run: Any, pair: Any) -> None:
    ours, _ = pair
    assert run(loop.sock_recv(ours, 0)) == b""


def test_a_negative_count_is_a_value_error(loop: Any, run: Any, pair: Any) -> None:
    ours, _ = pair
    with pytest.raises(ValueError, match="negative buffersize in recv"):
        run(loop.sock_recv(ours, -1))


def test_receiving_into_bytes_that_cannot_change_is_a_type_error(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair
    peer.sendall(b"x")
    with pytest.raises(TypeError):
        run(loop.sock_recv_into(ours, b"constant"))
    assert run(loop.sock_recv(ours, 5)) == b"x"


def test_receiving_into_a_part_of_a_buffer_leaves_the_rest(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair
    peer.sendall(b"12345678")
    buffer = bytearray(b"." * 10)
    assert run(loop.sock_recv_into(ours, memoryview(buffer)[3:6])) == 3
    assert buffer == b"...123...."
    ours.settimeout(5)
    assert receive_exactly(ours, 5) == b"45678"


def test_a_datagram_tells_who_sent_it(loop: Any, run: Any, datagrams: Any) -> None:
    ours, peer = datagrams

    async def main() -> tuple[bytes, Any]:
        task = asyncio.ensure_future(loop.sock_recvfrom(ours, 100))
        await kernel_asked()
        peer.sendto(b"datagram", ours.getsockname())
        answer: tuple[bytes, Any] = await soon(task)
        return answer

    assert run(main()) == (b"datagram", peer.getsockname())


def test_an_empty_datagram_is_an_answer(loop: Any, run: Any, datagrams: Any) -> None:
    ours, peer = datagrams
    peer.sendto(b"", ours.getsockname())
    assert run(loop.sock_recvfrom(ours, 100)) == (b"", peer.getsockname())


def test_a_datagram_lands_in_the_given_buffer(loop: Any, run: Any, datagrams: Any) -> None:
    ours, peer = datagrams
    peer.sendto(b"datagram", ours.getsockname())
    buffer = bytearray(12)
    assert run(loop.sock_recvfrom_into(ours, buffer)) == (8, peer.getsockname())
    assert bytes(buffer) == b"datagram\0\0\0\0"


def test_nbytes_limits_what_lands_in_the_buffer(loop: Any, run: Any, datagrams: Any) -> None:
    ours, peer = datagrams
    peer.sendto(b"datagram", ours.getsockname())
    buffer = bytearray(12)
    assert run(loop.sock_recvfrom_into(ours, buffer, 4)) == (4, peer.getsockname())
    assert bytes(buffer) == b"data" + bytes(8)


@pytest.mark.parametrize("nbytes", [13, -1])
def test_nbytes_outside_the_buffer_is_a_value_error(loop: Any, run: Any, datagrams: Any, nbytes: int) -> None:
    ours, _ = datagrams
    with pytest.raises(ValueError):
        run(loop.sock_recvfrom_into(ours, bytearray(12), nbytes))


def test_a_receive_after_the_transport_closed_is_allowed(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        number = transport.get_extra_info("socket").fileno()
        await closed(transport, protocol, peer)
        ours, peer = connected_pair()
        with ours, peer:
            assert number in (ours.fileno(), peer.fileno())
            peer.sendall(b"new")
            assert await soon(loop.sock_recv(ours, 10)) == b"new"

    run(main())


def test_whoever_watches_takes_the_place_of_a_receive_that_waits(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> None:
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 100))
        await kernel_asked()
        seen = loop.create_future()
        loop.add_reader(ours, lambda: seen.done() or seen.set_result(ours.recv(100)))
        peer.sendall(b"for the reader")
        assert await soon(seen) == b"for the reader"
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        await kernel_asked()
        assert loop.remove_reader(ours), "the end of the receive left the reader alone"

    run(main())


def test_a_receive_takes_the_place_of_whoever_watched(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> None:
        seen: list[str] = []
        loop.add_reader(ours, seen.append, "readable")
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 100))
        await kernel_asked()
        peer.sendall(b"one")
        assert await soon(receiving) == b"one"
        await kernel_asked()
        peer.sendall(b"two")
        await kernel_asked()
        assert seen == []
        assert not loop.remove_reader(ours)

    run(main())


def test_one_receive_after_the_other_waits_beside_a_writer(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> None:
        writable = 0

        def count() -> None:
            nonlocal writable
            writable += 1

        loop.add_writer(ours, count)
        for _ in range(3):
            receiving = asyncio.ensure_future(loop.sock_recv(ours, 100))
            await kernel_asked()
            before = writable
            peer.sendall(b"x")
            assert await soon(receiving) == b"x"
            await kernel_asked()
            assert writable > before
        assert loop.remove_writer(ours)

    run(main())


@every_way
def test_a_method_put_into_the_class_of_sockets_is_called(
    loop: Any, run: Any, pair: Any, receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, peer = pair
    name = METHOD[receive]
    calls: list[str] = []
    original = getattr(socket.socket, name)

    def method(sock: socket.socket, *arguments: Any) -> Any:
        calls.append(name)
        return original(sock, *arguments)

    async def main() -> bytes:
        peer.sendall(b"some")
        return await receive(loop, ours, 100)

    assert run(main()) == b"some"
    monkeypatch.setattr(socket.socket, name, method, raising=False)
    assert run(main()) == b"some"
    assert calls == [name]
    monkeypatch.undo()
    assert run(main()) == b"some"
    assert calls == [name]
