"""Pipes under stress: readers that never read, ends that vanish, numbers used again, cancelled connecting."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any

import pytest
from net_peers import MORE_THAN_FITS, in_thread, kernel_asked, soon
from net_pipes import (
    KINDS,
    WITH_AN_END,
    PipeRecorder,
    ended,
    ends,
    filled,
    no_descriptor_left,
    put,
    reading_from,
    take,
    take_to_end,
    unbuffered,
    writing_to,
)

both_directions = pytest.mark.parametrize("direction", ["read", "write"])
all_kinds = pytest.mark.parametrize("kind", KINDS)
with_an_end = pytest.mark.parametrize("kind", WITH_AN_END)

PIECE = bytes(range(250)) * 40
HIGH = 64 * 1024
STATES = ["idle", "full", "paused", "closing", "half read"]


def connecting(loop: Any, direction: str, factory: Any, pipe: Any) -> Any:
    return getattr(loop, f"connect_{direction}_pipe")(factory, pipe)


def ours_and_peer(direction: str, kind: str = "pipe") -> tuple[Any, Any]:
    reading, writing = ends(kind)
    return (reading, writing) if direction == "read" else (writing, reading)


class Endless(PipeRecorder):
    """Writes as long as it may, for ever."""

    most = 0
    written = 0
    may_write = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.go_on()

    def go_on(self) -> None:
        while self.may_write and not self.opened().is_closing():
            self.opened().write(PIECE)
            self.written += len(PIECE)
            self.most = max(self.most, self.opened().get_write_buffer_size())

    def pause_writing(self) -> None:
        super().pause_writing()
        self.may_write = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self.may_write = True
        self.go_on()


@all_kinds
def test_what_waits_for_a_reader_that_never_reads_is_bounded(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = Endless()
        transport, peer = await writing_to(kind, protocol)
        for _ in range(20):
            await kernel_asked()
        assert protocol.calls == ["connection_made", "pause_writing"]
        assert HIGH < protocol.most <= HIGH + len(PIECE)
        await ended(transport, protocol, peer)

    run(main())


@all_kinds
def test_a_slow_reader_misses_nothing(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = Endless()
        transport, peer = await writing_to(kind, protocol)
        received = bytearray()
        while len(received) < 50 * len(PIECE):
            received += await in_thread(take, peer, 4321)
        assert bytes(received) == (PIECE * 51)[: len(received)]
        assert protocol.most <= HIGH + len(PIECE)
        await ended(transport, protocol, peer)

    run(main())


@with_an_end
@pytest.mark.parametrize("state", STATES)
def test_a_reader_that_vanishes_ends_the_writer_once_in_every_state(
    loop: Any, run: Any, loop_errors: list[Any], kind: str, state: str
) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        if state == "paused":
            transport.set_write_buffer_limits(high=0)
        if state != "idle":
            transport.write(MORE_THAN_FITS)
        if state == "closing":
            transport.close()
        if state == "half read":
            await in_thread(take, peer, len(MORE_THAN_FITS) // 2)
        peer.close()
        error = await soon(protocol.lost)
        assert error is None if state == "idle" else isinstance(error, BrokenPipeError)
        transport.write(b"in vain")
        await kernel_asked()
        assert protocol.calls.count("connection_lost") == 1
        assert transport.get_write_buffer_size() == 0

    with no_descriptor_left():
        run(main())
    assert loop_errors == []


@with_an_end
def test_a_reader_and_a_writer_that_vanish_together(loop: Any, run: Any, kind: str) -> None:
    """Both ends are transports of one loop; each pair is closed from one of its sides."""

    async def main() -> None:
        for first in ["reader", "writer"] * 20:
            reading, writing = ends(kind)
            reader, reads = await loop.connect_read_pipe(PipeRecorder, reading)
            writer, writes = await loop.connect_write_pipe(PipeRecorder, writing)
            writer.write(b"on its way")
            (reader if first == "reader" else writer).close()
            assert await soon(reads.lost) is None
            assert await soon(writes.lost) is None
            assert reads.received == (b"" if first == "reader" else b"on its way")

    with no_descriptor_left():
        run(main())


@both_directions
@all_kinds
def test_connecting_cancelled_at_each_step_leaks_nothing(
    loop: Any, run: Any, direction: str, kind: str
) -> None:
    async def attempt(steps: int) -> bool:
        ours, peer = ours_and_peer(direction, kind)
        protocols: list[PipeRecorder] = []

        def factory() -> PipeRecorder:
            protocols.append(PipeRecorder())
            return protocols[-1]

        task = asyncio.ensure_future(connecting(loop, direction, factory, ours))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        try:
            transport, _ = await task
            transport.close()
            got_through = True
        except asyncio.CancelledError:
            got_through = False
        for protocol in protocols:
            await soon(protocol.lost)
            assert protocol.calls == ["connection_made", "connection_lost"]
        if not protocols:
            # The task never began: the pipe is still the caller's.
            ours.close()
        assert ours.fileno() == -1 if kind == "socket" else ours.closed
        peer.close()
        return got_through

    async def main() -> None:
        for steps in range(10):
            if await attempt(steps):
                return
        raise AssertionError("no attempt got through")

    run(main())
    with no_descriptor_left():
        run(main())


@both_directions
def test_connecting_that_nobody_awaits_to_the_end_closes_the_pipe(
    loop: Any, run: Any, direction: str
) -> None:
    async def main() -> None:
        ours, peer = ours_and_peer(direction)
        protocol = PipeRecorder()
        coroutine = connecting(loop, direction, lambda: protocol, ours)
        coroutine.send(None)
        coroutine.close()
        assert await soon(protocol.lost) is None
        assert ours.closed
        peer.close()

    run(main())


def test_numbers_used_over_and_over_never_mix_pipes(loop: Any, run: Any) -> None:
    async def main() -> None:
        numbers = set()
        for turn in range(200):
            protocol = PipeRecorder()
            transport, peer = await reading_from("pipe", protocol)
            numbers.add(transport.get_extra_info("pipe").fileno())
            word = b"turn %d" % turn
            put(peer, word)
            assert await protocol.read(len(word)) == word
            put(peer, b"never delivered")
            await ended(transport, protocol, peer)
            assert protocol.received == word
        assert len(numbers) < 20

    run(main())


def test_what_the_kernel_said_of_an_old_pipe_does_not_reach_the_new_one(loop: Any, run: Any) -> None:
    """Two pipes are readable in one answer; the first to hear puts a new one in the place of the other."""
    protocols: list[Any] = []
    numbers: list[int] = []
    fresh: list[Any] = []

    class Replacing(PipeRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            (other,) = (index for index, protocol in enumerate(protocols) if protocol is not self)
            protocols[other].opened().close()
            reading, writing = ends("pipe")
            os.dup2(reading.fileno(), numbers[other])
            reading.close()
            pipe = unbuffered(numbers[other], "rb", closefd=False)
            fresh.extend([writing, loop.create_task(loop.connect_read_pipe(PipeRecorder, pipe))])

    async def main() -> None:
        peers = []
        for _ in range(2):
            number, peer = os.pipe()
            numbers.append(number)
            peers.append(peer)
            protocols.append(Replacing())
            pipe = unbuffered(number, "rb", closefd=False)
            await loop.connect_read_pipe(lambda: protocols[-1], pipe)
        for peer in peers:
            os.write(peer, b"old data")
        await kernel_asked()
        assert sorted(len(protocol.received) for protocol in protocols) == [0, 8]
        writing, connecting = fresh
        transport, protocol = await connecting
        put(writing, b"new data")
        assert await protocol.read(8) == b"new data"
        heard, closed = sorted(protocols, key=lambda protocol: not protocol.received)
        await soon(closed.lost)
        assert closed.calls == ["connection_made", "connection_lost"]
        await ended(transport, protocol, writing)
        heard.opened().close()
        await soon(heard.lost)
        for number in numbers + peers:
            os.close(number)

    run(main())


@pytest.mark.rasyncio_only("asyncio does not notice that the kernel forgot the number, and never calls back")
@both_directions
def test_a_number_closed_behind_the_loops_back_can_be_connected_again(
    loop: Any, run: Any, direction: str
) -> None:
    async def main() -> None:
        old_ours, old_peer = ours_and_peer(direction)
        old, old_protocol = await connecting(loop, direction, PipeRecorder, old_ours)
        number = old_ours.fileno()
        old_ours.close()
        old_peer.close()
        ours, peer = ours_and_peer(direction)
        if ours.fileno() != number:
            os.dup2(ours.fileno(), number)
            ours.close()
            ours = unbuffered(number, "rb" if direction == "read" else "wb")
        transport, protocol = await connecting(loop, direction, PipeRecorder, ours)
        if direction == "read":
            put(peer, b"hello")
            assert await protocol.read(5) == b"hello"
            peer.close()
            assert await soon(protocol.lost) is None
        else:
            transport.write(b"hello")
            assert take(peer, 5) == b"hello"
            filled(transport)
            peer.close()
            assert isinstance(await soon(protocol.lost), BrokenPipeError)
        assert old_protocol.calls == ["connection_made"]
        old.close()
        assert await soon(old_protocol.lost) is None

    with no_descriptor_left():
        run(main())


@both_directions
def test_a_loop_closed_under_its_transports_leaves_nothing(loop: Any, run: Any, direction: str) -> None:
    async def main() -> Any:
        ours, peer = ours_and_peer(direction)
        transport, _ = await connecting(loop, direction, asyncio.Protocol, ours)
        if direction == "write":
            filled(transport)
        return peer

    peer = run(main())
    with pytest.warns(ResourceWarning, match="unclosed transport <_Unix"):
        loop.close()
        gc.collect()
    if direction == "write":
        # Everything that the kernel had taken, and then the end.
        assert take_to_end(peer)
    peer.close()


@both_directions
def test_an_interpreter_that_ends_with_open_transports_ends_well(script: Any, direction: str) -> None:
    result = script(
        """
        import asyncio, os, sys, warnings

        direction = sys.argv[1]
        loop = aio.new_event_loop()
        reading, writing = os.pipe()
        ours = open(reading, "rb", 0) if direction == "read" else open(writing, "wb", 0)

        async def main():
            connect = getattr(loop, f"connect_{direction}_pipe")
            return await connect(asyncio.Protocol, ours)

        kept = loop.run_until_complete(main())
        warnings.simplefilter("always")
        print("done")
        """,
        direction,
    )
    assert (result.returncode, result.stdout) == (0, "done\n")
    for line in result.stderr.splitlines():
        assert "ResourceWarning" in line or line.startswith((" ", "ResourceWarning")), result.stderr
