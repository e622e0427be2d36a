"""Datagrams refused or too long, peers that never read, numbers used again: told, bounded, survived."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datagram_peers import Datagrams, ended, endpoint, udp, unix
from net_peers import PATIENCE, in_thread, kernel_asked, open_sockets, soon, until, unused_port

HIGH = 64 * 1024
PIECE = bytes(1000)
EMSGSIZE, ENOTCONN, ECONNREFUSED = 90, 107, 111


class Sending(Datagrams):
    """Sends as long as it may, for ever."""

    most = 0
    may_write = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.go_on()

    def go_on(self) -> None:
        while self.may_write and not self.opened().is_closing():
            self.opened().sendto(PIECE)
            self.most = max(self.most, self.opened().get_write_buffer_size())

    def pause_writing(self) -> None:
        super().pause_writing()
        self.may_write = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self.may_write = True
        self.go_on()


async def sending_to(path: Path, factory: Callable[[], Any]) -> tuple[Any, Any]:
    loop = asyncio.get_running_loop()
    return await soon(  # type: ignore[no-any-return]
        loop.create_datagram_endpoint(factory, family=socket.AF_UNIX, remote_addr=str(path))
    )


def test_what_waits_for_a_peer_that_never_reads_is_bounded(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with unix(tmp_path / "peer"):
            transport, protocol = await sending_to(tmp_path / "peer", Sending)
            for _ in range(10):
                await kernel_asked()
            assert protocol.calls == ["connection_made", "pause_writing"]
            assert HIGH < protocol.most <= HIGH + len(PIECE) + 8
            await ended(transport, protocol)

    run(main())


def test_a_peer_that_reads_slowly_gets_everything_that_was_taken(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with unix(tmp_path / "peer") as peer:
            transport, protocol = await sending_to(tmp_path / "peer", Sending)
            for _ in range(300):
                assert peer.recv(2000) == PIECE
                await kernel_asked()
            assert protocol.most <= HIGH + len(PIECE) + 8
            assert "resume_writing" in protocol.calls
            await ended(transport, protocol)

    run(main())


def test_a_peer_that_goes_away_is_an_error_for_each_that_waits(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        peer = unix(tmp_path / "peer")
        transport, protocol = await sending_to(tmp_path / "peer", Datagrams)
        while len(transport._buffer) < 3:
            transport.sendto(PIECE)
        peer.close()
        await until(lambda: not transport._buffer)
        # With the first the kernel notices, and takes the socket for unconnected from then on.
        found = [getattr(error, "errno", None) for error in protocol.errors]
        assert found == [ECONNREFUSED, ENOTCONN, ENOTCONN]
        assert not transport.is_closing()
        transport.close()
        assert await soon(protocol.lost) is None

    run(main())


@pytest.mark.parametrize("length", [65_508, 1_000_000])
def test_a_thousand_datagrams_that_are_too_long_are_a_thousand_errors(
    loop: Any, run: Any, length: int
) -> None:
    async def main() -> None:
        with udp() as peer:
            transport, protocol = await endpoint(remote_addr=peer.getsockname())
            for _ in range(1000):
                transport.sendto(bytes(length))
            assert [getattr(error, "errno", None) for error in protocol.errors] == [EMSGSIZE] * 1000
            assert transport.get_write_buffer_size() == 0
            transport.sendto(b"short")
            assert peer.recv(100) == b"short"
            await ended(transport, protocol)

    run(main())


def test_a_storm_of_refusals_is_told_and_survived(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(remote_addr=("127.0.0.1", unused_port()))
        for _ in range(200):
            for _ in range(5):
                transport.sendto(b"anybody?")
            await asyncio.sleep(0)
        await kernel_asked()
        # The kernel keeps one refusal at a time, and tells it to whoever sends or receives next.
        assert len(protocol.errors) >= 200
        assert {type(error) for error in protocol.errors} == {ConnectionRefusedError}
        assert not transport.is_closing()
        await ended(transport, protocol)

    run(main())


def test_a_sender_whose_memory_is_used_up_waits(loop: Any, run: Any, tmp_path: Path) -> None:
    """With a send buffer this small the kernel refuses before the peer's queue is full."""

    async def main() -> None:
        with unix(tmp_path / "peer") as peer:
            transport, protocol = await sending_to(tmp_path / "peer", Datagrams)
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            count = 0
            while len(transport._buffer) < 4:
                transport.sendto(PIECE)
                count += 1
            for _ in range(count):
                assert peer.recv(2000) == PIECE
                await kernel_asked()
            assert protocol.errors == []
            assert not transport._buffer
            await ended(transport, protocol)

    run(main())


def test_a_loop_without_descriptors_says_so_and_leaks_nothing(loop: Any, run: Any) -> None:
    async def main() -> None:
        before = open_sockets()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        held = []
        try:
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    held.append(socket.socket())
            with pytest.raises(OSError, match="Too many open files"):
                await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for sock in held:
                sock.close()
        transport, protocol = await endpoint()
        await ended(transport, protocol)
        assert open_sockets() == before

    run(main())


