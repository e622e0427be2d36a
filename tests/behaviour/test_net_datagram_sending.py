"""transport.sendto() of datagrams: what is sent at once, what waits, what fails."""

from __future__ import annotations

import array
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datagram_peers import HEADER, Datagrams, ended, endpoint, needs_right_sizes, udp, unix
from net_peers import LOOPBACKS, kernel_asked, soon, until

COUNTS_HEADERS = sys.version_info >= (3, 13)
SENDS_EMPTY = sys.version_info >= (3, 13)
PIECE = bytes(1000)
SIZE = len(PIECE) + (HEADER if COUNTS_HEADERS else 0)


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with udp() as sock:
        yield sock


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_sent_before_the_call_returns(
    loop: Any, run: Any, peer: socket.socket, kind: Any
) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        transport.sendto(kind(b"there"), peer.getsockname())
        peer.setblocking(False)
        assert peer.recvfrom(100) == (b"there", transport.get_extra_info("sockname"))
        assert transport.get_write_buffer_size() == 0
        await ended(transport, protocol)

    run(main())


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"], array.array("B", b"x")])
def test_other_data_is_a_type_error(loop: Any, run: Any, peer: socket.socket, data: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        with pytest.raises(TypeError) as refused:
            transport.sendto(data, peer.getsockname())
        name = type(data).__name__
        assert str(refused.value) == f"data argument must be a bytes-like object, not {name!r}"
        assert not transport.is_closing()
        await ended(transport, protocol)

    run(main())


def test_a_memoryview_of_larger_items_is_sent_whole(loop: Any, run: Any, peer: socket.socket) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        numbers = array.array("I", [1, 2, 3])
        transport.sendto(memoryview(numbers), peer.getsockname())
        assert peer.recv(100) == numbers.tobytes()
        await ended(transport, protocol)

    run(main())


def test_memory_with_gaps_ends_the_transport(
    loop: Any, run: Any, peer: socket.socket, loop_errors: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        transport.sendto(memoryview(b"abcdef")[::2], peer.getsockname())
        assert transport.is_closing()
        assert isinstance(await soon(protocol.lost), BufferError)

    run(main())
    assert [context["message"] for context in loop_errors] == ["Fatal write error on datagram transport"]


@pytest.mark.skipif(not SENDS_EMPTY, reason="empty datagrams are sent since Python 3.13")
def test_an_empty_datagram_is_sent(loop: Any, run: Any, peer: socket.socket) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(remote_addr=peer.getsockname())
        transport.sendto(b"")
        transport.sendto(bytearray())
        assert [peer.recv(100), peer.recv(100)] == [b"", b""]
        await ended(transport, protocol)

    run(main())


@pytest.mark.skipif(SENDS_EMPTY, reason="empty datagrams are sent since Python 3.13")
def test_an_empty_datagram_is_ignored(loop: Any, run: Any, peer: socket.socket) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(remote_addr=peer.getsockname())
        # Not even its address is looked at.
        transport.sendto(b"", ("127.0.0.1", 1))
        transport.sendto(b"full")
        assert peer.recv(100) == b"full"
        await ended(transport, protocol)

    run(main())


def test_a_fixed_address_may_be_said_again_and_no_other(loop: Any, run: Any, peer: socket.socket) -> None:
    async def main() -> None:
        name = peer.getsockname()
        transport, protocol = await endpoint(remote_addr=name)
        transport.sendto(b"one", None)
        transport.sendto(b"two", (name[0], int(str(name[1]))))
        with pytest.raises(ValueError) as refused:
            transport.sendto(b"three", ("127.0.0.1", 9))
        assert str(refused.value) == f"Invalid address: must be None or {name}"
        assert [peer.recv(100), peer.recv(100)] == [b"one", b"two"]
        await ended(transport, protocol)

    run(main())


def test_without_any_address_the_transport_ends(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        transport.sendto(b"to whom?")
        assert transport.is_closing()
        error = await soon(protocol.lost)
        assert isinstance(error, TypeError)
        assert str(error) == "sendto(): AF_INET address must be tuple, not NoneType"
        assert [context["message"] for context in loop_errors] == ["Fatal write error on datagram transport"]
        assert loop_errors[0]["exception"] is error
        assert loop_errors[0]["transport"] is transport
        assert loop_errors[0]["protocol"] is protocol

    run(main())


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
@pytest.mark.parametrize("spelling", ["name", "bytes", "subclass"])
def test_addresses_are_understood_as_by_sockets(
    loop: Any, run: Any, family: int, host: str, spelling: str
) -> None:
    class Text(str):
        pass

    # Not every machine has a name for ::1.
    name = "localhost" if family == socket.AF_INET else "0:0:0:0:0:0:0:1"
    spelled: Any = {"name": name, "bytes": host.encode(), "subclass": Text(host)}[spelling]

    async def main() -> None:
        with udp(family, host) as peer:
            transport, protocol = await endpoint(local_addr=(host, 0))
            address = peer.getsockname()
            transport.sendto(b"there", (spelled, *address[1:]))
            transport.sendto(b"again", (host, address[1]))
            assert [peer.recv(100), peer.recv(100)] == [b"there", b"again"]
            await ended(transport, protocol)

    run(main())


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("127.0.0.1", 70_000), OverflowError),
        (("127.0.0.1", -1), OverflowError),
        (("127.0.0.1", "80"), TypeError),
        (("127.0.0.1",), TypeError),
        (("127.0.0.1", 80, 0), TypeError),
        ("127.0.0.1:80", TypeError),
        ((None, 80), TypeError),
    ],
)
def test_an_address_that_is_none_ends_the_transport(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]], address: Any, error: type[Exception]
) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        transport.sendto(b"x", address)
        assert type(await soon(protocol.lost)) is error

    run(main())
    assert [context["message"] for context in loop_errors] == ["Fatal write error on datagram transport"]


