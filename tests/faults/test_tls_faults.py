"""TLS against peers that stall, reset, cut off, send garbage or never read, and cancelled at every step."""

from __future__ import annotations

import asyncio
import contextlib
import io
import select
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from net_peers import (
    PATIENCE,
    Recorder,
    connect,
    connected_pair,
    in_thread,
    kernel_asked,
    listener,
    no_socket_left,
    reset,
    soon,
    transport_to_peer,
    until,
)
from test_cancellation_points import at_every_step, cancelled_after
from tls_peers import (
    NAME,
    SIDES,
    TlsPeer,
    client_context,
    limited,
    server_context,
    tls_connection,
    tls_transport_to_peer,
)


class Server:
    """A TLS server of the loop under test whose protocols are kept."""

    def __init__(self, loop: Any, **options: Any) -> None:
        self.loop = loop
        self.options = {"ssl": server_context(), **options}
        self.protocols: list[Recorder] = []

    async def __aenter__(self) -> Server:
        self.server = await self.loop.create_server(self._make, "127.0.0.1", 0, **self.options)
        self.address = self.server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for protocol in self.protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
                await soon(protocol.lost)
        await soon(self.server.wait_closed())

    def _make(self) -> Recorder:
        self.protocols.append(Recorder())
        return self.protocols[-1]

    async def connection(self) -> tuple[TlsPeer, Recorder]:
        peer = TlsPeer(connect(self.address), client_context(), server_side=False)
        await in_thread(peer.shake_hands)
        await until(lambda: self._protocol_of(peer))
        protocol = self._protocol_of(peer)
        assert protocol is not None
        return peer, protocol

    def _protocol_of(self, peer: TlsPeer) -> Recorder | None:
        name = peer.sock.getsockname()
        opened = [protocol for protocol in self.protocols if protocol.transport is not None]
        found = [protocol for protocol in opened if protocol.opened().get_extra_info("peername") == name]
        return found[0] if found else None

    async def serves(self) -> None:
        peer, protocol = await self.connection()
        peer.send(b"hello")
        assert await protocol.read(5) == b"hello"
        protocol.opened().write(b"world")
        assert await in_thread(peer.receive, 5) == b"world"
        peer.close()
        await soon(protocol.lost)


def hello() -> bytes:
    """What a client says first."""
    outgoing = ssl.MemoryBIO()
    tls = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def before_the_handshake(server: Server) -> None:
    reset(connect(server.address))


async def in_the_first_record(server: Server) -> None:
    sock = connect(server.address)
    sock.sendall(hello()[:20])
    await kernel_asked()
    reset(sock)


async def after_the_hello(server: Server) -> None:
    sock = connect(server.address)
    sock.sendall(hello())
    assert await in_thread(sock.recv, 5)
    reset(sock)


async def when_idle(server: Server) -> None:
    peer, protocol = await server.connection()
    reset(peer.sock)
    assert isinstance(await soon(protocol.lost), ConnectionResetError)


async def in_the_midst_of_a_record(server: Server) -> None:
    peer, protocol = await server.connection()
    peer.sock.sendall(peer.encrypted(b"never whole")[:-3])
    await kernel_asked()
    reset(peer.sock)
    assert isinstance(await soon(protocol.lost), ConnectionResetError)
    assert protocol.received == b""


async def while_the_server_writes(server: Server) -> None:
    peer, protocol = await server.connection()
    while not protocol.paused.done():
        protocol.opened().write(bytes(1 << 18))
        await asyncio.sleep(0)
    reset(peer.sock)
    assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))


async def while_the_server_says_goodbye(server: Server) -> None:
    peer, protocol = await server.connection()
    protocol.opened().close()
    assert await in_thread(peer.receive_to_goodbye) == b""
    reset(peer.sock)
    assert isinstance(await soon(protocol.lost), ConnectionResetError)


async def while_a_close_flushes(server: Server) -> None:
    peer, protocol = await server.connection()
    protocol.opened().write(bytes(10 << 20))
    protocol.opened().close()
    await kernel_asked()
    reset(peer.sock)
    assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))


async def after_its_own_goodbye(server: Server) -> None:
    peer, protocol = await server.connection()
    peer.say_goodbye()
    reset(peer.sock)
    await soon(protocol.lost)


async def garbage_for_a_hello(server: Server) -> None:
    with connect(server.address) as sock:
        sock.sendall(b"\x00\xff garbage " * 100)
        with contextlib.suppress(ConnectionResetError):
            while await in_thread(sock.recv, 1000):
                pass


async def garbage_for_a_record(server: Server) -> None:
    peer, protocol = await server.connection()
    peer.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert isinstance(await soon(protocol.lost), ssl.SSLError)
    peer.close()


async def cut_off(server: Server) -> None:
    peer, protocol = await server.connection()
    peer.sock.sendall(peer.encrypted(b"whole") + peer.encrypted(b"half")[:-3])
    peer.sock.shutdown(socket.SHUT_WR)
    assert await soon(protocol.lost) is None
    assert protocol.received == b"whole"
    peer.close()


