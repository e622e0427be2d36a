"""What the transport does with the buffer of a BufferedProtocol, good or bad."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from net_peers import BufferedRecorder, closed, kernel_asked, soon, transport_to_peer


def test_the_hint_is_that_any_size_will_do(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = BufferedRecorder()
        transport, peer = await transport_to_peer(protocol)
        peer.sendall(b"x")
        await protocol.read(1)
        assert set(protocol.hints) == {-1}
        await closed(transport, protocol, peer)

    run(main())


def test_data_is_cut_to_the_size_of_the_buffer(loop: Any, run: Any) -> None:
    sizes: list[int] = []

    class Noting(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            sizes.append(nbytes)
            super().buffer_updated(nbytes)

    async def main() -> None:
        protocol = Noting(4)
        transport, peer = await transport_to_peer(protocol)
        transport.pause_reading()
        peer.sendall(b"0123456789")
        await kernel_asked()
        transport.resume_reading()
        assert await protocol.read(10) == b"0123456789"
        assert sizes == [4, 4, 2]
        await closed(transport, protocol, peer)

    run(main())


def test_data_lands_in_the_part_of_a_buffer_that_was_handed_out(loop: Any, run: Any) -> None:
    class Collecting(BufferedRecorder):
        """Lets everything land behind what is there already, without copying."""

        def get_buffer(self, sizehint: int) -> memoryview:
            return memoryview(self.buffer)[len(self.received) :]

        def buffer_updated(self, nbytes: int) -> None:
            start = len(self.received)
            self.note("buffer_updated", bytes(self.buffer[start : start + nbytes]))

    async def main() -> None:
        protocol = Collecting(9)
        transport, peer = await transport_to_peer(protocol)
        for word in b"one", b"two", b"six":
            peer.sendall(word)
            await protocol.read(len(protocol.received) + 3)
        assert protocol.buffer == b"onetwosix"
        await closed(transport, protocol, peer)

    run(main())


def test_data_lands_in_memory_of_items_of_any_kind(loop: Any, run: Any) -> None:
    class Numbers(BufferedRecorder):
        """Lends memory of 16 bytes in items of four."""

        def __init__(self) -> None:
            super().__init__()
            self.numbers = array("I", [0] * 4)

        def get_buffer(self, sizehint: int) -> Any:
            return self.numbers

        def buffer_updated(self, nbytes: int) -> None:
            self.note("buffer_updated", self.numbers.tobytes()[:nbytes])

    async def main() -> None:
        protocol = Numbers()
        transport, peer = await transport_to_peer(protocol)
        peer.sendall(b"0123456789abcdef")
        assert await protocol.read(16) == b"0123456789abcdef"
        await closed(transport, protocol, peer)

    run(main())


def lost_by(
    run: Any, loop_errors: list[dict[str, Any]], protocol_type: type[BufferedRecorder]
) -> dict[str, Any]:
    """Sends one byte to such a protocol, which must cost the connection; answers the one report."""

    async def main() -> None:
        protocol = protocol_type()
        transport, peer = await transport_to_peer(protocol)
        peer.sendall(b"x")
        error = await soon(protocol.lost)
        assert error is loop_errors[0]["exception"]
        assert loop_errors[0]["transport"] is transport
        assert loop_errors[0]["protocol"] is protocol
        assert protocol.calls[-1] == "connection_lost"
        peer.close()

    run(main())
    (report,) = loop_errors
    return report


def test_a_raising_get_buffer_costs_the_connection(loop: Any, run: Any, loop_errors: Any) -> None:
    class Raising(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            raise ZeroDivisionError("from get_buffer")

    report = lost_by(run, loop_errors, Raising)
    assert report["message"] == "Fatal error: protocol.get_buffer() call failed."
    assert isinstance(report["exception"], ZeroDivisionError)


def test_an_empty_buffer_costs_the_connection(loop: Any, run: Any, loop_errors: Any) -> None:
    class Empty(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return bytearray()

    report = lost_by(run, loop_errors, Empty)
    assert report["message"] == "Fatal error: protocol.get_buffer() call failed."
    assert isinstance(report["exception"], RuntimeError)
    assert str(report["exception"]) == "get_buffer() returned an empty buffer"


@pytest.mark.parametrize("wrong", [None, 7])
def test_no_buffer_at_all_costs_the_connection(loop: Any, run: Any, loop_errors: Any, wrong: Any) -> None:
    class Wrong(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return wrong

    report = lost_by(run, loop_errors, Wrong)
    assert report["message"] == "Fatal error: protocol.get_buffer() call failed."
    assert isinstance(report["exception"], TypeError)


def test_a_buffer_that_cannot_be_written_costs_the_connection(loop: Any, run: Any, loop_errors: Any) -> None:
    class Constant(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return b"constant"

    report = lost_by(run, loop_errors, Constant)
    assert isinstance(report["exception"], (TypeError, BufferError))


def test_a_raising_buffer_updated_costs_the_connection(loop: Any, run: Any, loop_errors: Any) -> None:
    class Raising(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            raise ZeroDivisionError("from buffer_updated")

    report = lost_by(run, loop_errors, Raising)
    assert report["message"] == "Fatal error: protocol.buffer_updated() call failed."
    assert isinstance(report["exception"], ZeroDivisionError)


def test_the_buffer_is_not_held_between_deliveries(loop: Any, run: Any) -> None:
    """A bytearray cannot change its size while somebody still holds its memory."""

    async def main() -> None:
        protocol = BufferedRecorder()
        transport, peer = await transport_to_peer(protocol)
        peer.sendall(b"x")
        await protocol.read(1)
        protocol.buffer.extend(b"longer")
        peer.sendall(b"y")
        assert await protocol.read(2) == b"xy"
        await closed(transport, protocol, peer)
        protocol.buffer.clear()

    run(main())
