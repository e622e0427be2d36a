"""loop.create_server: where it listens, with which options, and which arguments it refuses."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import struct
import sys
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    Recorder,
    connect,
    has_ipv6,
    in_thread,
    listener,
    no_socket_left,
    receive_exactly,
    receive_to_end,
    soon,
    until,
)

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1 to listen on")


class Echo(asyncio.Protocol):
    """Sends back what it gets, until the client stops."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def addresses(server: asyncio.Server) -> list[Any]:
    return [sock.getsockname() for sock in server.sockets]


async def end(server: asyncio.Server) -> None:
    server.close()
    await soon(server.wait_closed())


def echo(address: Any) -> bytes:
    """One client from start to end."""
    with connect(address) as client:
        client.sendall(b"ping")
        reply = receive_exactly(client, 4)
        client.shutdown(socket.SHUT_WR)
        return reply + receive_to_end(client)


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_serves_on_one_address(loop: Any, run: Any, family: int, host: str) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, host, 0)
        assert [sock.family for sock in server.sockets] == [family]
        (address,) = addresses(server)
        assert address[0] == host
        assert address[1] != 0
        assert await in_thread(echo, address) == b"ping"
        await end(server)

    run(main())


def test_serves_on_several_hosts_and_each_once(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2", "127.0.0.1"], 0)
        assert sorted(host for host, _ in addresses(server)) == ["127.0.0.1", "127.0.0.2"]
        for address in addresses(server):
            assert await in_thread(echo, address) == b"ping"
        await end(server)

    run(main())


@pytest.mark.parametrize("host", [None, ""])
def test_without_a_host_it_serves_on_every_interface(loop: Any, run: Any, host: str | None) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, host, 0)
        by_family = {sock.family: sock.getsockname() for sock in server.sockets}
        assert by_family[socket.AF_INET][0] == "0.0.0.0"
        assert await in_thread(echo, ("127.0.0.1", by_family[socket.AF_INET][1])) == b"ping"
        if socket.AF_INET6 in by_family:
            assert by_family[socket.AF_INET6][0] == "::"
        await end(server)

    run(main())


@needs_ipv6
def test_an_ipv6_server_does_not_take_ipv4_as_well(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "::", 0, family=socket.AF_INET6)
        (sock,) = server.sockets
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        with pytest.raises(ConnectionRefusedError):
            connect(("127.0.0.1", sock.getsockname()[1]))
        await end(server)

    run(main())


def test_family_limits_where_it_serves(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, None, 0, family=socket.AF_INET)
        assert [sock.family for sock in server.sockets] == [socket.AF_INET]
        await end(server)

    run(main())


def test_serves_on_a_given_socket(loop: Any, run: Any) -> None:
    async def main() -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Echo, sock=sock)
        assert addresses(server) == [sock.getsockname()]
        assert sock.gettimeout() == 0.0
        assert await in_thread(echo, sock.getsockname()) == b"ping"
        await end(server)
        assert sock.fileno() == -1

    run(main())


def option(server: asyncio.Server, name: int) -> bool:
    (sock,) = server.sockets
    return bool(sock.getsockopt(socket.SOL_SOCKET, name))


@pytest.mark.parametrize(("given", "expected"), [(None, True), (True, True), (False, False)])
def test_reuse_address_is_on_unless_refused(loop: Any, run: Any, given: bool | None, expected: bool) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, reuse_address=given)
        assert option(server, socket.SO_REUSEADDR) is expected
        await end(server)

    run(main())


def test_reuse_port_lets_two_servers_share_a_port(loop: Any, run: Any) -> None:
    async def main() -> None:
        first = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=True)
        (address,) = addresses(first)
        second = await loop.create_server(Echo, *address, reuse_port=True)
        assert addresses(second) == [address]
        await end(first)
        assert await in_thread(echo, address) == b"ping"
        await end(second)

    run(main())


@pytest.mark.parametrize("given", [None, False])
def test_without_reuse_port_a_port_is_served_once(loop: Any, run: Any, given: bool | None) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=given)
        assert option(server, socket.SO_REUSEPORT) is False
        await end(server)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="keep_alive came with Python 3.13")
