"""sock_sendfile: through sendfile(2), by reading where that is not possible, and what is refused."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
import tempfile
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


@pytest.fixture
def file(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield file


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peer = net_peers.connected_pair()
    with ours, peer:
        yield ours, peer


async def sent(
    ours: socket.socket, peer: socket.socket, *arguments: Any, **options: Any
) -> tuple[int, bytes]:
    """What sock_sendfile returns, and what the peer received until the end."""
    receiving = asyncio.ensure_future(net_peers.in_thread(net_peers.receive_to_end, peer))
    loop: Any = asyncio.get_running_loop()
    try:
        count = await net_peers.soon(loop.sock_sendfile(ours, *arguments, **options))
    finally:
        ours.close()
    return count, await receiving


PARTS = [
    (0, None),
    (123_456, None),
    (0, 1),
    (1000, 2000),
    (0, SIZE),
    (0, SIZE + 1),
    (SIZE - 10, 100),
    (SIZE, None),
    (SIZE + 5, 5),
    (0, 2**62),
]


@pytest.mark.parametrize(("offset", "count"), PARTS)
@pytest.mark.parametrize("position", [0, 77])
def test_a_part_of_a_file_is_sent(
    run: Any, pair: Any, file: Any, offset: int, count: int | None, position: int
) -> None:
    file.seek(position)
    expected = CONTENT[offset:] if count is None else CONTENT[offset : offset + count]
    assert run(sent(*pair, file, offset, count)) == (len(expected), expected)
    if expected:
        assert file.tell() == offset + len(expected)


@pytest.mark.parametrize(("offset", "count"), PARTS)
def test_a_part_of_what_is_no_file_is_read_and_sent(
    run: Any, pair: Any, offset: int, count: int | None
) -> None:
    file = io.BytesIO(CONTENT)
    expected = CONTENT[offset:] if count is None else CONTENT[offset : offset + count]
    assert run(sent(*pair, file, offset, count)) == (len(expected), expected)
    if expected:
        assert file.tell() == offset + len(expected)


def test_an_empty_file_is_sent_at_once(run: Any, pair: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        assert run(sent(*pair, file)) == (0, b"")
        assert file.tell() == 0


def test_options_have_names(run: Any, pair: Any, file: Any) -> None:
    expected = CONTENT[10:30]
    assert run(sent(*pair, file=file, offset=10, count=20, fallback=False)) == (20, expected)


def test_what_is_sent_before_and_after_keeps_its_order(loop: Any, run: Any, pair: Any, file: Any) -> None:
    ours, peer = pair

    async def main() -> bytes:
        receiving = asyncio.ensure_future(net_peers.in_thread(net_peers.receive_to_end, peer))
        await loop.sock_sendall(ours, b"before" * 10_000)
        assert await loop.sock_sendfile(ours, file) == SIZE
        await loop.sock_sendall(ours, b"after")
        ours.close()
        return await receiving  # type: ignore[no-any-return]

    assert run(main) == b"before" * 10_000 + CONTENT + b"after"


def test_several_files_are_sent_at_the_same_time(run: Any, path: Path) -> None:
    async def one(offset: int) -> None:
        ours, peer = net_peers.connected_pair()
        with peer, path.open("rb") as file:
            assert await sent(ours, peer, file, offset) == (SIZE - offset, CONTENT[offset:])

    async def main() -> None:
        await asyncio.gather(*(one(offset) for offset in range(5)))

    run(main)


def test_a_unix_socket_takes_files_too(run: Any, file: Any) -> None:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.settimeout(net_peers.PATIENCE)
    with ours, peer:
        assert run(sent(ours, peer, file)) == (SIZE, CONTENT)


class WithoutDescriptor:
    """Reads, and cannot seek."""

    def __init__(self) -> None:
        self.inner = io.BytesIO(CONTENT)

    def readinto(self, memory: Any) -> int:
        return self.inner.readinto(memory)


def test_what_cannot_seek_is_read_from_where_it_stands(run: Any, pair: Any) -> None:
    assert run(sent(*pair, WithoutDescriptor(), 0, 100_000)) == (100_000, CONTENT[:100_000])


@pytest.mark.parametrize("file", [io.BytesIO(b"content"), WithoutDescriptor(), object()])
def test_without_a_fallback_what_is_no_file_is_refused(loop: Any, run: Any, pair: Any, file: Any) -> None:
    with pytest.raises(asyncio.SendfileNotAvailableError, match=r"^not a regular file$"):
        run(loop.sock_sendfile(pair[0], file, fallback=False))


def test_a_closed_descriptor_is_no_file(loop: Any, run: Any, pair: Any) -> None:
    class Closed:
        def fileno(self) -> int:
            return 1 << 20

    with pytest.raises(asyncio.SendfileNotAvailableError, match=r"^not a regular file$"):
        run(loop.sock_sendfile(pair[0], Closed(), fallback=False))


def test_a_pipe_is_refused_because_nobody_can_move_in_it(run: Any, pair: Any) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"content")
    os.close(writing)
    with open(reading, "rb", buffering=0) as pipe, pytest.raises(OSError, match="Illegal seek"):
        run(sent(*pair, pipe, 0, 100))


def test_a_device_has_no_size_and_is_sent_as_empty(run: Any, pair: Any) -> None:
    with open("/dev/zero", "rb") as file:
        assert run(sent(*pair, file)) == (0, b"")


def test_a_socket_that_is_not_connected_is_told_by_the_fallback(loop: Any, run: Any, file: Any) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(asyncio.SendfileNotAvailableError, match=r"^os\.sendfile call failed$"):
            run(loop.sock_sendfile(sock, file, fallback=False))
        with pytest.raises(BrokenPipeError):
            run(loop.sock_sendfile(sock, file))


def test_what_replaces_the_native_way_is_called(loop: Any, run: Any, pair: Any, file: Any) -> None:
    asked: list[Any] = []

    async def unavailable(*arguments: Any) -> None:
        asked.append(arguments)
        raise asyncio.SendfileNotAvailableError("of the test")

    loop._sock_sendfile_native = unavailable
    assert run(sent(*pair, file, 10, 200_000)) == (200_000, CONTENT[10:200_010])
    assert asked == [(pair[0], file, 10, 200_000)]
    assert file.tell() == 200_010
    with pytest.raises(asyncio.SendfileNotAvailableError, match=r"^of the test$"):
        run(loop.sock_sendfile(pair[0], file, fallback=False))


def test_text_is_refused(loop: Any, run: Any, pair: Any, path: Path) -> None:
    with path.open("r") as file, pytest.raises(ValueError, match=r"^file should be opened in binary mode$"):
        run(loop.sock_sendfile(pair[0], file))


def test_datagrams_are_refused(loop: Any, run: Any, file: Any) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with pytest.raises(ValueError, match=r"^only SOCK_STREAM type sockets are supported$"):
            run(loop.sock_sendfile(sock, file))


@pytest.mark.parametrize(
    ("offset", "count", "error", "text"),
    [
        (0, "1", TypeError, "count must be a positive integer (got '1')"),
        (0, 1.5, TypeError, "count must be a positive integer (got 1.5)"),
        (0, 0, ValueError, "count must be a positive integer (got 0)"),
        (0, -1, ValueError, "count must be a positive integer (got -1)"),
        ("0", None, TypeError, "offset must be a non-negative integer (got '0')"),
        (None, None, TypeError, "offset must be a non-negative integer (got None)"),
        (-1, None, ValueError, "offset must be a non-negative integer (got -1)"),
        (-(2**80), None, ValueError, f"offset must be a non-negative integer (got {-(2**80)})"),
    ],
)
def test_wrong_parts_are_refused(
    loop: Any, run: Any, pair: Any, file: Any, offset: Any, count: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        run(loop.sock_sendfile(pair[0], file, offset, count))
    assert str(caught.value) == text


def test_an_offset_that_no_file_has_is_refused(loop: Any, run: Any, pair: Any, file: Any) -> None:
    with pytest.raises(OverflowError):
        run(loop.sock_sendfile(pair[0], file, 2**80))


def test_tls_sockets_are_refused(loop: Any, run: Any, file: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with (
        context.wrap_socket(socket.socket(), do_handshake_on_connect=False) as sock,
        pytest.raises(TypeError, match=r"^Socket cannot be of type SSLSocket$"),
    ):
        run(loop.sock_sendfile(sock, file))


def test_debug_mode_refuses_a_blocking_socket(loop: Any, run: Any, file: Any) -> None:
    loop.set_debug(True)
    with socket.socket() as sock, pytest.raises(ValueError, match=r"^the socket must be non-blocking$"):
        run(loop.sock_sendfile(sock, file))


@pytest.mark.parametrize("kind", [io.BytesIO, None])
def test_a_peer_that_resets_in_the_middle(loop: Any, run: Any, pair: Any, file: Any, kind: Any) -> None:
    ours, peer = pair
    source = file if kind is None else kind(CONTENT)

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(ours, source))
        await net_peers.in_thread(net_peers.receive_exactly, peer, 10_000)
        net_peers.reset(peer)
        with pytest.raises(ConnectionError):
            await net_peers.soon(sending)
        assert 0 < source.tell() < SIZE

    run(main)


@pytest.mark.parametrize("kind", [io.BytesIO, None])
def test_cancelled_in_the_middle(loop: Any, run: Any, pair: Any, file: Any, kind: Any) -> None:
    ours, peer = pair
    source = file if kind is None else kind(CONTENT)

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(ours, source))
        await net_peers.in_thread(net_peers.receive_exactly, peer, 10_000)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        # Nobody watches the descriptor any more, and nothing is sent.
        assert not loop.remove_writer(ours)
        ours.close()
        rest = await net_peers.in_thread(net_peers.receive_to_end, peer)
        assert CONTENT[10_000:].startswith(rest)

    run(main)


@pytest.mark.rasyncio_only(reason="asyncio leaves the position where it was, against its documentation")
def test_the_position_of_a_cancelled_file_tells_how_much_was_sent(
    loop: Any, run: Any, pair: Any, file: Any
) -> None:
    ours, peer = pair

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(ours, file))
        await net_peers.in_thread(net_peers.receive_exactly, peer, 10_000)
        sending.cancel()
        await asyncio.wait([sending])
        ours.close()
        rest = await net_peers.in_thread(net_peers.receive_to_end, peer)
        assert file.tell() == 10_000 + len(rest)

    run(main)


def test_a_file_that_grows_is_sent_to_its_new_end(loop: Any, run: Any, pair: Any) -> None:
    ours, peer = pair

    async def main() -> None:
        with tempfile.TemporaryFile() as file:
            file.write(CONTENT)
            file.flush()
            sending = asyncio.ensure_future(loop.sock_sendfile(ours, file))
            begin = await net_peers.in_thread(net_peers.receive_exactly, peer, 10_000)
            os.pwrite(file.fileno(), b"more", SIZE)
            receiving = asyncio.ensure_future(net_peers.in_thread(net_peers.receive_to_end, peer))
            assert await net_peers.soon(sending) == SIZE + 4
            ours.close()
            assert begin + await receiving == CONTENT + b"more"

    run(main)


def test_it_is_a_coroutine(loop: Any, pair: Any, file: Any) -> None:
    coroutine = loop.sock_sendfile(pair[0], file)
    assert asyncio.iscoroutine(coroutine)
    coroutine.close()
