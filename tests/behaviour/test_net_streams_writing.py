"""open_connection and start_server on top of the loop, where data goes out."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    connect,
    connected_pair,
    in_thread,
    kernel_asked,
    receive_exactly,
    receive_to_end,
    reset,
    soon,
)


async def opened(streams: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]:
    ours, peer = connected_pair()
    reader, writer = await streams.open_connection(sock=ours)
    return reader, writer, peer


def test_write_writelines_and_drain_send_in_order(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        _, writer, peer = await opened(streams)
        writer.write(b"one ")
        writer.writelines([b"two ", b"three "])
        await writer.drain()
        writer.write(b"four")
        assert not writer.is_closing()
        writer.close()
        assert writer.is_closing()
        assert await in_thread(receive_to_end, peer) == b"one two three four"
        await soon(writer.wait_closed())
        peer.close()

    run(main())


def test_drain_waits_for_the_peer_to_read(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        _, writer, peer = await opened(streams)
        writer.write(MORE_THAN_FITS)
        draining = asyncio.ensure_future(writer.drain())
        await kernel_asked()
        assert not draining.done()
        assert await in_thread(receive_exactly, peer, len(MORE_THAN_FITS)) == MORE_THAN_FITS
        await soon(draining)
        writer.close()
        await soon(writer.wait_closed())
        peer.close()

    run(main())


def test_a_drain_that_waits_is_told_of_the_reset(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        _, writer, peer = await opened(streams)
        writer.write(MORE_THAN_FITS)
        draining = asyncio.ensure_future(writer.drain())
        await kernel_asked()
        reset(peer)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await soon(draining)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await soon(writer.wait_closed())

    run(main())


def test_drain_after_the_connection_was_lost_is_a_reset(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        reader, writer, peer = await opened(streams)
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await soon(reader.read(10))
        with pytest.raises(ConnectionResetError):
            await soon(writer.drain())
        with pytest.raises(ConnectionResetError):
            await soon(writer.wait_closed())

    run(main())


def test_wait_closed_waits_until_everything_is_sent(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        _, writer, peer = await opened(streams)
        writer.write(MORE_THAN_FITS)
        writer.close()
        waiting = asyncio.ensure_future(writer.wait_closed())
        await kernel_asked()
        assert not waiting.done()
        assert await in_thread(receive_to_end, peer) == MORE_THAN_FITS
        assert await soon(waiting) is None
        peer.close()

    run(main())


def test_write_eof_lets_the_peer_answer(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        reader, writer, peer = await opened(streams)
        assert writer.can_write_eof()
        writer.write(b"the question")
        writer.write_eof()
        assert await in_thread(receive_to_end, peer) == b"the question"
        peer.sendall(b"the answer")
        peer.close()
        assert await soon(reader.read()) == b"the answer"
        writer.close()
        await soon(writer.wait_closed())

    run(main())


def test_a_writer_knows_its_transport(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        _, writer, peer = await opened(streams)
        assert writer.get_extra_info("peername") == peer.getsockname()
        assert isinstance(writer.transport, asyncio.Transport)
        assert writer.transport.get_extra_info("sockname") == peer.getpeername()
        writer.close()
        await soon(writer.wait_closed())
        peer.close()

    run(main())


def test_a_writer_calls_what_was_put_into_its_transport(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        _, writer, peer = await opened(streams)
        transport: Any = writer.transport
        original, seen = transport.write, []

        def write(data: bytes) -> None:
            seen.append(data)
            original(data.upper())

        transport.write = write
        writer.write(b"shouted ")
        await writer.drain()
        del transport.write
        writer.write(b"said")
        writer.close()
        assert await in_thread(receive_to_end, peer) == b"SHOUTED said"
        assert seen == [b"shouted "]
        await soon(writer.wait_closed())
        peer.close()

    run(main())


class Served:
    """Counts the handlers of a server that came to their end."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.all_done = asyncio.get_running_loop().create_future()

    def one_done(self) -> None:
        self.expected -= 1
        if not self.expected:
            self.all_done.set_result(None)


def ask(address: Any, question: bytes) -> bytes:
    """One client that sends a line and reads to the end."""
    with connect(address) as client:
        client.sendall(question + b"\n")
        return receive_to_end(client)


def test_a_server_serves_each_client_in_a_task_of_its_own(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        served = Served(30)

        async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            served.one_done()

        server = await streams.start_server(shout, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            questions = [b"question %d" % number for number in range(30)]
            answers = await asyncio.gather(*(in_thread(ask, address, question) for question in questions))
            assert answers == [question.upper() + b"\n" for question in questions]
            await soon(served.all_done)

    run(main())


def test_a_plain_function_may_serve_clients(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        async with await streams.start_server(greet, "127.0.0.1", 0) as server:
            with connect(server.sockets[0].getsockname()) as client:
                assert await in_thread(receive_to_end, client) == b"hello"

    run(main())


def test_a_raising_handler_is_reported_and_the_next_client_is_served(
    loop: Any, run: Any, streams: Any, loop_errors: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            question = await reader.readline()
            if question == b"raise\n":
                raise ZeroDivisionError("from the handler")
            writer.write(question)
            writer.close()

        async with await streams.start_server(handler, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            assert await in_thread(ask, address, b"raise") == b""
            assert await in_thread(ask, address, b"fine") == b"fine\n"

    run(main())
    assert [context["message"] for context in loop_errors] == ["Unhandled exception in client_connected_cb"]
    assert isinstance(loop_errors[0]["exception"], ZeroDivisionError)
    assert isinstance(loop_errors[0]["transport"], asyncio.Transport)


def test_client_and_server_on_one_loop_exchange_much_at_once(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100_000):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def client(address: Any) -> bytes:
            reader, writer = await streams.open_connection(*address)

            async def send() -> None:
                for start in range(0, len(MORE_THAN_FITS), 10_000):
                    writer.write(MORE_THAN_FITS[start : start + 10_000])
                    await writer.drain()
                writer.write_eof()

            received: bytes
            _, received = await asyncio.gather(send(), reader.read())
            writer.close()
            await writer.wait_closed()
            return received

        async with await streams.start_server(echo, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            received = await asyncio.gather(*(soon(client(address)) for _ in range(4)))
            assert received == [MORE_THAN_FITS] * 4

    run(main())