def test_a_failure_of_the_system_is_told_inside_the_call(loop: Any, run: Any, peer: socket.socket) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        transport.sendto(bytes(70_000), peer.getsockname())
        assert [error.errno for error in protocol.errors] == [90]  # type: ignore[attr-defined]
        transport.sendto(b"x", ("::1", 9))
        assert isinstance(protocol.errors[1], socket.gaierror)
        assert not transport.is_closing()
        transport.sendto(b"there", peer.getsockname())
        assert peer.recv(100) == b"there"
        await ended(transport, protocol)

    run(main())


def test_what_error_received_raises_reaches_the_sender(loop: Any, run: Any, peer: socket.socket) -> None:
    class Raising(Datagrams):
        def error_received(self, exc: Exception) -> None:
            raise LookupError("from error_received")

    async def main() -> None:
        transport, protocol = await loop.create_datagram_endpoint(Raising, local_addr=("127.0.0.1", 0))
        with pytest.raises(LookupError, match="from error_received"):
            transport.sendto(bytes(70_000), peer.getsockname())
        assert not transport.is_closing()
        await ended(transport, protocol)

    run(main())


async def unix_pair(tmp_path: Path, **options: Any) -> tuple[Any, Datagrams, socket.socket]:
    """An endpoint connected to a peer that holds few datagrams, for what has to wait."""
    peer = unix(tmp_path / "peer")
    transport, protocol = await endpoint(
        family=socket.AF_UNIX, local_addr=f"{tmp_path}/ours", remote_addr=f"{tmp_path}/peer", **options
    )
    return transport, protocol, peer


def fill(transport: Any, *, waiting: int = 1) -> int:
    """Sends numbered datagrams until so many of them wait; how many that were."""
    number = 0
    while len(transport._buffer) < waiting:
        transport.sendto(b"%04d" % number + PIECE[4:])
        number += 1
    return number


def numbers(received: list[bytes]) -> list[int]:
    return [int(data[:4]) for data in received]


