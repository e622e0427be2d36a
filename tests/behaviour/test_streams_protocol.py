"""StreamReaderProtocol and StreamWriter: what transports, servers and subclasses do with them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import sys
import warnings
import weakref
from typing import Any
from unittest import mock

import pytest
from net_peers import connected_pair, in_thread, soon, until

# Not narrowing what it is asked about, so that private names may be looked at.
oracle: Any = asyncio


class Transport:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.calls.append(("write", data))

    def writelines(self, data: Any) -> None:
        self.calls.append(("writelines", data))

    def write_eof(self) -> str:
        return "eof written"

    def can_write_eof(self) -> str:
        return "perhaps"

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.calls.append("abort")
        self.closing = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"answer": 42}.get(name, default)

    def __repr__(self) -> str:
        return "<Transport>"


def made(streams: Any, loop: Any) -> tuple[Any, Any, Any, Transport]:
    """Reader, protocol and writer over a transport of nobody's."""
    reader = streams.StreamReader(loop=loop)
    protocol = streams.StreamReaderProtocol(reader, loop=loop)
    transport = Transport()
    protocol.connection_made(transport)
    return reader, protocol, streams.StreamWriter(transport, protocol, reader, loop), transport


def test_what_libraries_find_in_a_protocol(loop: Any, streams: Any) -> None:
    reader, protocol, writer, transport = made(streams, loop)
    assert isinstance(protocol, oracle.StreamReaderProtocol)
    assert isinstance(protocol, oracle.Protocol)
    assert (protocol._stream_reader, protocol._stream_reader_wr()) == (reader, reader)
    assert (protocol._transport, protocol._loop, protocol._over_ssl) == (transport, loop, False)
    assert (protocol._paused, protocol._connection_lost, list(protocol._drain_waiters)) == (False, False, [])
    assert (protocol._reject_connection, protocol._task, protocol._client_connected_cb) == (False, None, None)
    assert protocol._source_traceback is None
    assert protocol._get_close_waiter(writer) is protocol._closed
    assert not protocol._closed.done()
    assert reader._transport is transport
    with pytest.raises(TypeError):
        streams.StreamReaderProtocol()
    shown = str(inspect.signature(streams.StreamReaderProtocol))
    assert shown == "(stream_reader, client_connected_cb=None, loop=None)"
    writer.close()


def test_what_libraries_find_in_a_writer(loop: Any, streams: Any) -> None:
    reader, protocol, writer, transport = made(streams, loop)
    assert isinstance(writer, oracle.StreamWriter)
    assert (writer.transport, writer._transport, writer._protocol) == (transport, transport, protocol)
    assert (writer._reader, writer._loop, writer._complete_fut.done()) == (reader, loop, True)
    assert repr(writer) == f"<StreamWriter transport=<Transport> reader={reader!r}>"
    finished = Transport()
    finished.close()
    shown = repr(streams.StreamWriter(finished, protocol, None, loop))
    assert shown == "<StreamWriter transport=<Transport>>"
    writer.write(b"data")
    writer.write(data=b"more")
    writer.writelines([b"1", b"2"])
    assert transport.calls == [("write", b"data"), ("write", b"more"), ("writelines", [b"1", b"2"])]
    assert (writer.write_eof(), writer.can_write_eof()) == ("eof written", "perhaps")
    assert writer.get_extra_info("answer") == 42
    assert (writer.get_extra_info("unknown"), writer.get_extra_info("unknown", 7)) == (None, 7)
    assert str(inspect.signature(streams.StreamWriter)) == "(transport, protocol, reader, loop)"
    with pytest.raises(AssertionError):
        streams.StreamWriter(finished, protocol, "a reader", loop)
    with pytest.raises(TypeError):
        writer.write()
    assert not writer.is_closing()
    writer.close()
    assert writer.is_closing()


