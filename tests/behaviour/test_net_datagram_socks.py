"""loop.sock_sendto, sock_recvfrom and sock_recvfrom_into where they wait or fail."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from datagram_peers import ended, endpoint, udp, unix
from net_peers import kernel_asked, soon, unused_port


def ours() -> socket.socket:
    sock = udp()
    sock.setblocking(False)
    return sock


async def receive(loop: Any, method: str, sock: socket.socket, count: int = 100) -> Any:
    """What arrives, by either method, as pair of data and address."""
    if method == "sock_recvfrom":
        return await soon(loop.sock_recvfrom(sock, count))
    buffer = bytearray(count)
    size, address = await soon(loop.sock_recvfrom_into(sock, buffer))
    return bytes(buffer[:size]), address


METHODS = ["sock_recvfrom", "sock_recvfrom_into"]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_too_long_is_cut_off_and_the_rest_is_gone(loop: Any, run: Any, method: str) -> None:
    with ours() as sock, udp() as peer:
        peer.sendto(b"long one", sock.getsockname())
        peer.sendto(b"next", sock.getsockname())
        assert run(receive(loop, method, sock, 4)) == (b"long", peer.getsockname())
        assert run(receive(loop, method, sock)) == (b"next", peer.getsockname())


@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_is_told_to_who_receives(loop: Any, run: Any, method: str) -> None:
    address = ("127.0.0.1", unused_port())

    async def main() -> None:
        with ours() as sock:
            await loop.sock_connect(sock, address)
            await loop.sock_sendto(sock, b"anybody?", address)
            with pytest.raises(ConnectionRefusedError):
                await receive(loop, method, sock)

    run(main())


@pytest.mark.parametrize("method", METHODS)
def test_a_cancelled_receiver_leaves_the_datagram_to_the_next(loop: Any, run: Any, method: str) -> None:
    async def main() -> None:
        with ours() as sock, udp() as peer:
            first = asyncio.ensure_future(receive(loop, method, sock))
            await kernel_asked()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            peer.sendto(b"there", sock.getsockname())
            assert await receive(loop, method, sock) == (b"there", peer.getsockname())

    run(main())


@pytest.mark.parametrize("nbytes", [0, None])
def test_nbytes_that_say_nothing_stand_for_the_whole_buffer(loop: Any, run: Any, nbytes: int | None) -> None:
    with ours() as sock, udp() as peer:
        peer.sendto(b"there", sock.getsockname())
        buffer = bytearray(10)
        assert run(loop.sock_recvfrom_into(sock, buffer, nbytes)) == (5, peer.getsockname())
        assert buffer == b"there" + bytes(5)


def test_the_socket_of_a_transport_is_refused_when_it_would_have_to_wait(loop: Any, run: Any) -> None:
    async def main() -> None:
        sock = udp()
        transport, protocol = await endpoint(sock=sock)
        for method in METHODS:
            with pytest.raises(RuntimeError, match="is used by transport"):
                await receive(loop, method, sock)
        await ended(transport, protocol)

    run(main())


def test_sending_waits_for_a_peer_whose_queue_is_full(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = f"{tmp_path}/peer"
        with unix(path) as peer, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(path)
            sent = 0
            with pytest.raises(BlockingIOError):
                while True:
                    sock.send(b"fill")
                    sent += 1
            waiting = asyncio.ensure_future(loop.sock_sendto(sock, b"last", path))
            await kernel_asked()
            assert not waiting.done()
            for _ in range(sent):
                assert peer.recv(100) == b"fill"
            assert await soon(waiting) == 4
            assert peer.recv(100) == b"last"

    run(main())


def test_who_sends_to_nobody_is_told(loop: Any, run: Any, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with pytest.raises(FileNotFoundError):
            run(loop.sock_sendto(sock, b"x", f"{tmp_path}/nobody"))
        unix(tmp_path / "gone").close()
        with pytest.raises(ConnectionRefusedError):
            run(loop.sock_sendto(sock, b"x", f"{tmp_path}/gone"))
