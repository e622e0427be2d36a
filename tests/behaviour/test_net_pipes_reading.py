"""connect_read_pipe: bytes, end of stream, pausing, closing, on pipes, FIFOs, sockets and terminals."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import tty
from typing import Any

import pytest
from net_peers import MORE_THAN_FITS, in_thread, kernel_asked, soon
from net_pipes import KINDS, WITH_AN_END, PipeRecorder, ended, ends, put, reading_from, unbuffered

all_kinds = pytest.mark.parametrize("kind", KINDS)
with_an_end = pytest.mark.parametrize("kind", WITH_AN_END)


@with_an_end
def test_a_whole_stream_makes_its_calls_in_order(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await reading_from(kind, protocol)
        pipe = transport.get_extra_info("pipe")
        put(peer, b"hello")
        assert await protocol.read(5) == b"hello"
        peer.close()
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
        assert pipe.fileno() == -1 if kind == "socket" else pipe.closed

    run(main())


@all_kinds
def test_data_arrives_whole_and_in_order(loop: Any, run: Any, kind: str) -> None:
    class Measuring(PipeRecorder):
        largest = 0

        def data_received(self, data: bytes) -> None:
            assert type(data) is bytes
            self.largest = max(self.largest, len(data))
            super().data_received(data)

    async def main() -> None:
        protocol = Measuring()
        transport, peer = await reading_from(kind, protocol)
        sending = asyncio.ensure_future(in_thread(put, peer, MORE_THAN_FITS))
        assert await protocol.read(len(MORE_THAN_FITS)) == MORE_THAN_FITS
        await sending
        assert transport.max_size == 256 * 1024
        assert 0 < protocol.largest <= transport.max_size
        await ended(transport, protocol, peer)

    run(main())


@with_an_end
def test_what_came_before_the_transport_is_delivered_after_connection_made(
    loop: Any, run: Any, kind: str
) -> None:
    async def main() -> None:
        ours, peer = ends(kind)
        put(peer, b"early")
        peer.close()
        _, protocol = await loop.connect_read_pipe(PipeRecorder, ours)
        assert protocol.calls[0] == "connection_made"
        assert await soon(protocol.lost) is None
        assert protocol.received == b"early"
        assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]

    run(main())


@all_kinds
def test_what_lies_in_the_pipe_is_delivered_as_soon_as_it_is_watched(loop: Any, run: Any, kind: str) -> None:
    async def in_a_busy_loop(turns: int) -> None:
        ours, peer = ends(kind)
        put(peer, b"early")
        for _ in range(turns):
            await asyncio.sleep(0)
        transport, protocol = await loop.connect_read_pipe(PipeRecorder, ours)
        await asyncio.sleep(0)
        assert protocol.received == b"early"
        transport.pause_reading()
        put(peer, b"more")
        for _ in range(turns):
            await asyncio.sleep(0)
        transport.resume_reading()
        for _ in range(2):
            await asyncio.sleep(0)
        assert protocol.received == b"earlymore"
        await ended(transport, protocol, peer)

    async def main() -> None:
        # The loop waits for something else too: one that waits for nothing notices that it begins to.
        other, other_peer = await reading_from(kind, PipeRecorder())
        for turns in range(8):
            await in_a_busy_loop(turns)
        await ended(other, other.get_protocol(), other_peer)

    run(main())


@with_an_end
def test_the_answer_of_eof_received_keeps_nothing_open(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder(keep_open_at_eof=True)
        transport, peer = await reading_from(kind, protocol)
        peer.close()
        assert await soon(protocol.lost) is None
        assert transport.is_closing()
        assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    run(main())


def test_a_terminal_that_hangs_up_loses_the_connection_with_its_error(
    loop: Any, run: Any, loop_errors: list[Any]
) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        _, peer = await reading_from("terminal", protocol)
        put(peer, b"bye")
        await protocol.read(3)
        peer.close()
        error = await soon(protocol.lost)
        assert isinstance(error, OSError)
        assert error.errno == errno.EIO
        assert protocol.calls == ["connection_made", "data_received", "connection_lost"]

    run(main())
    assert loop_errors == []


def test_any_other_error_of_reading_is_reported(loop: Any, run: Any, loop_errors: list[Any]) -> None:
    async def main() -> None:
        peer, not_to_be_read = ends("pipe")
        transport, protocol = await loop.connect_read_pipe(PipeRecorder, not_to_be_read)
        peer.close()
        error = await soon(protocol.lost)
        assert isinstance(error, OSError)
        assert error.errno == errno.EBADF
        (context,) = loop_errors
        assert context["message"] == "Fatal read error on pipe transport"
        assert context["exception"] is error
        assert context["transport"] is transport
        assert context["protocol"] is protocol

    run(main())


@all_kinds
def test_nothing_is_delivered_while_paused(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await reading_from(kind, protocol)
        assert transport.is_reading()
        for _ in range(2):
            transport.pause_reading()
            assert not transport.is_reading()
        put(peer, b"later")
        await kernel_asked()
        assert protocol.received == b""
        for _ in range(2):
            transport.resume_reading()
            assert transport.is_reading()
        assert await protocol.read(5) == b"later"
        await ended(transport, protocol, peer)
        assert not transport.is_reading()

    run(main())


@with_an_end
def test_the_end_is_not_noticed_while_paused(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await reading_from(kind, protocol)
        transport.pause_reading()
        put(peer, b"the last words")
        peer.close()
        await kernel_asked()
        assert protocol.calls == ["connection_made"]
        transport.resume_reading()
        assert await soon(protocol.lost) is None
        assert protocol.received == b"the last words"

    run(main())


@all_kinds
def test_pausing_in_connection_made(loop: Any, run: Any, kind: str) -> None:
    class Pausing(PipeRecorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        protocol = Pausing()
        transport, peer = await reading_from(kind, protocol)
        put(peer, b"later")
        await kernel_asked()
        assert protocol.calls == ["connection_made"]
        transport.resume_reading()
        assert await protocol.read(5) == b"later"
        await ended(transport, protocol, peer)

    run(main())


def test_pausing_in_data_received_leaves_the_rest_in_the_kernel(loop: Any, run: Any) -> None:
    class Pausing(PipeRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.opened().pause_reading()

    async def main() -> None:
        protocol = Pausing()
        transport, peer = await reading_from("pipe", protocol)
        put(peer, b"one")
        await protocol.read(3)
        put(peer, b"two")
        await kernel_asked()
        assert protocol.received == b"one"
        transport.resume_reading()
        assert await protocol.read(6) == b"onetwo"
        await ended(transport, protocol, peer)

    run(main())


@all_kinds
def test_close_tells_the_protocol_once_and_later(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await reading_from(kind, protocol)
        put(peer, b"never delivered")
        for _ in range(3):
            transport.close()
            assert transport.is_closing()
        assert protocol.calls == ["connection_made"]
        assert await soon(protocol.lost) is None
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]
        peer.close()

    run(main())


@pytest.mark.parametrize("call", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_closing_in_a_call_of_the_protocol(loop: Any, run: Any, call: str) -> None:
    class Closing(PipeRecorder):
        pass

    def closing(self: Closing, *arguments: Any) -> None:
        getattr(PipeRecorder, call)(self, *arguments)
        self.opened().close()
        self.opened().pause_reading()
        self.opened().resume_reading()

    setattr(Closing, call, closing)

    async def main() -> None:
        protocol = Closing()
        _, peer = await reading_from("pipe", protocol)
        if call != "connection_made":
            put(peer, b"hello")
        peer.close()
        assert await soon(protocol.lost) is None
        await kernel_asked()
        order = ["connection_made", "data_received", "eof_received", "connection_lost"]
        cut = order[: order.index(call) + 1]
        assert protocol.calls == [*cut, "connection_lost"][: len(cut) + (call != "connection_lost")]

    run(main())


def test_closing_between_the_end_and_its_call_changes_nothing(loop: Any, run: Any) -> None:
    """The end was seen, its calls are on their way: what the program does meanwhile comes too late."""

    async def main() -> None:
        protocols = [PipeRecorder(), PipeRecorder()]
        pairs = [await reading_from("pipe", protocol) for protocol in protocols]
        for _, peer in pairs:
            peer.close()
        await soon(protocols[0].ended)
        for transport, _ in pairs:
            transport.close()
        for protocol in protocols:
            assert await soon(protocol.lost) is None
            assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    run(main())


def test_everything_is_quiet_after_connection_lost(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await reading_from("pipe", protocol)
        pipe = transport.get_extra_info("pipe")
        await ended(transport, protocol, peer)
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        assert transport.is_closing()
        assert not transport.is_reading()
        assert transport.get_protocol() is None
        assert transport.get_extra_info("pipe") is pipe
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


def test_another_protocol_takes_over(loop: Any, run: Any) -> None:
    async def main() -> None:
        first, second = PipeRecorder(), PipeRecorder()
        transport, peer = await reading_from("pipe", first)
        assert transport.get_protocol() is first
        put(peer, b"one")
        await first.read(3)
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        put(peer, b"two")
        peer.close()
        assert await second.read(3) == b"two"
        await soon(second.lost)
        assert first.calls == ["connection_made", "data_received"]
        assert second.calls == ["data_received", "eof_received", "connection_lost"]

    run(main())


def test_the_protocol_runs_in_the_context_of_the_connecting_task(loop: Any, run: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: dict[str, str] = {}

    class Looking(PipeRecorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            seen["connection_made"] = variable.get()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            seen["data_received"] = variable.get()

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            seen["connection_lost"] = variable.get()

    async def main() -> None:
        variable.set("connecting")
        protocol = Looking()
        _, peer = await reading_from("pipe", protocol)
        put(peer, b"hello")
        peer.close()
        await soon(protocol.lost)

    run(main())
    assert seen == dict.fromkeys(["connection_made", "data_received", "connection_lost"], "connecting")


def test_streams_over_a_pipe(loop: Any, run: Any) -> None:
    async def main() -> None:
        ours, peer = ends("pipe")
        reader = asyncio.StreamReader(limit=4096)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), ours)
        sending = asyncio.ensure_future(in_thread(put, peer, b"a line\n" * 10_000))
        for _ in range(10_000):
            assert await soon(reader.readline()) == b"a line\n"
        await sending
        peer.close()
        assert await soon(reader.read()) == b""
        transport.close()

    run(main())


def test_the_descriptor_can_be_shared_with_a_transport_that_writes(loop: Any, run: Any) -> None:
    """As programs do with a terminal: one number, read by one transport and written by another."""

    async def main() -> None:
        ours, peer = os.openpty()
        # Without its echo, which has to be read before anything else can be said.
        tty.setraw(peer)
        reader, reads = await loop.connect_read_pipe(PipeRecorder, unbuffered(ours, "rb", closefd=False))
        writer, writes = await loop.connect_write_pipe(PipeRecorder, unbuffered(ours, "wb"))
        writer.write(b"in\n")
        assert os.read(peer, 10) == b"in\n"
        while not writer.get_write_buffer_size():
            writer.write(b"x" * 100)
        os.write(peer, b"out\n")
        assert await soon(asyncio.ensure_future(reads.read(4))) == b"out\n"
        reader.close()
        await soon(reads.lost)
        os.close(peer)
        writer.abort()
        await soon(writes.lost)

    run(main())


def test_the_users_own_watch_takes_the_place_of_the_transports(loop: Any, run: Any) -> None:
    """A pipe's descriptor is not reserved, unlike that of a socket."""

    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await reading_from("pipe", protocol)
        number = transport.get_extra_info("pipe").fileno()
        seen = loop.create_future()
        loop.add_reader(number, lambda: seen.done() or seen.set_result(os.read(number, 10)))
        put(peer, b"hello")
        assert await soon(seen) == b"hello"
        assert loop.remove_reader(number)
        assert protocol.received == b""
        transport.pause_reading()
        transport.resume_reading()
        put(peer, b"again")
        assert await protocol.read(5) == b"again"
        await ended(transport, protocol, peer)

    run(main())
