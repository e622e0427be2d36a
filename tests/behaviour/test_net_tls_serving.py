"""TLS servers: clients that fail cost themselves only, and connections are counted as plain ones are."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any

import pytest
from net_peers import (
    Recorder,
    connect,
    in_thread,
    kernel_asked,
    no_socket_left,
    receive_to_end,
    reset,
    soon,
    until,
)
from tls_peers import NAME, client_context, server_context


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        self.opened().write(data)


def hang_up(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def garbage(sock: socket.socket) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)


def test_failed_handshakes_do_not_hurt_a_server(loop: Any, run: Any, loop_errors: list[Any]) -> None:
    async def main() -> None:
        protocols: list[Echo] = []

        def make() -> Echo:
            protocols.append(Echo())
            return protocols[-1]

        server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context(), ssl_handshake_timeout=1)
        address = server.sockets[0].getsockname()
        silent = connect(address)
        for peer_does in garbage, hang_up, reset:
            with connect(address) as sock:
                peer_does(sock)
        transport, protocol = await soon(
            loop.create_connection(Recorder, *address, ssl=client_context(), server_hostname=NAME)
        )
        transport.write(b"still here")
        assert await protocol.read(10) == b"still here"
        transport.close()
        assert await soon(protocol.lost) is None
        await soon(protocols[-1].lost)
        assert await in_thread(receive_to_end, silent) == b""
        silent.close()
        server.close()
        await soon(server.wait_closed())
        assert [protocol.calls for protocol in protocols[:-1]] == [[]] * 4

    with no_socket_left():
        run(main())
    assert loop_errors == []


def test_failed_handshakes_are_reported_in_debug_mode(
    loop: Any, run: Any, loop_errors: list[Any], asyncio_log: Any
) -> None:
    async def main() -> None:
        protocol = Echo()
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 0, ssl=server_context())
        with connect(server.sockets[0].getsockname()) as sock:
            garbage(sock)
            await until(lambda: loop_errors)
        server.close()
        await soon(server.wait_closed())
        assert loop_errors[0]["protocol"] is protocol

    loop.set_debug(True)
    run(main())
    assert [report["message"] for report in loop_errors] == [
        "Error on transport creation for incoming connection"
    ]
    assert isinstance(loop_errors[0]["exception"], ssl.SSLError)
    assert isinstance(loop_errors[0]["transport"], asyncio.Transport)
    assert any(message.endswith("starts SSL handshake") for message in asyncio_log.messages)
    assert any(message.endswith("SSL handshake failed") for message in asyncio_log.messages)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_closed waits for clients since Python 3.12")
def test_wait_closed_waits_for_tls_clients(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        transport, protocol = await soon(
            loop.create_connection(Recorder, *address, ssl=client_context(), server_hostname=NAME)
        )
        server.close()
        waiting = asyncio.ensure_future(server.wait_closed())
        await kernel_asked()
        assert not waiting.done()
        transport.close()
        await soon(protocol.lost)
        await soon(waiting)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="close_clients came with Python 3.13")
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_a_server_ends_its_tls_clients(loop: Any, run: Any, method: str) -> None:
    async def main() -> None:
        protocols: list[Echo] = []

        def make() -> Echo:
            protocols.append(Echo())
            return protocols[-1]

        server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        options = {"ssl": client_context(), "server_hostname": NAME}
        transport, protocol = await soon(loop.create_connection(Recorder, *address, **options))
        await soon(protocols[0].made)
        server.close()
        getattr(server, method)()
        await soon(server.wait_closed())
        assert await soon(protocols[0].lost) is None
        await soon(protocol.lost)
        transport.close()

    with no_socket_left():
        run(main())
