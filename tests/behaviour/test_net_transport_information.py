"""What a TCP transport tells about itself, and the context its protocol runs in."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    MORE_THAN_FITS,
    BufferedRecorder,
    Recorder,
    closed,
    connect,
    connected_pair,
    kernel_asked,
    reset,
    soon,
    transport_to_peer,
    until,
)


def test_a_transport_is_an_asyncio_transport(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_protocol() is protocol
        await closed(transport, protocol, peer)

    run(main())


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_names_of_both_ends(loop: Any, run: Any, family: int, host: str) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol, host, family)
        assert transport.get_extra_info("peername") == peer.getsockname()
        assert transport.get_extra_info("sockname") == peer.getpeername()
        await closed(transport, protocol, peer)

    run(main())


def test_what_is_not_known_is_the_default(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        assert transport.get_extra_info("sslcontext") is None
        assert transport.get_extra_info("no such thing") is None
        assert transport.get_extra_info("no such thing", "default") == "default"
        assert transport.get_extra_info("sockname", "default") != "default"
        await closed(transport, protocol, peer)

    run(main())


def test_the_name_of_a_peer_that_is_gone_is_none(loop: Any, run: Any) -> None:
    async def main() -> None:
        ours, peer = connected_pair()
        reset(peer)
        transport, protocol = await soon(loop.create_connection(Recorder, sock=ours))
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("peername", "default") is None
        assert isinstance(await soon(protocol.lost), ConnectionResetError)

    run(main())


def test_the_socket_of_a_transport_looks_like_a_socket(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        sock = transport.get_extra_info("socket")
        assert sock.family == socket.AF_INET
        assert sock.type == socket.SOCK_STREAM
        assert sock.proto in (0, socket.IPPROTO_TCP)
        assert sock.fileno() > 2
        assert sock.getsockname() == peer.getpeername()
        assert sock.getpeername() == peer.getsockname()
        assert sock.gettimeout() == 0
        sock.setblocking(False)
        sock.settimeout(0)
        with pytest.raises(ValueError):
            sock.setblocking(True)
        with pytest.raises(ValueError):
            sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        with sock.dup() as copy:
            assert copy.fileno() != sock.fileno()
        assert "fd=" in repr(sock)
        for forbidden in "recv", "send", "close", "connect":
            assert not hasattr(sock, forbidden)
        await closed(transport, protocol, peer)

    run(main())


def no_delay(transport: asyncio.Transport) -> bool:
    return bool(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_clients_and_servers_do_not_delay_small_packets(loop: Any, run: Any, family: int, host: str) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, host, 0)
        address = server.sockets[0].getsockname()
        client, protocol = await loop.create_connection(Recorder, *address[:2])
        await until(lambda: made)
        assert no_delay(await soon(made[0].made))
        assert no_delay(client)
        client.close()
        await soon(protocol.lost)
        await soon(made[0].lost)
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_repr_tells_the_descriptor_and_the_state(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        await kernel_asked()
        number = transport.get_extra_info("socket").fileno()
        assert f"fd={number}" in repr(transport)
        assert "read=polling" in repr(transport)
        assert "write=<idle, bufsize=0>" in repr(transport)
        transport.pause_reading()
        assert "read=idle" in repr(transport)
        transport.write(MORE_THAN_FITS)
        await kernel_asked()
        size = transport.get_write_buffer_size()
        assert f"write=<polling, bufsize={size}>" in repr(transport)
        transport.close()
        assert " closing " in repr(transport)
        transport.abort()
        await soon(protocol.lost)
        assert " closed " in repr(transport)
        peer.close()

    run(main())


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Seeing:
    """Notes what the variable is in each callback of the protocol it is mixed into."""

    seen: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.seen = {}

    def connection_made(self, transport: Any) -> None:
        self.seen["connection_made"] = variable.get()
        super().connection_made(transport)  # type: ignore[misc]

    def note(self, call: str, data: bytes) -> None:
        self.seen["data"] = variable.get()
        super().note(call, data)  # type: ignore[misc]

    def eof_received(self) -> Any:
        self.seen["eof_received"] = variable.get()
        return super().eof_received()  # type: ignore[misc]


class SeeingRecorder(Seeing, Recorder):
    pass


class SeeingBufferedRecorder(Seeing, BufferedRecorder):
    pass


@pytest.mark.parametrize("kind", [SeeingRecorder, SeeingBufferedRecorder])
def test_callbacks_of_a_client_see_the_context_of_create_connection(loop: Any, run: Any, kind: Any) -> None:
    async def main() -> dict[str, str]:
        variable.set("at creation")
        protocol = kind()
        _, peer = await transport_to_peer(protocol)
        variable.set("later")
        peer.sendall(b"x")
        await protocol.read(1)
        peer.close()
        await soon(protocol.lost)
        seen: dict[str, str] = protocol.seen
        return seen

    assert run(main()) == dict.fromkeys(["connection_made", "data", "eof_received"], "at creation")


class Marking(Recorder):
    """Sets the variable to what it receives, and answers what it was before."""

    def data_received(self, data: bytes) -> None:
        self.opened().write(f"{variable.get()};".encode())
        variable.set(data.decode())


def test_each_connection_of_a_server_has_a_context_of_its_own_that_lasts(loop: Any, run: Any) -> None:
    async def main() -> None:
        variable.set("of the server")
        server = await loop.create_server(Marking, "127.0.0.1", 0)
        variable.set("later")
        address = server.sockets[0].getsockname()
        answers = []
        for name in "one", "two":
            peer = connect(address)
            peer.setblocking(False)
            for word in name, "again":
                peer.send(word.encode())
                answers.append(await soon(loop.sock_recv(peer, 100)))
            peer.close()
        assert answers == [b"of the server;", b"one;", b"of the server;", b"two;"]
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_pause_writing_sees_the_context_of_the_writer(loop: Any, run: Any) -> None:
    class Pausing(Recorder):
        seen = ""

        def pause_writing(self) -> None:
            self.seen = variable.get()

    async def main() -> None:
        variable.set("at creation")
        protocol = Pausing()
        transport, peer = await transport_to_peer(protocol)
        variable.set("of the writer")
        transport.write(MORE_THAN_FITS)
        assert protocol.seen == "of the writer"
        await closed(transport, protocol, peer)

    run(main())
