"""loop.sock_connect and sock_accept."""

from __future__ import annotations

import asyncio
import errno
import pathlib
import socket
import ssl
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    PATIENCE,
    connect,
    connected_pair,
    kernel_asked,
    listener,
    no_socket_left,
    reset,
    soon,
    stalled_address,
    unused_port,
)


def unconnected(family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_connect_reaches_a_listening_socket(loop: Any, run: Any, family: int, host: str) -> None:
    with listener(host, family) as server, unconnected(family) as sock:
        assert run(loop.sock_connect(sock, server.getsockname())) is None
        conn, address = server.accept()
        with conn:
            assert address == sock.getsockname()
        assert loop.remove_writer(sock) is False


def test_connect_resolves_a_host_name(loop: Any, run: Any) -> None:
    with listener() as server, unconnected() as sock:
        run(loop.sock_connect(sock, ("localhost", server.getsockname()[1])))
        assert sock.getpeername() == server.getsockname()


def test_connect_reaches_a_unix_socket(loop: Any, run: Any, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server, unconnected(socket.AF_UNIX) as sock:
        server.bind(path)
        server.listen()
        run(loop.sock_connect(sock, path))
        assert sock.getpeername() == path


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_a_refused_connection_says_to_which_address(loop: Any, run: Any, family: int, host: str) -> None:
    port = unused_port(host, family)
    with unconnected(family) as sock:
        with pytest.raises(ConnectionRefusedError, match="Connect call failed") as caught:
            run(loop.sock_connect(sock, (host, port)))
        assert caught.value.errno == errno.ECONNREFUSED
        assert repr(host) in str(caught.value)
        assert str(port) in str(caught.value)
        assert loop.remove_writer(sock) is False


def test_connecting_a_connected_socket_is_the_kernels_error(loop: Any, run: Any) -> None:
    ours, peer = connected_pair()
    with ours, peer:
        peer.setblocking(False)
        with pytest.raises(OSError) as caught:
            run(loop.sock_connect(peer, ours.getsockname()))
        assert caught.value.errno == errno.EISCONN


def test_cancelling_a_stalled_connect_takes_the_writer_away(loop: Any, run: Any) -> None:
    async def main(address: Any) -> None:
        with unconnected() as sock:
            task = asyncio.ensure_future(loop.sock_connect(sock, address))
            await kernel_asked()
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_writer(sock) is False

    with stalled_address() as address:
        run(main(address))


@pytest.mark.parametrize("address", ["text", 7, ("127.0.0.1",)])
def test_what_is_not_an_address_is_refused(loop: Any, run: Any, address: Any) -> None:
    with unconnected() as sock, pytest.raises((TypeError, ValueError, OSError)):
        run(loop.sock_connect(sock, address))


def test_a_name_that_does_not_resolve_is_getaddrinfos_error(loop: Any, run: Any) -> None:
    with unconnected() as sock, pytest.raises(socket.gaierror):
        run(loop.sock_connect(sock, ("no such host", 1)))


@pytest.mark.parametrize("method", ["sock_connect", "sock_accept"])
def test_a_blocking_socket_is_refused_in_debug_mode(loop: Any, run: Any, method: str) -> None:
    loop.set_debug(True)
    with listener() as server:
        address = (server.getsockname(),) if method == "sock_connect" else ()
        with socket.socket() as sock, pytest.raises(ValueError, match="the socket must be non-blocking"):
            run(getattr(loop, method)(sock, *address))


@pytest.mark.parametrize("method", ["sock_connect", "sock_accept"])
def test_an_ssl_socket_is_refused(loop: Any, run: Any, method: str) -> None:
    context = ssl.create_default_context()
    address = (("127.0.0.1", 9),) if method == "sock_connect" else ()
    sock = context.wrap_socket(socket.socket(), server_hostname="localhost", do_handshake_on_connect=False)
    with sock, pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
        run(getattr(loop, method)(sock, *address))


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_accept_answers_a_nonblocking_connection_and_its_address(
    loop: Any, run: Any, family: int, host: str
) -> None:
    with listener(host, family) as server, connect(server.getsockname()) as client:
        server.setblocking(False)
        conn, address = run(loop.sock_accept(server))
        with conn:
            assert conn.gettimeout() == 0.0
            assert address == client.getsockname()
            assert conn.getpeername() == address
            client.sendall(b"hello")
            assert run(loop.sock_recv(conn, 10)) == b"hello"


def test_accept_waits_for_a_client(loop: Any, run: Any) -> None:
    async def main(server: socket.socket) -> None:
        task = asyncio.ensure_future(loop.sock_accept(server))
        await kernel_asked()
        assert not task.done()
        with connect(server.getsockname()) as client:
            conn, address = await soon(task)
            with conn:
                assert address == client.getsockname()
        assert loop.remove_reader(server) is False

    with listener() as server:
        server.setblocking(False)
        run(main(server))


def test_clients_are_accepted_in_the_order_they_came(loop: Any, run: Any) -> None:
    async def main(server: socket.socket) -> None:
        clients = [connect(server.getsockname()) for _ in range(5)]
        for client in clients:
            conn, address = await soon(loop.sock_accept(server))
            assert address == client.getsockname()
            conn.close()
            client.close()

    with listener() as server:
        server.setblocking(False)
        run(main(server))


def test_cancelling_an_accept_leaves_the_client_for_the_next(loop: Any, run: Any) -> None:
    async def main(server: socket.socket) -> None:
        task = asyncio.ensure_future(loop.sock_accept(server))
        await kernel_asked()
        with connect(server.getsockname()) as client:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_reader(server) is False
            conn, address = await soon(loop.sock_accept(server))
            conn.close()
            assert address == client.getsockname()

    with listener() as server, no_socket_left():
        server.setblocking(False)
        run(main(server))


def test_a_client_that_reset_before_accept_is_still_answered(loop: Any, run: Any) -> None:
    """Linux hands such a connection out; its first read tells."""

    async def main(server: socket.socket) -> None:
        reset(connect(server.getsockname()))
        conn, _ = await soon(loop.sock_accept(server))
        with conn, pytest.raises(ConnectionResetError):
            await loop.sock_recv(conn, 10)

    with listener() as server:
        server.setblocking(False)
        run(main(server))


def test_accept_on_a_socket_that_does_not_listen_is_the_kernels_error(loop: Any, run: Any) -> None:
    with unconnected() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(OSError) as caught:
            run(loop.sock_accept(sock))
        assert caught.value.errno == errno.EINVAL


def test_accept_and_connect_meet_on_one_loop(loop: Any, run: Any) -> None:
    async def main(server: socket.socket) -> bytes:
        with unconnected() as client:
            (conn, _), _ = await asyncio.wait_for(
                asyncio.gather(loop.sock_accept(server), loop.sock_connect(client, server.getsockname())),
                PATIENCE,
            )
            with conn:
                await loop.sock_sendall(client, b"ping")
                received: bytes = await soon(loop.sock_recv(conn, 10))
                return received

    with listener() as server:
        server.setblocking(False)
        assert run(main(server)) == b"ping"
