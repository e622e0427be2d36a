"""StreamReader by itself: what is fed to it, its limit, buffer and transport, and its subclasses."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from net_peers import connected_pair, soon


class Transport:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


def test_arguments_and_what_is_shown(loop: Any, streams: Any) -> None:
    reader = streams.StreamReader(loop=loop)
    assert (reader._limit, reader._loop, reader._transport, reader._waiter) == (65536, loop, None, None)
    assert (reader._eof, reader._paused, reader._exception) == (False, False, None)
    assert repr(reader) == "<StreamReader>"
    assert isinstance(reader, asyncio.StreamReader)
    assert str(inspect.signature(streams.StreamReader)) == "(limit=65536, loop=None)"
    reader = streams.StreamReader(7, loop)
    reader.feed_data(b"some")
    reader.feed_eof()
    reader.set_exception(ValueError("told"))
    reader.set_transport(transport := Transport())
    shown = f"<StreamReader 4 bytes eof limit=7 exception=ValueError('told') transport={transport!r}>"
    assert repr(reader) == shown
    assert reader.exception() is reader._exception
    with pytest.raises(AssertionError, match="Transport already set"):
        reader.set_transport(transport)
    for limit in 0, -1:
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            streams.StreamReader(limit=limit, loop=loop)
    with pytest.raises(TypeError):
        streams.StreamReader(limit="many", loop=loop)
    with pytest.raises(TypeError):
        streams.StreamReader(limit=None, loop=loop)


def test_the_running_loop_is_the_default(run: Any, streams: Any) -> None:
    async def main() -> None:
        assert streams.StreamReader()._loop is asyncio.get_running_loop()

    run(main())


def test_debug_mode_remembers_where_it_was_made(loop: Any, streams: Any) -> None:
    assert streams.StreamReader(loop=loop)._source_traceback is None
    loop.set_debug(True)
    (*_, frame) = streams.StreamReader(loop=loop)._source_traceback
    assert frame.name == "test_debug_mode_remembers_where_it_was_made"


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), [97, 98, 99]])
def test_what_may_be_fed(run: Any, streams: Any, data: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        reader.feed_data(data)
        reader.feed_data(data)
        assert await reader.read(100) == b"abcabc"

    run(main())


def test_a_buffer_that_was_fed_may_change_afterwards(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        data = bytearray(b"abc")
        reader.feed_data(data)
        data[:] = b"xyz"
        assert await reader.read(100) == b"abc"

    run(main())


def test_nothing_is_fed_after_the_end_and_nothing_wakes_nobody(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        reading = asyncio.ensure_future(reader.read(10))
        await asyncio.sleep(0)
        reader.feed_data(b"")
        assert reader._waiter is not None
        reader.feed_eof()
        assert await soon(reading) == b""
        for data in b"", b"x":
            with pytest.raises(AssertionError, match="feed_data after feed_eof"):
                reader.feed_data(data)

    run(main())


def test_a_chunk_that_is_asked_for_whole_is_not_copied(run: Any, streams: Any, implementation: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        chunk = bytes(10_000)
        reader.feed_data(chunk)
        taken = await reader.read(20_000)
        assert taken == chunk
        assert (taken is chunk) == (streams.__name__ == "rasyncio")

    run(main())


def test_the_limit_counts_what_is_before_the_separator(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader(limit=3)
        reader.feed_data(b"abc;abcd;rest")
        assert await reader.readuntil(b";") == b"abc;"
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await reader.readuntil(b";")
        assert caught.value.args == ("Separator is found, but chunk is longer than limit",)
        assert caught.value.consumed == 4
        assert await reader.readexactly(5) == b"abcd;"
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await reader.readuntil(b"!")
        assert caught.value.args == ("Separator is not found, and chunk exceed the limit",)
        assert caught.value.consumed == 4
        assert await reader.read(10) == b"rest"

    run(main())


def test_a_long_line_is_dropped_up_to_its_end(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader(limit=3)
        reader.feed_data(b"abcdef\nab\nabcdef")
        with pytest.raises(
            ValueError, match=r"^Separator is found, but chunk is longer than limit$"
        ) as caught:
            await reader.readline()
        assert isinstance(caught.value.__context__, asyncio.LimitOverrunError)
        assert await reader.readline() == b"ab\n"
        with pytest.raises(ValueError, match=r"^Separator is not found, and chunk exceed the limit$"):
            await reader.readline()
        reader.feed_eof()
        assert await reader.readline() == b""

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="several separators came with Python 3.13")
def test_the_separator_that_ends_first_ends_the_piece(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        separators: Any = (b"ABCDE", b"C", b"\n")
        reader.feed_data(b"AABCDE..\n")
        assert await reader.readuntil(separators) == b"AABC"
        assert await reader.readuntil(separators) == b"DE..\n"
        reading = asyncio.ensure_future(reader.readuntil((b"\r\n", b"\r\n\r\n")))
        for piece in b"x\r", b"\n\r":
            await asyncio.sleep(0)
            assert not reading.done()
            reader.feed_data(piece)
        assert await soon(reading) == b"x\r\n"
        with pytest.raises(ValueError, match="Separator should contain at least one element"):
            await reader.readuntil(())
        with pytest.raises(ValueError, match="Separator should be at least one-byte string"):
            await reader.readuntil((b"x", b""))

    run(main())


def test_what_is_no_separator_is_a_type_error(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        reader.feed_data(b"some text")
        for separator in "e", 5, None:
            coroutine = reader.readuntil(separator)
            with pytest.raises(TypeError):
                await coroutine

    run(main())


def test_a_separator_may_be_any_buffer(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        reader.feed_data(b"one, two, three")
        assert await reader.readuntil(bytearray(b", ")) == b"one, "
        assert await reader.readuntil(memoryview(b", ")) == b"two, "

    run(main())


def test_the_transport_pauses_above_twice_the_limit(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader(limit=3)
        reader.set_transport(transport := Transport())
        reader.feed_data(b"123456")
        assert transport.calls == []
        reader.feed_data(b"7")
        reader.feed_data(b"8")
        assert (transport.calls, reader._paused) == (["pause"], True)
        assert await reader.read(4) == b"1234"
        assert transport.calls == ["pause"]
        assert await reader.read(1) == b"5"
        assert (transport.calls, reader._paused) == (["pause", "resume"], False)
        reader.feed_data(b"1234567")
        reading = asyncio.ensure_future(reader.readexactly(11))
        await asyncio.sleep(0)
        # More is wanted than the transport would ever bring while it is paused.
        assert transport.calls == ["pause", "resume", "pause", "resume"]
        reader.feed_data(b"8")
        assert await soon(reading) == b"67812345678"

    run(main())


def test_a_transport_that_cannot_pause_is_not_asked_again(loop: Any, streams: Any) -> None:
    class Unstoppable:
        asked = 0

        def pause_reading(self) -> None:
            self.asked += 1
            raise NotImplementedError

    reader = streams.StreamReader(limit=1, loop=loop)
    reader.set_transport(transport := Unstoppable())
    for _ in range(3):
        reader.feed_data(b"123")
    assert (transport.asked, reader._transport, reader._paused) == (1, None, False)


def test_an_exception_is_raised_by_every_read(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        reader.feed_data(b"line\n")
        reading = asyncio.ensure_future(reader.readexactly(10))
        await asyncio.sleep(0)
        reader.set_exception(ZeroDivisionError("told"))
        with pytest.raises(ZeroDivisionError):
            await soon(reading)
        for coroutine in (
            reader.read(),
            reader.read(5),
            reader.read(0),
            reader.readline(),
            reader.readuntil(b"l"),
        ):
            with pytest.raises(ZeroDivisionError):
                await coroutine
        with pytest.raises(ZeroDivisionError):
            await reader.readexactly(1)

    run(main())


def test_the_buffer_is_a_bytearray_that_may_be_changed(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        reader.feed_data(b"one two three")
        buffer = reader._buffer
        assert type(buffer) is bytearray
        del buffer[:4]
        assert await reader.read(4) == b"two "
        assert buffer == b"three"
        reader.feed_data(b" four")
        assert buffer == b"three four"
        buffer.clear()
        assert repr(reader) == "<StreamReader>"
        buffer.extend(b"put by hand\n")
        assert await reader.readline() == b"put by hand\n"
        reader.feed_data(b"and on")
        assert buffer == b"and on"
        assert reader._buffer is buffer
        reader._buffer = bytearray(b"another")
        assert await reader.read(100) == b"another"
        del buffer
        reader.feed_data(b"and")
        reader.feed_data(b" on")
        assert await reader.readexactly(6) == b"and on"

    run(main())


def test_a_buffer_that_somebody_holds_refuses_to_grow(loop: Any, streams: Any) -> None:
    reader = streams.StreamReader(loop=loop)
    reader.feed_data(b"abc")
    with memoryview(reader._buffer), pytest.raises(BufferError):
        reader.feed_data(b"def")
    assert reader._buffer == b"abc"


def test_a_read_that_was_cancelled_leaves_no_waiter(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        reading = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        assert repr(reader).startswith("<StreamReader waiter=<Future pending")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert reader._waiter is None
        reader.feed_data(b"line\n")
        assert await reader.readline() == b"line\n"

    run(main())


def test_waiting_for_data_by_hand(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()
        waiting = asyncio.ensure_future(reader._wait_for_data("mine"))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"readexactly.. called while another coroutine is already"):
            await reader.readexactly(2)
        reader.feed_data(b"ab")
        assert await soon(waiting) is None
        assert await reader.readexactly(2) == b"ab"
        reader.feed_eof()
        with pytest.raises(AssertionError, match="_wait_for_data after EOF"):
            await reader._wait_for_data("mine")

    run(main())


def test_a_subclass_sees_every_call_that_asyncio_makes_on_itself(run: Any, streams: Any) -> None:
    calls: list[Any] = []

    class Noting(streams.StreamReader):  # type: ignore[misc]
        def feed_data(self, data: Any) -> None:
            calls.append(("feed_data", data))
            super().feed_data(data)

        def _wakeup_waiter(self) -> None:
            calls.append("_wakeup_waiter")
            super()._wakeup_waiter()

        def _maybe_resume_transport(self) -> None:
            calls.append("_maybe_resume_transport")
            super()._maybe_resume_transport()

        async def _wait_for_data(self, func_name: str) -> None:
            calls.append(("_wait_for_data", func_name))
            await super()._wait_for_data(func_name)

        async def read(self, n: int = -1) -> Any:
            calls.append(("read", n))
            return await super().read(n)

        async def readuntil(self, separator: Any = b"\n") -> Any:
            calls.append(("readuntil", separator))
            return await super().readuntil(separator)

        async def readline(self) -> Any:
            calls.append("readline")
            return await super().readline()

    async def lines(reader: AsyncIterator[bytes]) -> list[bytes]:
        return [line async for line in reader]

    async def main() -> None:
        reader = Noting(limit=50)
        task = asyncio.ensure_future(lines(reader))
        await asyncio.sleep(0)
        reader.feed_data(b"one\n")
        await asyncio.sleep(0)
        reader.feed_data(b"two")
        reader.feed_eof()
        assert await soon(task) == [b"one\n", b"two"]
        reader = Noting(limit=50)
        reader.feed_data(b"a")
        reader.feed_eof()
        assert await reader.read() == b"a"
        reader = Noting(limit=2)
        reader.feed_data(b"abc\nd")
        with pytest.raises(ValueError, match="Separator is found"):
            await reader.readline()
        assert await reader.readexactly(1) == b"d"

    run(main())
    assert calls == [
        *("readline", ("readuntil", b"\n"), ("_wait_for_data", "readuntil")),
        *(("feed_data", b"one\n"), "_wakeup_waiter", "_maybe_resume_transport"),
        *("readline", ("readuntil", b"\n"), ("_wait_for_data", "readuntil")),
        *(("feed_data", b"two"), "_wakeup_waiter", "_wakeup_waiter", "readline", ("readuntil", b"\n")),
        *(("feed_data", b"a"), "_wakeup_waiter", "_wakeup_waiter"),
        *(("read", -1), ("read", 50), "_maybe_resume_transport", ("read", 50), "_maybe_resume_transport"),
        *(("feed_data", b"abc\nd"), "_wakeup_waiter", "readline", ("readuntil", b"\n")),
        *("_maybe_resume_transport", "_maybe_resume_transport"),
    ]


def test_an_object_may_have_methods_of_its_own(run: Any, streams: Any) -> None:
    async def main() -> None:
        reader = streams.StreamReader()

        async def readuntil(separator: bytes) -> bytes:
            return b"instead of " + separator

        reader.readuntil = readuntil
        assert await reader.readline() == b"instead of \n"
        del reader.readuntil
        reader.feed_data(b"again\n")
        assert await reader.readline() == b"again\n"

    run(main())


def test_a_subclass_may_have_arguments_of_its_own(run: Any, streams: Any) -> None:
    class Named(streams.StreamReader):  # type: ignore[misc]
        def __init__(self, name: str, *, size: int) -> None:
            super().__init__(limit=size)
            self.name = name

    async def main() -> None:
        reader = Named("mine", size=5)
        assert (reader.name, reader._limit) == ("mine", 5)
        assert isinstance(reader, streams.StreamReader)

    run(main())


def test_the_collector_finds_a_reader_in_a_cycle(loop: Any, streams: Any) -> None:
    reader = streams.StreamReader(loop=loop)
    reader.myself = reader
    reader.set_transport(reader)
    gone = weakref.ref(reader)
    del reader
    gc.collect()
    assert gone() is None


@pytest.mark.rasyncio_only("asyncio forgets the second reader")
def test_who_waits_behind_somebody_woken_is_not_forgotten(run: Any, implementation: Any) -> None:
    async def main() -> None:
        reader = implementation.module.StreamReader()
        first = asyncio.ensure_future(reader.read(1))
        await asyncio.sleep(0)
        reader.feed_data(b"x")
        assert await reader.read(1) == b"x"
        second = reader.read(1)
        second.send(None)
        assert await first == b""
        assert reader._waiter is not None
        reader.feed_data(b"y")
        with pytest.raises(StopIteration) as caught:
            second.send(None)
        assert caught.value.value == b"y"

    run(main())


@pytest.mark.rasyncio_only("asyncio's readers take whatever they are given")
def test_the_buffer_can_be_replaced_by_a_bytearray_only(loop: Any, implementation: Any) -> None:
    class Derived(bytearray):
        pass

    reader = implementation.module.StreamReader(loop=loop)
    for buffer in b"bytes", Derived(), None:
        with pytest.raises(TypeError):
            reader._buffer = buffer
    reader._buffer = bytearray(b"array")
    assert reader._buffer == b"array"


@pytest.mark.rasyncio_only("asyncio's transports know no class of streams")
def test_a_method_put_into_the_class_is_not_called_by_transports(
    run: Any, implementation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = implementation.module
    fed = []
    monkeypatch.setattr(streams.StreamReader, "feed_data", lambda _, data: fed.append(data))

    async def main() -> None:
        ours, peer = connected_pair()
        reader, writer = await streams.open_connection(sock=ours)
        reader.feed_data(b"by hand")
        peer.sendall(b"by the transport")
        assert await soon(reader.read(100)) == b"by the transport"
        assert fed == [b"by hand"]
        writer.close()
        peer.close()
        await soon(writer.wait_closed())

    run(main())
