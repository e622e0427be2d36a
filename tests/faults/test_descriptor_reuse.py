"""A descriptor number used again: what the kernel said of the old one never reaches the new one."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
from net_peers import Recorder, closed, connected_pair, kernel_asked, ring, soon, transport_to_peer


def onto(number: int, sock: socket.socket) -> socket.socket:
    """Moves a socket to that descriptor number, closing whatever had it."""
    os.dup2(sock.fileno(), number)
    moved = socket.socket(fileno=number)
    moved.setblocking(False)
    sock.close()
    return moved


def test_an_event_of_a_closed_socket_does_not_reach_its_successor(loop: Any, run: Any) -> None:
    """Both sockets are ready in one answer of the kernel; the first callback replaces the other socket."""

    async def main() -> None:
        pairs = [connected_pair() for _ in range(2)]
        stale: list[str] = []
        replaced: list[tuple[socket.socket, socket.socket]] = []

        def callback(mine: int, other: int) -> None:
            assert not replaced, "the replaced socket was called back"
            for ours, _ in pairs:
                loop.remove_reader(ours)
            old, old_peer = pairs[other]
            number = old.detach()
            old_peer.close()
            fresh, fresh_peer = connected_pair()
            replaced.append((onto(number, fresh), fresh_peer))
            loop.add_reader(replaced[0][0], stale.append, "stale")

        loop.add_reader(pairs[0][0], callback, 0, 1)
        loop.add_reader(pairs[1][0], callback, 1, 0)
        for _, peer in pairs:
            peer.sendall(b"x")
        await kernel_asked()
        assert replaced
        assert stale == []
        replaced[0][1].sendall(b"fresh")
        await kernel_asked()
        assert stale
        loop.remove_reader(replaced[0][0])
        for sock in (*replaced[0], *(sock for pair in pairs for sock in pair)):
            sock.close()

    run(main())


@pytest.mark.parametrize("direction", ["reader", "writer"])
@pytest.mark.rasyncio_only("asyncio does not notice that the kernel forgot the number, and never calls back")
def test_a_number_closed_behind_the_loops_back_can_be_watched_again(
    loop: Any, run: Any, direction: str
) -> None:
    async def main() -> None:
        old, old_peer = connected_pair()
        getattr(loop, f"add_{direction}")(old, print)
        await kernel_asked()
        loop_side = old.fileno()
        old.close()
        old_peer.close()
        fresh, fresh_peer = connected_pair()
        if fresh.fileno() != loop_side:
            fresh = onto(loop_side, fresh)
        seen: asyncio.Future[None] = loop.create_future()
        getattr(loop, f"add_{direction}")(fresh, ring, seen)
        fresh_peer.sendall(b"x")
        await soon(seen)
        assert getattr(loop, f"remove_{direction}")(fresh) is True
        fresh.close()
        fresh_peer.close()

    run(main())


def test_a_transport_replaced_while_its_event_waits_gets_only_its_own_data(loop: Any, run: Any) -> None:
    """Two transports are readable at once; the first to hear aborts the other; a new one takes its number."""

    class Aborting(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for protocol in protocols:
                if protocol is not self:
                    protocol.opened().abort()

    protocols: list[Aborting] = []

    async def main() -> None:
        peers = []
        for _ in range(2):
            protocols.append(Aborting())
            _, peer = await transport_to_peer(protocols[-1])
            peers.append(peer)
        number_of = [
            transport.get_extra_info("socket").fileno() for transport in map(Recorder.opened, protocols)
        ]
        for peer in peers:
            peer.sendall(b"old data")
        await kernel_asked()
        heard, aborted = sorted(protocols, key=lambda protocol: not protocol.received)
        await soon(aborted.lost)
        assert aborted.received == b""
        fresh = Recorder()
        ours, fresh_peer = connected_pair()
        number = number_of[protocols.index(aborted)]
        if ours.fileno() != number:
            ours = onto(number, ours)
        transport, _ = await loop.create_connection(lambda: fresh, sock=ours)
        await kernel_asked()
        assert fresh.calls == ["connection_made"]
        fresh_peer.sendall(b"new data")
        assert await fresh.read(8) == b"new data"
        assert aborted.calls == ["connection_made", "connection_lost"]
        await closed(transport, fresh, fresh_peer)
        await closed(heard.opened(), heard, peers[0])
        peers[1].close()

    run(main())


def test_numbers_used_over_and_over_never_mix_connections(loop: Any, run: Any) -> None:
    async def main() -> None:
        numbers = set()
        for turn in range(200):
            protocol = Recorder()
            transport, peer = await transport_to_peer(protocol)
            numbers.add(transport.get_extra_info("socket").fileno())
            word = b"turn %d" % turn
            peer.sendall(word)
            assert await protocol.read(len(word)) == word
            peer.sendall(b"never delivered")
            await closed(transport, protocol, peer)
        assert len(numbers) < 10, "the kernel did not reuse numbers, so this tested nothing"

    run(main())