def test_what_was_made_by_earlier_names_works_together(loop: Any, run: Any, streams: Any) -> None:
    async def main() -> None:
        for module in asyncio, streams:
            reader = module.StreamReader()
            protocol = streams.StreamReaderProtocol(reader)
            protocol.connection_made(transport := Transport())
            writer = streams.StreamWriter(transport, protocol, reader, loop)
            protocol.data_received(b"data")
            assert await reader.read(10) == b"data"
            await writer.drain()
            protocol.connection_lost(None)
            await soon(writer.wait_closed())
            assert await reader.read() == b""
            transport.closing = True

    run(main())


def test_bytes_for_a_reader_that_is_gone_are_dropped(loop: Any, streams: Any) -> None:
    reader, protocol, writer, _ = made(streams, loop)
    writer.close()
    del reader, writer
    gc.collect()
    assert protocol._stream_reader is None
    protocol.data_received(b"data")
    assert protocol.eof_received() is True
    protocol.connection_lost(None)


def test_a_connection_of_a_reader_that_is_gone_may_be_refused(
    loop: Any, streams: Any, loop_errors: list[dict[str, Any]]
) -> None:
    reader = streams.StreamReader(loop=loop)
    protocol = streams.StreamReaderProtocol(reader, loop=loop)
    protocol._reject_connection = True
    protocol.connection_made(transport := Transport())
    assert transport.calls == ["abort"]
    (context,) = loop_errors
    assert context["message"].startswith("An open stream was garbage collected prior to establishing network")


