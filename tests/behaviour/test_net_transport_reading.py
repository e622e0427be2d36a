"""TCP transports where data comes in: Protocol and BufferedProtocol, order, end of stream, pausing."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    MORE_THAN_FITS,
    BufferedRecorder,
    Calls,
    Recorder,
    closed,
    connected_pair,
    in_thread,
    kernel_asked,
    receive_exactly,
    receive_to_end,
    reset,
    soon,
    transport_to_peer,
    until,
)

both_protocols = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
CALL = {Recorder: "data_received", BufferedRecorder: "buffer_updated"}


@both_protocols
@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_a_whole_connection_makes_its_calls_in_order(
    loop: Any, run: Any, kind: type[Calls], family: int, host: str
) -> None:
    async def main() -> None:
        protocol = kind()
        _, peer = await transport_to_peer(protocol, host, family)
        peer.sendall(b"hello")
        assert await protocol.read(5) == b"hello"
        peer.close()
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", CALL[kind], "eof_received", "connection_lost"]

    run(main())


@both_protocols
def test_data_arrives_whole_and_in_order(loop: Any, run: Any, kind: type[Calls]) -> None:
    async def main() -> None:
        protocol = kind()
        _, peer = await transport_to_peer(protocol)
        sending = asyncio.ensure_future(in_thread(peer.sendall, MORE_THAN_FITS))
        assert await protocol.read(len(MORE_THAN_FITS)) == MORE_THAN_FITS
        await sending
        peer.close()
        await soon(protocol.lost)

    run(main())


def test_a_few_bytes_and_the_end_may_follow_on_many(loop: Any, run: Any) -> None:
    """Chunks as large as one read can bring, small ones, and large ones again."""
    payload = bytes(range(256)) * 16384

    async def main() -> None:
        protocol = Recorder()
        _, peer = await transport_to_peer(protocol)
        expected = b""
        for part in payload, b"a few", payload, b"", payload:
            # Read when all of it is there, as far as it fits.
            sending = asyncio.ensure_future(in_thread(peer.sendall, part))
            expected += part
            await protocol.read(len(expected))
            await sending
        peer.close()
        assert await soon(protocol.lost) is None
        assert protocol.received == expected

    run(main())


def test_data_received_is_handed_bytes_that_are_the_protocols_to_keep(loop: Any, run: Any) -> None:
    kept: list[bytes] = []

    class Keeping(Recorder):
        def data_received(self, data: bytes) -> None:
            kept.append(data)
            super().data_received(data)

    async def main() -> None:
        protocol = Keeping()
        transport, peer = await transport_to_peer(protocol)
        for word in b"one", b"two", b"six":
            peer.sendall(word)
            await protocol.read(len(protocol.received) + 3)
        assert kept == [b"one", b"two", b"six"]
        assert {type(chunk) for chunk in kept} == {bytes}
        await closed(transport, protocol, peer)

    run(main())


@both_protocols
def test_data_that_came_before_the_transport_is_delivered_after_connection_made(
    loop: Any, run: Any, kind: type[Calls]
) -> None:
    async def main() -> None:
        ours, peer = connected_pair()
        peer.sendall(b"early")
        peer.close()
        _, protocol = await loop.create_connection(kind, sock=ours)
        assert await soon(protocol.lost) is None
        assert protocol.received == b"early"
        assert protocol.calls == ["connection_made", CALL[kind], "eof_received", "connection_lost"]

    run(main())


@both_protocols
def test_eof_received_answering_false_closes_the_transport(loop: Any, run: Any, kind: type[Calls]) -> None:
    async def main() -> None:
        protocol = kind()
        transport, peer = await transport_to_peer(protocol)
        peer.shutdown(socket.SHUT_WR)
        await soon(protocol.ended)
        assert transport.is_closing()
        assert await in_thread(receive_to_end, peer) == b""
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())


@both_protocols
def test_eof_received_answering_true_keeps_the_transport_writable(
    loop: Any, run: Any, kind: type[Calls]
) -> None:
    async def main() -> None:
        protocol = kind(keep_open_at_eof=True)
        transport, peer = await transport_to_peer(protocol)
        peer.shutdown(socket.SHUT_WR)
        await soon(protocol.ended)
        await kernel_asked()
        assert not transport.is_closing()
        transport.write(b"still here")
        assert await in_thread(receive_exactly, peer, 10) == b"still here"
        transport.close()
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
        peer.close()

    run(main())


@both_protocols
def test_data_written_in_eof_received_is_sent_before_the_close(loop: Any, run: Any, kind: Any) -> None:
    class Farewell(kind):  # type: ignore[misc]
        def eof_received(self) -> bool | None:
            self.opened().write(b"farewell")
            return super().eof_received()  # type: ignore[no-any-return]

    async def main() -> None:
        protocol = Farewell()
        _, peer = await transport_to_peer(protocol)
        peer.shutdown(socket.SHUT_WR)
        assert await in_thread(receive_to_end, peer) == b"farewell"
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())


@both_protocols
def test_reset_by_the_peer_is_the_error_of_connection_lost(loop: Any, run: Any, kind: type[Calls]) -> None:
    async def main() -> None:
        protocol = kind()
        transport, peer = await transport_to_peer(protocol)
        reset(peer)
        assert isinstance(await soon(protocol.lost), ConnectionResetError)
        assert transport.is_closing()
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


@both_protocols
def test_a_paused_transport_delivers_nothing_until_resumed(loop: Any, run: Any, kind: type[Calls]) -> None:
    async def main() -> None:
        protocol = kind()
        transport, peer = await transport_to_peer(protocol)
        transport.pause_reading()
        peer.sendall(b"waiting")
        await kernel_asked()
        assert protocol.received == b""
        transport.resume_reading()
        assert await protocol.read(7) == b"waiting"
        await closed(transport, protocol, peer)

    run(main())


def test_pausing_and_resuming_twice_is_as_good_as_once(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        assert transport.is_reading()
        transport.resume_reading()
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        peer.sendall(b"x")
        assert await protocol.read(1) == b"x"
        transport.close()
        assert not transport.is_reading()
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()
        await soon(protocol.lost)
        peer.close()

    run(main())


def test_pausing_in_connection_made_delivers_nothing(loop: Any, run: Any) -> None:
    class Pausing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        protocol = Pausing()
        transport, peer = await transport_to_peer(protocol)
        peer.sendall(b"waiting")
        await kernel_asked()
        assert protocol.received == b""
        assert not transport.is_reading()
        transport.resume_reading()
        assert await protocol.read(7) == b"waiting"
        await closed(transport, protocol, peer)

    run(main())


@both_protocols
def test_pausing_in_the_data_callback_stops_the_next_delivery(loop: Any, run: Any, kind: Any) -> None:
    class OneAtATime(kind):  # type: ignore[misc]
        deliveries = 0

        def note(self, call: str, data: bytes) -> None:
            self.deliveries += 1
            super().note(call, data)
            self.opened().pause_reading()

    async def main() -> None:
        protocol = OneAtATime()
        transport, peer = await transport_to_peer(protocol)
        sending = asyncio.ensure_future(in_thread(peer.sendall, MORE_THAN_FITS))
        seen = 0
        while len(protocol.received) < len(MORE_THAN_FITS):
            seen += 1
            await until(lambda: protocol.deliveries == seen)  # noqa: B023
            await kernel_asked()
            assert protocol.deliveries == seen
            transport.resume_reading()
        assert protocol.received == MORE_THAN_FITS
        await sending
        await closed(transport, protocol, peer)

    run(main())


def test_the_end_of_the_stream_is_not_seen_while_paused(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.pause_reading()
        peer.sendall(b"last words")
        peer.close()
        await kernel_asked()
        assert protocol.calls == ["connection_made"]
        transport.resume_reading()
        assert await soon(protocol.lost) is None
        assert protocol.received == b"last words"

    run(main())


def test_closing_in_data_received_delivers_no_more(loop: Any, run: Any) -> None:
    class Closing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.opened().close()

    async def main() -> None:
        protocol = Closing()
        _, peer = await transport_to_peer(protocol)
        peer.sendall(b"first")
        await protocol.read(5)
        peer.close()
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "data_received", "connection_lost"]
        assert protocol.received == b"first"

    run(main())


@pytest.mark.parametrize(("before", "after"), [(Recorder, BufferedRecorder), (BufferedRecorder, Recorder)])
def test_set_protocol_hands_what_comes_next_to_the_new_protocol(
    loop: Any, run: Any, before: type[Calls], after: type[Calls]
) -> None:
    async def main() -> None:
        first, second = before(), after()
        transport, peer = await transport_to_peer(first)
        peer.sendall(b"for the first")
        assert await first.read(13) == b"for the first"
        assert transport.get_protocol() is first
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        peer.sendall(b"for the second")
        assert await second.read(14) == b"for the second"
        peer.close()
        assert await soon(second.lost) is None
        assert second.calls == [CALL[after], "eof_received", "connection_lost"]
        assert first.calls == ["connection_made", CALL[before]]

    run(main())


def test_set_protocol_in_data_received_takes_effect_at_once(loop: Any, run: Any) -> None:
    class Upgrading(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.opened().set_protocol(second)

    second: BufferedRecorder

    async def main() -> None:
        nonlocal second
        first, second = Upgrading(), BufferedRecorder()
        _, peer = await transport_to_peer(first)
        peer.sendall(b"plain")
        await first.read(5)
        peer.sendall(b"upgraded")
        assert await second.read(8) == b"upgraded"
        assert first.received == b"plain"
        peer.close()
        await soon(second.lost)

    run(main())
