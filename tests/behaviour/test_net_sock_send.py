"""loop.sock_sendall and sock_sendto."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    MORE_THAN_FITS,
    Recorder,
    closed,
    connected_pair,
    in_thread,
    kernel_asked,
    receive_exactly,
    receive_to_end,
    reset,
    soon,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peer = connected_pair()
    with ours, peer:
        yield ours, peer


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_bytes_is_sent(loop: Any, run: Any, pair: Any, kind: Any) -> None:
    ours, peer = pair
    assert run(loop.sock_sendall(ours, kind(b"some bytes"))) is None
    assert receive_exactly(peer, 10) == b"some bytes"


def test_sending_nothing_succeeds_and_sends_nothing(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair
    assert run(loop.sock_sendall(ours, b"")) is None
    ours.close()
    assert receive_to_end(peer) == b""


@pytest.mark.parametrize("wrong", ["text", 7, None])
def test_what_is_not_bytes_is_a_type_error(loop: Any, run: Any, pair: Any, wrong: Any) -> None:
    ours, _ = pair
    with pytest.raises(TypeError):
        run(loop.sock_sendall(ours, wrong))


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_a_large_payload_is_sent_whole_and_in_order(loop: Any, run: Any, family: int, host: str) -> None:
    ours, peer = connected_pair(host, family)

    async def main() -> bytes:
        receiving = asyncio.ensure_future(in_thread(receive_exactly, peer, len(MORE_THAN_FITS)))
        await soon(loop.sock_sendall(ours, MORE_THAN_FITS))
        received: bytes = await receiving
        return received

    with ours, peer:
        assert run(main()) == MORE_THAN_FITS
        assert loop.remove_writer(ours) is False


def test_sendall_waits_for_a_peer_that_does_not_read(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> bytes:
        sending = asyncio.ensure_future(loop.sock_sendall(ours, MORE_THAN_FITS))
        await kernel_asked()
        assert not sending.done()
        received: bytes = await in_thread(receive_exactly, peer, len(MORE_THAN_FITS))
        await soon(sending)
        return received

    assert run(main()) == MORE_THAN_FITS


def test_cancelling_takes_the_writer_away_and_what_was_sent_is_a_prefix(
    loop: Any, run: Any, pair: Any
) -> None:
    ours, peer = pair

    async def main() -> bytes:
        sending = asyncio.ensure_future(loop.sock_sendall(ours, MORE_THAN_FITS))
        await kernel_asked()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert loop.remove_writer(ours) is False
        ours.close()
        received: bytes = await in_thread(receive_to_end, peer)
        return received

    received = run(main())
    assert 0 < len(received) < len(MORE_THAN_FITS)
    assert MORE_THAN_FITS.startswith(received)


def test_reset_while_sending_raises_connection_reset(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendall(ours, MORE_THAN_FITS))
        await kernel_asked()
        reset(peer)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await soon(sending)

    run(main())
    assert loop.remove_writer(ours) is False


def test_sending_after_shutdown_is_a_broken_pipe(loop: Any, run: Any, pair: Any) -> None:
    ours, _ = pair
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        run(loop.sock_sendall(ours, b"too late"))


def test_receiving_and_sending_at_once_on_one_socket(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> tuple[bytes, bytes]:
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 100))
        sending = asyncio.ensure_future(loop.sock_sendall(ours, MORE_THAN_FITS))
        await kernel_asked()
        assert not receiving.done()
        peer.sendall(b"meanwhile")
        came = await soon(receiving)
        assert not sending.done()
        went = await in_thread(receive_exactly, peer, len(MORE_THAN_FITS))
        await soon(sending)
        return came, went

    assert run(main()) == (b"meanwhile", MORE_THAN_FITS)


@pytest.mark.parametrize("method", ["sock_sendall", "sock_sendto"])
def test_a_blocking_socket_is_refused_in_debug_mode(loop: Any, run: Any, pair: Any, method: str) -> None:
    ours, peer = pair
    ours.setblocking(True)
    loop.set_debug(True)
    address = (peer.getsockname(),) if method == "sock_sendto" else ()
    with pytest.raises(ValueError, match="the socket must be non-blocking"):
        run(getattr(loop, method)(ours, b"x", *address))


@pytest.mark.parametrize("method", ["sock_sendall", "sock_sendto"])
def test_an_ssl_socket_is_refused(loop: Any, run: Any, method: str) -> None:
    context = ssl.create_default_context()
    address = (("127.0.0.1", 9),) if method == "sock_sendto" else ()
    raw = socket.socket()
    with context.wrap_socket(raw, server_hostname="localhost", do_handshake_on_connect=False) as sock:
        refused = pytest.raises(TypeError, match="Socket cannot be of type SSLSocket")
        with refused:
            run(getattr(loop, method)(sock, b"x", *address))


def test_a_closed_socket_is_a_bad_descriptor(loop: Any, run: Any, pair: Any) -> None:
    ours, _ = pair
    ours.close()
    with pytest.raises(OSError) as caught:
        run(loop.sock_sendall(ours, b"x"))
    assert caught.value.errno == errno.EBADF


def test_the_socket_of_a_transport_is_refused_when_it_would_have_to_wait(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        ours, peer = connected_pair()
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_sendall(ours, MORE_THAN_FITS)
        await closed(transport, protocol, peer)

    run(main())


@pytest.fixture
def datagrams() -> Iterator[tuple[socket.socket, socket.socket]]:
    kind = socket.AF_INET, socket.SOCK_DGRAM
    with socket.socket(*kind) as ours, socket.socket(*kind) as peer:
        ours.bind(("127.0.0.1", 0))
        ours.setblocking(False)
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(20)
        yield ours, peer


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sendto_sends_one_datagram_and_answers_its_length(
    loop: Any, run: Any, datagrams: Any, kind: Any
) -> None:
    ours, peer = datagrams
    assert run(loop.sock_sendto(ours, kind(b"datagram"), peer.getsockname())) == 8
    assert peer.recvfrom(100) == (b"datagram", ours.getsockname())


def test_sendto_sends_an_empty_datagram(loop: Any, run: Any, datagrams: Any) -> None:
    ours, peer = datagrams
    assert run(loop.sock_sendto(ours, b"", peer.getsockname())) == 0
    assert peer.recvfrom(100) == (b"", ours.getsockname())


def test_a_datagram_too_long_for_the_kernel_is_its_error(loop: Any, run: Any, datagrams: Any) -> None:
    ours, peer = datagrams
    with pytest.raises(OSError) as caught:
        run(loop.sock_sendto(ours, bytes(70_000), peer.getsockname()))
    assert caught.value.errno == errno.EMSGSIZE


def test_a_datagram_to_no_address_is_a_type_error(loop: Any, run: Any, datagrams: Any) -> None:
    ours, _ = datagrams
    with pytest.raises(TypeError):
        run(loop.sock_sendto(ours, b"x", "not an address"))


def test_sending_waits_until_a_full_datagram_socket_takes_more(loop: Any, run: Any) -> None:
    """A Unix datagram socket, unlike UDP, tells a sender to wait while the receiver's queue is full."""
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    with ours, peer:
        sent = 0
        while True:
            try:
                ours.send(b"fill")
            except BlockingIOError:
                break
            sent += 1

        async def main() -> None:
            waiting = asyncio.ensure_future(loop.sock_sendall(ours, b"last"))
            await kernel_asked()
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert loop.remove_writer(ours) is False
            waiting = asyncio.ensure_future(loop.sock_sendall(ours, b"last"))
            await kernel_asked()
            for _ in range(sent):
                assert peer.recv(100) == b"fill"
            await soon(waiting)
            assert peer.recv(100) == b"last"

        run(main())
