"""When a busy loop notices what the program itself did to the other end of a descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

Do = Callable[[], Awaitable[None]]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        yield here, there


async def in_the_coroutine(loop: Any, sock: socket.socket) -> Do:
    async def send() -> None:
        await loop.sock_sendall(sock, b"x")

    return send


async def by_a_transport(loop: Any, sock: socket.socket) -> Do:
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock.dup())

    async def send() -> None:
        transport.write(b"x")

    return send


async def by_closing_a_transport(loop: Any, sock: socket.socket) -> Do:
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock.dup())
    sock.close()

    async def close() -> None:
        transport.abort()
        # It is closed in the next turn.
        await asyncio.sleep(0)

    return close


async def by_a_pipe(loop: Any, sock: socket.socket) -> Do:
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sock.dup())

    async def send() -> None:
        transport.write(b"x")

    return send


WAYS = [in_the_coroutine, by_a_transport, by_closing_a_transport, by_a_pipe]


async def busy(turns: int = 100) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def turns_until(told: asyncio.Event) -> int:
    turns = 0
    while not told.is_set():
        await asyncio.sleep(0)
        turns += 1
    return turns


@pytest.mark.parametrize("way", WAYS)
def test_the_other_end_is_told_in_the_next_turn(loop: Any, run: Any, pair: Any, way: Any) -> None:
    here, there = pair

    async def main() -> None:
        do, told = await way(loop, here), asyncio.Event()
        loop.add_reader(there, told.set)
        await busy()
        await do()
        # The task is queued before the callback in the turn that brings the news.
        assert await turns_until(told) == 2
        loop.remove_reader(there)

    run(main())


def test_a_callback_of_a_reader_may_send_by_itself(loop: Any, run: Any, pair: Any) -> None:
    here, there = pair
    asking, asked = os.pipe()

    async def main() -> None:
        turn, sent_in, told_in = 0, -1, asyncio.get_running_loop().create_future()

        def answer() -> None:
            nonlocal sent_in
            sent_in = turn
            os.read(asking, 1)
            here.send(b"x")

        def be_told() -> None:
            if not told_in.done():
                told_in.set_result(turn)

        loop.add_reader(asking, answer)
        loop.add_reader(there, be_told)
        await busy()
        os.write(asked, b"?")
        while not told_in.done():
            await asyncio.sleep(0)
            turn += 1
        assert told_in.result() == sent_in + 1
        loop.remove_reader(asking)
        loop.remove_reader(there)

    with contextlib.closing(os.fdopen(asking, "rb")), contextlib.closing(os.fdopen(asked, "wb")):
        run(main())


@pytest.mark.parametrize("kind", ["internet", "by a path"])
def test_a_datagram_is_delivered_in_the_next_turn(loop: Any, run: Any, tmp_path: Any, kind: str) -> None:
    class Receiving(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.told = asyncio.Event()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.told.set()

    async def main() -> None:
        family = socket.AF_INET if kind == "internet" else socket.AF_UNIX
        here, there = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
        there.bind(("127.0.0.1", 0) if kind == "internet" else str(tmp_path / "there"))
        transport, protocol = await loop.create_datagram_endpoint(Receiving, sock=there)
        sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=here)
        await busy()
        sender.sendto(b"x", there.getsockname())
        assert await turns_until(protocol.told) == 2
        sender.close()
        transport.close()
        await busy(3)

    run(main())
