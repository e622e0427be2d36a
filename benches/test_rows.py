"""Tests of what measures: the load program, its server, and a tiny run of every row on asyncio."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import echo_client, instructions
from harness.loop_rows import LoopRow
from harness.memory_rows import MemoryRow
from harness.rows import Entry, all_entries
from harness.server_rows import ServerRow
from harness.servers import ServerMissing

SMOKE_SCALE = 0.01


# The load program


@pytest.fixture(scope="session")
def built_client() -> Path:
    return echo_client.build()


@contextmanager
def one_connection_server(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """Answers what comes on a single connection, with the blocking calls of a thread."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while (data := connection.recv(65536)) and (reply := answer(data)):
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(30)
        assert not thread.is_alive()


def run_client(address: str, protocol: str = "tcp") -> subprocess.CompletedProcess[str]:
    command = echo_client.command(address, connections=1, size=100, messages=7, warm_up=3, protocol=protocol)
    return subprocess.run(command, input="go\n", capture_output=True, text=True, timeout=30, check=False)


def test_the_client_counts_its_messages_after_the_warm_up(built_client: Path) -> None:
    received: list[bytes] = []

    def echo(data: bytes) -> bytes:
        received.append(data)
        return data

    with one_connection_server(echo) as address:
        client = run_client(address)
    ready, answer = client.stdout.splitlines()
    figures_of_client = json.loads(answer)
    assert ready == "ready"
    assert figures_of_client["messages"] == 7
    assert 0 < figures_of_client["p50_us"] <= figures_of_client["p99_us"]
    assert len(b"".join(received)) == 1000


def test_the_client_sends_each_message_as_one_datagram(built_client: Path) -> None:
    received: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        for _ in range(10):
            data, address = sock.recvfrom(65536)
            received.append(data)
            sock.sendto(data, address)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)
        thread = threading.Thread(target=serve, args=[sock])
        thread.start()
        client = run_client(f"127.0.0.1:{sock.getsockname()[1]}", "udp")
        thread.join(30)
    assert json.loads(client.stdout.splitlines()[1])["messages"] == 7
    assert [len(data) for data in received] == [100] * 10


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [(lambda data: bytes(len(data)), "the echo differs"), (lambda data: b"", "unexpected end of file")],
    ids=["wrong bytes", "end of file"],
)
def test_the_client_reports_a_server_that_does_not_echo(
    built_client: Path, answer: Callable[[bytes], bytes], complaint: str
) -> None:
    with one_connection_server(answer) as address:
        client = run_client(address)
    assert client.returncode == 1
    assert complaint in client.stderr


# Rows


def entry(row: str) -> Entry:
    (found,) = (entry for entry in all_entries() if entry.row.name == row)
    return found


@pytest.mark.parametrize("tested", all_entries(), ids=lambda tested: tested.row.name)
def test_every_row_runs_on_asyncio(tested: Entry, request: pytest.FixtureRequest) -> None:
    row = tested.row
    if row.missing():
        pytest.skip(f"there may be no wheel for this Python: {', '.join(row.missing())}")
    if row.needs_echo_client:
        request.getfixturevalue("built_client")
    try:
        with row.surroundings():
            sample = row.measure("asyncio", tested.workload, SMOKE_SCALE)
    except ServerMissing as missing:
        if os.environ.get("RASYNCIO_REQUIRE_SERVERS"):
            raise
        pytest.skip(str(missing))
    if isinstance(row, MemoryRow):
        # Tiny, it may fit into what the process had anyway.
        assert set(sample) == {"bytes"}
        return
    assert sample[row.primary] > 0
    assert sample["wall_ns"] > 0
    if isinstance(row, ServerRow):
        assert sample["operations_per_second"] > 0
        assert 0 < sample["p50_us"] <= sample["p99_us"]


@pytest.mark.parametrize("name", [entry.row.name for entry in all_entries() if entry.row.takes("limit")])
def test_the_limit_serves_what_the_others_do(built_client: Path, name: str) -> None:
    tested = entry(name)
    if tested.row.missing():
        pytest.skip(f"there may be no wheel for this Python: {', '.join(tested.row.missing())}")
    sample = tested.row.measure("limit", tested.workload, SMOKE_SCALE)
    assert sample["cpu_ns"] > 0
    assert sample["operations_per_second"] > 0


@pytest.mark.skipif(not instructions.is_available(), reason="valgrind is not installed")
def test_instructions_are_counted_the_same_twice() -> None:
    tested = entry("lock")
    assert isinstance(tested.row, LoopRow)

    first = instructions.per_operation("asyncio", tested.workload, tested.row)
    second = instructions.per_operation("asyncio", tested.workload, tested.row)
    assert 500 < first < 50_000
    assert second == pytest.approx(first, rel=0.05)
