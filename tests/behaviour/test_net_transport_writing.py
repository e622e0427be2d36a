"""TCP transports where data goes out: kinds of bytes, order, writelines, half-close, writing too late."""

from __future__ import annotations

import array
import asyncio
import socket
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
)


def sent(run: Any, write: Any) -> bytes:
    """All that a peer receives when `write(transport)` is followed by a close."""

    async def main() -> bytes:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        write(transport)
        transport.close()
        received: bytes = await in_thread(receive_to_end, peer)
        assert await soon(protocol.lost) is None
        peer.close()
        return received

    received: bytes = run(main())
    return received


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_bytes_is_sent(loop: Any, run: Any, kind: Any) -> None:
    assert sent(run, lambda transport: transport.write(kind(b"some bytes"))) == b"some bytes"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_bytes_is_sent_when_it_has_to_wait(loop: Any, run: Any, kind: Any) -> None:
    assert sent(run, lambda transport: transport.write(kind(MORE_THAN_FITS))) == MORE_THAN_FITS


def test_a_part_of_a_memoryview_is_sent(loop: Any, run: Any) -> None:
    assert sent(run, lambda transport: transport.write(memoryview(b"abcdef")[2:4])) == b"cd"


@pytest.mark.parametrize("wrong", ["text", 7, None, [b"x"], array.array("b", b"x")])
def test_what_is_not_bytes_is_a_type_error_and_sends_nothing(loop: Any, run: Any, wrong: Any) -> None:
    def write(transport: asyncio.Transport) -> None:
        with pytest.raises(TypeError, match=r"data argument must be a bytes.* not '"):
            transport.write(wrong)

    assert sent(run, write) == b""


def test_writing_nothing_sends_nothing(loop: Any, run: Any) -> None:
    assert sent(run, lambda transport: transport.write(b"")) == b""


def test_many_writes_arrive_in_order(loop: Any, run: Any) -> None:
    def write(transport: asyncio.Transport) -> None:
        for number in range(10_000):
            transport.write(b"%d," % number)

    assert sent(run, write) == b"".join(b"%d," % number for number in range(10_000))


def test_writes_of_all_sizes_and_kinds_arrive_in_order(loop: Any, run: Any) -> None:
    chunks = [bytes([size % 251]) * size for size in (1, 100_000, 0, 3, 70_000, 1, 300_000, 17)]

    def write(transport: asyncio.Transport) -> None:
        for chunk in chunks:
            transport.write(chunk)
            transport.writelines([bytearray(b"<"), memoryview(chunk), b">"])

    assert sent(run, write) == b"".join(chunk + b"<" + chunk + b">" for chunk in chunks)


def test_what_is_written_in_connection_made_is_sent(loop: Any, run: Any) -> None:
    class Greeting(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"greeting")

    async def main() -> None:
        protocol = Greeting()
        transport, peer = await transport_to_peer(protocol)
        assert await in_thread(receive_exactly, peer, 8) == b"greeting"
        await closed(transport, protocol, peer)

    run(main())


def test_a_request_and_its_answer_go_back_and_forth(loop: Any, run: Any) -> None:
    class Echo(Recorder):
        def data_received(self, data: bytes) -> None:
            self.opened().write(data)

    def talk(peer: socket.socket) -> None:
        for number in range(500):
            peer.sendall(b"%03d" % number)
            assert receive_exactly(peer, 3) == b"%03d" % number

    async def main() -> None:
        protocol = Echo()
        transport, peer = await transport_to_peer(protocol)
        await in_thread(talk, peer)
        await closed(transport, protocol, peer)

    run(main())


@pytest.mark.rasyncio_only(
    "asyncio sends what the buffer holds when the kernel takes it, not what was written"
)
def test_a_buffer_changed_after_the_write_does_not_change_what_is_sent(loop: Any, run: Any) -> None:
    def write(transport: asyncio.Transport) -> None:
        for size in 1_000, 1_000_000:
            for method in transport.write, lambda data: transport.writelines([data, memoryview(data)]):
                buffer = bytearray(b"a" * size)
                method(buffer)
                buffer[:] = b"b" * size

    assert b"b" not in sent(run, write)


def test_a_written_bytearray_may_be_resized_by_its_owner(loop: Any, run: Any) -> None:
    """While the transport has taken what it could at once; nothing may keep the buffer locked."""

    def write(transport: asyncio.Transport) -> None:
        buffer = bytearray(b"short")
        transport.write(buffer)
        buffer.extend(b" and now longer")

    assert sent(run, write) == b"short"


@pytest.mark.parametrize("lines", [[], [b"one"], [b"one", bytearray(b"two"), memoryview(b"three")]])
def test_writelines_sends_its_parts_in_order(loop: Any, run: Any, lines: list[Any]) -> None:
    assert sent(run, lambda transport: transport.writelines(lines)) == b"".join(lines)


def test_writelines_takes_any_iterable(loop: Any, run: Any) -> None:
    received = sent(run, lambda transport: transport.writelines(b"%d," % number for number in range(5)))
    assert received == b"0,1,2,3,4,"