def test_tls_does_not_stay_open_for_writing(loop: Any, streams: Any) -> None:
    class Tls(Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return "a context" if name == "sslcontext" else default

    reader = streams.StreamReader(loop=loop)
    protocol = streams.StreamReaderProtocol(reader, loop=loop)
    protocol.connection_made(Tls())
    assert protocol._over_ssl is True
    assert protocol.eof_received() is False
    assert reader.at_eof()


def test_who_waits_in_drain_goes_on_together(run: Any, loop: Any, streams: Any) -> None:
    async def main() -> None:
        _, protocol, writer, _ = made(streams, loop)
        protocol.pause_writing()
        with pytest.raises(AssertionError):
            protocol.pause_writing()
        drains = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(protocol._drain_waiters) == 3
        drains[1].cancel()
        await asyncio.wait([drains[1]])
        assert len(protocol._drain_waiters) == 2
        protocol.resume_writing()
        await soon(asyncio.gather(drains[0], drains[2]))
        assert not protocol._drain_waiters
        with pytest.raises(AssertionError):
            protocol.resume_writing()
        writer.close()

    run(main())


def test_who_waits_in_drain_is_told_of_the_loss(run: Any, loop: Any, streams: Any) -> None:
    async def main() -> None:
        for error in ConnectionResetError("gone"), None:
            _, protocol, writer, _ = made(streams, loop)
            protocol.pause_writing()
            drains = [asyncio.ensure_future(writer.drain()) for _ in range(2)]
            await asyncio.sleep(0)
            protocol.connection_lost(error)
            assert await soon(asyncio.gather(*drains, return_exceptions=True)) == [error, error]
            with pytest.raises(ConnectionResetError, match="gone" if error else "Connection lost"):
                await writer.drain()
            writer.close()

    run(main())


def test_drain_of_a_closing_transport_lets_the_loop_run(run: Any, loop: Any, streams: Any) -> None:
    async def main() -> None:
        _, protocol, writer, _ = made(streams, loop)
        writer.close()
        loop.call_soon(protocol.connection_lost, None)
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await writer.drain()

    run(main())


def test_a_loss_that_nobody_waits_for_is_not_reported(
    loop: Any, streams: Any, loop_errors: list[dict[str, Any]]
) -> None:
    _, protocol, writer, _ = made(streams, loop)
    protocol.connection_lost(ZeroDivisionError())
    writer.close()
    del protocol, writer, _
    gc.collect()
    assert loop_errors == []


def test_wait_closed_waits_for_what_the_protocol_says(run: Any, loop: Any, streams: Any) -> None:
    class Protocol(asyncio.Protocol):
        def _get_close_waiter(self, stream: Any) -> Any:
            self.stream = stream
            return asyncio.sleep(0, "ignored")

        async def _drain_helper(self) -> None:
            self.drained = True

    async def main() -> None:
        transport, protocol = Transport(), Protocol()
        writer = streams.StreamWriter(transport, protocol, None, loop)
        await writer.drain()
        assert protocol.drained
        assert await writer.wait_closed() is None
        assert protocol.stream is writer
        writer.close()

    run(main())


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_a_writer_that_nobody_closed_closes_and_says_so(loop: Any, streams: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reader, _, writer, transport = made(streams, loop)
        shown = repr(writer)
        del writer
        gc.collect()
        assert transport.closing
        _, _, writer, transport = made(streams, loop)
        writer.close()
        del writer, reader, _
        gc.collect()
    assert [str(one.message) for one in caught] == [f"unclosed {shown}"]
    assert caught[0].category is ResourceWarning


def test_a_subclass_of_the_protocol_is_called(run: Any, streams: Any) -> None:
    class Noting(streams.StreamReaderProtocol):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.seen: list[Any] = []

        def connection_made(self, transport: Any) -> None:
            self.seen.append("made")
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            self.seen.append(bytes(data))
            super().data_received(data.upper())

        def eof_received(self) -> Any:
            self.seen.append("eof")
            return super().eof_received()

        def connection_lost(self, exc: Any) -> None:
            self.seen.append(("lost", exc))
            super().connection_lost(exc)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = connected_pair()
        reader = streams.StreamReader()
        transport, protocol = await loop.create_connection(lambda: Noting(reader), sock=ours)
        writer = streams.StreamWriter(transport, protocol, reader, loop)
        peer.sendall(b"line\n")
        assert await soon(reader.readline()) == b"LINE\n"
        peer.close()
        assert await soon(reader.read()) == b""
        writer.close()
        await soon(writer.wait_closed())
        assert protocol.seen == ["made", b"line\n", "eof", ("lost", None)]

    run(main())


def test_an_object_may_have_a_data_received_of_its_own(run: Any, streams: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = connected_pair()
        reader, writer = await streams.open_connection(sock=ours)
        protocol = writer.transport.get_protocol()
        got = loop.create_future()
        protocol.data_received = got.set_result
        peer.sendall(b"elsewhere")
        assert await soon(got) == b"elsewhere"
        del protocol.data_received
        peer.sendall(b"here")
        assert await soon(reader.read(10)) == b"here"
        writer.close()
        peer.close()
        await soon(writer.wait_closed())

    run(main())


def test_a_reader_of_a_subclass_gets_its_bytes_through_feed_data(run: Any, streams: Any) -> None:
    class Counting(streams.StreamReader):  # type: ignore[misc]
        count = 0

        def feed_data(self, data: bytes) -> None:
            self.count += len(data)
            super().feed_data(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = connected_pair()
        reader = Counting()
        protocol = streams.StreamReaderProtocol(reader)
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        peer.sendall(b"123")
        assert await soon(reader.readexactly(3)) == b"123"
        assert reader.count == 3
        transport.close()
        peer.close()
        await soon(protocol._closed)

    run(main())


def test_another_protocol_may_take_over(run: Any, streams: Any) -> None:
    class Other(asyncio.Protocol):
        def __init__(self) -> None:
            self.got = asyncio.get_running_loop().create_future()
            self.lost = asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            self.got.set_result(data)

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

    async def main() -> None:
        ours, peer = connected_pair()
        reader, writer = await streams.open_connection(sock=ours)
        peer.sendall(b"for the reader")
        assert await soon(reader.read(100)) == b"for the reader"
        other = Other()
        stream_protocol = writer.transport.get_protocol()
        writer.transport.set_protocol(other)
        peer.sendall(b"for the other")
        assert await soon(other.got) == b"for the other"
        writer.transport.set_protocol(stream_protocol)
        peer.sendall(b"again")
        assert await soon(reader.read(100)) == b"again"
        writer.transport.set_protocol(other)
        writer.close()
        assert await soon(other.lost) is None
        peer.close()

    run(main())


def test_a_callback_that_raises_closes_the_connection(
    run: Any, streams: Any, loop_errors: list[dict[str, Any]]
) -> None:
    if streams is asyncio and not hasattr(asyncio.StreamReader, "_replace_transport"):
        pytest.skip("3.14 and its like close the connection; before, it stays open")

    def refuse(reader: Any, writer: Any) -> None:
        raise ZeroDivisionError("from the callback")

    async def main() -> None:
        async with await streams.start_server(refuse, "127.0.0.1", 0) as server:
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                assert await in_thread(client.recv, 1) == b""

    run(main())
    (context,) = loop_errors
    assert context["message"] == "Unhandled exception in client_connected_cb"
    assert isinstance(context["exception"], ZeroDivisionError)


def test_a_cancelled_handler_closes_the_connection(run: Any, streams: Any) -> None:
    if streams is asyncio and sys.version_info < (3, 12, 2):
        pytest.skip("gh-113538: the callback of the task raised what it was to report")

    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def stay(reader: Any, writer: Any) -> None:
            tasks.append(asyncio.current_task())  # type: ignore[arg-type]
            await reader.read()

        async with await streams.start_server(stay, "127.0.0.1", 0) as server:
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                await until(lambda: tasks)
                tasks[0].cancel()
                assert await in_thread(client.recv, 1) == b""

    run(main())


def test_start_tls_hands_everything_over(run: Any, loop: Any, streams: Any) -> None:
    async def main() -> None:
        _, protocol, writer, old = made(streams, loop)
        new = Transport()
        new.get_extra_info = lambda name, default=None: "a context"  # type: ignore[method-assign]
        upgrading = mock.AsyncMock(return_value=new)
        with mock.patch.object(type(loop), "start_tls", upgrading):
            await writer.start_tls("a context", server_hostname="name", ssl_handshake_timeout=3)
        (arguments, options) = upgrading.call_args
        assert arguments[-3:] == (old, protocol, "a context")
        assert (options["server_side"], options["server_hostname"]) == (False, "name")
        assert options["ssl_handshake_timeout"] == 3
        assert (writer.transport, protocol._transport, protocol._over_ssl) == (new, new, True)
        writer.close()

    run(main())


def test_an_abandoned_connection_is_collected(run: Any, streams: Any) -> None:
    async def main() -> None:
        ours, peer = connected_pair()
        reader, writer = await streams.open_connection(sock=ours)
        reader.writer = writer
        gone = weakref.ref(reader)
        writer.transport.abort()
        await asyncio.gather(soon(writer.wait_closed()), return_exceptions=True)
        del reader, writer
        gc.collect()
        assert gone() is None
        peer.close()

    run(main())


def test_the_limit_of_a_server_is_that_of_its_readers(run: Any, streams: Any) -> None:
    async def main() -> None:
        seen = asyncio.get_running_loop().create_future()

        async def note(reader: Any, writer: Any) -> None:
            seen.set_result(reader._limit)
            writer.close()

        async with await streams.start_server(note, "127.0.0.1", 0, limit=77) as server:
            reader, writer = await streams.open_connection(*server.sockets[0].getsockname(), limit=55)
            assert reader._limit == 55
            assert await soon(seen) == 77
            assert await soon(reader.read()) == b""
            writer.close()
            await soon(writer.wait_closed())
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            await streams.open_connection("127.0.0.1", 1, limit=0)

    run(main())


def test_functions_need_a_running_loop(loop: Any, streams: Any) -> None:
    for name, arguments in (
        ("open_connection", ()),
        ("open_unix_connection", ()),
        ("start_server", (print,)),
        ("start_unix_server", (print,)),
        ("create_subprocess_exec", ("true",)),
        ("create_subprocess_shell", ("true",)),
    ):
        coroutine = getattr(streams, name)(*arguments)
        assert inspect.iscoroutine(coroutine) or asyncio.iscoroutine(coroutine)
        with pytest.raises(RuntimeError, match="no running event loop"):
            coroutine.send(None)
