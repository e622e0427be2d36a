"""The Server that loop.create_server makes: serving, closing, waiting for the rest, as each Python does."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest
from net_peers import (
    Recorder,
    connect,
    in_thread,
    kernel_asked,
    receive_to_end,
    soon,
    until,
)

since_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_closed waits for clients since 3.12")
since_3_13 = pytest.mark.skipif(sys.version_info < (3, 13), reason="close_clients came with Python 3.13")


class Service:
    """A server under test together with the protocols it made."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.protocols: list[Recorder] = []
        self.server: Any

    async def start(self, **options: Any) -> Service:
        self.server = await self.loop.create_server(self._make, "127.0.0.1", 0, **options)
        self.address = self.server.sockets[0].getsockname()
        return self

    def _make(self) -> Recorder:
        self.protocols.append(Recorder())
        return self.protocols[-1]

    async def client(self) -> socket.socket:
        """A client the server has accepted."""
        known = len(self.protocols)
        sock = connect(self.address)
        await until(lambda: len(self.protocols) > known)
        await soon(self.protocols[-1].made)
        return sock

    async def gone(self) -> None:
        for protocol in self.protocols:
            await soon(protocol.lost)


def refused(address: Any) -> bool:
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_server_is_an_abstract_server_of_its_loop(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = (await Service(loop).start()).server
        assert isinstance(server, asyncio.AbstractServer)
        assert server.get_loop() is loop
        assert "Server sockets=(" in repr(server)
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_sockets_look_like_sockets_and_vanish_at_close(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = (await Service(loop).start()).server
        assert isinstance(server.sockets, tuple)
        (sock,) = server.sockets
        assert sock.family == socket.AF_INET
        assert sock.type == socket.SOCK_STREAM
        assert sock.fileno() > 2
        assert sock.getsockname()[0] == "127.0.0.1"
        server.close()
        assert server.sockets == ()
        await soon(server.wait_closed())

    run(main())


def test_start_serving_false_does_not_listen_until_told(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start(start_serving=False)
        assert service.server.is_serving() is False
        assert refused(service.address)
        await service.server.start_serving()
        assert service.server.is_serving() is True
        await service.server.start_serving()
        (await service.client()).close()
        await service.gone()
        service.server.close()
        assert service.server.is_serving() is False
        await soon(service.server.wait_closed())

    run(main())


def test_close_stops_listening_but_keeps_connections(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start()
        client = await service.client()
        service.server.close()
        service.server.close()
        assert refused(service.address)
        client.sendall(b"still open")
        assert await service.protocols[0].read(10) == b"still open"
        client.close()
        await service.gone()
        await soon(service.server.wait_closed())

    run(main())


def test_serve_forever_starts_serving_and_ends_by_cancellation(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start(start_serving=False)
        task = asyncio.ensure_future(service.server.serve_forever())
        await kernel_asked()
        assert service.server.is_serving()
        (await service.client()).close()
        await service.gone()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        assert not service.server.is_serving()
        assert service.server.sockets == ()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 14), reason="serve_forever closes its clients since Python 3.14")
def test_cancelling_serve_forever_closes_the_clients(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start()
        client = await service.client()
        task = asyncio.ensure_future(service.server.serve_forever())
        await kernel_asked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        assert await in_thread(receive_to_end, client) == b""
        client.close()
        await service.gone()

    run(main())


@pytest.mark.skipif(
    not (3, 12) <= sys.version_info < (3, 14), reason="3.12 and 3.13 wait there for the clients to leave"
)
def test_cancelling_serve_forever_waits_for_the_clients(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start()
        client = await service.client()
        task = asyncio.ensure_future(service.server.serve_forever())
        await kernel_asked()
        task.cancel()
        await kernel_asked()
        assert not task.done()
        client.close()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)

    run(main())


def test_close_ends_serve_forever(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = (await Service(loop).start()).server
        task = asyncio.ensure_future(server.serve_forever())
        await kernel_asked()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)

    run(main())


def test_serve_forever_twice_at_once_is_a_runtime_error(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = (await Service(loop).start()).server
        task = asyncio.ensure_future(server.serve_forever())
        await kernel_asked()
        with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
            await server.serve_forever()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)

    run(main())


def test_serve_forever_after_close_is_a_runtime_error(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = (await Service(loop).start()).server
        server.close()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    run(main())


def test_wait_closed_waits_for_close(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = (await Service(loop).start()).server
        waiting = [asyncio.ensure_future(server.wait_closed()) for _ in range(2)]
        await kernel_asked()
        assert not any(task.done() for task in waiting)
        server.close()
        for task in waiting:
            assert await soon(task) is None
        assert await soon(server.wait_closed()) is None

    run(main())


@since_3_12
def test_wait_closed_waits_for_every_client(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start()
        clients = [await service.client() for _ in range(2)]
        service.server.close()
        waiting = asyncio.ensure_future(service.server.wait_closed())
        for client in clients:
            await kernel_asked()
            assert not waiting.done()
            client.close()
        assert await soon(waiting) is None
        await service.gone()

    run(main())


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="wait_closed waits for clients since Python 3.12")
def test_wait_closed_after_close_does_not_wait_for_clients(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start()
        client = await service.client()
        service.server.close()
        assert await soon(service.server.wait_closed()) is None
        assert not service.protocols[0].lost.done()
        client.close()
        await service.gone()

    run(main())


def test_wait_closed_before_close_waits_for_every_client(loop: Any, run: Any) -> None:
    """Whoever waited before close() is woken by the last client in every version."""

    async def main() -> None:
        service = await Service(loop).start()
        client = await service.client()
        waiting = asyncio.ensure_future(service.server.wait_closed())
        await kernel_asked()
        service.server.close()
        await kernel_asked()
        assert not waiting.done()
        client.close()
        assert await soon(waiting) is None
        await service.gone()

    run(main())


def test_a_cancelled_wait_closed_does_not_disturb_another(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = (await Service(loop).start()).server
        cancelled, waiting = (asyncio.ensure_future(server.wait_closed()) for _ in range(2))
        await kernel_asked()
        cancelled.cancel()
        await kernel_asked()
        server.close()
        await soon(waiting)
        assert cancelled.cancelled()

    run(main())


def test_leaving_async_with_closes_the_server(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start()
        async with service.server as entered:
            assert entered is service.server
            assert entered.is_serving()
            (await service.client()).close()
            await service.gone()
        assert not service.server.is_serving()
        assert refused(service.address)

    run(main())


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="close_clients came with Python 3.13")
def test_close_clients_is_unknown_before_python_3_13(loop: Any, run: Any) -> None:
    async def main() -> None:
        server = (await Service(loop).start()).server
        assert not hasattr(server, "close_clients")
        assert not hasattr(server, "abort_clients")
        server.close()
        await soon(server.wait_closed())

    run(main())


@since_3_13
def test_close_clients_flushes_what_was_written(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start()
        clients = [await service.client() for _ in range(3)]
        for protocol in service.protocols:
            protocol.opened().write(b"farewell")
        service.server.close()
        service.server.close_clients()
        for client in clients:
            assert await in_thread(receive_to_end, client) == b"farewell"
            client.close()
        await soon(service.server.wait_closed())
        await service.gone()
        assert [protocol.error for protocol in service.protocols] == [None] * 3

    run(main())


@since_3_13
def test_abort_clients_does_not_wait_for_a_client_that_does_not_read(loop: Any, run: Any) -> None:
    async def main() -> None:
        service = await Service(loop).start()
        client = await service.client()
        transport = service.protocols[0].opened()
        transport.write(bytes(20_000_000))
        assert transport.get_write_buffer_size() > 0
        service.server.close()
        service.server.close_clients()
        waiting = asyncio.ensure_future(service.server.wait_closed())
        await kernel_asked()
        assert not waiting.done()
        service.server.abort_clients()
        await soon(waiting)
        client.close()
        await service.gone()

    run(main())


def test_a_server_that_nobody_waited_for_does_not_hinder_closing_the_loop(loop: Any, run: Any) -> None:
    async def main() -> Any:
        return (await Service(loop).start()).server

    server = run(main())
    server.close()
    loop.close()
    assert server.sockets == ()
