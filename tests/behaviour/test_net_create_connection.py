"""loop.create_connection where it succeeds: by address, by name, by socket, with several addresses to try."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from net_peers import (
    LOOPBACKS,
    Recorder,
    closed,
    connected_pair,
    in_thread,
    listener,
    receive_exactly,
    resolving,
    soon,
    stalled_address,
    unused_port,
)


async def exchange(server: socket.socket, transport: asyncio.Transport, protocol: Recorder) -> socket.socket:
    """Accepts the connection at the other end and proves it by a byte in each direction."""
    peer: socket.socket
    peer, _ = server.accept()
    transport.write(b"?")
    assert await in_thread(receive_exactly, peer, 1) == b"?"
    peer.sendall(b"!")
    assert await protocol.read(1) == b"!"
    return peer


def connects(run: Any, loop: Any, server: socket.socket, **arguments: Any) -> tuple[Any, Any]:
    """Connects to `server` with these arguments; answers what the server saw and what the transport says."""

    async def main() -> tuple[Any, Any]:
        transport, protocol = await soon(loop.create_connection(Recorder, **arguments))
        assert protocol.calls == ["connection_made"]
        assert protocol.transport is transport
        peer = await exchange(server, transport, protocol)
        seen = peer.getpeername(), transport.get_extra_info("peername")
        assert transport.get_extra_info("sockname") == seen[0]
        await closed(transport, protocol, peer)
        return seen

    answer: tuple[Any, Any] = run(main())
    return answer


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_connects_by_address(loop: Any, run: Any, family: int, host: str) -> None:
    with listener(host, family) as server:
        address = server.getsockname()
        assert connects(run, loop, server, host=host, port=address[1])[1] == address


def test_connects_by_name(loop: Any, run: Any) -> None:
    with listener() as server:
        port = server.getsockname()[1]
        assert connects(run, loop, server, host="localhost", port=port)[1] == ("127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", b"127.0.0.1"])
def test_host_may_be_bytes_and_port_a_string(loop: Any, run: Any, host: Any) -> None:
    with listener() as server:
        port = server.getsockname()[1]
        assert connects(run, loop, server, host=host, port=str(port))[1] == ("127.0.0.1", port)


def test_connects_over_a_given_socket(loop: Any, run: Any) -> None:
    with listener() as server:
        sock = socket.create_connection(server.getsockname())
        name = sock.getsockname()
        assert connects(run, loop, server, sock=sock) == (name, server.getsockname())


def test_a_given_socket_becomes_nonblocking_and_belongs_to_the_transport(loop: Any, run: Any) -> None:
    async def main() -> None:
        ours, peer = connected_pair()
        ours.setblocking(True)
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        assert ours.gettimeout() == 0.0
        await closed(transport, protocol, peer)
        assert ours.fileno() == -1

    run(main())


def test_connects_over_a_given_unix_socket(loop: Any, run: Any) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        peer.sendall(b"unix")
        assert await protocol.read(4) == b"unix"
        await closed(transport, protocol, peer)

    run(main())


def test_local_addr_is_where_the_connection_comes_from(loop: Any, run: Any) -> None:
    local = "127.0.0.2", unused_port("127.0.0.2")
    with listener() as server:
        host, port = server.getsockname()
        assert connects(run, loop, server, host=host, port=port, local_addr=local)[0] == local


def test_local_addr_may_leave_the_port_to_the_kernel(loop: Any, run: Any) -> None:
    with listener() as server:
        host, port = server.getsockname()
        seen, _ = connects(run, loop, server, host=host, port=port, local_addr=("127.0.0.2", 0))
        assert seen[0] == "127.0.0.2"


def test_the_first_local_address_of_the_right_family_is_taken(loop: Any, run: Any) -> None:
    with listener() as server:
        host, port = server.getsockname()
        resolving(loop, ("::1", 0, 0, 0), ("127.0.0.2", 0))
        seen, _ = connects(run, loop, server, host=host, port=port, local_addr=("some name", 0))
        assert seen[0] == "127.0.0.2"


@pytest.mark.parametrize("options", [{"family": socket.AF_INET}, {"proto": socket.IPPROTO_TCP}])
def test_family_and_proto_that_fit_are_accepted(loop: Any, run: Any, options: dict[str, int]) -> None:
    with listener() as server:
        host, port = server.getsockname()
        connects(run, loop, server, host=host, port=port, **options)


def test_family_proto_and_flags_reach_getaddrinfo(loop: Any, run: Any) -> None:
    asked: list[tuple[tuple[Any, ...], dict[str, int]]] = []
    with listener() as server:
        address = server.getsockname()

        async def getaddrinfo(*where: Any, **how: int) -> list[Any]:
            asked.append((where, how))
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

        loop.getaddrinfo = getaddrinfo
        options = {"family": socket.AF_INET, "proto": 6, "flags": socket.AI_ADDRCONFIG}
        connects(run, loop, server, host="some name", port=1, **options)
    assert asked == [(("some name", 1), {**options, "type": socket.SOCK_STREAM})]


def test_the_next_address_is_tried_after_a_refusal(loop: Any, run: Any) -> None:
    with listener("127.0.0.3") as server:
        address = server.getsockname()
        resolving(loop, ("127.0.0.1", unused_port()), ("127.0.0.2", unused_port("127.0.0.2")), address)
        assert connects(run, loop, server, host="some name", port=1)[1] == address


def test_the_first_address_that_answers_is_taken(loop: Any, run: Any) -> None:
    with listener("127.0.0.2") as server, listener("127.0.0.3") as other:
        resolving(loop, server.getsockname(), other.getsockname())
        connects(run, loop, server, host="some name", port=1)


def test_happy_eyeballs_overtake_an_address_that_stalls(loop: Any, run: Any) -> None:
    with stalled_address() as stalled, listener("127.0.0.2") as server:
        resolving(loop, stalled, server.getsockname())
        connects(run, loop, server, host="some name", port=1, happy_eyeballs_delay=0.01)


def test_happy_eyeballs_do_not_wait_after_a_refusal(loop: Any, run: Any) -> None:
    with listener("127.0.0.2") as server:
        resolving(loop, ("127.0.0.1", unused_port()), server.getsockname())
        connects(run, loop, server, host="some name", port=1, happy_eyeballs_delay=3600)


def test_happy_eyeballs_take_the_first_address_when_it_answers_in_time(loop: Any, run: Any) -> None:
    with listener("127.0.0.2") as server, listener("127.0.0.3") as other:
        resolving(loop, server.getsockname(), other.getsockname())
        connects(run, loop, server, host="some name", port=1, happy_eyeballs_delay=3600)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_happy_eyeballs_with_one_address_just_connect(loop: Any, run: Any) -> None:
    with listener() as server:
        host, port = server.getsockname()
        connects(run, loop, server, host=host, port=port, happy_eyeballs_delay=0.25)


def test_many_connections_at_once(loop: Any, run: Any) -> None:
    async def main(server: socket.socket) -> None:
        host, port = server.getsockname()
        made = await asyncio.gather(*(loop.create_connection(Recorder, host, port) for _ in range(50)))
        names = {transport.get_extra_info("sockname") for transport, _ in made}
        peers = [server.accept() for _ in made]
        assert {address for _, address in peers} == names
        for transport, protocol in made:
            transport.abort()
            await soon(protocol.lost)
        for peer, _ in peers:
            peer.close()

    with listener() as server:
        run(main(server))


class Observed(socket.socket):
    """A socket of a class of its own, which counts the calls that move bytes."""

    calls = 0

    def recv(self, *args: Any) -> bytes:
        self.calls += 1
        return super().recv(*args)

    def send(self, *args: Any) -> int:
        self.calls += 1
        return super().send(*args)


@pytest.mark.rasyncio_only("asyncio moves bytes by methods of the socket object")
def test_a_transport_moves_bytes_by_the_descriptor_alone(loop: Any, run: Any) -> None:
    async def main() -> None:
        ours, peer = connected_pair()
        observed = Observed(fileno=ours.detach())
        observed.setblocking(False)
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda: protocol, sock=observed)
        peer.sendall(b"question")
        assert await protocol.read(8) == b"question"
        transport.write(b"answer")
        assert await in_thread(receive_exactly, peer, 6) == b"answer"
        assert observed.calls == 0
        await closed(transport, protocol, peer)

    run(main())