def test_writelines_of_more_parts_than_the_kernel_takes_at_once(loop: Any, run: Any) -> None:
    lines = [b"%d," % number for number in range(5000)]
    assert sent(run, lambda transport: transport.writelines(lines)) == b"".join(lines)


def test_writelines_of_more_than_the_kernel_holds(loop: Any, run: Any) -> None:
    lines = [MORE_THAN_FITS[start : start + 1000] for start in range(0, len(MORE_THAN_FITS), 1000)]
    assert sent(run, lambda transport: transport.writelines(lines)) == MORE_THAN_FITS


def test_writelines_with_empty_parts(implementation: Any, loop: Any, run: Any) -> None:
    if implementation.is_oracle and (3, 12) <= sys.version_info < (3, 14):
        pytest.skip("gh-155888: this asyncio never gets rid of an empty part")
    assert sent(run, lambda transport: transport.writelines([b"", b"x", b"", b"y", b""])) == b"xy"
    assert sent(run, lambda transport: transport.writelines([b""])) == b""


@pytest.mark.parametrize("wrong", [["text"], [b"fine", 7], 7, None])
def test_writelines_of_what_is_not_bytes_is_a_type_error(
    implementation: Any, loop: Any, run: Any, wrong: Any
) -> None:
    if implementation.is_oracle and wrong is None:
        pytest.skip("asyncio takes a false value for an empty list")
    if implementation.is_oracle and sys.version_info >= (3, 15) and wrong == [b"fine", 7]:
        pytest.skip("this asyncio keeps what came before the wrong part, and never sends it nor closes")

    def write(transport: asyncio.Transport) -> None:
        with pytest.raises(TypeError):
            transport.writelines(wrong)

    assert sent(run, write) == b""


def test_write_eof_ends_the_stream_but_not_the_reading(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        assert transport.can_write_eof() is True
        transport.write(b"last words")
        transport.write_eof()
        transport.write_eof()
        assert not transport.is_closing()
        assert await in_thread(receive_to_end, peer) == b"last words"
        peer.sendall(b"an answer")
        assert await protocol.read(9) == b"an answer"
        peer.close()
        assert await soon(protocol.lost) is None

    run(main())


def test_write_eof_waits_for_what_was_written_before(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(MORE_THAN_FITS)
        transport.write_eof()
        assert transport.get_write_buffer_size() > 0
        assert await in_thread(receive_to_end, peer) == MORE_THAN_FITS
        assert not transport.is_closing()
        await closed(transport, protocol, peer)

    run(main())


@pytest.mark.parametrize("data", [b"x", b""])
def test_writing_after_write_eof_is_a_runtime_error(loop: Any, run: Any, data: bytes) -> None:
    def write(transport: asyncio.Transport) -> None:
        transport.write_eof()
        with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
            transport.write(data)
        with pytest.raises(RuntimeError, match=r"Cannot call write.*\(\) after write_eof\(\)"):
            transport.writelines([b"x", b"y"])

    assert sent(run, write) == b""


def test_write_eof_after_close_does_nothing(loop: Any, run: Any) -> None:
    def write(transport: asyncio.Transport) -> None:
        transport.close()
        transport.write_eof()

    assert sent(run, write) == b""


def test_writing_after_close_is_dropped_and_warned_of_from_the_fifth_on(
    loop: Any, run: Any, asyncio_log: Any
) -> None:
    def write(transport: asyncio.Transport) -> None:
        transport.write(b"before")
        transport.close()
        for _ in range(7):
            transport.write(b"after")
        transport.write(b"")

    assert sent(run, write) == b"before"
    assert asyncio_log.messages.count("socket.send() raised exception.") == 3


def test_writing_after_the_connection_was_lost_is_dropped(loop: Any, run: Any, asyncio_log: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        await closed(transport, protocol, peer)
        for _ in range(7):
            transport.write(b"after")
        with pytest.raises(TypeError):
            transport.write("text")  # type: ignore[arg-type]

    run(main())
    assert asyncio_log.messages.count("socket.send() raised exception.") == 3


def test_writelines_after_close_is_dropped(
    implementation: Any, loop: Any, run: Any, asyncio_log: Any
) -> None:
    if implementation.is_oracle and (3, 12) <= sys.version_info < (3, 14):
        pytest.skip("this asyncio forgets how to write at close() and calls None")

    def write(transport: asyncio.Transport) -> None:
        transport.close()
        transport.writelines([b"after", b"after"])

    assert sent(run, write) == b""


def test_writing_between_close_and_the_end_of_flushing_is_still_sent(loop: Any, run: Any) -> None:
    def write(transport: asyncio.Transport) -> None:
        transport.write(MORE_THAN_FITS)
        transport.close()
        transport.write(b"and this")

    assert sent(run, write) == MORE_THAN_FITS + b"and this"


def test_a_peer_that_is_gone_is_the_error_of_connection_lost(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder(keep_open_at_eof=True)
        transport, peer = await transport_to_peer(protocol)
        peer.close()
        await soon(protocol.ended)
        while not transport.is_closing():
            transport.write(b"to nobody")
            await kernel_asked()
        assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))

    run(main())
