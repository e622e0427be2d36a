"""loop.create_connection where it fails: senseless arguments, refusals, cancellation; nothing stays open."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import sys
from typing import Any

import pytest
from net_peers import (
    Recorder,
    connected_pair,
    has_ipv6,
    kernel_asked,
    listener,
    no_socket_left,
    resolving,
    soon,
    stalled_address,
    unused_port,
)

needs_all_errors = pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors came with Python 3.12")
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1 to be refused by")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "host and port was not specified and no sock specified"),
        (
            {"host": "localhost", "server_hostname": "x", "port": 1},
            "server_hostname is only meaningful with ssl",
        ),
        ({"port": 1, "ssl": True}, "You must set server_hostname when using ssl without a host"),
        ({"host": "", "port": 1, "ssl": True}, "You must set server_hostname when using ssl without a host"),
        (
            {"host": "localhost", "port": 1, "ssl_handshake_timeout": 1},
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"host": "localhost", "port": 1, "ssl_shutdown_timeout": 1},
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
    ],
)
def test_arguments_that_contradict_each_other_are_a_value_error(
    loop: Any, run: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(loop.create_connection(Recorder, **arguments))


@pytest.mark.parametrize("place", [{"host": "127.0.0.1"}, {"port": 1}, {"host": "127.0.0.1", "port": 1}])
def test_host_or_port_beside_a_socket_is_a_value_error(loop: Any, run: Any, place: dict[str, Any]) -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="host/port and sock can not be specified"):
        run(loop.create_connection(Recorder, **place, sock=sock))


def test_ssl_over_a_socket_needs_a_server_hostname(loop: Any, run: Any) -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="You must set server_hostname"):
        run(loop.create_connection(Recorder, ssl=True, sock=sock))


def test_a_datagram_socket_is_refused(loop: Any, run: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        refused = pytest.raises(ValueError, match=r"A Stream Socket was expected, got <socket\.socket")
        with refused:
            run(loop.create_connection(Recorder, sock=sock))


def test_an_ssl_socket_is_refused(loop: Any, run: Any) -> None:
    context = ssl.create_default_context()
    sock = context.wrap_socket(socket.socket(), server_hostname="localhost", do_handshake_on_connect=False)
    with sock, pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
        run(loop.create_connection(Recorder, sock=sock))


def test_a_refused_connection_says_to_which_address(loop: Any, run: Any) -> None:
    port = unused_port()
    with no_socket_left(), pytest.raises(ConnectionRefusedError) as caught:
        run(loop.create_connection(Recorder, "127.0.0.1", port))
    assert caught.value.errno == errno.ECONNREFUSED
    assert f"Connect call failed ('127.0.0.1', {port})" in str(caught.value)


def test_a_name_that_does_not_resolve_is_getaddrinfos_error(loop: Any, run: Any) -> None:
    with pytest.raises(socket.gaierror):
        run(loop.create_connection(Recorder, "no such host", 1))


def test_flags_reach_getaddrinfo(loop: Any, run: Any) -> None:
    with pytest.raises(socket.gaierror):
        run(loop.create_connection(Recorder, "localhost", 1, flags=socket.AI_NUMERICHOST))


def test_a_family_the_host_does_not_have_is_getaddrinfos_error(loop: Any, run: Any) -> None:
    with pytest.raises(socket.gaierror):
        run(loop.create_connection(Recorder, "127.0.0.1", 1, family=socket.AF_INET6))


def test_a_name_without_addresses_is_an_os_error(loop: Any, run: Any) -> None:
    resolving(loop)
    with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
        run(loop.create_connection(Recorder, "some name", 1))


def refused_addresses(*hosts: str) -> list[tuple[Any, ...]]:
    return [
        (host, unused_port(host, socket.AF_INET6), 0, 0) if ":" in host else (host, unused_port(host))
        for host in hosts
    ]


@pytest.mark.parametrize("delay", [None, 0.001, 3600])
def test_several_refusals_are_all_named_in_one_error(loop: Any, run: Any, delay: float | None) -> None:
    addresses = refused_addresses("127.0.0.1", "127.0.0.2", "127.0.0.3")
    resolving(loop, *addresses)
    with no_socket_left(), pytest.raises(OSError, match=r"^Multiple exceptions: ") as caught:
        run(loop.create_connection(Recorder, "some name", 1, happy_eyeballs_delay=delay))
    for address in addresses:
        assert f"[Errno {errno.ECONNREFUSED}] Connect call failed {address}" in str(caught.value)


def test_refusals_that_read_the_same_are_raised_as_one(loop: Any, run: Any) -> None:
    address = "127.0.0.1", unused_port()
    resolving(loop, address, address)
    with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
        run(loop.create_connection(Recorder, "some name", 1))


@needs_ipv6
@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, [0, 1, 2, 3]),
        ({"interleave": 1}, [0, 2, 1, 3]),
        ({"interleave": 2}, [0, 1, 2, 3]),
        ({"happy_eyeballs_delay": 3600}, [0, 2, 1, 3]),
        ({"happy_eyeballs_delay": 3600, "interleave": 0}, [0, 1, 2, 3]),
    ],
)
def test_interleave_alternates_the_families(
    loop: Any, run: Any, options: dict[str, Any], order: list[int]
) -> None:
    addresses = refused_addresses("::1", "::1", "127.0.0.1", "127.0.0.2")
    resolving(loop, *addresses)
    with pytest.raises(OSError, match=r"^Multiple exceptions: ") as caught:
        run(loop.create_connection(Recorder, "some name", 1, **options))
    text = str(caught.value)
    assert sorted(range(4), key=lambda which: text.index(str(addresses[which]))) == order


@needs_all_errors
@pytest.mark.parametrize("count", [1, 3])
def test_all_errors_raises_a_group_of_every_refusal(loop: Any, run: Any, count: int) -> None:
    addresses = refused_addresses(*["127.0.0.1", "127.0.0.2", "127.0.0.3"][:count])
    resolving(loop, *addresses)
    with no_socket_left(), pytest.raises(ExceptionGroup, match="create_connection failed") as caught:
        run(loop.create_connection(Recorder, "some name", 1, all_errors=True))
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * count
    for error, address in zip(caught.value.exceptions, addresses, strict=True):
        assert str(address) in str(error)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="all_errors came with Python 3.12")
def test_all_errors_is_unknown_before_python_3_12(loop: Any, run: Any) -> None:
    with pytest.raises(TypeError, match="all_errors"):
        run(loop.create_connection(Recorder, "127.0.0.1", 1, all_errors=True))


def test_a_local_address_that_is_taken_is_named(loop: Any, run: Any) -> None:
    with listener() as server, listener("127.0.0.2") as taken, no_socket_left():
        host, port = server.getsockname()
        local = taken.getsockname()
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            run(loop.create_connection(Recorder, host, port, local_addr=local))
        assert caught.value.errno == errno.EADDRINUSE
        assert str(local) in str(caught.value)
        assert "address already in use" in str(caught.value)


@needs_ipv6
def test_a_local_address_of_another_family_is_an_os_error(loop: Any, run: Any) -> None:
    with listener() as server, no_socket_left():
        host, port = server.getsockname()
        with pytest.raises(OSError, match="no matching local address with family="):
            run(loop.create_connection(Recorder, host, port, local_addr=("::1", 0)))


def test_a_local_address_that_does_not_resolve_is_getaddrinfos_error(loop: Any, run: Any) -> None:
    with no_socket_left(), pytest.raises(socket.gaierror):
        run(loop.create_connection(Recorder, "127.0.0.1", 1, local_addr=("no such host", 0)))


def test_cancelling_a_stalled_connection_leaves_no_descriptor(loop: Any, run: Any) -> None:
    async def main(options: dict[str, Any]) -> None:
        task = asyncio.ensure_future(loop.create_connection(Recorder, "some name", 1, **options))
        await kernel_asked()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with stalled_address() as stalled:
        resolving(loop, stalled, stalled)
        for options in {}, {"happy_eyeballs_delay": 0.001}:
            with no_socket_left():
                run(main(options))


def test_a_timeout_on_a_stalled_connection_leaves_no_descriptor(loop: Any, run: Any) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.create_connection(Recorder, *stalled), 0.05)

    with stalled_address() as stalled, no_socket_left():
        run(main())


def test_a_raising_protocol_factory_raises_here_and_closes_the_socket(
    implementation: Any, loop: Any, run: Any
) -> None:
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("gh-153133: this asyncio leaves the socket to the garbage collector")
    with listener() as server, no_socket_left():
        host, port = server.getsockname()
        with pytest.raises(ZeroDivisionError):
            run(loop.create_connection(lambda: 1 / 0, host, port))


def test_a_raising_protocol_factory_closes_a_given_socket_since_3_14(loop: Any, run: Any) -> None:
    ours, peer = connected_pair()
    with ours, peer:
        with pytest.raises(ZeroDivisionError):
            run(loop.create_connection(lambda: 1 / 0, sock=ours))
        assert (ours.fileno() == -1) is (sys.version_info >= (3, 14))


def test_a_failed_connection_never_made_a_protocol(loop: Any, run: Any) -> None:
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    with pytest.raises(ConnectionRefusedError):
        run(loop.create_connection(factory, "127.0.0.1", unused_port()))
    assert made == []


def test_a_raising_connection_made_is_reported_and_the_connection_stays(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]]
) -> None:
    class Raising(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ZeroDivisionError("from connection_made")

    async def main() -> None:
        ours, peer = connected_pair()
        transport, protocol = await soon(loop.create_connection(Raising, sock=ours))
        peer.sendall(b"still there")
        assert await protocol.read(11) == b"still there"
        transport.abort()
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())
    assert len(loop_errors) == 1
    assert loop_errors[0]["message"].startswith("Exception in callback ")
    assert isinstance(loop_errors[0]["exception"], ZeroDivisionError)
