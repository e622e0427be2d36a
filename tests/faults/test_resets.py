"""Peers that reset at every stage of a connection: each costs itself only, and is told once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from net_peers import (
    MORE_THAN_FITS,
    BufferedRecorder,
    Calls,
    Recorder,
    connect,
    in_thread,
    kernel_asked,
    no_socket_left,
    receive_exactly,
    reset,
    soon,
    until,
)


class Server:
    """A server whose protocols answer as told: what they write on connection and on data."""

    def __init__(self, loop: Any, kind: type[Calls]) -> None:
        self.loop = loop
        self.kind = kind
        self.protocols: list[Calls] = []

    async def __aenter__(self) -> Server:
        self.server = await self.loop.create_server(self._make, "127.0.0.1", 0)
        self.address = self.server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for protocol in self.protocols:
            protocol.opened().abort()
            await soon(protocol.lost)
        await soon(self.server.wait_closed())

    def _make(self) -> Calls:
        self.protocols.append(self.kind())
        return self.protocols[-1]

    async def connection(self) -> tuple[socket.socket, Calls]:
        known = len(self.protocols)
        client = connect(self.address)
        await until(lambda: len(self.protocols) > known)
        protocol = self.protocols[-1]
        await soon(protocol.made)
        return client, protocol

    async def serves(self) -> None:
        client, protocol = await self.connection()
        client.sendall(b"hello")
        assert await protocol.read(5) == b"hello"
        protocol.opened().write(b"world")
        assert await in_thread(receive_exactly, client, 5) == b"world"
        client.close()
        await soon(protocol.lost)


async def in_the_queue(server: Server) -> None:
    """Before the server accepted it; the server may see it or not."""
    for _ in range(5):
        reset(connect(server.address))
    await kernel_asked()


async def when_idle(server: Server) -> None:
    client, protocol = await server.connection()
    reset(client)
    assert isinstance(await soon(protocol.lost), ConnectionResetError)


async def with_data_unread(server: Server) -> None:
    client, protocol = await server.connection()
    client.sendall(b"unread")
    reset(client)
    await soon(protocol.lost)


async def while_the_server_writes(server: Server) -> None:
    client, protocol = await server.connection()
    protocol.opened().write(MORE_THAN_FITS * 10)
    await kernel_asked()
    reset(client)
    assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))
    assert protocol.opened().get_write_buffer_size() == 0


async def while_the_server_does_not_read(server: Server) -> None:
    client, protocol = await server.connection()
    protocol.opened().pause_reading()
    reset(client)
    await kernel_asked()
    assert not protocol.lost.done()
    protocol.opened().resume_reading()
    assert isinstance(await soon(protocol.lost), ConnectionResetError)


async def while_a_close_flushes(server: Server) -> None:
    client, protocol = await server.connection()
    protocol.opened().write(MORE_THAN_FITS * 10)
    protocol.opened().close()
    await kernel_asked()
    reset(client)
    assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))


async def after_half_a_close(server: Server) -> None:
    client, protocol = await server.connection()
    protocol.opened().write_eof()
    await kernel_asked()
    reset(client)
    assert isinstance(await soon(protocol.lost), ConnectionResetError)


async def after_the_server_closed(server: Server) -> None:
    client, protocol = await server.connection()
    protocol.opened().close()
    reset(client)
    assert await soon(protocol.lost) is None


STAGES: list[Callable[[Server], Any]] = [
    in_the_queue,
    when_idle,
    with_data_unread,
    while_the_server_writes,
    while_the_server_does_not_read,
    while_a_close_flushes,
    after_half_a_close,
    after_the_server_closed,
]


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_reset_costs_its_own_connection_only(
    loop: Any, run: Any, loop_errors: list[Any], stage: Any, kind: Any
) -> None:
    async def main() -> None:
        async with Server(loop, kind) as server:
            bystander, watching = await server.connection()
            await stage(server)
            await server.serves()
            bystander.sendall(b"still here")
            assert await watching.read(10) == b"still here"
            bystander.close()
            await until(lambda: all(protocol.lost.done() for protocol in server.protocols))
            for protocol in server.protocols:
                assert protocol.calls.count("connection_lost") == 1

    with no_socket_left():
        run(main())
    assert loop_errors == []
