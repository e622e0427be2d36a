"""TLS connections: how programs come to them, the handshake, its failures, what is known afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from net_peers import (
    BufferedRecorder,
    Recorder,
    connected_pair,
    in_thread,
    kernel_asked,
    no_socket_left,
    receive_to_end,
    reset,
    soon,
)
from tls_peers import (
    NAME,
    SIDES,
    TlsPeer,
    client_context,
    server_context,
    tls_connection,
)


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        self.opened().write(data)


async def ask(transport: asyncio.Transport, protocol: Recorder, question: bytes) -> None:
    """Sends a question, receives it back, closes."""
    transport.write(question)
    assert await protocol.read(len(question)) == question
    transport.close()
    assert await soon(protocol.lost) is None
    assert protocol.calls[0] == "connection_made"
    assert protocol.calls[-1] == "connection_lost"


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_a_server_and_a_client_of_the_loop_talk(loop: Any, run: Any, size: int) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        transport, protocol = await soon(
            loop.create_connection(Recorder, *address, ssl=client_context(), server_hostname=NAME)
        )
        await ask(transport, protocol, bytes(size))
        server.close()
        await soon(server.wait_closed())

    with no_socket_left():
        run(main())


def test_a_unix_server_and_a_client_talk(loop: Any, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        server = await loop.create_unix_server(Echo, path, ssl=server_context())
        transport, protocol = await soon(
            loop.create_unix_connection(Recorder, path, ssl=client_context(), server_hostname=NAME)
        )
        await ask(transport, protocol, b"over a path")
        server.close()
        await soon(server.wait_closed())

    with no_socket_left():
        run(main())


def test_streams_talk(run: Any, streams: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        with contextlib.suppress(ssl.SSLError):
            await writer.wait_closed()
        handled.set()

    async def main() -> None:
        server = await streams.start_server(handle, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        reader, writer = await streams.open_connection(*address, ssl=client_context(), server_hostname=NAME)
        writer.write(b"a line\n")
        assert await soon(reader.read()) == b"a line\n"
        assert reader.at_eof()
        assert not writer.can_write_eof()
        writer.close()
        await soon(writer.wait_closed())
        await soon(handled.wait())
        server.close()
        await soon(server.wait_closed())

    handled = asyncio.Event()
    run(main())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_a_connected_socket_gets_a_transport(run: Any, side: str, kind: Any) -> None:
    async def main() -> None:
        protocol = kind()
        async with tls_connection(protocol, side) as (transport, peer):
            assert protocol.calls == ["connection_made"]
            assert protocol.opened() is transport
            peer.send(b"from the peer")
            assert await protocol.read(13) == b"from the peer"
            transport.write(b"to the peer")
            assert await in_thread(peer.receive, 11) == b"to the peer"

    with no_socket_left():
        run(main())


def test_the_host_is_the_name_that_is_checked(loop: Any, run: Any, loop_errors: list[Any]) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context("127.0.0.1"))
        address = server.sockets[0].getsockname()
        transport, protocol = await soon(loop.create_connection(Recorder, *address, ssl=client_context()))
        await ask(transport, protocol, b"by address")
        server.close()
        await soon(server.wait_closed())

    run(main())
    assert loop_errors == []


def test_ssl_true_is_the_default_context(loop: Any, run: Any, monkeypatch: Any) -> None:
    made = []

    def create_default_context() -> ssl.SSLContext:
        made.append(client_context())
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", create_default_context)

    async def main() -> None:
        async with tls_connection(Recorder(), ssl=True) as (transport, _):
            assert transport.get_extra_info("sslcontext") is made[0]
            assert made[0].check_hostname

    run(main())


def test_ssl_true_is_no_server(loop: Any, run: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)
        ours, peer = connected_pair()
        with ours, peer, pytest.raises(ValueError, match="Server side SSL needs a valid SSLContext"):
            await loop.connect_accepted_socket(Recorder, ours, ssl=True)

    run(main())


@pytest.mark.parametrize("side", SIDES)
def test_what_is_known_of_a_connection(run: Any, side: str) -> None:
    async def main() -> None:
        protocol = Recorder()
        context = client_context() if side == "client" else server_context()
        async with tls_connection(protocol, side, ssl=context) as (transport, peer):
            known = transport.get_extra_info
            assert isinstance(transport, asyncio.Transport)
            assert type(known("ssl_object")) is ssl.SSLObject
            assert known("sslcontext") is context
            assert known("ssl_object").context is context
            # Where libraries look for it that hold connections of either kind.
            assert transport._ssl_protocol._sslcontext is context  # type: ignore[attr-defined]
            assert known("cipher") == known("ssl_object").cipher()
            assert known("compression") is None
            if side == "client":
                assert known("peercert")["subjectAltName"] == (("DNS", NAME),)
            else:
                assert known("peercert") is None
            assert known("peername") == peer.sock.getsockname()
            assert known("sockname") == peer.sock.getpeername()
            assert known("socket").fileno() >= 0
            assert known("nothing") is None
            assert known("nothing", "something") == "something"
            assert transport.get_protocol() is protocol
            transport.abort()
            await soon(protocol.lost)
            assert known("sslcontext") is context
            assert known("ssl_object") is not None
            assert known("peername") is None
            assert known("peername", "gone") == "gone"

    run(main())


def test_another_protocol_may_take_over(run: Any) -> None:
    async def main() -> None:
        first, second = Recorder(), BufferedRecorder()
        transport: asyncio.Transport
        async with tls_connection(second) as (transport, peer):
            transport.set_protocol(first)
            assert transport.get_protocol() is first
            peer.send(b"one")
            assert await first.read(3) == b"one"
            transport.set_protocol(second)
            peer.send(b"two")
            assert await second.read(3) == b"two"

    run(main())


@pytest.mark.parametrize("option", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("value", [0, -1.5])
def test_timeouts_must_be_positive(run: Any, option: str, side: str, value: float) -> None:
    async def main() -> None:
        ours, peer = connected_pair()
        context = client_context() if side == "client" else server_context()
        options: dict[str, Any] = {"ssl": context, option: value}
        loop = asyncio.get_running_loop()
        with (
            ours,
            peer,
            pytest.raises(ValueError, match=f"{option} should be a positive number, got {value}"),
        ):
            if side == "client":
                await loop.create_connection(Recorder, sock=ours, server_hostname=NAME, **options)
            else:
                await loop.connect_accepted_socket(Recorder, ours, **options)

    with no_socket_left():
        run(main())


def test_a_name_is_needed_to_check_it(implementation: Any, loop: Any, run: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("asyncio checks no name there, and accepts anybody with a certificate")

    async def main() -> None:
        ours, peer = connected_pair()
        with ours, peer, pytest.raises(ValueError, match="check_hostname requires server_hostname"):
            await loop.create_connection(Recorder, sock=ours, ssl=client_context(), server_hostname="")

    run(main())


async def refused(
    side: str, error: type[BaseException] | tuple[type[BaseException], ...], match: str | None, **options: Any
) -> BaseException:
    """How connecting fails, and that nothing of it is left."""
    protocol = Recorder()
    ours, theirs = connected_pair()
    loop = asyncio.get_running_loop()
    peer = TlsPeer(theirs, options.pop("peer_context"), server_side=side == "client")
    with pytest.raises(error, match=match) as caught, contextlib.closing(peer):
        shaking = in_thread(peer.shake_hands)
        try:
            if side == "client":
                await loop.create_connection(lambda: protocol, sock=ours, **options)
            else:
                await loop.connect_accepted_socket(lambda: protocol, ours, **options)
        finally:
            with contextlib.suppress(OSError):
                await shaking
    await kernel_asked()
    assert protocol.calls == []
    assert ours.fileno() == -1
    failure: BaseException = caught.value
    return failure


def test_a_stranger_is_refused(run: Any, loop_errors: list[Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    options = {"ssl": context, "server_hostname": NAME, "peer_context": server_context()}
    error = run(refused("client", ssl.SSLCertVerificationError, "certificate verify failed", **options))
    assert isinstance(error, ssl.CertificateError)
    assert loop_errors == []


def test_another_name_is_refused(run: Any, loop_errors: list[Any]) -> None:
    options = {"ssl": client_context(), "server_hostname": "other.test", "peer_context": server_context()}
    run(refused("client", ssl.CertificateError, "Hostname mismatch", **options))
    assert loop_errors == []


def test_a_client_that_trusts_nobody_here_is_an_error_of_the_server(run: Any, loop_errors: list[Any]) -> None:
    options = {"ssl": server_context(), "peer_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
    run(refused("server", (ssl.SSLError, ConnectionResetError), None, **options))
    assert loop_errors == []


@pytest.mark.parametrize("side", SIDES)
def test_no_common_version_is_an_error(run: Any, side: str) -> None:
    old, new = server_context(), client_context()
    if side == "server":
        old, new = new, old
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    options: dict[str, Any] = {"server_hostname": NAME} if side == "client" else {}
    run(refused(side, ssl.SSLError, None, ssl=new, peer_context=old, **options))


async def handshake_with(peer_does: Any, side: str, **options: Any) -> Any:
    """Connects to a raw peer that does something else than a handshake."""
    ours, theirs = connected_pair()
    loop = asyncio.get_running_loop()
    if side == "client":
        options |= {"ssl": client_context(), "server_hostname": NAME}
        connecting = loop.create_connection(Recorder, sock=ours, **options)
    else:
        connecting = loop.connect_accepted_socket(Recorder, ours, ssl=server_context(), **options)
    with ours, theirs:
        peer_does(theirs)
        await soon(connecting)


def hang_up(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def garbage(sock: socket.socket) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)


def silence(sock: socket.socket) -> None:
    """Says nothing, and stays."""


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("peer_does", "error", "match"),
    [
        (hang_up, ConnectionResetError, None),
        (reset, ConnectionResetError, "Connection reset by peer"),
        (garbage, ssl.SSLError, "(?i)http.request|wrong.version.number|record.layer.failure"),
    ],
)
def test_a_peer_that_does_not_speak_tls(
    run: Any, loop_errors: list[Any], side: str, peer_does: Any, error: Any, match: str
) -> None:
    with no_socket_left():
        with pytest.raises(error, match=match):
            run(handshake_with(peer_does, side))
        run(kernel_asked())
    assert loop_errors == []


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("timeout", "shown"), [(0.05, "0.05"), (1 / 32, "0.03125")])
def test_a_handshake_has_a_time_limit(run: Any, side: str, timeout: float, shown: str) -> None:
    text = f"SSL handshake is taking longer than {shown} seconds: aborting the connection"
    with no_socket_left():
        with pytest.raises(ConnectionAbortedError) as caught:
            run(handshake_with(silence, side, ssl_handshake_timeout=timeout))
        assert str(caught.value) == text
        run(kernel_asked())


@pytest.mark.parametrize("side", SIDES)
def test_a_cancelled_handshake_closes_the_connection(run: Any, side: str) -> None:
    async def main() -> None:
        ours, theirs = connected_pair()
        loop = asyncio.get_running_loop()
        if side == "client":
            connecting = loop.create_connection(
                Recorder, sock=ours, ssl=client_context(), server_hostname=NAME
            )
        else:
            connecting = loop.connect_accepted_socket(Recorder, ours, ssl=server_context())
        task = asyncio.ensure_future(connecting)
        await kernel_asked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        received = await in_thread(receive_to_end, theirs)
        assert bool(received) is (side == "client")
        theirs.close()

    with no_socket_left():
        run(main())


def test_a_raising_connection_made_ends_the_connection(
    run: Any, loop_errors: list[Any], asyncio_log: Any
) -> None:
    class Raising(Recorder):
        def connection_made(self, transport: Any) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with tls_connection(Raising()):
                raise AssertionError("connected")
        await kernel_asked()

    run(main())
    assert [report["message"] for report in loop_errors] == [
        "Fatal error: protocol.buffer_updated() call failed."
    ]
