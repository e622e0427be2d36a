"""connect_write_pipe: bytes, flow control, closing, on pipes, FIFOs, sockets and terminals."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
from net_peers import MORE_THAN_FITS, in_thread, kernel_asked, soon
from net_pipes import (
    KINDS,
    WITH_AN_END,
    PipeRecorder,
    ended,
    filled,
    take,
    take_to_end,
    unbuffered,
    writing_to,
)

all_kinds = pytest.mark.parametrize("kind", KINDS)
with_an_end = pytest.mark.parametrize("kind", WITH_AN_END)
both_ends = pytest.mark.parametrize("end", ["close", "write_eof"])

HIGH = 400_000
"""More than a socket or pipe takes at once."""

VAIN = "pipe closed by peer or os.write(pipe, data) raised exception."


@all_kinds
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_what_is_written_is_there_at_once(loop: Any, run: Any, kind: str, make: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        transport.write(make(b"hello"))
        transport.write(make(b""))
        assert take(peer, 5) == b"hello"
        assert transport.get_write_buffer_size() == 0
        await ended(transport, protocol, peer)
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


@all_kinds
def test_everything_arrives_whole_and_in_order(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        for begin in range(0, len(MORE_THAN_FITS), 10_000):
            transport.write(MORE_THAN_FITS[begin : begin + 10_000])
        assert await in_thread(take, peer, len(MORE_THAN_FITS)) == MORE_THAN_FITS
        await ended(transport, protocol, peer)
        assert protocol.error is None

    run(main())


def test_each_write_is_a_message_of_its_own(loop: Any, run: Any) -> None:
    """What has boundaries, as a device or such a socket has, is written as the program wrote it."""

    async def main() -> None:
        peer, ours = socket.socketpair(type=socket.SOCK_SEQPACKET)
        transport, protocol = await loop.connect_write_pipe(PipeRecorder, ours)
        for word in b"one", b"two", b"three":
            transport.write(word)
        transport.writelines([b"fo", bytearray(b"ur")])
        assert [peer.recv(100) for _ in range(4)] == [b"one", b"two", b"three", b"four"]
        await ended(transport, protocol, peer)

    run(main())


@pytest.mark.parametrize("data", ["text", None, 5, [b"list"]], ids=repr)
def test_what_is_not_bytes_is_an_assertion_error(loop: Any, run: Any, data: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("pipe", protocol)
        with pytest.raises(AssertionError) as raised:
            transport.write(data)
        assert str(raised.value).splitlines()[0] == repr(data)
        with pytest.raises(TypeError):
            transport.writelines(["text"])
        transport.write(b"fine")
        assert take(peer, 4) == b"fine"
        await ended(transport, protocol, peer)

    run(main())


def test_a_buffer_changed_after_the_write_does_not_change_what_is_sent(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("pipe", protocol)
        before = filled(transport)
        changing = bytearray(b"original")
        transport.write(changing)
        changing[:] = b"replaced"
        assert (await in_thread(take, peer, before + 8))[-8:] == b"original"
        await ended(transport, protocol, peer)

    run(main())


@all_kinds
def test_the_protocol_pauses_above_the_high_mark_and_resumes_when_all_is_sent(
    loop: Any, run: Any, kind: str
) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        before = filled(transport)
        transport.set_write_buffer_limits(high=HIGH, low=HIGH - 1)
        left = HIGH - transport.get_write_buffer_size()
        transport.write(b"x" * left)
        assert protocol.calls == ["connection_made"]
        transport.write(b"x")
        assert protocol.calls == ["connection_made", "pause_writing"]
        assert transport.get_write_buffer_size() == HIGH + 1
        await in_thread(take, peer, before * 7 // 8)
        await kernel_asked()
        assert 0 < transport.get_write_buffer_size() < HIGH + 1
        # Not yet: asyncio's pipes know no low mark but zero.
        assert protocol.calls == ["connection_made", "pause_writing"]
        await in_thread(take, peer, before - before * 7 // 8 + left + 1)
        await soon(protocol.resumed)
        assert transport.get_write_buffer_size() == 0
        await ended(transport, protocol, peer)

    run(main())


def test_the_limits_of_the_buffer(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("pipe", protocol)
        assert transport.get_write_buffer_limits() == (16_384, 65_536)
        transport.set_write_buffer_limits(low=100)
        assert transport.get_write_buffer_limits() == (100, 400)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            transport.set_write_buffer_limits(high=1, low=2)
        assert transport.get_write_buffer_limits() == (250, 1000)
        filled(transport)
        assert protocol.calls[-1] == "pause_writing"
        await ended(transport, protocol, peer)

    run(main())


def test_a_lower_limit_pauses_at_once(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("pipe", protocol)
        filled(transport)
        assert protocol.calls == ["connection_made"]
        transport.set_write_buffer_limits(high=0)
        assert protocol.calls == ["connection_made", "pause_writing"]
        await ended(transport, protocol, peer)

    run(main())


def test_writing_when_it_may_go_on(loop: Any, run: Any) -> None:
    class Resuming(PipeRecorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.opened().write(b"more")

    async def main() -> None:
        protocol = Resuming()
        transport, peer = await writing_to("pipe", protocol)
        transport.set_write_buffer_limits(high=0)
        before = filled(transport)
        assert (await in_thread(take, peer, before + 4))[-4:] == b"more"
        await kernel_asked()
        await ended(transport, protocol, peer)
        assert protocol.calls == ["connection_made", "pause_writing", "resume_writing", "connection_lost"]

    run(main())


@pytest.mark.rasyncio_only("asyncio calls connection_lost twice there, the second time of None")
@pytest.mark.parametrize("end", ["close", "write_eof", "abort"])
def test_ending_when_it_may_go_on(loop: Any, run: Any, end: str) -> None:
    class Ending(PipeRecorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.opened().write(MORE_THAN_FITS)
            getattr(self.opened(), end)()

    async def main() -> None:
        protocol = Ending()
        transport, peer = await writing_to("pipe", protocol)
        transport.set_write_buffer_limits(high=0)
        before = filled(transport)
        received = (await in_thread(take_to_end, peer))[before:]
        assert (received == MORE_THAN_FITS) == (end != "abort")
        assert await soon(protocol.lost) is None
        await kernel_asked()
        assert protocol.calls.count("connection_lost") == 1
        peer.close()

    run(main())


@both_ends
@with_an_end
def test_ending_tells_the_protocol_once_and_later(loop: Any, run: Any, kind: str, end: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        assert transport.can_write_eof()
        for _ in range(3):
            getattr(transport, end)()
            assert transport.is_closing()
        assert protocol.calls == ["connection_made"]
        assert await soon(protocol.lost) is None
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]
        assert take_to_end(peer) == b""
        peer.close()

    run(main())


@both_ends
@with_an_end
def test_ending_sends_what_was_written_before(loop: Any, run: Any, kind: str, end: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        transport.write(MORE_THAN_FITS)
        getattr(transport, end)()
        await kernel_asked()
        assert not protocol.lost.done()
        transport.write(b"in vain")
        assert await in_thread(take_to_end, peer) == MORE_THAN_FITS
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())


@all_kinds
@pytest.mark.parametrize("before", [[], ["write_eof"], ["close"]], ids=str)
def test_abort_drops_what_was_not_sent(loop: Any, run: Any, kind: str, before: list[str]) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        transport.write(MORE_THAN_FITS)
        for end in before:
            getattr(transport, end)()
        await kernel_asked()
        assert not protocol.lost.done()
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        assert await soon(protocol.lost) is None
        if kind != "terminal":
            received = await in_thread(take_to_end, peer)
            assert len(received) < len(MORE_THAN_FITS)
            assert MORE_THAN_FITS.startswith(received)
        peer.close()

    run(main())


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
@pytest.mark.parametrize("call", ["connection_made", "pause_writing"])
def test_ending_in_a_call_of_the_protocol(loop: Any, run: Any, call: str, end: str) -> None:
    class Ending(PipeRecorder):
        pass

    def ending(self: Ending, *arguments: Any) -> None:
        getattr(PipeRecorder, call)(self, *arguments)
        getattr(self.opened(), end)()

    setattr(Ending, call, ending)

    async def main() -> None:
        protocol = Ending()
        transport, peer = await writing_to("pipe", protocol)
        transport.write(MORE_THAN_FITS)
        received = await in_thread(take_to_end, peer)
        assert await soon(protocol.lost) is None
        whole = call == "pause_writing" and end != "abort"
        assert (received == MORE_THAN_FITS) == whole
        assert protocol.calls.count("connection_lost") == 1
        peer.close()

    run(main())


def test_writes_in_vain_are_warned_of_from_the_sixth(loop: Any, run: Any, asyncio_log: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("pipe", protocol)
        transport.close()
        for _ in range(5):
            transport.write(b"in vain")
            transport.write(b"")
        assert VAIN not in asyncio_log.messages
        transport.write(b"in vain")
        assert asyncio_log.messages.count(VAIN) == 1
        await soon(protocol.lost)
        transport.write(b"in vain")
        assert asyncio_log.messages.count(VAIN) == 2
        peer.close()

    run(main())


def test_everything_is_quiet_after_connection_lost(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("pipe", protocol)
        pipe = transport.get_extra_info("pipe")
        await ended(transport, protocol, peer)
        transport.close()
        transport.write_eof()
        transport.write(b"")
        transport.write(b"in vain")
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        assert transport.get_protocol() is None
        assert transport.get_extra_info("pipe") is pipe
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


@pytest.mark.rasyncio_only("asyncio calls connection_lost of None there, which is an error in its log")
@pytest.mark.parametrize("again", ["abort", "close", "write_eof"])
@pytest.mark.parametrize("first", ["abort", "close", "hang-up"])
def test_an_end_after_the_end_is_no_second_one(loop: Any, run: Any, first: str, again: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("pipe", protocol)
        if first == "hang-up":
            peer.close()
            await kernel_asked()
        else:
            getattr(transport, first)()
        getattr(transport, again)()
        await soon(protocol.lost)
        getattr(transport, again)()
        transport.abort()
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]
        peer.close()

    run(main())


def test_streams_over_a_pipe(loop: Any, run: Any) -> None:
    async def main() -> None:
        peer, ours = os.pipe()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop=loop), unbuffered(ours, "wb")
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        reader = unbuffered(peer, "rb")
        reading = asyncio.ensure_future(in_thread(take_to_end, reader))
        for _ in range(20):
            writer.write(MORE_THAN_FITS[:50_000])
            await soon(writer.drain())
        writer.close()
        assert await reading == MORE_THAN_FITS[:50_000] * 20
        reader.close()

    run(main())


def test_nothing_is_read_by_a_transport_that_writes(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("pipe", protocol)
        for method in transport.is_reading, transport.pause_reading, transport.resume_reading:
            with pytest.raises(NotImplementedError):
                method()
        await ended(transport, protocol, peer)

    run(main())
