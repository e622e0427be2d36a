"""loop.create_datagram_endpoint(): which socket it makes or takes, and what it refuses."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from datagram_peers import Datagrams, ended, endpoint, udp, unix
from net_peers import LOOPBACKS, no_socket_left, soon

ANY_MESSAGES = sys.version_info >= (3, 13)


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_a_local_address_is_bound_to(loop: Any, run: Any, family: int, host: str) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(local_addr=(host, 0))
        name = transport.get_extra_info("sockname")
        assert name[0] == host
        assert name[1] > 0
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("socket").family == family
        assert transport.get_extra_info("socket").type == socket.SOCK_DGRAM
        assert protocol.calls == ["connection_made"]
        with udp(family, host) as peer:
            peer.sendto(b"there", name)
            assert await protocol.read(1) == [b"there"]
            assert protocol.received[0][1] == peer.getsockname()
            transport.sendto(b"back", protocol.received[0][1])
            assert peer.recvfrom(100) == (b"back", name)
        await ended(transport, protocol)

    run(main())


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_a_remote_address_is_connected_to(loop: Any, run: Any, family: int, host: str) -> None:
    async def main() -> None:
        with udp(family, host) as peer, udp(family, host) as stranger:
            transport, protocol = await endpoint(remote_addr=peer.getsockname()[:2])
            assert transport.get_extra_info("peername") == peer.getsockname()
            transport.sendto(b"there")
            data, name = peer.recvfrom(100)
            assert (data, name) == (b"there", transport.get_extra_info("sockname"))
            stranger.sendto(b"nobody hears", name)
            peer.sendto(b"back", name)
            assert await protocol.read(1) == [b"back"]
            await ended(transport, protocol)

    run(main())


def test_both_addresses_may_be_given(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer:
            transport, protocol = await endpoint(local_addr=("127.0.0.2", 0), remote_addr=peer.getsockname())
            assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
            assert transport.get_extra_info("peername") == peer.getsockname()
            await ended(transport, protocol)

    run(main())


def test_names_are_resolved_by_the_loop(loop: Any, run: Any) -> None:
    asked = []

    async def getaddrinfo(host: str, port: Any, **options: Any) -> list[Any]:
        asked.append((host, port, options))
        return [(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "", ("127.0.0.1", 0))]

    async def main() -> None:
        loop.getaddrinfo = getaddrinfo
        transport, protocol = await endpoint(local_addr=("some.name", "service"), flags=socket.AI_PASSIVE)
        assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
        await ended(transport, protocol)

    run(main())
    options = {"family": 0, "type": socket.SOCK_DGRAM, "proto": 0, "flags": socket.AI_PASSIVE}
    assert asked == [("some.name", "service", options)]


def resolving(loop: Any, answers: dict[str, list[tuple[str, int]]]) -> None:
    async def getaddrinfo(host: str, port: Any, **_options: Any) -> list[Any]:
        return [
            (
                socket.AF_INET6 if ":" in address[0] else socket.AF_INET,
                socket.SOCK_DGRAM,
                socket.IPPROTO_UDP,
                "",
                address,
            )
            for address in answers[host]
        ]

    loop.getaddrinfo = getaddrinfo


def test_an_address_that_cannot_be_bound_to_is_followed_by_the_next_family(loop: Any, run: Any) -> None:
    resolving(loop, {"both": [("2001:db8::1", 0), ("127.0.0.1", 0)]})

    async def main() -> None:
        with no_socket_left():
            transport, protocol = await endpoint(local_addr=("both", 0))
            assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
            await ended(transport, protocol)

    run(main())


def test_of_several_failures_the_first_is_raised(loop: Any, run: Any) -> None:
    resolving(loop, {"neither": [("192.0.2.1", 0), ("2001:db8::1", 0)]})

    async def main() -> None:
        with no_socket_left(), pytest.raises(OSError, match="Cannot assign requested address"):
            await endpoint(local_addr=("neither", 0))

    run(main())


def test_the_two_addresses_must_have_a_family_in_common(loop: Any, run: Any) -> None:
    resolving(loop, {"four": [("127.0.0.1", 0)], "six": [("::1", 0)], "none": []})

    async def main() -> None:
        with pytest.raises(ValueError, match=r"^can not get address information$"):
            await endpoint(local_addr=("four", 0), remote_addr=("six", 1))
        with pytest.raises(OSError, match=r"^getaddrinfo\(\) returned empty list$"):
            await endpoint(local_addr=("none", 0))

    run(main())


@pytest.mark.parametrize("address", [("127.0.0.1",), ("127.0.0.1", 0, 0), ["127.0.0.1", 0], "127.0.0.1:0"])
@pytest.mark.parametrize("argument", ["local_addr", "remote_addr"])
def test_an_address_is_a_tuple_of_two(loop: Any, run: Any, argument: str, address: Any) -> None:
    with pytest.raises(TypeError, match=r"^2-tuple is expected$"):
        run(loop.create_datagram_endpoint(Datagrams, **{argument: address}))


@pytest.mark.parametrize("empty", [None, (), ""])
def test_without_addresses_a_family_is_needed(loop: Any, run: Any, empty: Any) -> None:
    with pytest.raises(ValueError, match=r"^unexpected address family$"):
        run(loop.create_datagram_endpoint(Datagrams, local_addr=empty, remote_addr=empty))


def test_a_family_alone_makes_a_socket_that_is_bound_when_it_sends(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer:
            transport, protocol = await endpoint(family=socket.AF_INET)
            assert transport.get_extra_info("sockname") == ("0.0.0.0", 0)
            transport.sendto(b"there", peer.getsockname())
            _, name = peer.recvfrom(100)
            peer.sendto(b"back", name)
            assert await protocol.read(1) == [b"back"]
            await ended(transport, protocol)

    run(main())


def test_a_socket_of_the_user_is_taken_as_it_is(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer:
            sock = udp()
            transport, protocol = await endpoint(sock=sock)
            assert sock.gettimeout() == 0
            assert transport.get_extra_info("sockname") == sock.getsockname()
            transport.sendto(b"there", peer.getsockname())
            assert peer.recvfrom(100) == (b"there", sock.getsockname())
            await ended(transport, protocol)
            assert sock.fileno() == -1

    run(main())


def test_a_connected_socket_of_the_user_sends_to_its_peer(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer:
            sock = udp()
            sock.connect(peer.getsockname())
            transport, protocol = await endpoint(sock=sock)
            assert transport.get_extra_info("peername") == peer.getsockname()
            transport.sendto(b"to the peer")
            # asyncio: with no address of its own the transport ignores that of others.
            transport.sendto(b"to the peer, too", ("127.0.0.1", 9))
            assert [peer.recv(100), peer.recv(100)] == [b"to the peer", b"to the peer, too"]
            await ended(transport, protocol)

    run(main())


def test_a_stream_socket_is_refused(loop: Any, run: Any) -> None:
    expected = "A datagram socket was expected, got" if ANY_MESSAGES else "A UDP Socket was expected, got"
    with socket.socket() as sock, pytest.raises(ValueError, match=f"^{expected} <socket.socket fd="):
        run(loop.create_datagram_endpoint(Datagrams, sock=sock))


def test_any_socket_that_keeps_messages_apart_will_do(loop: Any, run: Any) -> None:
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    async def main() -> None:
        transport, protocol = await endpoint(sock=ours)
        peer.send(b"first")
        peer.send(b"second")
        assert await protocol.read(2) == [b"first", b"second"]
        assert protocol.received[0][1] is None
        await ended(transport, protocol)

    with ours, peer:
        if ANY_MESSAGES:
            run(main())
        else:
            with pytest.raises(ValueError, match=r"^A UDP Socket was expected"):
                run(loop.create_datagram_endpoint(Datagrams, sock=ours))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"local_addr": ("127.0.0.1", 0)}, "local_addr=('127.0.0.1', 0)"),
        ({"remote_addr": ("127.0.0.1", 1)}, "remote_addr=('127.0.0.1', 1)"),
        ({"family": 1}, "family=1"),
        ({"proto": 1}, "proto=1"),
        ({"flags": 1}, "flags=1"),
        ({"reuse_port": True}, "reuse_port=True"),
        ({"allow_broadcast": True}, "allow_broadcast=True"),
        (
            {"flags": 2, "family": socket.AF_INET, "proto": 0, "reuse_port": 1},
            f"family={socket.AF_INET}, flags=2, reuse_port=1",
        ),
    ],
)
def test_nothing_is_set_on_a_socket_of_the_user(
    loop: Any, run: Any, options: dict[str, Any], shown: str
) -> None:
    with udp() as sock:
        with pytest.raises(ValueError) as refused:
            run(loop.create_datagram_endpoint(Datagrams, sock=sock, **options))
        assert str(refused.value) == (
            f"socket modifier keyword arguments can not be used when sock is specified. ({shown})"
        )
        assert sock.fileno() >= 0


def test_a_socket_that_a_transport_uses_is_refused(loop: Any, run: Any, implementation: Any) -> None:
    async def main() -> None:
        sock = udp()
        transport, protocol = await endpoint(sock=sock)
        for number in sock, sock.fileno():
            with pytest.raises(RuntimeError) as refused:
                loop.add_reader(number, print)
            assert str(refused.value) == f"File descriptor {number!r} is used by transport {transport!r}"
        if sys.version_info >= (3, 12) or not implementation.is_oracle:
            with pytest.raises(RuntimeError) as refused:
                await endpoint(sock=sock)
            assert str(refused.value) == f"File descriptor {sock!r} is used by transport {transport!r}"
        await ended(transport, protocol)

    run(main())


def test_a_port_can_be_shared(loop: Any, run: Any) -> None:
    async def main() -> None:
        first, one = await endpoint(local_addr=("127.0.0.1", 0), reuse_port=True)
        name = first.get_extra_info("sockname")
        assert first.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        second, two = await endpoint(local_addr=name, reuse_port=True)
        with pytest.raises(OSError, match="Address already in use"):
            await endpoint(local_addr=name)
        assert second.get_extra_info("sockname") == name
        await ended(first, one)
        await ended(second, two)

    run(main())


@pytest.mark.parametrize("lacking", ["option", "kernel"])
def test_a_system_that_cannot_share_ports_says_so(
    loop: Any, run: Any, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "option":
        monkeypatch.delattr(socket, "SO_REUSEPORT")
        text = r"^reuse_port not supported by socket module$"
    else:
        monkeypatch.setattr(socket, "SO_REUSEPORT", 9999)
        text = r"^reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented.$"
    with no_socket_left(), pytest.raises(ValueError, match=text):
        run(loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0), reuse_port=True))


def test_broadcasting_is_allowed_and_leaves_the_socket_unconnected(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer, udp() as other:
            transport, protocol = await endpoint(remote_addr=peer.getsockname(), allow_broadcast=True)
            assert transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
            assert transport.get_extra_info("peername") is None
            transport.sendto(b"there")
            _, name = peer.recvfrom(100)
            with pytest.raises(ValueError, match=r"^Invalid address: must be None or \('127.0.0.1', "):
                transport.sendto(b"elsewhere", other.getsockname())
            other.sendto(b"from anybody", ("127.0.0.1", name[1]))
            assert await protocol.read(1) == [b"from anybody"]
            await ended(transport, protocol)

    run(main())


def test_without_leave_broadcasting_is_an_error(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(local_addr=("127.0.0.1", 0))
        transport.sendto(b"to all", ("255.255.255.255", 9))
        assert [type(error) for error in protocol.errors] == [PermissionError]
        assert not transport.is_closing()
        await ended(transport, protocol)

    run(main())


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_unix_sockets_have_paths_for_addresses(loop: Any, run: Any, tmp_path: Path, abstract: bool) -> None:
    prefix = f"\0rasyncio-{os.getpid()}-{id(loop)}-" if abstract else f"{tmp_path}/"

    async def main() -> None:
        with unix(f"{prefix}peer") as peer:
            transport, protocol = await endpoint(
                family=socket.AF_UNIX, local_addr=f"{prefix}ours", remote_addr=f"{prefix}peer"
            )
            for end, name in (("sockname", "ours"), ("peername", "peer")):
                expected: Any = f"{prefix}{name}"
                assert transport.get_extra_info(end) == (expected.encode() if abstract else expected)
            transport.sendto(b"there")
            data, name = peer.recvfrom(100)
            assert (data, name) == (b"there", transport.get_extra_info("sockname"))
            peer.sendto(b"back", name)
            await protocol.read(1)
            assert protocol.received == [(b"back", transport.get_extra_info("peername"))]
            await ended(transport, protocol)

    run(main())


def test_a_unix_socket_may_answer_whoever_sends(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(family=socket.AF_UNIX, local_addr=f"{tmp_path}/ours")
        assert not transport.get_extra_info("peername")
        with unix(tmp_path / "peer") as peer, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed:
            peer.sendto(b"named", f"{tmp_path}/ours")
            unnamed.sendto(b"unnamed", f"{tmp_path}/ours")
            await protocol.read(2)
            assert protocol.received == [(b"named", f"{tmp_path}/peer"), (b"unnamed", None)]
            transport.sendto(b"answer", protocol.received[0][1])
            assert peer.recvfrom(100) == (b"answer", f"{tmp_path}/ours")
        await ended(transport, protocol)

    run(main())


@pytest.mark.parametrize("argument", ["local_addr", "remote_addr"])
@pytest.mark.parametrize("path", [b"bytes", ("127.0.0.1", 0), Path("path")])
def test_a_unix_path_is_text(loop: Any, run: Any, argument: str, path: Any) -> None:
    with pytest.raises(TypeError, match=r"^string is expected$"):
        run(loop.create_datagram_endpoint(Datagrams, family=socket.AF_UNIX, **{argument: path}))


def test_a_stale_socket_file_is_replaced_and_no_other(loop: Any, run: Any, tmp_path: Path) -> None:
    unix(tmp_path / "stale").close()
    (tmp_path / "file").write_text("kept")

    async def main() -> None:
        transport, protocol = await endpoint(family=socket.AF_UNIX, local_addr=f"{tmp_path}/stale")
        await ended(transport, protocol)
        # asyncio leaves the file behind: it does not know whether it is still the one it made.
        assert (tmp_path / "stale").is_socket()
        with no_socket_left(), pytest.raises(OSError, match="Address already in use"):
            await endpoint(family=socket.AF_UNIX, local_addr=f"{tmp_path}/file")

    run(main())
    assert (tmp_path / "file").read_text() == "kept"


def test_a_stale_socket_that_cannot_be_looked_at_is_logged(
    loop: Any, run: Any, tmp_path: Path, asyncio_log: Any
) -> None:
    path = f"{tmp_path}/file/socket"
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NotADirectoryError):
        run(loop.create_datagram_endpoint(Datagrams, family=socket.AF_UNIX, local_addr=path))
    assert [record.getMessage() for record in asyncio_log.records if record.levelno >= logging.ERROR] == [
        f"Unable to check or remove stale UNIX socket {path!r}: NotADirectoryError(20, 'Not a directory')"
    ]


def test_a_raising_factory_leaves_the_socket_of_the_user_open(loop: Any, run: Any) -> None:
    def factory() -> Any:
        raise LookupError("no protocol")

    with udp() as sock:
        with pytest.raises(LookupError, match="no protocol"):
            run(loop.create_datagram_endpoint(factory, sock=sock))
        assert sock.fileno() >= 0


@pytest.mark.rasyncio_only("asyncio leaves its socket to the garbage collector")
def test_a_raising_factory_leaves_no_socket_of_the_loop(loop: Any, run: Any) -> None:
    def factory() -> Any:
        raise LookupError("no protocol")

    with no_socket_left(), pytest.raises(LookupError, match="no protocol"):
        run(loop.create_datagram_endpoint(factory, local_addr=("127.0.0.1", 0)))


def test_whoever_is_cancelled_while_names_are_resolved_leaves_nothing(loop: Any, run: Any) -> None:
    async def main() -> None:
        async def getaddrinfo(*_arguments: Any, **_options: Any) -> Any:
            await loop.create_future()

        loop.getaddrinfo = getaddrinfo
        with no_socket_left():
            task = asyncio.ensure_future(endpoint(local_addr=("a.name", 0)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_whoever_is_cancelled_before_the_protocol_knows_leaves_nothing(loop: Any, run: Any) -> None:
    async def main() -> None:
        made: list[Datagrams] = []

        def factory() -> Datagrams:
            made.append(Datagrams())
            return made[-1]

        with no_socket_left():
            coroutine = loop.create_datagram_endpoint(factory, local_addr=("127.0.0.1", 0))
            task = asyncio.ensure_future(coroutine)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await soon(made[0].lost)
            assert made[0].calls == ["connection_made", "connection_lost"]
            assert made[0].error is None

    run(main())


def test_debug_mode_tells_the_log_of_endpoints(loop: Any, run: Any, asyncio_log: Any) -> None:
    loop.set_debug(True)

    async def main() -> None:
        with udp() as peer:
            for options in {"local_addr": ("127.0.0.1", 0)}, {"remote_addr": peer.getsockname()}:
                transport, protocol = await endpoint(**options)
                expected.append((transport, protocol, options))
                await ended(transport, protocol)

    expected: list[Any] = []
    run(main())
    found = [record for record in asyncio_log.records if "Datagram endpoint" in record.getMessage()]
    assert [record.levelname for record in found] == ["INFO", "DEBUG"]
    assert found[0].msg == "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)"
    assert found[0].args == (("127.0.0.1", 0), None, *expected[0][:2])
    assert found[1].msg == "Datagram endpoint remote_addr=%r created: (%r, %r)"
    assert found[1].args == (expected[1][2]["remote_addr"], *expected[1][:2])
