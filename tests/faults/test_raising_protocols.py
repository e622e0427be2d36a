"""A protocol or factory that raises costs one connection at most and is reported in asyncio's words."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
from net_peers import (
    BufferedRecorder,
    Calls,
    Recorder,
    closed,
    connect,
    in_thread,
    kernel_asked,
    receive_to_end,
    soon,
    transport_to_peer,
    until,
)


class Failure(Exception):
    """What the protocols here raise."""


def raising(*_: Any) -> Any:
    raise Failure


async def one_exchange(address: Any) -> None:
    """A client that must be served."""
    with connect(address) as client:
        client.sendall(b"are you there")
        client.shutdown(socket.SHUT_WR)
        assert await in_thread(receive_to_end, client) == b"are you there"


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.opened().write(data)


class Factory:
    """Makes one protocol that misbehaves, then good ones."""

    def __init__(self, misbehaving: Callable[[], Any]) -> None:
        self.misbehaving: Callable[[], Any] | None = misbehaving
        self.made: list[Any] = []

    def __call__(self) -> Any:
        factory, self.misbehaving = self.misbehaving or Echo, None
        self.made.append(None)
        self.made[-1] = factory()
        return self.made[-1]


def serve_one_that_raises(
    run: Any, loop: Any, misbehaving: Callable[[], Any], first: Callable[[socket.socket], Any]
) -> Factory:
    """Runs a server whose first connection misbehaves when the client does `first`; three more are served."""
    factory = Factory(misbehaving)

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with connect(address) as client:
            first(client)
            await until(lambda: factory.made)
            await kernel_asked()
            for _ in range(3):
                await one_exchange(address)
        for protocol in filter(None, factory.made):
            await soon(protocol.lost)
        server.close()
        await soon(server.wait_closed())

    run(main())
    return factory


def nothing(client: socket.socket) -> None:
    """A client that only connects."""


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_raising_factory_is_reported_in_debug_mode_and_the_next_client_is_served(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]]
) -> None:
    loop.set_debug(True)
    # The log of debug mode would keep the accepted socket, which asyncio leaves to the garbage collector.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    serve_one_that_raises(run, loop, raising, nothing)
    assert [context["message"] for context in loop_errors] == [
        "Error on transport creation for incoming connection"
    ]
    assert isinstance(loop_errors[0]["exception"], Failure)
    loop_errors.clear()


@pytest.mark.rasyncio_only("asyncio leaves the accepted socket to the garbage collector")
def test_a_raising_factory_closes_its_connection_at_once(loop: Any, run: Any, loop_errors: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(raising, "127.0.0.1", 0)
        with connect(server.sockets[0].getsockname()) as client:
            assert await in_thread(receive_to_end, client) == b""
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_a_raising_connection_made_is_reported_and_the_next_client_is_served(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]]
) -> None:
    class Raising(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            raise Failure

    factory = serve_one_that_raises(run, loop, Raising, nothing)
    assert len(loop_errors) == 1
    assert loop_errors[0]["message"].startswith("Exception in callback ")
    assert isinstance(loop_errors[0]["exception"], Failure)
    assert factory.made[0].calls == ["connection_made", "eof_received", "connection_lost"]


def send(client: socket.socket) -> None:
    client.sendall(b"x")


def end(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("kind", "method", "first"),
    [
        (Recorder, "data_received", send),
        (BufferedRecorder, "buffer_updated", send),
        (BufferedRecorder, "get_buffer", send),
        (Recorder, "eof_received", end),
        (BufferedRecorder, "eof_received", end),
    ],
)
def test_a_raising_callback_costs_its_connection_and_no_other(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]], kind: Any, method: str, first: Any
) -> None:
    def misbehaving() -> Calls:
        protocol: Calls = kind()
        setattr(protocol, method, raising)
        return protocol

    factory = serve_one_that_raises(run, loop, misbehaving, first)
    (report,) = loop_errors
    assert report["message"] == f"Fatal error: protocol.{method}() call failed."
    assert report["protocol"] is factory.made[0]
    assert report["transport"] is factory.made[0].transport
    assert isinstance(report["exception"], Failure)
    assert factory.made[0].error is report["exception"]
    assert factory.made[0].calls[-1] == "connection_lost"


def test_a_raising_connection_lost_is_reported_and_the_socket_is_closed(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]]
) -> None:
    class Raising(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise Failure

    serve_one_that_raises(run, loop, Raising, end)
    assert len(loop_errors) == 1
    assert loop_errors[0]["message"].startswith("Exception in callback ")
    assert isinstance(loop_errors[0]["exception"], Failure)


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_a_raising_connection_lost_still_closes_the_socket_of_a_client(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]], ending: str
) -> None:
    class Raising(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise Failure

    async def main() -> None:
        protocol = Raising()
        transport, peer = await transport_to_peer(protocol)
        getattr(transport, ending)()
        assert await in_thread(receive_to_end, peer) == b""
        peer.close()

    run(main())
    assert len(loop_errors) == 1


def test_an_os_error_of_a_protocol_ends_its_connection_without_a_report(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]]
) -> None:
    """asyncio takes an OSError for the network's, wherever it came from."""

    class Raising(Recorder):
        def data_received(self, data: bytes) -> None:
            raise OSError(5, "from data_received")

    async def main() -> None:
        protocol = Raising()
        _, peer = await transport_to_peer(protocol)
        peer.sendall(b"x")
        error = await soon(protocol.lost)
        assert isinstance(error, OSError)
        assert error.args == (5, "from data_received")
        peer.close()

    run(main())
    assert loop_errors == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_protocol_leaves_the_loop_and_the_loop_can_go_on(
    loop: Any, run: Any, error: type[BaseException]
) -> None:
    class Interrupting(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data == b"stop":
                raise error

    made: list[Any] = []

    async def start() -> None:
        protocol = Interrupting()
        transport, peer = await transport_to_peer(protocol)
        made.extend([protocol, transport, peer])
        peer.sendall(b"stop")

    async def go_on() -> None:
        protocol, transport, peer = made
        peer.sendall(b", and on")
        assert await protocol.read(12) == b"stop, and on"
        await closed(transport, protocol, peer)

    with pytest.raises(error):
        run(start())
        loop.run_forever()
    run(go_on())


def test_an_exception_handler_that_raises_does_not_stop_the_server(
    loop: Any, run: Any, asyncio_log: Any
) -> None:
    def handler(loop: Any, context: dict[str, Any]) -> None:
        raise ZeroDivisionError("from the exception handler")

    class Raising(Recorder):
        def data_received(self, data: bytes) -> None:
            raise Failure

    loop.set_exception_handler(handler)
    serve_one_that_raises(run, loop, Raising, send)
    assert any("Unhandled error in exception handler" in message for message in asyncio_log.messages)
