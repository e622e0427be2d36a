"""The end of TLS connections: goodbyes, cut short, refused, and what is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import sys
import warnings
import weakref
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    BufferedRecorder,
    Recorder,
    connected_pair,
    in_thread,
    kernel_asked,
    no_socket_left,
    reset,
    soon,
    until,
)
from tls_peers import (
    NAME,
    SIDES,
    LendingRecorder,
    TlsPeer,
    client_context,
    limited,
    server_context,
    tls_connection,
    tls_transport_to_peer,
)

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("side", SIDES)
def test_what_was_written_right_before_an_abort_is_sent(run: Any, side: str) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol, side) as (transport, peer):
            transport.write(b"last words")
            transport.abort()
            assert await soon(protocol.lost) is None
            assert await in_thread(peer.receive, 10) == b"last words"

    run(main())


@pytest.mark.parametrize("side", SIDES)
def test_what_was_written_right_before_a_failure_is_sent(run: Any, side: str, loop_errors: list[Any]) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            self.opened().write(b"last words")
            raise ZeroDivisionError

    async def main() -> None:
        protocol = Failing()
        async with tls_connection(protocol, side) as (_, peer):
            peer.send(b"x")
            assert isinstance(await soon(protocol.lost), ZeroDivisionError)
            assert await in_thread(peer.receive, 10) == b"last words"

    run(main())
    assert len(loop_errors) == 1


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("version", VERSIONS)
def test_close_says_goodbye_and_waits_for_the_peers(run: Any, side: str, version: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        context = limited(client_context() if side == "client" else server_context(), version)
        async with tls_connection(protocol, side, ssl=context) as (transport, peer):
            transport.write(b"the last words")
            assert not transport.is_closing()
            transport.close()
            transport.close()
            assert transport.is_closing()
            assert await in_thread(peer.receive_to_goodbye) == b"the last words"
            await kernel_asked()
            assert not protocol.lost.done()
            peer.say_goodbye()
            assert await soon(protocol.lost) is None
            assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    with no_socket_left():
        run(main())


def test_close_sends_everything_first(run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            for _ in range(4):
                transport.write(MORE_THAN_FITS)
            transport.close()
            assert await in_thread(peer.shut_down) == MORE_THAN_FITS * 4
            assert await soon(protocol.lost) is None

    run(main())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", [Recorder, LendingRecorder])
def test_the_peers_goodbye_ends_the_connection(run: Any, side: str, kind: Any) -> None:
    async def main() -> None:
        protocol = kind()
        async with tls_connection(protocol, side) as (transport, peer):
            cipher_text = peer.encrypted(b"all of it" * 5000)
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.unwrap()
            sending = in_thread(peer.sock.sendall, cipher_text + peer.outgoing.read())
            assert await protocol.read(45_000) == b"all of it" * 5000
            await sending
            assert await soon(protocol.lost) is None
            assert transport.is_closing()
            assert await in_thread(peer.receive_to_goodbye) == b""
            data = "data_received" if kind is Recorder else "buffer_updated"
            assert protocol.calls == ["connection_made", data, "eof_received", "connection_lost"]

    run(main())


def test_what_is_written_after_the_peers_goodbye_is_sent(run: Any) -> None:
    class Answering(Recorder):
        def eof_received(self) -> bool | None:
            self.opened().write(b"one more thing")
            return super().eof_received()

    async def main() -> None:
        protocol = Answering()
        async with tls_connection(protocol) as (_, peer):
            peer.say_goodbye()
            assert await in_thread(peer.receive_to_goodbye) == b"one more thing"
            assert await soon(protocol.lost) is None

    run(main())


def test_a_stream_that_ends_without_goodbye_ends_all_the_same(run: Any) -> None:
    async def main() -> None:
        for kind in Recorder, LendingRecorder:
            protocol = kind()
            async with tls_connection(protocol) as (_, peer):
                peer.send(b"cut off")
                peer.close()
                assert await soon(protocol.lost) is None
                assert protocol.received == b"cut off"
                assert protocol.calls[-2:] == ["eof_received", "connection_lost"]

    run(main())


def test_tls_cannot_be_kept_half_open(run: Any, asyncio_log: Any) -> None:
    async def main() -> None:
        protocol = Recorder(keep_open_at_eof=True)
        async with tls_connection(protocol) as (_, peer):
            peer.say_goodbye()
            assert await soon(protocol.lost) is None

    run(main())
    assert "returning true from eof_received() has no effect when using ssl" in asyncio_log.messages


def test_writing_cannot_end_alone(run: Any) -> None:
    async def main() -> None:
        async with tls_connection(Recorder()) as (transport, peer):
            assert not transport.can_write_eof()
            with pytest.raises(NotImplementedError):
                transport.write_eof()
            transport.write(b"goes on")
            assert await in_thread(peer.receive, 7) == b"goes on"

    run(main())


def test_abort_ends_it_at_once(run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            transport.write(MORE_THAN_FITS)
            transport.abort()
            transport.abort()
            assert transport.is_closing()
            assert await soon(protocol.lost) is None
            assert protocol.calls[-1] == "connection_lost"
            with pytest.raises((ConnectionAbortedError, ConnectionResetError)):
                await in_thread(peer.receive_to_goodbye)

    with no_socket_left():
        run(main())


def test_a_reset_is_told(run: Any, loop_errors: list[Any]) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (_, peer):
            reset(peer.sock)
            assert isinstance(await soon(protocol.lost), ConnectionResetError)
            assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())
    assert loop_errors == []


def test_a_record_that_was_tampered_with_ends_the_connection(run: Any, loop_errors: list[Any]) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (_, peer):
            peer.send(b"good")
            assert await protocol.read(4) == b"good"
            bad = bytearray(peer.encrypted(b"bad"))
            bad[-1] ^= 1
            peer.sock.sendall(bad)
            error = await soon(protocol.lost)
            assert isinstance(error, ssl.SSLError)
            # Versions of OpenSSL have two words for it.
            assert error.reason in {"RECORD_LAYER_FAILURE", "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"}
            assert protocol.received == b"good"

    run(main())
    assert loop_errors == []


def test_what_came_before_a_bad_record_is_handed_over(implementation: Any, run: Any) -> None:
    if implementation.is_oracle:
        pytest.skip("asyncio drops the good records that came together with the bad one")

    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (_, peer):
            good = peer.encrypted(b"good")
            bad = bytearray(peer.encrypted(b"bad"))
            bad[-1] ^= 1
            peer.sock.sendall(good + bad)
            assert isinstance(await soon(protocol.lost), ssl.SSLError)
            assert protocol.received == b"good"

    run(main())


@pytest.mark.parametrize("written", [b"", bytes(5 << 20)])
def test_a_shutdown_has_a_time_limit(implementation: Any, run: Any, written: bytes) -> None:
    """The peer neither reads nor says goodbye."""

    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol, ssl_shutdown_timeout=0.1) as (transport, _):
            transport.write(written)
            transport.close()
            error = await soon(protocol.lost)
            assert isinstance(error, TimeoutError)
            assert str(error) == "SSL shutdown timed out"

    with no_socket_left():
        run(main())


def test_the_time_limit_holds_when_the_peer_left_first(implementation: Any, run: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("asyncio stops the timer before everything is sent")

    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol, ssl_shutdown_timeout=0.1) as (transport, peer):
            while not protocol.paused.done():
                transport.write(bytes(1 << 20))
                await asyncio.sleep(0)
            peer.sock.shutdown(1)
            assert isinstance(await soon(protocol.lost), TimeoutError)

    run(main())


def test_writes_after_the_end_are_counted(run: Any, asyncio_log: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, _):
            transport.abort()
            await soon(protocol.lost)
            for _ in range(4):
                transport.write(b"in vain")
            assert "SSL connection is closed" not in asyncio_log.messages
            transport.write(b"in vain")
            transport.writelines([b"in vain"])
            assert asyncio_log.messages.count("SSL connection is closed") == 2

    run(main())


def test_what_is_written_after_close_is_dropped(run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            transport.write(b"before")
            transport.close()
            transport.write(b"after")
            assert await in_thread(peer.shut_down) == b"before"
            await soon(protocol.lost)

    run(main())


@pytest.mark.parametrize("goodbye", [False, True])
def test_a_paused_protocol_gets_what_came_before_the_end(run: Any, goodbye: bool) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            transport.pause_reading()
            peer.send(b"unread")
            if goodbye:
                peer.say_goodbye()
            peer.sock.shutdown(1)
            await kernel_asked()
            assert not protocol.lost.done()
            transport.resume_reading()
            assert await soon(protocol.lost) is None
            assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]

    run(main())


def test_a_paused_protocol_may_close_after_the_peers_end(implementation: Any, run: Any) -> None:
    if implementation.is_oracle:
        pytest.skip("asyncio then waits for ever for the protocol to read")

    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            transport.pause_reading()
            peer.send(b"unread")
            peer.sock.shutdown(1)
            await kernel_asked()
            transport.close()
            assert await soon(protocol.lost) is None
            assert protocol.received == b""

    run(main())


def test_eof_received_that_raises_is_reported(run: Any, loop_errors: list[Any]) -> None:
    class Raising(Recorder):
        def eof_received(self) -> bool | None:
            raise ZeroDivisionError

    async def main() -> None:
        protocol = Raising()
        async with tls_connection(protocol) as (_, peer):
            peer.say_goodbye()
            assert isinstance(await soon(protocol.lost), ZeroDivisionError)

    run(main())
    assert [report["message"] for report in loop_errors] == ["Error calling eof_received()"]


def test_closing_in_data_received(run: Any) -> None:
    class Closing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.opened().write(data.upper())
            self.opened().close()

    async def main() -> None:
        protocol = Closing()
        async with tls_connection(protocol) as (_, peer):
            peer.send(b"hello")
            assert await in_thread(peer.shut_down) == b"HELLO"
            assert await soon(protocol.lost) is None

    run(main())


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_aborting_in_a_callback(run: Any, kind: Any) -> None:
    class Aborting(kind):  # type: ignore[misc]
        def note(self, call: str, data: bytes) -> None:
            super().note(call, data)
            self.opened().abort()

    async def main() -> None:
        protocol = Aborting()
        async with tls_connection(protocol) as (_, peer):
            peer.send(b"hello")
            assert await soon(protocol.lost) is None
            assert protocol.calls[2:] == ["connection_lost"]

    run(main())


def test_closing_in_connection_made(loop: Any, run: Any) -> None:
    class Shy(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"bye")
            transport.close()

    async def main() -> None:
        protocol = Shy()
        transport, peer = await tls_transport_to_peer(protocol)
        assert transport.is_closing()
        assert await in_thread(peer.shut_down) == b"bye"
        assert await soon(protocol.lost) is None
        peer.close()

    with no_socket_left():
        run(main())


def test_failures_and_steps_are_logged_in_debug_mode(loop: Any, run: Any, asyncio_log: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (_, peer):
            peer.sock.sendall(b"no record")
            assert isinstance(await soon(protocol.lost), ssl.SSLError)

    loop.set_debug(True)
    run(main())
    shown = " ".join(asyncio_log.messages)
    for part in "starts SSL handshake", "SSL handshake took", "Fatal error on SSL protocol":
        assert part in shown


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_forgotten_transport_says_so(loop: Any, run: Any) -> None:
    async def main() -> Any:
        transport, peer = await tls_transport_to_peer(Recorder())
        return weakref.ref(transport), peer

    forgotten, peer = run(main())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        loop.close()
        gc.collect()
    texts = [str(warning.message) for warning in caught]
    # A warning keeps what it is about.
    caught.clear()
    gc.collect()
    assert forgotten() is None
    assert "unclosed transport <asyncio._SSLProtocolTransport object>" in texts
    peer.close()


def test_a_failed_handshake_leaves_no_cycle(implementation: Any, run: Any) -> None:
    """What the exception does not hold is gone at once, without the garbage collector."""
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("gh-159049: asyncio leaves a cycle")

    async def main() -> None:
        protocol = Recorder()
        known = weakref.ref(protocol)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(ssl.SSLCertVerificationError):
                await connect_to_a_stranger(protocol, context)
            await kernel_asked()
            del protocol
            held = weakref.ref(context)
            del context
            await until(lambda: held() is None)
            assert known() is None
        finally:
            gc.enable()

    run(main())


async def connect_to_a_stranger(protocol: Recorder, context: ssl.SSLContext) -> None:
    ours, theirs = connected_pair()
    peer = TlsPeer(theirs, server_context(), server_side=True)
    shaking = asyncio.ensure_future(in_thread(peer.shake_hands))
    try:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: protocol, sock=ours, ssl=context, server_hostname=NAME)
    finally:
        await asyncio.wait([shaking])
        assert shaking.exception() is not None
        peer.close()
