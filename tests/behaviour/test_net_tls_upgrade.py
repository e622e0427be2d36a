"""`start_tls()`: from plain text to TLS on a transport of any kind, and TLS inside of TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from typing import Any

import pytest
from net_peers import (
    BufferedRecorder,
    Recorder,
    connected_pair,
    in_thread,
    kernel_asked,
    no_socket_left,
    receive_exactly,
    receive_to_end,
    soon,
    transport_to_peer,
)
from tls_peers import (
    NAME,
    SIDES,
    LendingRecorder,
    TlsPeer,
    client_context,
    server_context,
    tls_closed,
    tls_connection,
)


def options_of(side: str) -> dict[str, Any]:
    if side == "client":
        return {"sslcontext": client_context(), "server_hostname": NAME}
    return {"sslcontext": server_context(), "server_side": True}


def peer_of(side: str, sock: socket.socket) -> TlsPeer:
    context = server_context() if side == "client" else client_context()
    return TlsPeer(sock, context, server_side=side == "client")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", [Recorder, LendingRecorder])
def test_an_upgraded_connection_talks(loop: Any, run: Any, side: str, kind: Any) -> None:
    async def main() -> None:
        protocol = kind()
        plain, sock = await transport_to_peer(protocol)
        plain.write(b"in plain")
        assert await in_thread(receive_exactly, sock, 8) == b"in plain"
        sock.sendall(b"so do I")
        assert await protocol.read(7) == b"so do I"
        peer = peer_of(side, sock)
        shaking = in_thread(peer.shake_hands)
        transport = await soon(loop.start_tls(plain, protocol, **options_of(side)))
        await shaking
        assert transport is not plain
        assert transport.get_protocol() is protocol
        assert transport.get_extra_info("peername") == sock.getsockname()
        transport.write(b"in secret")
        assert await in_thread(peer.receive, 9) == b"in secret"
        peer.send(b"secretly")
        assert await protocol.read(15) == b"so do Isecretly"
        transport.close()
        assert await in_thread(peer.shut_down) == b""
        assert await soon(protocol.lost) is None
        assert protocol.calls.count("connection_made") == 1
        assert protocol.calls.count("connection_lost") == 1
        peer.close()

    with no_socket_left():
        run(main())


def test_what_cannot_be_upgraded_is_refused(loop: Any, run: Any) -> None:
    class Foreign(asyncio.Transport):
        pass

    async def main() -> None:
        protocol = Recorder()
        plain, sock = await transport_to_peer(protocol)
        with pytest.raises(
            TypeError, match=r"sslcontext is expected to be an instance of ssl\.SSLContext, got"
        ):
            await loop.start_tls(plain, protocol, None)
        with pytest.raises(TypeError, match=r"transport .* is not supported by start_tls\(\)"):
            await loop.start_tls(Foreign(), protocol, client_context())
        plain.write(b"still in plain")
        assert await in_thread(receive_exactly, sock, 14) == b"still in plain"
        plain.abort()
        await soon(protocol.lost)
        sock.close()

    run(main())


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("ssl_handshake_timeout", 0, "ssl_handshake_timeout should be a positive number, got 0"),
        ("ssl_shutdown_timeout", -1, "ssl_shutdown_timeout should be a positive number, got -1"),
        ("server_hostname", None, "check_hostname requires server_hostname"),
    ],
)
def test_wrong_options_leave_the_connection_alone(
    implementation: Any, loop: Any, run: Any, option: str, value: Any, text: str
) -> None:
    if implementation.is_oracle and option == "server_hostname" and sys.version_info < (3, 14):
        pytest.skip("asyncio checks no name there, and accepts anybody with a certificate")

    async def main() -> None:
        protocol = Recorder()
        plain, sock = await transport_to_peer(protocol)
        with pytest.raises(ValueError, match=text):
            await loop.start_tls(plain, protocol, **{**options_of("client"), option: value})
        assert plain.get_protocol() is protocol
        assert plain.is_reading()
        plain.abort()
        await soon(protocol.lost)
        sock.close()

    run(main())


@pytest.mark.parametrize("side", SIDES)
def test_plain_bytes_are_never_taken_for_secret_ones(
    loop: Any, run: Any, loop_errors: Any, side: str
) -> None:
    """What a stranger put on the wire before the handshake breaks that, and reaches nobody as plain text."""

    async def main() -> None:
        protocol = Recorder()
        plain, sock = await transport_to_peer(protocol)
        sock.sendall(b"DELETE /everything HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            await soon(loop.start_tls(plain, protocol, **options_of(side)))
        await kernel_asked()
        assert protocol.received == b""
        sock.close()

    with no_socket_left():
        run(main())
    assert loop_errors == []


@pytest.mark.parametrize("side", SIDES)
def test_a_failed_upgrade_closes_the_connection(loop: Any, run: Any, side: str) -> None:
    async def main() -> None:
        protocol = Recorder()
        plain, sock = await transport_to_peer(protocol)
        upgrading = asyncio.ensure_future(loop.start_tls(plain, protocol, **options_of(side)))
        await kernel_asked()
        sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            await soon(upgrading)
        assert plain.is_closing()
        assert isinstance(await soon(protocol.lost), ConnectionResetError)
        sock.close()

    with no_socket_left():
        run(main())


@pytest.mark.parametrize("side", SIDES)
def test_an_upgrade_has_a_time_limit(loop: Any, run: Any, side: str) -> None:
    async def main() -> None:
        protocol = Recorder()
        plain, sock = await transport_to_peer(protocol)
        with pytest.raises(
            ConnectionAbortedError, match=r"SSL handshake is taking longer than 0\.05 seconds"
        ):
            await loop.start_tls(plain, protocol, ssl_handshake_timeout=0.05, **options_of(side))
        assert plain.is_closing()
        await in_thread(receive_to_end, sock)
        sock.close()

    with no_socket_left():
        run(main())


def test_an_upgrade_that_is_over_before_it_began(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        plain, sock = await transport_to_peer(protocol)
        upgrading = asyncio.ensure_future(loop.start_tls(plain, protocol, **options_of("client")))
        await asyncio.sleep(0)
        upgrading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upgrading
        await in_thread(receive_to_end, sock)
        sock.close()

    with no_socket_left():
        run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio 3.11 waits for ever here, and so do we")
@pytest.mark.parametrize("side", SIDES)
def test_a_transport_that_is_closing_cannot_be_upgraded_any_more(loop: Any, run: Any, side: str) -> None:
    """aiohttp asks for this None."""

    async def main() -> None:
        protocol = Recorder()
        plain, sock = await transport_to_peer(protocol)
        plain.close()
        assert await soon(loop.start_tls(plain, protocol, **options_of(side))) is None
        assert await in_thread(receive_to_end, sock) == b""
        sock.close()

    with no_socket_left():
        run(main())


async def upgrade_streams(
    streams: Any, address: Any, first: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client of streams that asks for TLS."""
    reader, writer = await streams.open_connection(*address)
    writer.write(first)
    assert await soon(reader.readline()) == b"go ahead\n"
    await soon(writer.start_tls(client_context(), server_hostname=NAME))
    return reader, writer


