"""sendfile through transports: by sendfile(2), by reading, and what becomes of the protocol meanwhile."""

from __future__ import annotations

import asyncio
import io
import sys
from asyncio import constants
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import net_peers
import pytest

SIZE = 1_000_000
CONTENT = bytes(index % 251 for index in range(SIZE))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sendfile") / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=["native", "fallback"])
def source(request: pytest.FixtureRequest, path: Path, implementation: Any) -> Iterator[Any]:
    """A file that the kernel sends, and one that has to be read."""
    if request.param == "fallback":
        if implementation.is_oracle and sys.version_info >= (3, 12):
            pytest.skip("asyncio since 3.12 reads into memory that its transport has still to send")
        yield io.BytesIO(CONTENT)
        return
    with path.open("rb") as file:
        yield file


@pytest.fixture
def file(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield file


class Connection:
    """A transport with a recording protocol, and the raw socket of its peer."""

    def __init__(self, transport: Any, protocol: net_peers.Recorder, peer: Any) -> None:
        self.transport, self.protocol, self.peer = transport, protocol, peer
        self.loop: Any = asyncio.get_running_loop()

    @classmethod
    async def make(cls) -> Connection:
        protocol = net_peers.Recorder()
        transport, peer = await net_peers.transport_to_peer(protocol)
        return cls(transport, protocol, peer)

    def sending(self, file: Any, *arguments: Any) -> asyncio.Task[int]:
        return self.loop.create_task(self.loop.sendfile(self.transport, file, *arguments))  # type: ignore[no-any-return]

    async def received(self, count: int) -> bytes:
        return await net_peers.in_thread(net_peers.receive_exactly, self.peer, count)  # type: ignore[no-any-return]

    async def rest(self) -> bytes:
        """Closes the transport; what the peer had not received yet."""
        receiving = asyncio.ensure_future(net_peers.in_thread(net_peers.receive_to_end, self.peer))
        self.transport.close()
        rest = await receiving
        await net_peers.soon(self.protocol.lost)
        self.peer.close()
        return rest  # type: ignore[no-any-return]

    async def end(self) -> None:
        await net_peers.closed(self.transport, self.protocol, self.peer)


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (123_456, None), (0, 1), (1000, 200_000), (SIZE - 10, 100), (SIZE, None), (0, 2**62)],
)
def test_a_part_of_a_file_is_sent(run: Any, source: Any, offset: int, count: int | None) -> None:
    async def main() -> None:
        connection = await Connection.make()
        expected = CONTENT[offset:] if count is None else CONTENT[offset : offset + count]
        sending = connection.sending(source, offset, count)
        begin = await connection.received(min(len(expected), 400_000))
        receiving = asyncio.ensure_future(connection.received(len(expected) - len(begin)))
        assert await net_peers.soon(sending) == len(expected)
        assert begin + await receiving == expected
        if expected:
            assert source.tell() == offset + len(expected)
        assert await connection.rest() == b""
        assert connection.protocol.error is None

    run(main)


def test_bytes_before_and_after_keep_their_order(run: Any, source: Any) -> None:
    before = b"before" * 50_000

    async def main() -> None:
        connection = await Connection.make()
        connection.transport.write(before)
        sending = connection.sending(source)
        receiving = asyncio.ensure_future(connection.received(len(before) + SIZE))
        assert await net_peers.soon(sending) == SIZE
        connection.transport.write(b"after")
        assert await receiving + await connection.rest() == before + CONTENT + b"after"

    run(main)


