"""loop.connect_accepted_socket: a transport for a connection that somebody else accepted."""

from __future__ import annotations

import socket
import ssl
import sys
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    Recorder,
    closed,
    connected_pair,
    in_thread,
    no_socket_left,
    receive_exactly,
    soon,
)


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_an_accepted_connection_gets_a_transport(loop: Any, run: Any, family: int, host: str) -> None:
    async def main() -> None:
        ours, peer = connected_pair(host, family)
        transport, protocol = await soon(loop.connect_accepted_socket(Recorder, ours))
        assert protocol.calls == ["connection_made"]
        assert transport.get_extra_info("peername") == peer.getsockname()
        transport.write(b"to the peer")
        assert await in_thread(receive_exactly, peer, 11) == b"to the peer"
        peer.sendall(b"from the peer")
        assert await protocol.read(13) == b"from the peer"
        await closed(transport, protocol, peer)

    with no_socket_left():
        run(main())


def test_a_blocking_socket_becomes_nonblocking(loop: Any, run: Any) -> None:
    async def main() -> None:
        ours, peer = connected_pair()
        ours.setblocking(True)
        transport, protocol = await soon(loop.connect_accepted_socket(Recorder, ours))
        assert ours.gettimeout() == 0.0
        await closed(transport, protocol, peer)

    run(main())


def test_a_datagram_socket_is_refused(loop: Any, run: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        refused = pytest.raises(ValueError, match=r"A Stream Socket was expected, got <socket\.socket")
        with refused:
            run(loop.connect_accepted_socket(Recorder, sock))


def test_an_ssl_socket_is_refused(loop: Any, run: Any) -> None:
    context = ssl.create_default_context()
    sock = context.wrap_socket(socket.socket(), server_hostname="localhost", do_handshake_on_connect=False)
    with sock, pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
        run(loop.connect_accepted_socket(Recorder, sock))


@pytest.mark.parametrize("option", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_timeouts_of_ssl_without_ssl_are_refused(loop: Any, run: Any, option: str) -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match=f"{option} is only meaningful with ssl"):
        run(loop.connect_accepted_socket(Recorder, sock, **{option: 1}))


def test_a_raising_protocol_factory_closes_the_socket_since_3_14(loop: Any, run: Any) -> None:
    ours, peer = connected_pair()
    with ours, peer:
        with pytest.raises(ZeroDivisionError):
            run(loop.connect_accepted_socket(lambda: 1 / 0, ours))
        assert (ours.fileno() == -1) is (sys.version_info >= (3, 14))
