"""Plain text through a TLS transport, in both directions, and its flow control."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    BufferedRecorder,
    Recorder,
    in_thread,
    kernel_asked,
    soon,
    until,
)
from tls_peers import SIDES, LendingRecorder, tls_connection

RECORD = 16 * 1024
DEFAULT = (128 * 1024, 512 * 1024)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", [Recorder, LendingRecorder])
def test_a_megabyte_arrives_whole(run: Any, side: str, kind: Any) -> None:
    async def main() -> None:
        protocol = kind()
        async with tls_connection(protocol, side) as (transport, peer):
            sending = in_thread(peer.send, MORE_THAN_FITS)
            assert await protocol.read(len(MORE_THAN_FITS)) == MORE_THAN_FITS
            await sending
            transport.write(MORE_THAN_FITS)
            assert await in_thread(peer.receive, len(MORE_THAN_FITS)) == MORE_THAN_FITS

    run(main())


@pytest.mark.parametrize("kind", [Recorder, LendingRecorder])
def test_records_may_come_in_any_pieces(run: Any, kind: Any) -> None:
    async def main() -> None:
        protocol = kind()
        async with tls_connection(protocol) as (_, peer):
            cipher_text = b"".join(peer.encrypted(bytes([n]) * 7) for n in range(20))
            for start in range(0, len(cipher_text), 11):
                peer.sock.sendall(cipher_text[start : start + 11])
                await asyncio.sleep(0)
            assert await protocol.read(140) == b"".join(bytes([n]) * 7 for n in range(20))

    run(main())


def test_records_that_came_together_are_handed_over_together(run: Any) -> None:
    async def main() -> None:
        sizes = []

        class Counting(Recorder):
            def data_received(self, data: bytes) -> None:
                sizes.append(len(data))
                super().data_received(data)

        protocol = Counting()
        async with tls_connection(protocol) as (_, peer):
            peer.sock.sendall(b"".join(peer.encrypted(b"x" * RECORD) for _ in range(2)))
            await protocol.read(2 * RECORD)
            peer.sock.sendall(b"".join(peer.encrypted(b"y") for _ in range(100)))
            await protocol.read(2 * RECORD + 100)
            assert sizes[-1] == 100

    run(main())


@pytest.mark.parametrize("size", [1, 5, RECORD - 1, RECORD, RECORD + 1, 100_000])
@pytest.mark.parametrize("view", [False, True])
def test_a_buffer_is_filled_again_and_again(implementation: Any, run: Any, size: int, view: bool) -> None:
    if implementation.is_oracle and not view:
        pytest.skip("asyncio fills a copy of a bytearray when more than one record comes")
    data = bytes(range(256)) * (1 if size < 100 else 200)

    class Lending(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            super().get_buffer(sizehint)
            return memoryview(self.buffer) if view else self.buffer

    async def main() -> None:
        protocol = Lending(size)
        async with tls_connection(protocol) as (_, peer):
            sending = in_thread(peer.sock.sendall, b"".join(peer.encrypted(data) for _ in range(3)))
            assert await protocol.read(3 * len(data)) == data * 3
            await sending
            assert all(hint >= 0 for hint in protocol.hints)

    run(main())


@pytest.mark.parametrize("size", [1, RECORD])
def test_a_buffer_is_filled_until_the_end(implementation: Any, run: Any, size: int) -> None:
    """What is left when the peer says goodbye, or leaves, still reaches a small buffer."""
    if implementation.is_oracle:
        pytest.skip("asyncio hands over one buffer and forgets the rest")
    data = b"to the last byte " * (4 if size < 100 else 4000)

    async def main() -> None:
        for leave in False, True:
            protocol = BufferedRecorder(size)
            async with tls_connection(protocol) as (_, peer):
                cipher_text = peer.encrypted(data)
                if leave:
                    peer.sock.sendall(cipher_text)
                    peer.close()
                else:
                    peer.incoming.write(cipher_text)
                    with pytest.raises(ssl.SSLError):
                        peer.tls.unwrap()
                    peer.sock.sendall(cipher_text + peer.outgoing.read())
                assert await protocol.read(len(data)) == data
                await soon(protocol.lost)
            assert protocol.calls == ["connection_made", "buffer_updated", "eof_received", "connection_lost"]

    run(main())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_what_may_be_written(run: Any, make: Any) -> None:
    async def main() -> None:
        async with tls_connection(Recorder()) as (transport, peer):
            transport.write(make(b"one "))
            transport.write(make(b""))
            transport.writelines([make(b"two "), make(b""), make(b"three")])
            transport.writelines([])
            assert await in_thread(peer.receive, 13) == b"one two three"

    run(main())


@pytest.mark.parametrize("wrong", ["text", None, 1, [b"list"]])
def test_what_may_not_be_written(run: Any, wrong: Any) -> None:
    async def main() -> None:
        async with tls_connection(Recorder()) as (transport, peer):
            text = f"data: expecting a bytes-like instance, got {type(wrong).__name__}"
            with pytest.raises(TypeError) as caught:
                transport.write(wrong)
            assert str(caught.value) == text
            transport.write(b"still fine")
            assert await in_thread(peer.receive, 10) == b"still fine"

    run(main())


def test_a_buffer_changed_after_the_write_does_not_change_what_is_sent(run: Any) -> None:
    async def main() -> None:
        async with tls_connection(Recorder()) as (transport, peer):
            data = bytearray(b"before")
            transport.write(data)
            data[:] = b"after!"
            assert await in_thread(peer.receive, 6) == b"before"

    run(main())


@pytest.mark.rasyncio_only("asyncio makes a record of each write")
def test_the_small_writes_of_a_turn_become_one_record(run: Any) -> None:
    async def main() -> None:
        async with tls_connection(Recorder()) as (transport, peer):
            for _ in range(100):
                transport.write(b"0123456789")
            await kernel_asked()
            assert await in_thread(peer.step, peer.tls.read, 5000) == b"0123456789" * 100

    run(main())


@pytest.mark.parametrize("size", [1, 8 * 1024, 20_000, 64 * 1024, 64 * 1024 + 1])
def test_writes_of_any_size_keep_their_order(run: Any, size: int) -> None:
    async def main() -> None:
        async with tls_connection(Recorder()) as (transport, peer):
            blocks = [bytes([n]) * (size if n % 3 else 5) for n in range(40)]
            for block in blocks:
                transport.write(block)
            whole = b"".join(blocks)
            assert await in_thread(peer.receive, len(whole)) == whole

    run(main())


@pytest.mark.parametrize("kind", [Recorder, LendingRecorder])
def test_a_paused_transport_hands_nothing_over(run: Any, kind: Any) -> None:
    async def main() -> None:
        protocol = kind()
        async with tls_connection(protocol) as (transport, peer):
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            peer.send(b"later")
            await kernel_asked()
            assert protocol.received == b""
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            assert await protocol.read(5) == b"later"

    run(main())


def test_what_waits_for_a_paused_protocol_is_bounded(run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            transport.pause_reading()
            data = MORE_THAN_FITS * 2
            sending = asyncio.ensure_future(in_thread(peer.send, data))
            await until(lambda: held(transport) >= 256 * 1024)
            await kernel_asked()
            assert held(transport) <= 512 * 1024
            assert not sending.done()
            transport.resume_reading()
            assert await protocol.read(len(data)) == data
            await sending
            assert held(transport) == 0

    run(main())


def held(transport: Any) -> int:
    size: int = transport.get_read_buffer_size()
    return size


def test_the_limit_of_what_waits_can_be_set(run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (opened, peer):
            transport: Any = opened
            assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
            transport.set_read_buffer_limits(high=1000)
            assert transport.get_read_buffer_limits() == (250, 1000)
            with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
                transport.set_read_buffer_limits(high=1, low=2)
            transport.pause_reading()
            peer.send(b"x" * 2000)
            await until(lambda: held(transport) >= 1000)
            await kernel_asked()
            peer.send(b"y" * 2000)
            await kernel_asked()
            assert held(transport) < 3000
            transport.resume_reading()
            assert await protocol.read(4000) == b"x" * 2000 + b"y" * 2000

    run(main())


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({}, DEFAULT),
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 7, "low": 7}, (7, 7)),
    ],
)
def test_write_limits_left_out_follow_from_the_other(run: Any, arguments: Any, limits: Any) -> None:
    async def main() -> None:
        async with tls_connection(Recorder()) as (transport, _):
            assert transport.get_write_buffer_limits() == DEFAULT
            transport.set_write_buffer_limits(high=1)
            transport.set_write_buffer_limits(**arguments)
            assert transport.get_write_buffer_limits() == limits

    run(main())


@pytest.mark.parametrize("arguments", [{"high": 1, "low": 2}, {"low": -1}, {"high": -1}])
def test_write_limits_that_contradict_each_other_change_nothing(run: Any, arguments: Any) -> None:
    async def main() -> None:
        async with tls_connection(Recorder()) as (transport, _):
            with pytest.raises(ValueError, match=r"high \(-?\d+\) must be >= low \(-?\d+\) must be >= 0"):
                transport.set_write_buffer_limits(**arguments)
            assert transport.get_write_buffer_limits() == DEFAULT

    run(main())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", ["write", "writelines"])
def test_a_peer_that_does_not_read_pauses_the_protocol(run: Any, side: str, method: str) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol, side) as (transport, peer):
            written = 0
            while not protocol.paused.done():
                block = bytes(65_000)
                transport.write(block) if method == "write" else transport.writelines([block])
                written += len(block)
                assert written < 20_000_000, "the protocol was never asked to pause"
                await asyncio.sleep(0)
            size = transport.get_write_buffer_size()
            # What is over the mark is the last block, and what TLS makes it longer by.
            assert DEFAULT[1] <= size <= DEFAULT[1] + 65_000 * 2
            assert await in_thread(peer.receive, written) == bytes(written)
            await soon(protocol.resumed)
            assert transport.get_write_buffer_size() == 0
            assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]

    run(main())


@pytest.mark.rasyncio_only(
    "asyncio hands a large write to the transport below, where it does not count it any more"
)
def test_one_large_write_pauses_at_once(run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            transport.write(MORE_THAN_FITS * 3)
            assert protocol.paused.done()
            size = transport.get_write_buffer_size()
            assert size > DEFAULT[1]
            data = await in_thread(peer.receive, len(MORE_THAN_FITS) * 3)
            assert data == MORE_THAN_FITS * 3
            await soon(protocol.resumed)

    run(main())


def test_a_limit_of_zero_pauses_when_something_waits_and_only_then(implementation: Any, run: Any) -> None:
    if implementation.is_oracle:
        pytest.skip("asyncio pauses also when nothing waits, and goes on at the next write")

    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            transport.set_write_buffer_limits(high=0)
            transport.write(b"taken at once")
            assert await in_thread(peer.receive, 13) == b"taken at once"
            assert not protocol.paused.done()
            transport.write(MORE_THAN_FITS)
            assert protocol.paused.done()
            await in_thread(peer.receive, len(MORE_THAN_FITS))
            await soon(protocol.resumed)

    run(main())


async def fill(transport: asyncio.Transport, protocol: Recorder, block: bytes = bytes(65_000)) -> int:
    """Writes until the protocol is asked to pause; how much that was."""
    written = 0
    while not protocol.paused.done():
        transport.write(block)
        written += len(block)
        assert written < 20_000_000, "the protocol was never asked to pause"
        await asyncio.sleep(0)
    return written


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_flow_control_that_raises_is_reported(run: Any, loop_errors: list[Any], method: str) -> None:
    class Raising(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            if method == "pause_writing":
                raise ZeroDivisionError

        def resume_writing(self) -> None:
            super().resume_writing()
            if method == "resume_writing":
                raise ZeroDivisionError

    async def main() -> None:
        protocol = Raising()
        async with tls_connection(protocol) as (transport, peer):
            await in_thread(peer.receive, await fill(transport, protocol))
            await soon(protocol.resumed)
            transport.write(b"goes on")
            assert await in_thread(peer.receive, 7) == b"goes on"

    run(main())
    assert [report["message"] for report in loop_errors] == [f"protocol.{method}() failed"]


@pytest.mark.parametrize("at_once", [False, True])
def test_closing_while_paused_to_write_loses_nothing(implementation: Any, run: Any, at_once: bool) -> None:
    """The protocol closes in `pause_writing` itself, in the midst of a write."""

    class Closing(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            self.opened().close()

    async def main() -> None:
        protocol = Closing()
        async with tls_connection(protocol) as (transport, peer):
            if at_once and not implementation.is_oracle:
                transport.write(bytes(3 << 20))
                written = 3 << 20
            else:
                written = await fill(transport, protocol)
            assert await in_thread(peer.shut_down) == bytes(written)
            assert await soon(protocol.lost) is None

    run(main())


@pytest.mark.parametrize("method", ["data_received", "get_buffer", "buffer_updated"])
def test_a_protocol_that_raises_ends_the_connection(run: Any, loop_errors: list[Any], method: str) -> None:
    def failing(*_: Any) -> Any:
        raise ZeroDivisionError

    async def main() -> None:
        protocol: Any = Recorder() if method == "data_received" else BufferedRecorder()
        setattr(protocol, method, failing)
        # A client's protocol is asked for a buffer when session tickets come, which is too early.
        async with tls_connection(protocol, "server") as (_, peer):
            peer.send(b"anything")
            assert isinstance(await soon(protocol.lost), ZeroDivisionError)

    run(main())
    assert [report["message"] for report in loop_errors] == ["Fatal error on SSL protocol"]
    assert isinstance(loop_errors[0]["exception"], ZeroDivisionError)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="an oracle of 3.11 is slow to buffer so much")
def test_writing_out_of_a_running_loop(loop: Any, run: Any) -> None:
    async def open_it() -> Any:
        protocol = Recorder()
        manager = tls_connection(protocol)
        return protocol, manager, await manager.__aenter__()

    _, manager, (transport, peer) = run(open_it())
    transport.write(b"between two runs")
    assert peer.receive(16) == b"between two runs"
    run(manager.__aexit__(None, None, None))
