"""loop.create_unix_connection and loop.create_unix_server: names, the socket's file, refused arguments."""

from __future__ import annotations

import asyncio
import errno
import os
import pathlib
import re
import socket
import ssl
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    PATIENCE,
    Recorder,
    closed,
    in_thread,
    no_socket_left,
    receive_exactly,
    receive_to_end,
    soon,
)

until_3_12 = pytest.mark.skipif(sys.version_info >= (3, 13), reason="cleanup_socket came with Python 3.13")
since_3_13 = pytest.mark.skipif(sys.version_info < (3, 13), reason="cleanup_socket came with Python 3.13")

KINDS = pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path], ids=["str", "bytes", "PathLike"])
"""What a path may be given as."""


class Echo(asyncio.Protocol):
    """Sends back what it gets, until the client stops."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "socket")


def abstract_name() -> str:
    """A name of the abstract namespace that nobody else uses."""
    return f"\0{uuid.uuid4()}"


def bound(path: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(path)
    return sock


def listening(path: str) -> socket.socket:
    sock = bound(path)
    sock.settimeout(PATIENCE)
    sock.listen()
    return sock


def client(address: Any) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(address)
    return sock


def echo(address: Any, data: bytes = b"ping") -> bytes:
    """One client from start to end."""
    with client(address) as sock:
        sock.sendall(data)
        reply = receive_exactly(sock, len(data))
        sock.shutdown(socket.SHUT_WR)
        return reply + receive_to_end(sock)


async def end(server: asyncio.Server) -> None:
    server.close()
    await soon(server.wait_closed())


async def finish(transport: asyncio.Transport, protocol: Recorder) -> None:
    transport.abort()
    await soon(protocol.lost)


@KINDS
def test_serves_at_a_path(loop: Any, run: Any, path: str, kind: Callable[[str], Any]) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, kind(path))
        (sock,) = server.sockets
        assert sock.family == socket.AF_UNIX
        assert sock.getsockname() == path
        assert await in_thread(echo, path) == b"ping"
        await end(server)

    run(main())


@KINDS
def test_connects_to_a_path(loop: Any, run: Any, path: str, kind: Callable[[str], Any]) -> None:
    async def main() -> None:
        with listening(path) as server:
            transport, protocol = await loop.create_unix_connection(Recorder, kind(path))
            assert protocol.transport is transport
            peer, _ = server.accept()
        transport.write(b"ping")
        assert await in_thread(receive_exactly, peer, 4) == b"ping"
        peer.sendall(b"pong")
        assert await protocol.read(4) == b"pong"
        await closed(transport, protocol, peer)

    run(main())


@pytest.mark.parametrize("kind", [str, os.fsencode], ids=["str", "bytes"])
def test_an_abstract_name_works_as_a_path_does(loop: Any, run: Any, kind: Callable[[str], Any]) -> None:
    name = abstract_name()

    async def main() -> None:
        server = await loop.create_unix_server(Echo, kind(name))
        (sock,) = server.sockets
        assert sock.getsockname() == name.encode()
        transport, protocol = await loop.create_unix_connection(Recorder, kind(name))
        transport.write(b"ping")
        assert await protocol.read(4) == b"ping"
        assert transport.get_extra_info("peername") == name.encode()
        await finish(transport, protocol)
        await end(server)

    run(main())


def test_an_unnamed_end_has_the_empty_name(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        theirs = Recorder()
        server = await loop.create_unix_server(lambda: theirs, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        accepted = await soon(theirs.made)
        for side, names in (transport, ("", path)), (accepted, (path, "")):
            assert (side.get_extra_info("sockname"), side.get_extra_info("peername")) == names
            assert side.get_extra_info("socket").family == socket.AF_UNIX
        await finish(transport, protocol)
        await soon(theirs.lost)
        await end(server)

    run(main())


def test_a_connected_socket_becomes_nonblocking_and_belongs_to_the_transport(loop: Any, run: Any) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        transport, protocol = await loop.create_unix_connection(Recorder, sock=ours)
        assert ours.gettimeout() == 0.0
        peer.sendall(b"unix")
        assert await protocol.read(4) == b"unix"
        await closed(transport, protocol, peer)
        assert ours.fileno() == -1

    run(main())


def test_serves_on_a_bound_socket(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        sock = bound(path)
        server = await loop.create_unix_server(Echo, sock=sock)
        assert sock.gettimeout() == 0.0
        assert await in_thread(echo, path) == b"ping"
        await end(server)
        assert sock.fileno() == -1

    run(main())


def test_more_than_the_kernel_holds_passes_both_ways(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        transport.write(MORE_THAN_FITS)
        transport.write_eof()
        assert await protocol.read(len(MORE_THAN_FITS)) == MORE_THAN_FITS
        await soon(protocol.ended)
        assert await soon(protocol.lost) is None
        await end(server)

    run(main())


def test_streams_work_over_a_path(run: Any, streams: Any, path: str) -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await streams.start_unix_server(upper, path)
        reader, writer = await streams.open_unix_connection(path)
        writer.write(b"ping\n")
        assert await soon(reader.read()) == b"PING\n"
        writer.close()
        await soon(writer.wait_closed())
        await end(server)

    run(main())


def anonymous_tls(side: int) -> ssl.SSLContext:
    """A context that needs no certificate: TLS 1.2 has key exchanges without one."""
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


def test_tls_works_over_a_path(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, path, ssl=anonymous_tls(ssl.PROTOCOL_TLS_SERVER))
        transport, protocol = await loop.create_unix_connection(
            Recorder, path, ssl=anonymous_tls(ssl.PROTOCOL_TLS_CLIENT), server_hostname=""
        )
        assert transport.get_extra_info("cipher") is not None
        transport.write(b"ping")
        assert await protocol.read(4) == b"ping"
        transport.close()
        await soon(protocol.lost)
        await end(server)

    run(main())


def test_without_start_serving_nobody_is_let_in_until_told(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, path, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as early:
            early.connect(path)
        await server.start_serving()
        assert await in_thread(echo, path) == b"ping"
        await end(server)

    run(main())


class Spy(socket.socket):
    """Writes down how long a queue it was told to have."""

    def listen(self, *backlog: int) -> None:
        self.backlog = backlog
        super().listen(*backlog)


@pytest.mark.parametrize(("options", "expected"), [({}, 100), ({"backlog": 7}, 7)])
def test_backlog_reaches_the_socket(
    loop: Any, run: Any, path: str, options: dict[str, int], expected: int
) -> None:
    async def main() -> None:
        sock = Spy(socket.AF_UNIX)
        sock.bind(path)
        server = await loop.create_unix_server(Echo, sock=sock, **options)
        assert sock.backlog == (expected,)
        await end(server)

    run(main())


def test_a_socket_that_was_left_at_the_path_is_replaced(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        bound(path).close()
        server = await loop.create_unix_server(Echo, path)
        assert await in_thread(echo, path) == b"ping"
        await end(server)

    run(main())


def test_another_file_at_the_path_is_left_alone(loop: Any, run: Any, path: str) -> None:
    file = pathlib.Path(path)
    file.write_text("precious")

    async def main() -> None:
        with no_socket_left(), pytest.raises(OSError) as caught:
            await loop.create_unix_server(Echo, path)
        assert caught.value.errno == errno.EADDRINUSE
        assert caught.value.strerror == f"Address {path!r} is already in use"
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    run(main())
    assert file.read_text() == "precious"


def test_an_abstract_name_in_use_is_refused(loop: Any, run: Any) -> None:
    name = abstract_name()

    async def main() -> None:
        with bound(name), no_socket_left(), pytest.raises(OSError) as caught:
            await loop.create_unix_server(Echo, name)
        assert caught.value.errno == errno.EADDRINUSE
        assert caught.value.strerror == f"Address {name!r} is already in use"

    run(main())


def test_a_path_that_cannot_be_looked_at_is_logged_and_refused_by_the_kernel(
    loop: Any, run: Any, path: str, asyncio_log: Any
) -> None:
    pathlib.Path(path).write_text("no directory")
    inside = f"{path}/socket"

    async def main() -> None:
        with no_socket_left(), pytest.raises(NotADirectoryError):
            await loop.create_unix_server(Echo, inside)

    run(main())
    (text,) = asyncio_log.errors()
    assert text.startswith(f"Unable to check or remove stale UNIX socket {inside!r}: NotADirectoryError(")


@pytest.mark.parametrize(("leave", "error"), [(False, FileNotFoundError), (True, ConnectionRefusedError)])
def test_a_path_that_nobody_serves_is_an_error(
    loop: Any, run: Any, path: str, leave: bool, error: type[OSError]
) -> None:
    if leave:
        bound(path).close()

    async def main() -> None:
        with no_socket_left(), pytest.raises(error):
            await loop.create_unix_connection(Recorder, path)

    run(main())


def test_a_cancelled_connection_leaves_no_socket(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        with listening(path), no_socket_left():
            made: list[Recorder] = []

            def factory() -> Recorder:
                made.append(Recorder())
                attempt.cancel()
                return made[-1]

            attempt = asyncio.ensure_future(loop.create_unix_connection(factory, path))
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await soon(made[0].lost)

    run(main())


CONNECTION, SERVER = METHODS = "create_unix_connection", "create_unix_server"


@pytest.mark.parametrize(
    ("methods", "arguments", "error", "message"),
    [
        ([CONNECTION], {}, ValueError, "no path and sock were specified"),
        ([CONNECTION], {"ssl": True}, ValueError, "you have to pass server_hostname when using ssl"),
        ([CONNECTION], {"server_hostname": "a"}, ValueError, "server_hostname is only meaningful with ssl"),
        ([CONNECTION], {"server_hostname": 1, "ssl": True}, AssertionError, "^$"),
        ([SERVER], {}, ValueError, "path was not specified, and no sock specified"),
        ([SERVER], {"ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ([SERVER], {"ssl": False}, TypeError, "ssl argument must be an SSLContext or None"),
        (METHODS, {"path": 1}, TypeError, "expected str, bytes or os.PathLike object, not int"),
        (METHODS, {"ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful"),
        (METHODS, {"ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    loop: Any, run: Any, methods: list[str], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    for method in methods:
        with pytest.raises(error, match=message):
            run(getattr(loop, method)(Recorder, **arguments))


@pytest.mark.parametrize("method", METHODS)
def test_a_path_beside_a_socket_is_a_value_error(loop: Any, run: Any, path: str, method: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(ValueError, match="path and sock can not be specified at the same time"):
            run(getattr(loop, method)(Recorder, path, sock=sock))
        assert sock.fileno() != -1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "kind",
    [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM)],
    ids=["TCP", "datagrams"],
)
def test_a_socket_that_is_no_unix_stream_is_refused(
    loop: Any, run: Any, method: str, kind: tuple[int, int]
) -> None:
    with socket.socket(*kind) as sock:
        message = f"A UNIX Domain Stream Socket was expected, got {sock!r}"
        with pytest.raises(ValueError, match=re.escape(message)):
            run(getattr(loop, method)(Recorder, sock=sock))


@until_3_12
def test_the_file_stays_where_cleanup_socket_is_not_known(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="unexpected keyword argument 'cleanup_socket'"):
            await loop.create_unix_server(Echo, path, cleanup_socket=False)
        server = await loop.create_unix_server(Echo, path)
        await end(server)

    run(main())
    assert os.path.exists(path)


@since_3_13
@pytest.mark.parametrize("given", [False, True], ids=["path", "socket"])
@pytest.mark.parametrize(
    ("options", "stays"),
    [
        ({}, False),
        ({"cleanup_socket": True}, False),
        ({"cleanup_socket": False}, True),
        ({"cleanup_socket": None}, True),
    ],
)
@pytest.mark.parametrize("start_serving", [True, False])
def test_the_file_goes_with_the_server_unless_told_otherwise(
    loop: Any, run: Any, path: str, given: bool, options: dict[str, Any], stays: bool, start_serving: bool
) -> None:
    place: dict[str, Any] = {"sock": bound(path)} if given else {"path": path}

    async def main() -> None:
        server = await loop.create_unix_server(Echo, **place, **options, start_serving=start_serving)
        server.close()
        assert os.path.exists(path) is stays
        await soon(server.wait_closed())

    run(main())


@since_3_13
def test_a_file_that_took_the_place_of_the_socket_stays(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, path)
        # Made while the first exists, so that it cannot get the number of that one.
        bound(f"{path}2").close()
        os.replace(f"{path}2", path)
        await end(server)

    run(main())
    assert os.path.exists(path)


@since_3_13
def test_a_file_that_is_gone_already_is_no_error(loop: Any, run: Any, path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, path)
        os.unlink(path)
        await end(server)

    run(main())


@since_3_13
def test_a_file_that_cannot_be_removed_is_logged(loop: Any, run: Any, path: str, asyncio_log: Any) -> None:
    directory = os.path.dirname(path)

    async def main() -> None:
        os.mkdir(f"{directory}/inner")
        inner = f"{directory}/inner/socket"
        server = await loop.create_unix_server(Echo, inner)
        os.unlink(inner)
        os.rmdir(f"{directory}/inner")
        pathlib.Path(f"{directory}/inner").write_text("no directory")
        await end(server)
        (text,) = asyncio_log.errors()
        assert text.startswith(f"Unable to clean up listening UNIX socket {inner!r}: NotADirectoryError(")

    run(main())
