"""TCP transports that write in the same turn: each as if it were alone, also where they are sent together."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    Calls,
    Recorder,
    closed,
    in_thread,
    kernel_asked,
    receive_exactly,
    receive_to_end,
    reset,
    soon,
    transport_to_peer,
)
from tls_peers import client_context, tls_connection

Connection = tuple[Calls, asyncio.Transport, socket.socket]


@asynccontextmanager
async def connections(number: int) -> AsyncIterator[list[Connection]]:
    opened: list[Connection] = []
    try:
        for _ in range(number):
            protocol = Recorder()
            opened.append((protocol, *await transport_to_peer(protocol)))
        yield opened
    finally:
        for calls, transport, peer in opened:
            await closed(transport, calls, peer)


@pytest.mark.parametrize("number", [2, 3, 4, 5, 300])
def test_each_peer_gets_its_own(run: Any, number: int) -> None:
    async def main() -> None:
        async with connections(number) as opened:
            for turn in range(3):
                for index, (_, transport, _) in enumerate(opened):
                    transport.write(b"%05d" % index)
                    if index % 3:
                        transport.writelines([b"in ", b"parts"])
                    if (index + turn) % 2:
                        transport.write(b"!")
                await kernel_asked()
                for index, (_, _, peer) in enumerate(opened):
                    expected = b"%05d" % index + b"in parts" * bool(index % 3) + b"!" * ((index + turn) % 2)
                    assert receive_exactly(peer, len(expected)) == expected

    run(main())


def test_one_that_is_full_holds_nobody_up(run: Any) -> None:
    async def main() -> None:
        async with connections(9) as opened:
            slow = opened[3][1], opened[6][1]
            for transport in slow:
                # So nothing is sent before the others are.
                transport.set_write_buffer_limits(high=len(MORE_THAN_FITS))
            for turn in range(5):
                for _, transport, _ in opened:
                    much = MORE_THAN_FITS[: 1 << 17] if transport in slow else b""
                    transport.write(b"turn %d" % turn + much)
                await kernel_asked()
                for _, transport, peer in opened:
                    if transport not in slow:
                        assert receive_exactly(peer, 6) == b"turn %d" % turn
            expected = b"".join(b"turn %d" % turn + MORE_THAN_FITS[: 1 << 17] for turn in range(5))
            for _, transport, peer in opened:
                if transport in slow:
                    assert transport.get_write_buffer_size() > 0
                    assert await in_thread(receive_exactly, peer, len(expected)) == expected
            await kernel_asked()
            assert [transport.get_write_buffer_size() for _, transport, _ in opened] == [0] * 9

    run(main())


def test_more_pieces_than_one_call_takes(run: Any) -> None:
    async def main() -> None:
        async with connections(6) as opened:
            pieces = [b"%d," % number for number in range(2000)]
            for _, transport, _ in opened:
                transport.write(b"first,")
                assert transport.get_write_buffer_size() == 0
                for piece in pieces:
                    transport.write(piece)
            expected = b"first," + b"".join(pieces)
            for _, _, peer in opened:
                assert await in_thread(receive_exactly, peer, len(expected)) == expected

    run(main())


def test_broken_and_ending_ones_among_others(run: Any) -> None:
    async def main() -> None:
        async with connections(8) as opened:
            (broken, closing, ending, aborted), others = opened[1:5], [opened[0], *opened[5:]]
            # The loop learns of it by sending: it does not read.
            broken[1].pause_reading()
            reset(broken[2])
            for _, transport, _ in opened:
                transport.write(b"last words")
            closing[1].close()
            ending[1].write_eof()
            aborted[1].abort()
            assert isinstance(await soon(broken[0].lost), ConnectionError)
            assert await soon(closing[0].lost) is None
            assert await soon(aborted[0].lost) is None
            assert await in_thread(receive_to_end, closing[2]) == b"last words"
            assert await in_thread(receive_to_end, ending[2]) == b"last words"
            for protocol, transport, peer in others:
                assert receive_exactly(peer, 10) == b"last words"
                peer.sendall(b"still here")
                assert await protocol.read(10) == b"still here"
                assert not transport.is_closing()
            told = [protocol.calls.count("connection_lost") for protocol, _, _ in opened]
            assert told == [0, 1, 1, 0, 1, 0, 0, 0]

    run(main())


def test_one_that_ends_another_while_it_is_told_of_its_own_end(loop: Any, run: Any) -> None:
    """In debug mode the logger is told of what broke, and its handlers may do anything."""

    async def main() -> None:
        async with connections(6) as opened:
            first, second, third = opened[1], opened[3], opened[4]

            class Meddling(logging.Handler):
                def emit(self, record: logging.LogRecord) -> None:
                    if "Fatal write error" in record.getMessage():
                        told.append(record)
                        second[1].abort()
                        third[1].write(b", more")
                        opened[5][1].abort()

            told: list[logging.LogRecord] = []
            logger, handler = logging.getLogger("asyncio"), Meddling()
            level = logger.level
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG)
            loop.set_debug(True)
            try:
                for _, transport, peer in first, second:
                    transport.pause_reading()
                    reset(peer)
                for _, transport, _ in opened:
                    transport.write(b"words")
                await soon(asyncio.wait([first[0].lost, second[0].lost, opened[5][0].lost]))
            finally:
                loop.set_debug(False)
                logger.setLevel(level)
                logger.removeHandler(handler)
            assert len(told) == 1
            assert isinstance(first[0].error, ConnectionError)
            assert (second[0].error, opened[5][0].error) == (None, None)
            words = [receive_exactly(peer, 5) for _, _, peer in (opened[0], opened[2])]
            assert words == [b"words"] * 2
            # asyncio tells in the midst of the writing.
            assert receive_exactly(third[2], 11) in (b"words, more", b", morewords")

    run(main())


def test_tls_among_others(run: Any) -> None:
    async def main() -> None:
        async with (
            connections(4) as opened,
            tls_connection(Recorder()) as (one, one_peer),
            tls_connection(Recorder(), "server") as (two, two_peer),
        ):
            for number in range(3):
                for transport in (opened[0][1], one, opened[1][1], opened[2][1], two, opened[3][1]):
                    transport.write(b"message %d" % number)
                await kernel_asked()
                assert [receive_exactly(peer, 9) for _, _, peer in opened] == [b"message %d" % number] * 4
                assert await in_thread(one_peer.receive, 9) == b"message %d" % number
                assert await in_thread(two_peer.receive, 9) == b"message %d" % number

    run(main())


def calling(on_write: Callable[[], None]) -> ssl.SSLContext:
    """A context whose TLS runs `on_write()` before it encrypts."""

    class Calling(ssl.SSLObject):
        def write(self, data: Any) -> int:
            on_write()
            return super().write(data)

    context = client_context()
    context.sslobject_class = Calling
    return context


def test_tls_that_writes_to_others_and_ends_them(run: Any) -> None:
    async def main() -> None:
        async with connections(6) as opened:

            def meddle() -> None:
                opened[0][1].write(b", more")
                opened[1][1].abort()
                opened[2][1].close()

            async with tls_connection(Recorder(), ssl=calling(meddle)) as (secure, secure_peer):
                for _, transport, _ in opened[:4]:
                    transport.write(b"words")
                secure.write(b"words")
                for _, transport, _ in opened[4:]:
                    transport.write(b"words")
                for protocol, _, peer in opened[1:3]:
                    assert await soon(protocol.lost) is None
                    assert await in_thread(receive_to_end, peer) == b"words"
                assert receive_exactly(opened[0][2], 11) == b"words, more"
                assert [receive_exactly(peer, 5) for _, _, peer in opened[3:]] == [b"words"] * 3
                assert await in_thread(secure_peer.receive, 5) == b"words"

    run(main())


def test_what_ends_the_program_holds_no_other_up(loop: Any, run: Any) -> None:
    fatal = [SystemExit()]

    def end() -> None:
        if fatal:
            raise fatal.pop()

    everything = AsyncExitStack()

    async def connect() -> Any:
        opened = await everything.enter_async_context(connections(6))
        return opened, *await everything.enter_async_context(tls_connection(Recorder(), ssl=calling(end)))

    opened, secure, secure_peer = run(connect())
    for transport in (opened[0][1], opened[1][1], secure, *(transport for _, transport, _ in opened[2:])):
        # One by one: asyncio's TLS writes at once.
        loop.call_soon(transport.write, b"words")
    with pytest.raises(SystemExit):
        loop.run_forever()
    run(kernel_asked())
    assert [receive_exactly(peer, 5) for _, _, peer in opened] == [b"words"] * 6
    secure.write(b", more")

    async def receive() -> Any:
        return await in_thread(secure_peer.receive, 11)

    assert run(receive) == b"words, more"
    run(everything.aclose())


# The cycle of asyncio's may lose its socket first.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_one_that_nobody_keeps_says_its_words_and_goes(run: Any) -> None:
    async def main() -> None:
        async with connections(6) as opened:

            class Forgotten(asyncio.Protocol):
                def __del__(self) -> None:
                    opened[0][1].write(b", more")
                    opened[5][1].abort()

            transport, forgotten_peer = await transport_to_peer(Forgotten())
            # What reads is kept by the loop.
            transport.pause_reading()
            for _, other, _ in opened:
                other.write(b"words")
            transport.write(b"last words")
            with pytest.warns(ResourceWarning, match="unclosed transport"):
                del transport
                # asyncio's is part of a cycle; ours lives until it is flushed.
                gc.collect()
                assert await soon(opened[5][0].lost) is None
            assert await in_thread(receive_to_end, forgotten_peer) == b"last words"
            assert await in_thread(receive_to_end, opened[5][2]) == b"words"
            assert receive_exactly(opened[0][2], 11) == b"words, more"
            assert [receive_exactly(peer, 5) for _, _, peer in opened[1:5]] == [b"words"] * 4
            forgotten_peer.close()

    run(main())
