"""Flow control of TCP transports: limits, pausing and resuming, against a peer that does not read."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    Recorder,
    closed,
    in_thread,
    kernel_asked,
    receive_exactly,
    receive_to_end,
    soon,
    transport_to_peer,
    until,
)

DEFAULT = (16 * 1024, 64 * 1024)


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({}, DEFAULT),
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 1000, "low": 10}, (10, 1000)),
        ({"high": 0}, (0, 0)),
        ({"high": 0, "low": 0}, (0, 0)),
        ({"high": 7, "low": 7}, (7, 7)),
    ],
)
def test_limits_left_out_follow_from_the_other(
    loop: Any, run: Any, arguments: dict[str, int], limits: tuple[int, int]
) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        assert transport.get_write_buffer_limits() == DEFAULT
        transport.set_write_buffer_limits(high=1)
        transport.set_write_buffer_limits(**arguments)
        assert transport.get_write_buffer_limits() == limits
        await closed(transport, protocol, peer)

    run(main())


@pytest.mark.parametrize(
    "arguments", [{"high": 1, "low": 2}, {"low": -1}, {"high": -1}, {"high": -1, "low": -2}]
)
def test_limits_that_contradict_each_other_change_nothing(
    loop: Any, run: Any, arguments: dict[str, int]
) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        with pytest.raises(ValueError, match=r"high \(.*\) must be >= low \(.*\) must be >= 0"):
            transport.set_write_buffer_limits(**arguments)
        assert transport.get_write_buffer_limits() == DEFAULT
        await closed(transport, protocol, peer)

    run(main())


def test_more_than_the_high_limit_pauses_inside_the_write(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        assert transport.get_write_buffer_size() == 0
        transport.write(MORE_THAN_FITS)
        assert protocol.calls == ["connection_made", "pause_writing"]
        assert DEFAULT[1] < transport.get_write_buffer_size() <= len(MORE_THAN_FITS)
        transport.write(b"more")
        assert protocol.calls == ["connection_made", "pause_writing"]
        await closed(transport, protocol, peer)

    run(main())


def test_what_the_kernel_takes_at_once_never_pauses(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.set_write_buffer_limits(high=0)
        for _ in range(10):
            transport.write(b"x" * 1000)
            await kernel_asked()
            assert transport.get_write_buffer_size() == 0
        assert protocol.calls == ["connection_made"]
        await closed(transport, protocol, peer)

    run(main())


def test_a_peer_that_reads_on_resumes_the_protocol_at_the_low_limit(loop: Any, run: Any) -> None:
    sizes: list[int] = []

    class Measuring(Recorder):
        def resume_writing(self) -> None:
            sizes.append(self.opened().get_write_buffer_size())
            super().resume_writing()

    async def main() -> None:
        protocol = Measuring()
        transport, peer = await transport_to_peer(protocol)
        transport.set_write_buffer_limits(high=400_000, low=100_000)
        transport.write(MORE_THAN_FITS)
        await kernel_asked()
        assert not protocol.resumed.done()
        assert await in_thread(receive_exactly, peer, len(MORE_THAN_FITS)) == MORE_THAN_FITS
        await soon(protocol.resumed)
        assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]
        assert sizes[0] <= 100_000
        await until(lambda: transport.get_write_buffer_size() == 0)
        await closed(transport, protocol, peer)

    run(main())


def test_pausing_and_resuming_repeat_as_often_as_needed(loop: Any, run: Any) -> None:
    class Obedient(Recorder):
        """Writes whenever it may: the buffer then never holds more than the limit and one piece."""

        most = 0

        def write_on(self, pieces: list[bytes]) -> None:
            self.pieces = pieces
            self.may_write = True
            self.go_on()

        def go_on(self) -> None:
            while self.may_write and self.pieces:
                self.opened().write(self.pieces.pop())
                self.most = max(self.most, self.opened().get_write_buffer_size())
            if not self.pieces:
                self.loop.call_soon(self.opened().close)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.may_write = False

        def resume_writing(self) -> None:
            super().resume_writing()
            self.may_write = True
            self.go_on()

    async def main() -> None:
        protocol = Obedient()
        transport, peer = await transport_to_peer(protocol)
        protocol.write_on([bytes(10_000) for _ in range(500)])
        assert transport.get_write_buffer_size() <= DEFAULT[1] + 10_000
        assert len(await in_thread(receive_to_end, peer)) == 5_000_000
        assert await soon(protocol.lost) is None
        peer.close()
        assert protocol.most <= DEFAULT[1] + 10_000
        changes = protocol.calls[1:-1]
        assert changes == ["pause_writing", "resume_writing"] * (len(changes) // 2)
        assert len(changes) > 2

    run(main())


def test_closing_inside_resume_writing_ends_the_connection_once(
    implementation: Any, loop: Any, run: Any
) -> None:
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("gh-156512: this asyncio then calls connection_lost twice")

    class Closing(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.opened().close()

    async def main() -> None:
        protocol = Closing()
        transport, peer = await transport_to_peer(protocol)
        transport.set_write_buffer_limits(high=0)
        transport.write(MORE_THAN_FITS)
        assert await in_thread(receive_to_end, peer) == MORE_THAN_FITS
        assert await soon(protocol.lost) is None
        await kernel_asked()
        assert protocol.calls == ["connection_made", "pause_writing", "resume_writing", "connection_lost"]
        peer.close()

    run(main())


def test_writelines_pauses_like_write(implementation: Any, loop: Any, run: Any) -> None:
    if implementation.is_oracle and (3, 12) <= sys.version_info < (3, 14):
        pytest.skip("CVE-2024-12254: writelines of this asyncio ignores the limit")

    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.writelines([MORE_THAN_FITS[:500_000], MORE_THAN_FITS[500_000:]])
        assert protocol.calls == ["connection_made", "pause_writing"]
        assert await in_thread(receive_exactly, peer, len(MORE_THAN_FITS)) == MORE_THAN_FITS
        await soon(protocol.resumed)
        await closed(transport, protocol, peer)

    run(main())


def test_lowering_the_limit_below_what_is_buffered_pauses_at_once(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.set_write_buffer_limits(high=10 * len(MORE_THAN_FITS))
        transport.write(MORE_THAN_FITS)
        await kernel_asked()
        assert "pause_writing" not in protocol.calls
        transport.set_write_buffer_limits(high=1000)
        assert protocol.calls[-1] == "pause_writing"
        await closed(transport, protocol, peer)

    run(main())


def test_closing_while_paused_resumes_once_flushed_and_then_ends(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        transport.close()
        assert await in_thread(receive_to_end, peer) == MORE_THAN_FITS
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "pause_writing", "resume_writing", "connection_lost"]
        peer.close()

    run(main())


def test_aborting_while_paused_ends_without_resuming(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "pause_writing", "connection_lost"]
        peer.close()

    run(main())


@pytest.mark.parametrize("which", ["pause_writing", "resume_writing"])
def test_a_raising_flow_control_callback_is_reported_and_the_connection_goes_on(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]], which: str
) -> None:
    async def main() -> None:
        protocol = Recorder()

        def raising() -> None:
            raise ZeroDivisionError(which)

        setattr(protocol, which, raising)
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        transport.close()
        assert await in_thread(receive_to_end, peer) == MORE_THAN_FITS
        assert await soon(protocol.lost) is None
        assert loop_errors[0]["transport"] is transport
        assert loop_errors[0]["protocol"] is protocol
        peer.close()

    run(main())
    assert [context["message"] for context in loop_errors] == [f"protocol.{which}() failed"]
    assert isinstance(loop_errors[0]["exception"], ZeroDivisionError)


def test_a_protocol_set_while_paused_is_the_one_resumed(loop: Any, run: Any) -> None:
    async def main() -> None:
        first, second = Recorder(), Recorder()
        transport, peer = await transport_to_peer(first)
        transport.write(MORE_THAN_FITS)
        transport.set_protocol(second)
        await in_thread(receive_exactly, peer, len(MORE_THAN_FITS))
        await soon(second.resumed)
        assert first.calls == ["connection_made", "pause_writing"]
        await closed(transport, second, peer)

    run(main())


def test_writers_waiting_in_drain_are_all_released(loop: Any, run: Any) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, peer = await transport_to_peer(protocol)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        writer.write(MORE_THAN_FITS)
        draining = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
        await kernel_asked()
        assert not any(task.done() for task in draining)
        await in_thread(receive_exactly, peer, len(MORE_THAN_FITS))
        for task in draining:
            await soon(task)
        writer.close()
        await soon(writer.wait_closed())
        peer.close()

    run(main())


class LastWords(Recorder):
    """Has something to add when it may write again, as TLS has."""

    def resume_writing(self) -> None:
        super().resume_writing()
        self.opened().write(b"last words")


def test_what_is_written_at_resume_writing_still_goes_out_when_the_transport_is_closing(
    loop: Any, run: Any
) -> None:
    async def main() -> None:
        protocol = LastWords()
        transport, peer = await transport_to_peer(protocol)
        # It is told to go on when nothing waits any more, and says so little that it could wait again.
        transport.set_write_buffer_limits(high=1000, low=0)
        transport.write(MORE_THAN_FITS)
        transport.close()
        assert await in_thread(receive_to_end, peer) == MORE_THAN_FITS + b"last words"
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())
