"""Peers that never read, or read very little: memory stays bounded, nothing is lost, others are served."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from net_peers import (
    PATIENCE,
    Recorder,
    connect,
    connected_pair,
    in_thread,
    kernel_asked,
    receive_exactly,
    receive_to_end,
    soon,
    transport_to_peer,
    until,
)

PIECE = bytes(range(250)) * 40
HIGH = 64 * 1024


class Endless(Recorder):
    """Writes as long as it may, for ever."""

    most = 0
    may_write = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.go_on()

    def go_on(self) -> None:
        while self.may_write and not self.opened().is_closing():
            self.opened().write(PIECE)
            self.most = max(self.most, self.opened().get_write_buffer_size())

    def pause_writing(self) -> None:
        super().pause_writing()
        self.may_write = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self.may_write = True
        self.go_on()


def test_what_waits_for_a_peer_that_never_reads_is_bounded(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Endless()
        transport, peer = await transport_to_peer(protocol)
        for _ in range(20):
            await kernel_asked()
        assert protocol.calls == ["connection_made", "pause_writing"]
        assert HIGH < protocol.most <= HIGH + len(PIECE)
        transport.abort()
        await soon(protocol.lost)
        peer.close()

    run(main())


def test_peers_that_never_read_do_not_keep_others_from_being_served(loop: Any, run: Any) -> None:
    made: list[Endless] = []

    def factory() -> Endless:
        made.append(Endless())
        return made[-1]

    def read_some(address: Any) -> bytes:
        with connect(address) as client:
            return receive_exactly(client, 20 * len(PIECE))

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        idle = [connect(address) for _ in range(30)]
        await until(lambda: len(made) == 30)
        for _ in range(3):
            assert await in_thread(read_some, address) == 20 * PIECE
        assert all(protocol.most <= HIGH + len(PIECE) for protocol in made)
        for client in idle:
            client.close()
        for protocol in made:
            await soon(protocol.lost)
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_a_peer_that_reads_a_little_at_a_time_gets_everything(loop: Any, run: Any) -> None:
    payload = bytes(range(256)) * 1500

    def read_slowly(peer: socket.socket) -> bytes:
        received = bytearray()
        while chunk := peer.recv(1 + len(received) % 997):
            received += chunk
        return bytes(received)

    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(payload)
        transport.close()
        assert await in_thread(read_slowly, peer) == payload
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())


def test_a_peer_that_sends_a_byte_at_a_time_is_heard_whole(loop: Any, run: Any, streams: Any) -> None:
    words = b"one byte after the other, each in a packet of its own;" * 20

    def send_slowly(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(len(words)):
            peer.sendall(words[start : start + 1])

    async def main() -> None:
        ours, peer = connected_pair()
        reader, writer = await streams.open_connection(sock=ours)
        sending = asyncio.ensure_future(in_thread(send_slowly, peer))
        for _ in range(20):
            assert await soon(reader.readuntil(b";")) == words[: len(words) // 20]
        await sending
        peer.close()
        assert await soon(reader.read()) == b""
        writer.close()
        await soon(writer.wait_closed())

    run(main())


def test_a_flood_on_one_connection_does_not_starve_another(loop: Any, run: Any, streams: Any) -> None:
    """While one peer sends without end, requests on another connection are answered."""

    class Swallowing(Recorder):
        swallowed = 0

        def data_received(self, data: bytes) -> None:
            self.swallowed += len(data)

    async def main() -> None:
        flooded = Swallowing()
        _, flood = await transport_to_peer(flooded)
        stop = False

        def pour() -> None:
            while not stop:
                flood.sendall(PIECE)

        pouring = loop.run_in_executor(None, pour)
        await until(lambda: flooded.swallowed)
        ours, peer = connected_pair()
        reader, writer = await streams.open_connection(sock=ours)
        for _ in range(20):
            peer.sendall(b"request\n")
            assert await asyncio.wait_for(reader.readline(), PATIENCE) == b"request\n"
            writer.write(b"answer\n")
            assert await in_thread(receive_exactly, peer, 7) == b"answer\n"
        stop = True
        await pouring
        writer.close()
        assert await in_thread(receive_to_end, peer) == b""
        await soon(writer.wait_closed())
        flood.close()
        assert await soon(flooded.lost) is None
        peer.close()

    run(main())