STAGES: list[Callable[[Server], Awaitable[None]]] = [
    before_the_handshake,
    in_the_first_record,
    after_the_hello,
    when_idle,
    in_the_midst_of_a_record,
    while_the_server_writes,
    while_the_server_says_goodbye,
    while_a_close_flushes,
    after_its_own_goodbye,
    garbage_for_a_hello,
    garbage_for_a_record,
    cut_off,
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_broken_peer_costs_its_own_connection_only(
    loop: Any, run: Any, loop_errors: list[Any], stage: Any
) -> None:
    async def main() -> None:
        async with Server(loop) as server:
            bystander, watching = await server.connection()
            await stage(server)
            await server.serves()
            bystander.send(b"still here")
            assert await watching.read(10) == b"still here"
            bystander.close()
            await soon(watching.lost)
            for protocol in server.protocols:
                assert protocol.calls.count("connection_lost") == protocol.calls.count("connection_made")

    with no_socket_left():
        run(main())
    assert loop_errors == []


def test_a_crowd_that_stalls_in_the_handshake_is_shown_out(
    loop: Any, run: Any, loop_errors: list[Any]
) -> None:
    async def main() -> None:
        async with Server(loop, ssl_handshake_timeout=0.5) as server:
            crowd = [connect(server.address) for _ in range(50)]
            for sock in crowd[::2]:
                sock.sendall(hello()[:30])
            await server.serves()
            for sock in crowd:
                assert await in_thread(sock.recv, 1) == b""
                sock.close()

    with no_socket_left():
        run(main())
    assert loop_errors == []


@pytest.mark.rasyncio_only("asyncio answers all of them in one turn, and nobody else meanwhile")
def test_a_crowd_of_handshakes_leaves_turns_to_the_others(loop: Any, run: Any) -> None:
    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(40)]
        peers = [peer for _, peer in pairs]
        accepting = [
            asyncio.ensure_future(loop.connect_accepted_socket(Recorder, own, ssl=server_context()))
            for own, _ in pairs
        ]
        # By then all of them wait for their peers.
        for _ in range(10):
            await asyncio.sleep(0)
        for peer in peers:
            peer.sendall(hello())
        answered = 0
        while answered < len(peers):
            before = answered
            await asyncio.sleep(0)
            answered = len(select.select(peers, [], [], 0)[0])
            assert answered - before <= 8
        for peer in peers:
            peer.close()
        outcomes = await soon(asyncio.gather(*accepting, return_exceptions=True))
        assert {type(outcome) for outcome in outcomes} == {ConnectionResetError}

    with no_socket_left():
        run(main())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("stage", ["handshake", "open", "closing"])
