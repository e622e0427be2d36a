"""open_connection on top of the loop, where data comes in: StreamReader over a real connection."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    MORE_THAN_FITS,
    connected_pair,
    in_thread,
    kernel_asked,
    listener,
    receive_exactly,
    reset,
    soon,
    until,
)

Reading = Callable[[asyncio.StreamReader, socket.socket], Awaitable[None]]


def reading(run: Any, streams: Any, test: Reading, **options: Any) -> None:
    """Runs `test` with the reader of a connection and the raw socket of its peer."""

    async def main() -> None:
        ours, peer = connected_pair()
        reader, writer = await streams.open_connection(sock=ours, **options)
        try:
            await test(reader, peer)
        finally:
            peer.close()
            writer.transport.abort()
            await asyncio.gather(soon(writer.wait_closed()), return_exceptions=True)

    run(main())


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_a_connection_by_host_and_port_carries_both_ways(
    loop: Any, run: Any, streams: Any, family: int, host: str
) -> None:
    async def main(server: socket.socket) -> None:
        reader, writer = await streams.open_connection(host, server.getsockname()[1])
        peer, _ = server.accept()
        writer.write(b"question\n")
        await writer.drain()
        assert await in_thread(receive_exactly, peer, 9) == b"question\n"
        peer.sendall(b"answer\n")
        assert await soon(reader.readline()) == b"answer\n"
        peer.close()
        assert await soon(reader.read()) == b""
        assert reader.at_eof()
        writer.close()
        await soon(writer.wait_closed())

    with listener(host, family) as server:
        run(main(server))


def test_readline_waits_for_the_end_of_the_line(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        line = asyncio.ensure_future(reader.readline())
        for piece in b"a li", b"ne", b"\nano":
            assert not line.done()
            peer.sendall(piece)
            await kernel_asked()
        assert await soon(line) == b"a line\n"
        peer.sendall(b"ther\n")
        assert await soon(reader.readline()) == b"another\n"

    reading(run, streams, test)


def test_readline_at_the_end_answers_what_is_left(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        peer.sendall(b"one\ntwo")
        peer.close()
        assert [await soon(reader.readline()) for _ in range(3)] == [b"one\n", b"two", b""]
        assert reader.at_eof()

    reading(run, streams, test)


def test_a_reader_iterates_over_its_lines(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        peer.sendall(b"one\ntwo\n\nlast")
        peer.close()
        assert [line async for line in reader] == [b"one\n", b"two\n", b"\n", b"last"]

    reading(run, streams, test)


def test_a_line_longer_than_the_limit_is_a_value_error(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        peer.sendall(b"x" * 100 + b"\nshort\n")
        with pytest.raises(ValueError, match="limit"):
            await soon(reader.readline())
        assert await soon(reader.readline()) == b"short\n"

    reading(run, streams, test, limit=50)


def test_readuntil_stops_behind_the_separator(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        for piece in b"head\r", b"\n\r", b"\nbody":
            peer.sendall(piece)
            await kernel_asked()
        assert await soon(reader.readuntil(b"\r\n\r\n")) == b"head\r\n\r\n"
        assert await soon(reader.read(100)) == b"body"

    reading(run, streams, test)


def test_readuntil_at_the_end_raises_with_what_there_was(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        peer.sendall(b"no end")
        peer.close()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await soon(reader.readuntil(b";"))
        assert caught.value.partial == b"no end"
        assert caught.value.expected is None
        assert await soon(reader.read()) == b""

    reading(run, streams, test)


@pytest.mark.parametrize(("data", "consumed"), [(b"x" * 60 + b";rest", 60), (b"x" * 100, 100)])
def test_readuntil_over_the_limit_leaves_the_data(
    loop: Any, run: Any, streams: Any, data: bytes, consumed: int
) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        peer.sendall(data)
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await soon(reader.readuntil(b";"))
        assert caught.value.consumed == consumed
        assert await soon(reader.readexactly(len(data))) == data

    reading(run, streams, test, limit=50)


def test_readuntil_of_no_separator_is_a_value_error(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        with pytest.raises(ValueError, match="Separator should be at least one-byte string"):
            await reader.readuntil(b"")

    reading(run, streams, test)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="several separators came with Python 3.13")
def test_readuntil_any_of_several_separators(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        separators: Any = b"\r\n", b";"
        peer.sendall(b"one\r\ntwo;three")
        assert await soon(reader.readuntil(separators)) == b"one\r\n"
        assert await soon(reader.readuntil(separators)) == b"two;"

    reading(run, streams, test)


def test_readexactly_waits_for_all_of_it(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        task = asyncio.ensure_future(reader.readexactly(6))
        for piece in b"ab", b"cd", b"efgh":
            assert not task.done()
            peer.sendall(piece)
            await kernel_asked()
        assert await soon(task) == b"abcdef"
        assert await soon(reader.readexactly(0)) == b""
        assert await soon(reader.readexactly(2)) == b"gh"

    reading(run, streams, test)


def test_readexactly_at_the_end_raises_with_what_there_was(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        peer.sendall(b"abc")
        peer.close()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await soon(reader.readexactly(10))
        assert (caught.value.partial, caught.value.expected) == (b"abc", 10)

    reading(run, streams, test)


def test_readexactly_of_less_than_nothing_is_a_value_error(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
            await reader.readexactly(-1)

    reading(run, streams, test)


def test_read_answers_what_is_there_up_to_the_count(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        task = asyncio.ensure_future(reader.read(4))
        await kernel_asked()
        assert not task.done()
        peer.sendall(b"abcdef")
        assert await soon(task) == b"abcd"
        assert await soon(reader.read(100)) == b"ef"
        assert await soon(reader.read(0)) == b""

    reading(run, streams, test)


def test_read_without_a_count_answers_everything_to_the_end(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        sending = asyncio.ensure_future(in_thread(peer.sendall, MORE_THAN_FITS))
        task = asyncio.ensure_future(reader.read())
        await sending
        assert not task.done()
        peer.shutdown(socket.SHUT_WR)
        assert await soon(task) == MORE_THAN_FITS

    reading(run, streams, test)


def test_two_readers_at_once_are_a_runtime_error(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        first = asyncio.ensure_future(reader.read(10))
        await kernel_asked()
        with pytest.raises(RuntimeError, match="called while another coroutine is already waiting"):
            await reader.readline()
        peer.sendall(b"x")
        assert await soon(first) == b"x"

    reading(run, streams, test)


def test_a_cancelled_read_loses_nothing(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        task = asyncio.ensure_future(reader.readline())
        await kernel_asked()
        peer.sendall(b"half a ")
        await kernel_asked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.sendall(b"line\n")
        assert await soon(reader.readline()) == b"half a line\n"

    reading(run, streams, test)


def test_a_reset_is_raised_by_the_read_that_waits(loop: Any, run: Any, streams: Any) -> None:
    async def test(reader: asyncio.StreamReader, peer: socket.socket) -> None:
        task = asyncio.ensure_future(reader.read(10))
        await kernel_asked()
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await soon(task)
        assert isinstance(reader.exception(), ConnectionResetError)

    reading(run, streams, test)


def test_a_reader_nobody_reads_stops_the_transport_and_starts_it_again(
    loop: Any, run: Any, streams: Any
) -> None:
    async def main() -> None:
        ours, peer = connected_pair()
        reader, writer = await streams.open_connection(sock=ours, limit=1000)
        sending = asyncio.ensure_future(in_thread(peer.sendall, MORE_THAN_FITS))
        transport: Any = writer.transport
        await until(lambda: not transport.is_reading())
        assert not sending.done()
        assert await soon(reader.readexactly(len(MORE_THAN_FITS))) == MORE_THAN_FITS
        assert transport.is_reading()
        await sending
        peer.close()
        writer.close()
        await soon(writer.wait_closed())

    run(main())


def test_open_connection_reports_a_refusal(loop: Any, run: Any, streams: Any) -> None:
    with listener() as server:
        address = server.getsockname()
    with pytest.raises(ConnectionRefusedError):
        run(streams.open_connection(*address))


def test_several_connections_read_at_once(loop: Any, run: Any, streams: Any) -> None:
    async def main(server: socket.socket) -> None:
        address = server.getsockname()
        opened = [await streams.open_connection(*address) for _ in range(20)]
        peers = [server.accept()[0] for _ in opened]
        tasks = [asyncio.ensure_future(reader.readline()) for reader, _ in opened]
        for number, peer in reversed(list(enumerate(peers))):
            peer.sendall(b"%d\n" % number)
        assert await soon(asyncio.gather(*tasks)) == [b"%d\n" % number for number in range(20)]
        for peer in peers:
            peer.close()
        for _, writer in opened:
            writer.close()
            await soon(writer.wait_closed())

    with listener() as server:
        run(main(server))
