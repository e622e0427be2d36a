"""How a TCP transport ends: close, abort, reset; connection_lost comes once, and never inside the call."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    Recorder,
    closed,
    connected_pair,
    in_thread,
    kernel_asked,
    no_socket_left,
    receive_to_end,
    reset,
    soon,
    transport_to_peer,
)

both_ends = pytest.mark.parametrize("end", ["close", "abort"])


@both_ends
def test_ending_tells_the_protocol_once_and_later(loop: Any, run: Any, end: str) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        assert not transport.is_closing()
        for _ in range(3):
            getattr(transport, end)()
            assert transport.is_closing()
        assert protocol.calls == ["connection_made"]
        assert await soon(protocol.lost) is None
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]
        assert await in_thread(receive_to_end, peer) == b""
        peer.close()

    with no_socket_left():
        run(main())


def test_close_sends_what_was_written_before_it_ends(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        transport.close()
        await kernel_asked()
        assert not protocol.lost.done()
        assert await in_thread(receive_to_end, peer) == MORE_THAN_FITS
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())


def test_close_stops_reading_at_once(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        peer.sendall(b"too late")
        transport.close()
        await kernel_asked()
        assert protocol.calls == ["connection_made", "pause_writing"]
        await closed(transport, protocol, peer)
        assert protocol.received == b""

    run(main())


def test_abort_drops_what_was_not_sent(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        transport.abort()
        assert await soon(protocol.lost) is None
        received = await in_thread(receive_to_end, peer)
        assert len(received) < len(MORE_THAN_FITS)
        assert MORE_THAN_FITS.startswith(received)
        peer.close()

    run(main())


def test_what_was_written_right_before_an_abort_is_sent(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(b"last ")
        transport.write(b"words")
        transport.abort()
        assert await soon(protocol.lost) is None
        assert await in_thread(receive_to_end, peer) == b"last words"
        peer.close()

    run(main())


def test_what_was_written_right_before_a_failure_is_sent(loop: Any, run: Any, loop_errors: list[Any]) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            self.opened().write(b"last words")
            raise ZeroDivisionError

    async def main() -> None:
        protocol = Failing()
        _, peer = await transport_to_peer(protocol)
        peer.sendall(b"x")
        assert isinstance(await soon(protocol.lost), ZeroDivisionError)
        assert await in_thread(receive_to_end, peer) == b"last words"
        peer.close()

    run(main())
    assert [report["message"] for report in loop_errors] == [
        "Fatal error: protocol.data_received() call failed."
    ]


def test_what_is_sent_within_the_loop_arrives_in_the_next_turn(loop: Any, run: Any) -> None:
    async def main() -> None:
        first, second = Recorder(), Recorder()
        here, there = connected_pair()
        there.setblocking(False)
        transport, _ = await loop.create_connection(lambda: first, sock=here)
        other, _ = await loop.create_connection(lambda: second, sock=there)
        # A loop that is busy for long.
        for _ in range(100):
            await asyncio.sleep(0)
        transport.write(b"x")
        turns = 0
        while not second.received:
            await asyncio.sleep(0)
            turns += 1
        # The task is queued first in the turn that brings the data.
        assert turns == 2
        transport.abort()
        other.abort()
        await soon(asyncio.gather(first.lost, second.lost))

    run(main())


def test_abort_ends_a_close_that_still_flushes(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        transport.close()
        await kernel_asked()
        assert not protocol.lost.done()
        transport.abort()
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())


@both_ends
def test_ending_in_connection_made(loop: Any, run: Any, end: str) -> None:
    class Ending(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            getattr(transport, end)()

    async def main() -> None:
        ours, peer = connected_pair()
        peer.sendall(b"never delivered")
        _, protocol = await soon(loop.create_connection(Ending, sock=ours))
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "connection_lost"]
        peer.close()

    with no_socket_left():
        run(main())


@both_ends
def test_ending_in_data_received(loop: Any, run: Any, end: str) -> None:
    class Ending(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.opened().write(b"the answer")
            getattr(self.opened(), end)()

    async def main() -> None:
        protocol = Ending()
        _, peer = await transport_to_peer(protocol)
        peer.sendall(b"question")
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "data_received", "connection_lost"]
        if end == "close":
            assert await in_thread(receive_to_end, peer) == b"the answer"
        peer.close()

    run(main())


def test_everything_is_quiet_after_connection_lost(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        await closed(transport, protocol, peer)
        transport.close()
        transport.abort()
        transport.pause_reading()
        transport.resume_reading()
        transport.write_eof()
        transport.write(b"")
        assert transport.is_closing()
        assert not transport.is_reading()
        assert transport.get_write_buffer_size() == 0
        assert transport.get_extra_info("peername")[0] == "127.0.0.1"
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


def test_ending_inside_connection_lost_does_nothing(loop: Any, run: Any) -> None:
    class Ending(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            self.opened().close()
            self.opened().abort()

    async def main() -> None:
        protocol = Ending()
        transport, peer = await transport_to_peer(protocol)
        await closed(transport, protocol, peer)
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


def test_the_descriptor_is_open_in_connection_lost_and_closed_after(loop: Any, run: Any) -> None:
    class Asking(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            self.seen = self.opened().get_extra_info("socket").fileno()
            super().connection_lost(exc)

    async def main() -> None:
        protocol = Asking()
        transport, peer = await transport_to_peer(protocol)
        number = transport.get_extra_info("socket").fileno()
        await closed(transport, protocol, peer)
        assert protocol.seen == number > 2
        assert transport.get_extra_info("socket").fileno() == -1

    run(main())


def test_a_reset_while_data_waits_to_be_sent_is_the_error(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        await kernel_asked()
        reset(peer)
        assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))
        assert protocol.calls[-1] == "connection_lost"
        assert transport.get_write_buffer_size() == 0

    run(main())


def test_a_reset_while_a_close_flushes_is_the_error(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        transport.close()
        await kernel_asked()
        reset(peer)
        assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))

    run(main())


def test_a_reset_while_reading_is_paused_is_seen_by_the_next_write(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.pause_reading()
        reset(peer)
        await kernel_asked()
        assert not protocol.lost.done()
        transport.write(b"x")
        assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))

    run(main())


def test_a_connection_reset_is_not_reported_as_an_error_of_the_program(
    loop: Any, run: Any, loop_errors: list[Any]
) -> None:
    async def main() -> None:
        protocol = Recorder()
        _, peer = await transport_to_peer(protocol)
        reset(peer)
        await soon(protocol.lost)

    run(main())
    assert loop_errors == []


def test_an_unclosed_transport_warns_and_lets_go_of_its_socket(loop: Any, run: Any) -> None:
    async def main() -> socket.socket:
        protocol = asyncio.Protocol()
        _, peer = await transport_to_peer(protocol)
        return peer

    peer = run(main())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loop.close()
        gc.collect()
    # Where the transport and its socket go in one collection, the socket may complain as well.
    assert {warning.category for warning in warned} == {ResourceWarning}
    assert [str(warning.message) for warning in warned if "unclosed transport <" in str(warning.message)]
    assert receive_to_end(peer) == b""
    peer.close()