def test_a_datagram_for_a_closed_socket_does_not_reach_its_successor(loop: Any, run: Any) -> None:
    """Both sockets are ready in one answer of the kernel; the first callback replaces the other one."""

    class Replacing(Datagrams):
        other: Replacing | None = None
        fresh: socket.socket | None = None

        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if self.other is not None and not self.other.received:
                self.other.other = None
                number = self.other.opened()._sock_fd
                self.other.opened().abort()
                self.other.opened()._sock.close()
                fresh = udp()
                if fresh.fileno() != number:
                    os.dup2(fresh.fileno(), number)
                    fresh.close()
                    fresh = socket.socket(fileno=number)
                self.fresh = fresh

    async def main() -> None:
        ends = [await loop.create_datagram_endpoint(Replacing, local_addr=("127.0.0.1", 0)) for _ in range(2)]
        (first, one), (second, two) = ends
        one.other, two.other = two, one
        with udp() as peer:
            for transport in first, second:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
            await one.news(lambda: one.received or two.received)
            winner, loser = (one, two) if one.received else (two, one)
            assert winner.fresh is not None
            peer.sendto(b"for the fresh one", winner.fresh.getsockname())
            await soon(loser.lost)
            await kernel_asked()
            assert loser.received == []
            assert loser.errors == []
            # Whoever closes a transport's socket has to live with what takes its number; ours is read here.
            winner.fresh.settimeout(PATIENCE)
            assert winner.fresh.recv(100) == b"for the fresh one"
            winner.fresh.close()
            await ended(winner.opened(), winner)

    run(main())


def test_thousands_of_endpoints_leave_no_descriptor(loop: Any, run: Any) -> None:
    async def main() -> None:
        before = open_sockets()
        for _ in range(20):
            ends = [await endpoint() for _ in range(50)]
            for number, (transport, _) in enumerate(ends):
                transport.sendto(b"x", ends[number - 1][0].get_extra_info("sockname"))
            for transport, protocol in ends:
                assert await protocol.read(1) == [b"x"]
                transport.close()
            for _, protocol in ends:
                await soon(protocol.lost)
        await kernel_asked()
        assert open_sockets() == before

    run(main())


class Counting(socket.socket):
    """A socket that counts how often it is asked to send."""

    attempts = 0

    def sendto(self, *args: Any) -> int:
        self.attempts += 1
        return super().sendto(*args)


async def from_one_to_many(folder: Path) -> tuple[Any, Datagrams, Counting]:
    """An endpoint that is connected to nobody, on a socket that counts."""
    sock = Counting(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(str(folder / "one"))
    transport, protocol = await endpoint(sock=sock)
    return transport, protocol, sock


def fill(sock: socket.socket, path: Path) -> int:
    """Sends until the receiver takes no more; how many it took."""
    count = 0
    while True:
        try:
            socket.socket.sendto(sock, b"before", str(path))
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.rasyncio_only("asyncio asks a receiver without room again in each turn")
def test_a_receiver_without_room_is_not_asked_again_in_each_turn(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with unix(tmp_path / "full"), unix(tmp_path / "free") as free:
            transport, protocol, sock = await from_one_to_many(tmp_path)
            fill(sock, tmp_path / "full")
            transport.sendto(b"waits", str(tmp_path / "full"))
            transport.sendto(b"waits behind it", str(tmp_path / "free"))
            before = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - before < 0.25
            # Turns of the loop are not what counts: others keep it busy.
            begun, turns = loop.time(), 0
            while loop.time() - begun < 0.5:
                await asyncio.sleep(0)
                turns += 1
            assert turns > 200
            assert 10 <= sock.attempts <= 45
            free.setblocking(False)
            with pytest.raises(BlockingIOError):
                free.recv(100)
            await ended(transport, protocol)

    run(main())


@pytest.mark.parametrize("closing", [False, True])
def test_what_waits_for_a_receiver_without_room_arrives_whole_and_in_order(
    run: Any, tmp_path: Path, closing: bool
) -> None:
    async def main() -> None:
        with unix(tmp_path / "full") as full, unix(tmp_path / "free") as free:
            transport, protocol, sock = await from_one_to_many(tmp_path)
            taken = fill(sock, tmp_path / "full")
            for number in range(50):
                transport.sendto(b"full %d" % number, str(tmp_path / "full"))
                transport.sendto(b"free %d" % number, str(tmp_path / "free"))
            await kernel_asked()
            if closing:
                transport.close()
            assert protocol.calls == ["connection_made"]
            for _ in range(taken):
                assert full.recv(100) == b"before"
            for number in range(50):
                assert await in_thread(full.recv, 100) == b"full %d" % number
                assert await in_thread(free.recv, 100) == b"free %d" % number
            if not closing:
                transport.close()
            assert await soon(protocol.lost) is None
            assert protocol.errors == []

    run(main())


def test_a_receiver_without_room_that_leaves_fails_its_datagrams_only(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with unix(tmp_path / "free") as free:
            with unix(tmp_path / "full"):
                transport, protocol, sock = await from_one_to_many(tmp_path)
                fill(sock, tmp_path / "full")
                transport.sendto(b"in vain", str(tmp_path / "full"))
                transport.sendto(b"behind", str(tmp_path / "free"))
                await kernel_asked()
            assert await in_thread(free.recv, 100) == b"behind"
            assert [type(error) for error in protocol.errors] == [ConnectionRefusedError]
            await ended(transport, protocol)

    run(main())