@pytest.mark.parametrize(("given", "expected"), [(None, False), (True, True), (False, False)])
def test_keep_alive_is_set_when_asked(loop: Any, run: Any, given: bool | None, expected: bool) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, keep_alive=given)
        assert option(server, socket.SO_KEEPALIVE) is expected
        await end(server)

    run(main())


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="keep_alive came with Python 3.13")
def test_keep_alive_is_unknown_before_python_3_13(loop: Any, run: Any) -> None:
    with pytest.raises(TypeError, match="keep_alive"):
        run(loop.create_server(Echo, "127.0.0.1", 0, keep_alive=True))


def test_a_port_that_is_taken_is_named_and_nothing_stays_open(loop: Any, run: Any) -> None:
    with listener("127.0.0.2") as taken, no_socket_left():
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            run(loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], port))
        assert caught.value.errno == errno.EADDRINUSE
        assert str(("127.0.0.2", port)) in str(caught.value)
        assert "address already in use" in str(caught.value)


def test_an_address_of_another_machine_cannot_be_served(loop: Any, run: Any) -> None:
    """Up to 3.12 the bind error says so; since 3.13 such addresses are passed over until none is left."""
    with no_socket_left(), pytest.raises(OSError, match=r"192\.0\.2\.1") as caught:
        run(loop.create_server(Echo, "192.0.2.1", 0))
    if sys.version_info >= (3, 13):
        assert "could not bind on any address out of" in str(caught.value)
    else:
        assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="addresses not available are passed over since Python 3.13"
)
def test_an_address_not_available_is_passed_over_when_another_is(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, ["192.0.2.1", "127.0.0.1"], 0)
        assert [host for host, _ in addresses(server)] == ["127.0.0.1"]
        await end(server)

    with no_socket_left():
        run(main())


def test_a_host_that_does_not_resolve_is_getaddrinfos_error(loop: Any, run: Any) -> None:
    with no_socket_left(), pytest.raises(socket.gaierror):
        run(loop.create_server(Echo, "no such host", 0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "Neither host/port nor sock were specified"),
        ({"port": 0, "ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        (
            {"port": 0, "ssl_handshake_timeout": 1},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"port": 0, "ssl_shutdown_timeout": 1},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    loop: Any, run: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(loop.create_server(Echo, **arguments))


@pytest.mark.parametrize("place", [{"host": "127.0.0.1"}, {"port": 0}, {"host": "127.0.0.1", "port": 0}])
def test_host_or_port_beside_a_socket_is_a_value_error(loop: Any, run: Any, place: dict[str, Any]) -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="host/port and sock can not be specified"):
        run(loop.create_server(Echo, **place, sock=sock))


def test_a_datagram_socket_is_refused(loop: Any, run: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        refused = pytest.raises(ValueError, match=r"A Stream Socket was expected, got <socket\.socket")
        with refused:
            run(loop.create_server(Echo, sock=sock))


def test_an_ssl_socket_is_refused(loop: Any, run: Any) -> None:
    context = ssl.create_default_context()
    sock = context.wrap_socket(socket.socket(), server_hostname="localhost", do_handshake_on_connect=False)
    with sock, pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
        run(loop.create_server(Echo, sock=sock))


@pytest.mark.parametrize(("options", "expected"), [({}, 100), ({"backlog": 7}, 7)])
def test_backlog_reaches_the_kernel(loop: Any, run: Any, options: dict[str, int], expected: int) -> None:
    """For a listening socket, the field tcpi_sacked of struct tcp_info holds the longest queue it allows."""

    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, **options)
        (sock,) = server.sockets
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert struct.unpack_from("I", info, 28) == (expected,)
        await end(server)

    run(main())


def test_a_burst_of_clients_is_served(loop: Any, run: Any) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        (address,) = addresses(server)

        def burst() -> list[socket.socket]:
            return [connect(address) for _ in range(40)]

        clients = await in_thread(burst)
        await until(lambda: len(made) == 40)
        for client in clients:
            client.close()
        for protocol in made:
            assert await soon(protocol.lost) is None
        await end(server)

    run(main())
