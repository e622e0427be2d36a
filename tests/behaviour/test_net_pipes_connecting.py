"""connect_read_pipe and connect_write_pipe: what they take and refuse, what their transports tell."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
from net_peers import kernel_asked, soon
from net_pipes import (
    KINDS,
    PipeRecorder,
    ended,
    ends,
    filled,
    no_descriptor_left,
    put,
    reading_from,
    take_to_end,
    unbuffered,
    writing_to,
)

REFUSAL = {
    "read": "Pipe transport is for pipes/sockets only.",
    "write": "Pipe transport is only for pipes, sockets and character devices",
}
NAME = {"read": "_UnixReadPipeTransport", "write": "_UnixWritePipeTransport"}

both_directions = pytest.mark.parametrize("direction", ["read", "write"])
all_kinds = pytest.mark.parametrize("kind", KINDS)


def connecting(loop: Any, direction: str, factory: Any, pipe: Any) -> Any:
    return getattr(loop, f"connect_{direction}_pipe")(factory, pipe)


async def connected(direction: str, kind: str = "pipe") -> tuple[Any, PipeRecorder, Any]:
    """A transport, its protocol, and the object of the other end."""
    protocol = PipeRecorder()
    transport, peer = await (reading_from if direction == "read" else writing_to)(kind, protocol)
    return transport, protocol, peer


@both_directions
@all_kinds
def test_every_kind_of_pipe_is_taken(loop: Any, run: Any, direction: str, kind: str) -> None:
    async def main() -> None:
        reading, writing = ends(kind)
        ours, peer = (reading, writing) if direction == "read" else (writing, reading)
        number = ours.fileno()
        transport, protocol = await connecting(loop, direction, PipeRecorder, ours)
        assert protocol.calls == ["connection_made"]
        assert protocol.transport is transport
        assert transport.get_extra_info("pipe") is ours
        assert transport.get_extra_info("no such thing") is None
        assert transport.get_extra_info("no such thing", "default") == "default"
        assert not os.get_blocking(number)
        await ended(transport, protocol, peer)
        assert ours.fileno() == -1 if kind == "socket" else ours.closed

    with no_descriptor_left():
        run(main())


@both_directions
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_no_pipe_is_refused_and_left_open(
    loop: Any, run: Any, tmp_path: Path, direction: str, what: str
) -> None:
    class Folder:
        number = os.open(tmp_path, os.O_RDONLY)

        def fileno(self) -> int:
            return self.number

        def close(self) -> None:
            os.close(self.number)

    pipe: Any = (tmp_path / "file").open("w+b") if what == "file" else Folder()
    if what == "file":
        os.close(Folder.number)
    with pytest.raises(ValueError, match=f"^{re.escape(REFUSAL[direction])}$"):
        run(connecting(loop, direction, asyncio.Protocol, pipe))
    gc.collect()
    assert os.get_blocking(pipe.fileno())
    pipe.close()


@both_directions
@pytest.mark.rasyncio_only("asyncio's half-made transport complains when it dies")
@pytest.mark.parametrize(
    ("what", "error"),
    [("a closed file", ValueError), ("a number of none", OSError), ("no file", AttributeError)],
)
def test_what_has_no_descriptor_is_refused(
    loop: Any, run: Any, direction: str, what: str, error: type[Exception]
) -> None:
    class Fake:
        def fileno(self) -> int:
            return 1 << 20

    pipe: Any = Fake() if what == "a number of none" else object()
    if what == "a closed file":
        for pipe in ends("pipe"):
            pipe.close()
    with pytest.raises(error):
        run(connecting(loop, direction, asyncio.Protocol, pipe))


@both_directions
def test_a_factory_that_raises_leaves_the_pipe_open(loop: Any, run: Any, direction: str) -> None:
    class Failure(Exception):
        pass

    def factory() -> Any:
        raise Failure

    pair = ends("pipe")
    for pipe in pair:
        with pytest.raises(Failure):
            run(connecting(loop, direction, factory, pipe))
        assert not pipe.closed
        assert os.get_blocking(pipe.fileno())
        pipe.close()


@both_directions
def test_a_closed_loop_refuses(loop: Any, run: Any, direction: str) -> None:
    pair = ends("pipe")
    ours = pair[direction == "write"]
    loop.close()
    coroutine = connecting(loop, direction, asyncio.Protocol, ours)
    with warnings.catch_warnings():
        # asyncio's transport is half made.
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
            coroutine.send(None)
        del coroutine
        gc.collect()
    for pipe in pair:
        pipe.close()


def test_a_device_that_cannot_be_watched_is_read_by_nobody(
    loop: Any, run: Any, loop_errors: list[Any]
) -> None:
    async def main() -> None:
        transport, protocol = await loop.connect_read_pipe(PipeRecorder, unbuffered("/dev/null", "rb"))
        await kernel_asked()
        assert not transport.is_closing()
        transport.pause_reading()
        with pytest.raises(PermissionError):
            transport.resume_reading()
        transport.close()
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())
    (context,) = loop_errors
    assert isinstance(context["exception"], PermissionError)
    assert context["message"].startswith("Exception in callback _UnixReadPipeTransport._add_reader(")


def test_a_device_that_cannot_be_watched_is_written(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await loop.connect_write_pipe(PipeRecorder, unbuffered("/dev/null", "wb"))
        transport.write(b"x" * 1_000_000)
        assert transport.get_write_buffer_size() == 0
        transport.close()
        assert await soon(protocol.lost) is None

    run(main())


def test_the_classes_are_those_of_asyncio(loop: Any, run: Any) -> None:
    async def main() -> None:
        reader, reads, writing = await connected("read")
        assert isinstance(reader, asyncio.ReadTransport)
        assert not isinstance(reader, asyncio.WriteTransport)
        writer, writes, reading = await connected("write")
        assert isinstance(writer, asyncio.Transport)
        assert isinstance(writer, asyncio.ReadTransport)
        assert isinstance(writer, asyncio.transports._FlowControlMixin)
        assert (type(reader).__name__, type(writer).__name__) == (NAME["read"], NAME["write"])
        await ended(reader, reads, writing)
        await ended(writer, writes, reading)

    run(main())


def test_what_a_reading_transport_shows(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected("read")
        head = f"fd={transport.get_extra_info('pipe').fileno()}"
        assert repr(transport) == f"<{NAME['read']} {head} polling>"
        transport.pause_reading()
        assert repr(transport) == f"<{NAME['read']} {head} idle>"
        transport.close()
        assert repr(transport) == f"<{NAME['read']} closing {head} idle>"
        await ended(transport, protocol, peer)
        assert repr(transport) == f"<{NAME['read']} closed {head} closed>"

    run(main())


def test_what_a_writing_transport_shows(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected("write")
        head = f"fd={transport.get_extra_info('pipe').fileno()}"
        assert repr(transport) == f"<{NAME['write']} {head} idle bufsize=0>"
        filled(transport)
        size = transport.get_write_buffer_size()
        assert repr(transport) == f"<{NAME['write']} {head} polling bufsize={size}>"
        transport.close()
        assert repr(transport) == f"<{NAME['write']} closing {head} polling bufsize={size}>"
        await ended(transport, protocol, peer)
        assert repr(transport) == f"<{NAME['write']} closed {head} closed>"

    run(main())


@both_directions
def test_the_private_names_that_others_look_at(loop: Any, run: Any, direction: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected(direction)
        pipe = transport.get_extra_info("pipe")
        assert transport._pipe is pipe
        assert transport._fileno == pipe.fileno()
        assert transport._loop is loop
        assert transport._protocol is protocol
        assert transport._closing is False
        assert transport._paused is False if direction == "read" else transport._conn_lost == 0
        await ended(transport, protocol, peer)
        assert transport._closing is True
        assert (transport._pipe, transport._loop, transport._protocol) == (None, None, None)

    run(main())


@both_directions
def test_a_transport_of_a_closed_loop_warns_and_closes_its_pipe(loop: Any, run: Any, direction: str) -> None:
    """Also what dies with the loop: nobody tells the protocol any more."""
    transport, protocol, peer = run(connected(direction))
    number = transport.get_extra_info("pipe").fileno()
    loop.close()
    shown = f"<{NAME[direction]} fd={number} open>"
    assert repr(transport) == shown
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del transport
        protocol.transport = None
        protocol.made = None
        gc.collect()
    (warning,) = (warning for warning in warned if "unclosed transport" in str(warning.message))
    assert warning.category is ResourceWarning
    assert str(warning.message) == f"unclosed transport {shown}"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    assert protocol.calls == ["connection_made"]
    peer.close()


@both_directions
def test_a_transport_that_nobody_holds_lives_as_long_as_the_loop_watches_for_it(
    loop: Any, run: Any, direction: str
) -> None:
    async def main() -> None:
        lost = loop.create_future()

        class Lone(asyncio.Protocol):
            def connection_lost(self, exc: BaseException | None) -> None:
                lost.set_result(exc)

        pair = ends("pipe")
        ours, peer = pair if direction == "read" else (pair[1], pair[0])
        await connecting(loop, direction, Lone, ours)
        del ours, pair
        gc.collect()
        await kernel_asked()
        assert not lost.done()
        peer.close()
        assert await soon(lost) is None

    run(main())


def test_a_paused_transport_that_nobody_holds_is_collected(loop: Any, run: Any) -> None:
    async def main() -> None:
        ours, peer = ends("pipe")
        transport, _ = await loop.connect_read_pipe(asyncio.Protocol, ours)
        del ours
        transport.pause_reading()
        # The turn in which it was made still holds it.
        await kernel_asked()
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport
            gc.collect()
        with pytest.raises(BrokenPipeError):
            put(peer, b"nobody reads")
        peer.close()

    run(main())


@both_directions
def test_taking_the_pipe_away(loop: Any, run: Any, direction: str) -> None:
    async def main() -> Any:
        transport, protocol, peer = await connected(direction)
        pipe = transport._pipe
        transport._pipe = None
        assert transport._pipe is None
        protocol.transport = None
        protocol.made = None  # type: ignore[assignment]
        peer.close()
        return pipe

    pipe = run(main())
    loop.close()
    gc.collect()
    pipe.close()


@both_directions
def test_debug_mode_tells_of_a_connection(loop: Any, run: Any, asyncio_log: Any, direction: str) -> None:
    loop.set_debug(True)

    async def main() -> None:
        transport, protocol, peer = await connected(direction)
        number = transport.get_extra_info("pipe").fileno()
        expected = f"{direction.title()} pipe {number} connected: ({transport!r}, {protocol!r})"
        assert expected in asyncio_log.messages
        if direction == "read":
            transport.pause_reading()
            assert f"{transport!r} pauses reading" in asyncio_log.messages
            transport.resume_reading()
            assert f"{transport!r} resumes reading" in asyncio_log.messages
        peer.close()
        await soon(protocol.lost)
        (record,) = (record for record in asyncio_log.records if "closed by peer" in record.getMessage())
        assert record.msg == "%r was closed by peer"
        assert record.args == (transport,)
        assert record.levelno == logging.INFO

    run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_debug_mode_tells_of_a_failed_write(loop: Any, run: Any, asyncio_log: Any, debug: bool) -> None:
    loop.set_debug(debug)

    async def main() -> None:
        transport, protocol, peer = await connected("write")
        peer.close()
        transport.write(b"in vain")
        await soon(protocol.lost)
        failures = [record for record in asyncio_log.records if "Fatal" in record.getMessage()]
        assert len(failures) == debug
        for record in failures:
            assert record.levelno == logging.DEBUG
            assert record.getMessage().endswith(": Fatal write error on pipe transport")
            assert record.exc_info[0] is BrokenPipeError

    run(main())


def test_a_socket_is_closed_like_any_other_pipe(loop: Any, run: Any) -> None:
    async def main() -> None:
        peer, ours = socket.socketpair()
        transport, protocol = await loop.connect_write_pipe(PipeRecorder, ours)
        transport.write(b"farewell")
        transport.close()
        await soon(protocol.lost)
        assert ours.fileno() == -1
        assert take_to_end(peer) == b"farewell"
        peer.close()

    run(main())