def test_streams_upgrade_on_both_ends(run: Any, streams: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.start_tls(server_context())
        assert writer.get_extra_info("ssl_object") is not None
        writer.write(b"secret " + await reader.readline())
        await writer.drain()
        writer.close()
        with contextlib.suppress(ssl.SSLError):
            await writer.wait_closed()
        handled.set()

    async def main() -> None:
        server = await streams.start_server(handle, "127.0.0.1", 0)
        reader, writer = await upgrade_streams(streams, server.sockets[0].getsockname(), b"STARTTLS\n")
        writer.write(b"question\n")
        assert await soon(reader.read()) == b"secret question\n"
        writer.close()
        await soon(writer.wait_closed())
        await soon(handled.wait())
        server.close()
        await soon(server.wait_closed())

    handled = asyncio.Event()
    with no_socket_left():
        run(main())


@pytest.mark.parametrize("derived", [False, True])
def test_a_hello_behind_the_last_plain_line_is_handed_over_once(
    implementation: Any, loop: Any, run: Any, streams: Any, derived: bool
) -> None:
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("gh-142352: asyncio leaves the hello in the reader, where it waits for ever")
    if implementation.is_oracle and derived and streams is not asyncio:
        pytest.skip("asyncio's loop does not know a class that derives from ours")
    answered: list[Any] = []
    kind = streams.StreamReaderProtocol
    if derived:
        kind = type("Derived", (kind,), {})

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        # The hello came together with the line.
        await kernel_asked()
        await writer.start_tls(server_context())
        answered.append(await reader.readline())
        writer.write(b"secret\n")
        writer.close()
        with contextlib.suppress(ssl.SSLError):
            await writer.wait_closed()
        handled.set()

    def talk(address: Any) -> bytes:
        with socket.create_connection(address, 20) as sock:
            peer = TlsPeer(sock, client_context(), server_side=False)
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            sock.sendall(b"STARTTLS\n" + peer.outgoing.read())
            peer.shake_hands()
            peer.send(b"question\n")
            return peer.shut_down()

    async def main() -> None:
        server = await loop.create_server(lambda: kind(streams.StreamReader(), handle), "127.0.0.1", 0)
        assert await in_thread(talk, server.sockets[0].getsockname()) == b"secret\n"
        assert answered == [b"question\n"]
        await soon(handled.wait())
        server.close()
        await soon(server.wait_closed())

    handled = asyncio.Event()
    run(main())


@pytest.mark.parametrize("kind", [Recorder, LendingRecorder])
@pytest.mark.parametrize("size", [10, 1 << 20])
def test_tls_inside_of_tls(loop: Any, run: Any, kind: Any, size: int) -> None:
    class Echo(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)  # type: ignore[union-attr]

    async def main() -> None:
        served: asyncio.Future[Any] = loop.create_future()

        class Outer(Recorder):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                # What the client sends next is for TLS.
                transport.pause_reading()  # type: ignore[attr-defined]
                served.set_result(transport)

        server = await loop.create_server(Outer, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        protocol = kind()
        outer, _ = await soon(
            loop.create_connection(lambda: protocol, *address, ssl=client_context(), server_hostname=NAME)
        )
        echo = Echo()

        async def upgrade() -> None:
            transport = await loop.start_tls(await served, echo, server_context(), server_side=True)
            echo.transport = transport

        upgrading = asyncio.ensure_future(upgrade())
        inner = await soon(loop.start_tls(outer, protocol, client_context(), server_hostname=NAME))
        await soon(upgrading)
        assert inner.get_extra_info("ssl_object") is not outer.get_extra_info("ssl_object")
        assert inner.get_extra_info("peername") == address
        data = bytes(range(10)) * (size // 10)
        inner.write(data)
        assert await protocol.read(len(data)) == data
        inner.close()
        await soon(protocol.lost)
        await soon(echo.lost)
        server.close()
        await soon(server.wait_closed())
        assert protocol.calls.count("connection_lost") == 1

    with no_socket_left():
        run(main())


class Memory(asyncio.Transport):
    """A transport that somebody else wrote: what is written to it goes to the transport at its other end."""

    _start_tls_compatible = True

    def __init__(self, loop: Any, protocol: Any) -> None:
        super().__init__()
        self.loop, self.protocol = loop, protocol
        self.other: Any = None
        self.closing = False
        self.paused = False
        self.waiting = bytearray()

    def write(self, data: Any) -> None:
        self.loop.call_soon(self.other.arrive, bytes(data))

    def arrive(self, data: bytes) -> None:
        self.waiting += data
        if self.paused or self.closing or not self.waiting:
            return
        data = bytes(self.waiting)
        self.waiting.clear()
        if isinstance(self.protocol, asyncio.BufferedProtocol):
            while data:
                memory = memoryview(self.protocol.get_buffer(len(data)))
                count = min(len(memory), len(data))
                memory[:count] = data[:count]
                self.protocol.buffer_updated(count)
                data = data[count:]
        else:
            self.protocol.data_received(data)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self.arrive(b"")

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return "in memory" if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self._force_close(None)

    abort = close

    def _force_close(self, exc: BaseException | None) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.protocol.connection_lost, exc)
            self.loop.call_soon(self.other.close)


@pytest.mark.parametrize("kind", [Recorder, LendingRecorder])
def test_tls_over_somebody_elses_transport(loop: Any, run: Any, kind: Any) -> None:
    async def main() -> None:
        ours, theirs = kind(), Recorder()
        near, far = Memory(loop, ours), Memory(loop, theirs)
        near.other, far.other = far, near
        client, server = await soon(
            asyncio.gather(
                loop.start_tls(near, ours, client_context(), server_hostname=NAME),
                loop.start_tls(far, theirs, server_context(), server_side=True),
            )
        )
        assert client.get_extra_info("peername") == "in memory"
        for size in 5, 300_000:
            client.write(bytes(size))
            assert await theirs.read(size) == bytes(size)
            server.write(bytes(size))
            assert await ours.read(size) == bytes(size)
            ours.received.clear()
            theirs.received.clear()
        client.close()
        assert await soon(ours.lost) is None
        await soon(theirs.lost)
        assert theirs.calls[-2:] == ["eof_received", "connection_lost"]

    run(main())


def test_tls_and_plain_text_in_turns_over_one_socket_each(loop: Any, run: Any) -> None:
    """Several connections of one loop at a time do not get into each other's way."""

    async def one(number: int) -> None:
        protocol = Recorder()
        async with tls_connection(protocol, SIDES[number % 2]) as (transport, peer):
            for turn in range(20):
                data = bytes([number, turn]) * (number * 1000 + 1)
                transport.write(data)
                assert await in_thread(peer.receive, len(data)) == data
                peer.send(data)
                assert await protocol.read(len(data)) == data
                protocol.received.clear()

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(8)))

    run(main())


def test_a_transport_of_another_loop_class_may_be_upgraded(loop: Any, run: Any) -> None:
    """A buffered protocol before, another one behind the upgrade."""

    async def main() -> None:
        first, second = BufferedRecorder(), Recorder()
        ours, sock = connected_pair()
        plain, _ = await loop.create_connection(lambda: first, sock=ours)
        peer = peer_of("client", sock)
        shaking = in_thread(peer.shake_hands)
        transport = await soon(loop.start_tls(plain, second, **options_of("client")))
        await shaking
        peer.send(b"to the second")
        assert await second.read(13) == b"to the second"
        assert first.calls == ["connection_made"]
        second.opened = lambda: transport  # type: ignore[method-assign]
        await tls_closed(transport, second, peer)

    run(main())