def test_a_silent_peer_costs_no_time(run: Any, side: str, stage: str) -> None:
    """gh-88202: nothing spins while a peer owes us something."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = None
        if stage == "handshake":
            ours, theirs = connected_pair()
            options: dict[str, Any] = {"ssl": client_context(), "server_hostname": NAME}
            if side == "client":
                connecting: Any = loop.create_connection(Recorder, sock=ours, **options)
            else:
                connecting = loop.connect_accepted_socket(Recorder, ours, ssl=server_context())
                theirs.sendall(hello()[:30])
            task = asyncio.ensure_future(connecting)
        else:
            protocol = Recorder()
            transport, peer = await tls_transport_to_peer(protocol, side)
            theirs = peer.sock
            theirs.sendall(peer.encrypted(b"half a record")[:-4])
            if stage == "closing":
                transport.close()
        await kernel_asked()
        turns = 0

        def count() -> None:
            nonlocal turns
            turns += 1
            if time.monotonic() < end:
                loop.call_later(0.05, count)

        end = time.monotonic() + 0.3
        before = time.process_time()
        count()
        await asyncio.sleep(0.3)
        assert time.process_time() - before < 0.15
        assert turns <= 8
        theirs.close()
        if task is not None:
            with pytest.raises(OSError):
                await task
        else:
            transport.abort()
            await soon(protocol.lost)

    run(main())


@pytest.mark.parametrize("method", ["write", "writelines"])
@pytest.mark.parametrize("size", [10, 10_000, 1 << 20])
def test_what_waits_for_a_peer_that_never_reads_is_bounded(run: Any, method: str, size: int) -> None:
    async def main() -> None:
        protocol = Recorder()
        high = 512 * 1024
        async with tls_connection(protocol) as (transport, _):
            block = bytes(size)
            for _ in range(3):
                while not protocol.paused.done():
                    for _ in range(1 + 1000 // size):
                        transport.write(block) if method == "write" else transport.writelines([block])
                    await asyncio.sleep(0)
                await kernel_asked()
            assert transport.get_write_buffer_size() <= high + size * 1100 + size // 10 + 70_000
            assert protocol.calls == ["connection_made", "pause_writing"]

    run(main())


def test_a_file_for_a_peer_that_never_reads_is_read_no_further_than_the_limits(run: Any) -> None:
    """TLS has no way around memory, so a file goes through it, block by block."""

    class Counting(io.BytesIO):
        taken = 0

        def readinto(self, memory: Any) -> int:
            count = super().readinto(memory)
            self.taken += count
            return count

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        protocol = Recorder()
        content = bytes(range(256)) * (64 << 10)
        async with tls_connection(protocol) as (transport, peer):
            file = Counting(content)
            sending = loop.create_task(loop.sendfile(transport, file))
            assert await in_thread(peer.receive, 10_000) == content[:10_000]
            taken = -1
            while taken != file.taken:
                taken = file.taken
                await kernel_asked()
                # The blocks are read in another thread.
                await in_thread(bool)
            assert not sending.done()
            # The limit, a block more, and what lies in the kernel on both sides.
            assert transport.get_write_buffer_size() <= 512 * 1024 + 70_000
            assert taken <= 512 * 1024 + 600_000
            rest = await in_thread(peer.receive, len(content) - 10_000)
            assert rest == content[10_000:]
            assert await soon(sending) == len(content)
            assert protocol.calls[0] == "connection_made"

    run(main())


def test_create_connection_is_cancelled_at_every_step(loop: Any, run: Any, loop_errors: list[Any]) -> None:
    async def main() -> None:
        with listener() as server:
            address = server.getsockname()

            async def attempt(steps: int) -> bool:
                connecting = loop.create_connection(
                    Recorder, *address, ssl=client_context(), server_hostname=NAME
                )
                serving = asyncio.ensure_future(in_thread(serve, server, steps > 0))
                made = await cancelled_after(steps, connecting)
                if made is not None:
                    made[0].abort()
                    await soon(made[1].lost)
                await kernel_asked()
                if steps == 0:
                    # Nobody came.
                    with contextlib.suppress(OSError), connect(address):
                        pass
                await serving
                return made is not None

            await at_every_step(attempt)

    with no_socket_left():
        run(main())
    assert loop_errors == []


def serve(server: socket.socket, talks: bool) -> None:
    """One handshake with whoever comes, or what there is of it."""
    try:
        sock, _ = server.accept()
    except OSError:
        return
    sock.settimeout(PATIENCE)
    with sock, contextlib.suppress(OSError):
        if talks:
            TlsPeer(sock, server_context(), server_side=True).shake_hands()


@pytest.mark.parametrize("side", SIDES)
def test_start_tls_is_cancelled_at_every_step(loop: Any, run: Any, loop_errors: list[Any], side: str) -> None:
    async def main() -> None:
        async def attempt(steps: int) -> bool:
            protocol = Recorder()
            plain, sock = await transport_to_peer(protocol)
            if side == "client":
                options: dict[str, Any] = {"sslcontext": client_context(), "server_hostname": NAME}
                peer = TlsPeer(sock, server_context(), server_side=True)
            else:
                options = {"sslcontext": server_context(), "server_side": True}
                peer = TlsPeer(sock, client_context(), server_side=False)
            shaking = asyncio.ensure_future(in_thread(peer.shake_hands))
            upgraded = await cancelled_after(steps, loop.start_tls(plain, protocol, **options))
            (upgraded or plain).abort()
            await asyncio.wait([shaking])
            shaking.exception()
            peer.close()
            await until(lambda: plain.get_protocol() is None)
            return upgraded is not None

        await at_every_step(attempt)

    with no_socket_left():
        run(main())
    assert loop_errors == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_data_behind_our_goodbye_ends_the_connection(
    run: Any, loop_errors: list[Any], version: ssl.TLSVersion
) -> None:
    """OpenSSL refuses it; the protocol learns why."""

    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol, ssl=limited(client_context(), version)) as (transport, peer):
            transport.close()
            assert await in_thread(peer.receive_to_goodbye) == b""
            peer.send(b"too late")
            error = await soon(protocol.lost)
            assert isinstance(error, ssl.SSLError)
            assert error.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
            assert protocol.received == b""

    run(main())
    assert loop_errors == []


@pytest.mark.filterwarnings("ignore:unclosed (transport|<socket):ResourceWarning")
def test_the_loop_may_be_closed_in_the_midst_of_a_handshake(implementation: Any, loop: Any, run: Any) -> None:
    """Its socket is closed, with asyncio's warnings and no other noise."""
    if implementation.is_oracle:
        pytest.skip("asyncio complains in the dying coroutine that the loop is closed")
    ours, theirs = connected_pair()

    async def main() -> None:
        connecting = loop.create_connection(Recorder, sock=ours, ssl=client_context(), server_hostname=NAME)
        tasks.append(asyncio.ensure_future(connecting))
        await until(lambda: received())

    def received() -> bytes:
        theirs.setblocking(False)
        try:
            return theirs.recv(1)
        except BlockingIOError:
            return b""

    tasks: list[Any] = []
    run(main())
    loop.close()
    tasks[0]._log_destroy_pending = False
    tasks.clear()
    theirs.close()