def test_what_the_kernel_refuses_waits_in_order(
    loop: Any, run: Any, implementation: Any, tmp_path: Path
) -> None:
    needs_right_sizes(implementation)

    async def main() -> None:
        transport, protocol, peer = await unix_pair(tmp_path)
        with peer:
            count = fill(transport, waiting=5)
            assert transport.get_write_buffer_size() == 5 * SIZE
            assert "write=<polling, bufsize=" in repr(transport)
            received: list[bytes] = []
            while len(received) < count:
                received.append(peer.recv(2000))
                await kernel_asked()
            assert numbers(received) == list(range(count))
            assert transport.get_write_buffer_size() == 0
            await until(lambda: "write=<idle, bufsize=0>" in repr(transport))
            await ended(transport, protocol)

    run(main())


def test_what_waits_is_what_it_was(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        transport, protocol, peer = await unix_pair(tmp_path)
        with peer:
            count = fill(transport)
            data = bytearray(b"before")
            transport.sendto(data)
            data[:] = b"behind"
            for _ in range(count):
                peer.recv(2000)
                await kernel_asked()
            assert peer.recv(100) == b"before"
            await ended(transport, protocol)

    run(main())


def test_the_protocol_is_paused_above_the_high_mark_and_goes_on_at_the_low_one(
    loop: Any, run: Any, implementation: Any, tmp_path: Path
) -> None:
    needs_right_sizes(implementation)

    async def main() -> None:
        transport, protocol, peer = await unix_pair(tmp_path)
        with peer:
            transport.set_write_buffer_limits(high=3 * SIZE, low=SIZE)
            assert transport.get_write_buffer_limits() == (SIZE, 3 * SIZE)
            count = fill(transport, waiting=3)
            assert protocol.calls == ["connection_made"]
            transport.sendto(PIECE)
            assert protocol.calls == ["connection_made", "pause_writing"]
            transport.sendto(PIECE)
            assert protocol.calls == ["connection_made", "pause_writing"]
            sizes = []
            for _ in range(count + 2):
                peer.recv(2000)
                await kernel_asked()
                sizes.append((transport.get_write_buffer_size() // SIZE, protocol.calls[-1]))
            assert {call for size, call in sizes if size > 1} <= {"pause_writing"}
            assert {call for size, call in sizes if size <= 1} == {"resume_writing"}
            assert protocol.calls.count("resume_writing") == 1
            await ended(transport, protocol)

    run(main())


def test_lower_limits_pause_at_once(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        transport, protocol, peer = await unix_pair(tmp_path)
        with peer:
            fill(transport)
            transport.set_write_buffer_limits(high=0)
            assert protocol.calls == ["connection_made", "pause_writing"]
            with pytest.raises(ValueError, match=r"^high \(1\) must be >= low \(2\) must be >= 0$"):
                transport.set_write_buffer_limits(1, 2)
            await ended(transport, protocol)

    run(main())


@pytest.mark.skipif(not COUNTS_HEADERS, reason="what waits counts with a header since Python 3.13")
def test_empty_datagrams_that_wait_count_too(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        transport, protocol, peer = await unix_pair(tmp_path)
        with peer:
            fill(transport)
            for _ in range(3):
                transport.sendto(b"")
            assert transport.get_write_buffer_size() == SIZE + 3 * HEADER
            await ended(transport, protocol)

    run(main())


def test_a_protocol_may_send_more_when_it_goes_on(
    loop: Any, run: Any, implementation: Any, tmp_path: Path
) -> None:
    needs_right_sizes(implementation)

    class Sending(Datagrams):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.opened().sendto(b"more")

    async def main() -> None:
        with unix(tmp_path / "peer") as peer:
            transport, protocol = await loop.create_datagram_endpoint(
                Sending,
                family=socket.AF_UNIX,
                local_addr=f"{tmp_path}/ours",
                remote_addr=f"{tmp_path}/peer",
            )
            transport.set_write_buffer_limits(high=0)
            count = fill(transport)
            received: list[bytes] = []
            while len(received) < count + 1:
                received.append(peer.recv(2000))
                await kernel_asked()
            assert numbers(received[:-1]) == list(range(count))
            assert received[-1] == b"more"
            await ended(transport, protocol)

    run(main())


@pytest.mark.rasyncio_only("asyncio then calls connection_lost twice, the second time of None")
def test_an_endpoint_that_is_closed_when_it_may_go_on_ends_once(loop: Any, run: Any, tmp_path: Path) -> None:
    class Closing(Datagrams):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.opened().close()

    async def main() -> None:
        with unix(tmp_path / "peer") as peer:
            transport, protocol = await loop.create_datagram_endpoint(
                Closing, family=socket.AF_UNIX, remote_addr=f"{tmp_path}/peer"
            )
            transport.set_write_buffer_limits(high=0)
            for _ in range(fill(transport)):
                peer.recv(2000)
                await kernel_asked()
            assert await soon(protocol.lost) is None
            await kernel_asked()
            assert protocol.calls[-2:] == ["resume_writing", "connection_lost"]

    run(main())


def test_a_failure_among_those_that_wait_is_told_and_the_others_go_on(
    loop: Any, run: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        transport, protocol, peer = await unix_pair(tmp_path)
        with peer:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            limit = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            while not transport.get_write_buffer_size():
                transport.sendto(b"small")
            before = len(protocol.errors)
            transport.sendto(bytes(limit * 100))
            transport.sendto(b"last")
            received = [b""]
            while received[-1] != b"last":
                received.append(peer.recv(2000))
                await kernel_asked()
            assert [error.errno for error in protocol.errors[before:]] == [90]  # type: ignore[attr-defined]
            assert set(received[1:-1]) == {b"small"}
            await until(lambda: "write=<idle" in repr(transport))
            assert not transport.is_closing()
            await ended(transport, protocol)

    run(main())


def test_closing_sends_what_waits_first(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        transport, protocol, peer = await unix_pair(tmp_path)
        with peer:
            count = fill(transport, waiting=3)
            transport.close()
            assert transport.is_closing()
            # asyncio: who sends after close() still gets in line.
            transport.sendto(b"%04d" % count)
            received: list[bytes] = []
            while len(received) < count + 1:
                assert protocol.lost.done() == (not transport._buffer)
                received.append(peer.recv(2000))
                await kernel_asked()
            assert numbers(received) == list(range(count + 1))
            assert await soon(protocol.lost) is None

    run(main())


def test_aborting_drops_what_waits(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        transport, protocol, peer = await unix_pair(tmp_path)
        with peer:
            count = fill(transport, waiting=3)
            transport.abort()
            assert not transport._buffer
            assert await soon(protocol.lost) is None
            received = [peer.recv(2000) for _ in range(count - 3)]
            peer.setblocking(False)
            with pytest.raises(BlockingIOError):
                peer.recv(100)
            assert numbers(received) == list(range(count - 3))

    run(main())


def test_after_the_end_of_a_connected_endpoint_sending_is_in_vain(
    loop: Any, run: Any, peer: socket.socket, asyncio_log: Any
) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(remote_addr=peer.getsockname())
        transport.close()
        for _ in range(3):
            transport.sendto(b"nobody hears")
        await soon(protocol.lost)
        for _ in range(4):
            transport.sendto(b"nobody hears")
        assert transport._conn_lost == 8
        with pytest.raises(ValueError, match=r"^Invalid address: must be None or "):
            transport.sendto(b"nobody hears", ("127.0.0.1", 9))

    run(main())
    warnings = [record.getMessage() for record in asyncio_log.records if record.levelname == "WARNING"]
    assert warnings == ["socket.send() raised exception."] * 3


def test_an_unconnected_endpoint_sends_until_its_socket_is_closed(
    loop: Any, run: Any, peer: socket.socket
) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        transport.close()
        transport.sendto(b"last words", peer.getsockname())
        assert peer.recv(100) == b"last words"
        assert await soon(protocol.lost) is None

    run(main())


@pytest.mark.rasyncio_only("asyncio stumbles over its own internals: AttributeError of None")
def test_after_the_end_of_an_unconnected_endpoint_sending_is_in_vain(
    loop: Any, run: Any, peer: socket.socket, asyncio_log: Any
) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        transport.close()
        await soon(protocol.lost)
        for _ in range(5):
            transport.sendto(b"nobody hears", peer.getsockname())

    run(main())
    warnings = [record.getMessage() for record in asyncio_log.records if record.levelname == "WARNING"]
    assert warnings == ["socket.send() raised exception."]
