"""200 clients against a server limited to 64 descriptors: no flood, no spin, no silent drop, and recovery."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from net_peers import PATIENCE, connect, receive_exactly

pytestmark = [
    pytest.mark.slow,
    pytest.mark.rasyncio_only("asyncio floods its log here, thousands of lines a second"),
]

CLIENTS = 200
DESCRIPTORS = 64
WATCHED_SECONDS = 3.5


class Server:
    """The child process and the line of questions to it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address = "127.0.0.1", int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def state(self) -> dict[str, Any]:
        """What the server knows of itself now; its loop answers, so this also proves that the loop turns."""
        assert self.process.stdin is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.line())
        return answer


@pytest.fixture
def server(implementation: Any) -> Iterator[Server]:
    process = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).with_name("exhausted_server.py")),
            implementation.module_name,
            str(DESCRIPTORS),
        ],
        env={**os.environ, **implementation.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


class Crowd:
    """Many clients that each said hello and note who was answered and who was dropped."""

    def __init__(self, server: Server, held: contextlib.ExitStack) -> None:
        self.clients = [held.enter_context(connect(server.address)) for _ in range(CLIENTS)]
        self.answered: set[socket.socket] = set()
        self.dropped: set[socket.socket] = set()
        for client in self.clients:
            client.sendall(b"hello")

    def watch(self, seconds: float) -> None:
        """Looks at every client for that long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            watched = [client for client in self.clients if client not in self.dropped]
            for client in select.select(watched, [], [], left)[0]:
                try:
                    data = client.recv(100)
                except ConnectionResetError:
                    data = b""
                (self.answered if data else self.dropped).add(client)

    def watch_until(self, answered: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.answered) < answered:
            assert time.monotonic() < deadline, (
                f"only {len(self.answered)} of {answered} clients were answered"
            )
            self.watch(0.05)


@pytest.fixture
def crowd(server: Server) -> Iterator[Crowd]:
    with contextlib.ExitStack() as held:
        yield Crowd(server, held)


def test_a_crowd_is_neither_dropped_nor_reported_more_than_once_a_second(
    server: Server, crowd: Crowd
) -> None:
    crowd.watch(1.0)
    before = server.state()
    crowd.watch(WATCHED_SECONDS)
    after = server.state()

    assert crowd.dropped == set(), "accepted clients were dropped"
    assert DESCRIPTORS // 2 < len(crowd.answered) < DESCRIPTORS
    assert after["made"] == len(crowd.answered), "a client was accepted but not served"
    assert after["lost"] == 0
    assert after["processor_seconds"] - before["processor_seconds"] < 0.1 * WATCHED_SECONDS
    reports = after["reports"]
    assert reports
    assert {report["message"] for report in reports} == {"socket.accept() out of system resource"}
    assert {report["errno"] for report in reports} == {errno.EMFILE}
    assert all(report["socket"] for report in reports)
    times = [report["time"] for report in reports]
    assert all(later - earlier > 0.9 for earlier, later in itertools.pairwise(times)), times


def test_those_who_wait_are_served_as_others_leave(server: Server, crowd: Crowd) -> None:
    crowd.watch(1.0)
    first = set(crowd.answered)
    assert 0 < len(first) < DESCRIPTORS
    for client in first:
        crowd.clients.remove(client)
        client.close()
    crowd.watch_until(2 * len(first))
    assert crowd.dropped == set()


def test_a_new_client_is_served_after_everyone_left(server: Server, crowd: Crowd) -> None:
    crowd.watch(1.0)
    for client in crowd.clients:
        client.close()
    for _ in range(3):
        with connect(server.address) as late:
            late.sendall(b"late")
            assert receive_exactly(late, 4) == b"late"
    deadline = time.monotonic() + PATIENCE
    while (state := server.state())["made"] != state["lost"]:
        assert time.monotonic() < deadline, f"connections never ended: {state}"
    assert state["made"] <= CLIENTS + 3