def test_several_files_one_after_the_other(run: Any, source: Any, implementation: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("before 3.14 asyncio reads a file from where it stands, whatever the offset")

    async def main() -> None:
        connection = await Connection.make()
        receiving = asyncio.ensure_future(connection.received(3 * SIZE + 3))
        for _ in range(3):
            assert await net_peers.soon(connection.sending(source)) == SIZE
            connection.transport.write(b"-")
        assert await receiving == (CONTENT + b"-") * 3
        await connection.end()

    run(main)


def test_nothing_else_is_written_meanwhile(run: Any, file: Any) -> None:
    async def main() -> None:
        connection = await Connection.make()
        sending = connection.sending(file)
        await connection.received(10_000)
        with pytest.raises(RuntimeError, match=r"^unable to write; sendfile is in progress$"):
            connection.transport.write(b"between")
        with pytest.raises(RuntimeError, match=r"^unable to write(lines)?; sendfile is in progress$"):
            connection.transport.writelines([b"between"])
        receiving = asyncio.ensure_future(connection.received(SIZE - 10_000))
        assert await net_peers.soon(sending) == SIZE
        assert await receiving == CONTENT[10_000:]
        connection.transport.write(b"behind")
        assert await connection.rest() == b"behind"

    run(main)


def test_a_second_file_is_refused_while_one_is_sent(run: Any, file: Any, path: Path) -> None:
    async def main() -> None:
        connection = await Connection.make()
        sending = connection.sending(file)
        await connection.received(10_000)
        with path.open("rb") as second, pytest.raises((RuntimeError, KeyError)):
            await connection.sending(second)
        receiving = asyncio.ensure_future(connection.received(SIZE - 10_000))
        assert await net_peers.soon(sending) == SIZE
        assert await receiving == CONTENT[10_000:]
        await connection.end()

    run(main)


@pytest.mark.parametrize("paused", [False, True])
def test_reading_pauses_and_goes_on_as_it_was(run: Any, source: Any, paused: bool) -> None:
    async def main() -> None:
        connection = await Connection.make()
        if paused:
            connection.transport.pause_reading()
        sending = connection.sending(source)
        await connection.received(10_000)
        connection.peer.send(b"meanwhile")
        await net_peers.kernel_asked()
        assert not connection.transport.is_reading()
        assert not connection.protocol.received
        receiving = asyncio.ensure_future(connection.received(SIZE - 10_000))
        await net_peers.soon(sending)
        await receiving
        assert connection.transport.is_reading() == (not paused)
        connection.transport.resume_reading()
        assert await connection.protocol.read(9) == b"meanwhile"
        assert connection.transport.get_protocol() is connection.protocol
        await connection.end()

    run(main)


def test_a_protocol_that_was_paused_is_told_to_go_on(run: Any, source: Any) -> None:
    async def main() -> None:
        connection = await Connection.make()
        connection.transport.set_write_buffer_limits(high=1000)
        connection.transport.write(bytes(300_000))
        assert connection.protocol.calls == ["connection_made", "pause_writing"]
        sending = connection.sending(source)
        receiving = asyncio.ensure_future(connection.received(300_000 + SIZE))
        assert await net_peers.soon(sending) == SIZE
        assert await receiving == bytes(300_000) + CONTENT
        assert connection.protocol.calls == ["connection_made", "pause_writing", "resume_writing"]
        await connection.end()

    run(main)


def test_the_protocol_of_the_user_is_back_after_a_failure(run: Any) -> None:
    class Failing:
        def readinto(self, memory: Any) -> int:
            raise ZeroDivisionError("of the file")

    async def main() -> None:
        connection = await Connection.make()
        with pytest.raises(ZeroDivisionError, match="of the file"):
            await connection.sending(Failing())
        assert connection.transport.get_protocol() is connection.protocol
        assert connection.transport.is_reading()
        connection.transport.write(b"still there")
        assert await connection.rest() == b"still there"

    run(main)


def test_a_file_that_is_no_file_at_all(run: Any) -> None:
    async def main() -> None:
        connection = await Connection.make()
        with pytest.raises(AttributeError):
            await connection.sending(object())
        assert connection.transport.get_protocol() is connection.protocol
        await connection.end()

    run(main)


def test_without_a_fallback_what_is_no_file_is_refused(run: Any) -> None:
    async def main() -> None:
        connection = await Connection.make()
        refused = connection.loop.sendfile(connection.transport, io.BytesIO(b"content"), fallback=False)
        with pytest.raises(asyncio.SendfileNotAvailableError, match=r"^not a regular file$"):
            await refused
        assert connection.transport.is_reading()
        connection.transport.write(b"still there")
        assert await connection.rest() == b"still there"

    run(main)


def test_text_and_wrong_parts_are_refused(run: Any, path: Path) -> None:
    async def main() -> None:
        connection = await Connection.make()
        with path.open() as text, pytest.raises(ValueError, match=r"^file should be opened in binary mode$"):
            await connection.sending(text)
        with path.open("rb") as file:
            with pytest.raises(ValueError, match=r"^count must be a positive integer \(got 0\)$"):
                await connection.sending(file, 0, 0)
            with pytest.raises(TypeError, match=r"^offset must be a non-negative integer \(got 'x'\)$"):
                await connection.sending(file, "x")
        assert connection.transport.is_reading()
        await connection.end()

    run(main)


def test_a_transport_that_is_closing_is_refused(run: Any, file: Any) -> None:
    async def main() -> None:
        connection = await Connection.make()
        connection.transport.close()
        with pytest.raises(RuntimeError, match=r"^Transport is closing$"):
            await connection.sending(file)
        await connection.end()

    run(main)


def test_a_transport_says_how_it_sends_files(loop: Any, run: Any, file: Any) -> None:
    class Foreign:
        def is_closing(self) -> bool:
            return False

        def __repr__(self) -> str:
            return "<foreign>"

    async def main() -> None:
        connection = await Connection.make()
        mode: Any = constants._SendfileMode
        assert connection.transport._sendfile_compatible is mode.TRY_NATIVE
        assert type(connection.transport)._sendfile_compatible is mode.TRY_NATIVE
        await connection.end()
        foreign: Any = Foreign()
        unsupported = r"^sendfile is not supported for transport <foreign>$"
        with pytest.raises(RuntimeError, match=unsupported):
            await loop.sendfile(foreign, file)
        foreign._sendfile_compatible = mode.UNSUPPORTED
        with pytest.raises(RuntimeError, match=unsupported):
            await loop.sendfile(foreign, file)
        foreign._sendfile_compatible = mode.FALLBACK
        text = r"^fallback is disabled and native sendfile is not supported for transport <foreign>$"
        with pytest.raises(RuntimeError, match=text):
            await loop.sendfile(foreign, file, fallback=False)
        with pytest.raises(TypeError, match=r"^transport should be _FlowControlMixin instance$"):
            await loop.sendfile(foreign, file)

    run(main)


def test_what_replaces_the_native_way_is_called(loop: Any, run: Any, file: Any) -> None:
    asked: list[Any] = []

    async def unavailable(*arguments: Any) -> None:
        asked.append(arguments)
        raise asyncio.SendfileNotAvailableError("of the test")

    async def main() -> None:
        connection = await Connection.make()
        loop._sendfile_native = unavailable
        with pytest.raises(asyncio.SendfileNotAvailableError, match=r"^of the test$"):
            await loop.sendfile(connection.transport, file, fallback=False)
        receiving = asyncio.ensure_future(connection.received(200_000))
        assert await connection.sending(file, 5, 200_000) == 200_000
        assert await receiving == CONTENT[5:200_005]
        assert asked == [(connection.transport, file, 0, None), (connection.transport, file, 5, 200_000)]
        await connection.end()

    run(main)


def test_a_stream_writer_s_transport_takes_files(run: Any, source: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readline()
        writer.write(b"header of " + request)
        assert await asyncio.get_running_loop().sendfile(writer.transport, source) == SIZE
        writer.write(b"trailer")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"request\n")
        answer = await net_peers.soon(reader.read())
        assert answer == b"header of request\n" + CONTENT + b"trailer"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_it_is_a_coroutine(loop: Any, run: Any, file: Any) -> None:
    async def main() -> None:
        connection = await Connection.make()
        coroutine = loop.sendfile(connection.transport, file)
        assert asyncio.iscoroutine(coroutine)
        coroutine.close()
        await connection.end()

    run(main)
