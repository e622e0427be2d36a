"""The other end for the tests of datagrams: plain sockets and a recording protocol."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from net_peers import PATIENCE, soon

HEADER = 8
"""What each waiting datagram counts beside its data, since Python 3.13."""


def needs_right_sizes(implementation: Any) -> None:
    """For tests that wait for the size of what waits to shrink again."""
    if implementation.is_oracle and (3, 13) <= sys.version_info < (3, 13, 6):
        pytest.skip("gh-135444: this asyncio never takes the headers off again")


class Datagrams(asyncio.DatagramProtocol):
    """Writes down every call the transport makes, in order, and lets a test wait for each."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.calls: list[str] = []
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.transport: asyncio.DatagramTransport | None = None
        self.error: BaseException | None = None
        self.lost: asyncio.Future[BaseException | None] = self.loop.create_future()
        self._news = asyncio.Event()

    def note(self, call: str) -> None:
        if self.calls[-1:] != [call]:
            self.calls.append(call)
        self._news.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.note("connection_made")
        self.transport = transport  # type: ignore[assignment]

    def opened(self) -> Any:
        assert self.transport is not None
        return self.transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))
        self.note("datagram_received")

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self.note("error_received")

    def pause_writing(self) -> None:
        self.note("pause_writing")

    def resume_writing(self) -> None:
        self.note("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        self.error = exc
        self.lost.set_result(exc)

    def data(self) -> list[bytes]:
        return [data for data, _ in self.received]

    async def news(self, condition: Any) -> None:
        """Waits until a call made `condition` true."""
        while not condition():
            self._news.clear()
            await soon(self._news.wait())

    async def read(self, count: int) -> list[bytes]:
        """The data of all datagrams, once there are so many."""
        await self.news(lambda: len(self.received) >= count)
        return self.data()


def udp(family: int = socket.AF_INET, host: str = "127.0.0.1") -> socket.socket:
    """A bound blocking peer."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE)
    return sock


def unix(path: Path | str) -> socket.socket:
    """A blocking peer at a path."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(PATIENCE)
    return sock


async def endpoint(**options: Any) -> tuple[Any, Datagrams]:
    """An endpoint of the loop under test, on the loopback address unless told otherwise."""
    if not options:
        options = {"local_addr": ("127.0.0.1", 0)}
    loop = asyncio.get_running_loop()
    return await soon(loop.create_datagram_endpoint(Datagrams, **options))  # type: ignore[no-any-return]


async def ended(transport: Any, protocol: Datagrams) -> None:
    """Ends an endpoint that a test is done with."""
    transport.abort()
    await soon(protocol.lost)
