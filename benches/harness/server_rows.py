"""Rows with a server: it runs in a process of its own and tells its CPU time, a Rust program is the load.

parent -> server   usage | stop                 (lines on stdin)
server -> parent   {"address": ...} once, then {"wall": ..., "cpu": ...} per `usage`
parent -> client   go, once it has said that the warm-up is over
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness import children, echo_client
from harness.contestants import CONTESTANTS
from harness.rows import DEADLINE_SECONDS, Row, Sample, scaled
from harness.usage import Usage

WARM_UP_SHARE = 0.1


class Serving(Protocol):
    """What runs while the load does: an `asyncio.Server`, or what looks like one as far as this."""

    @property
    def sockets(self) -> Sequence[Any]: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class ServerRow(Row):
    """`serve()` starts a server on a free port; each connection of the load has one message outstanding.

    `limit` is what the server in Rust is told, so that it serves the same; None where it cannot.
    `answer` is how many bytes answer a message, if not as many as it has: so many of its first, or all of it
    again and again. Another connection takes the place of one that had `per_connection` messages.
    """

    connections: int
    size: int
    messages: int
    serve: Callable[[], Awaitable[Serving]]
    protocol: str = "tcp"
    answer: int | None = None
    per_connection: int | None = None
    limit: str | None = None

    @property
    def needs_echo_client(self) -> bool:
        return True

    def takes(self, contestant: str) -> bool:
        return super().takes(contestant) or self.limit is not None

    def measure(self, contestant: str, workload: str, scale: float) -> Sample:
        # With fewer messages than connections some of these would stay idle.
        messages = max(self.connections, scaled(self.messages, scale))
        with self._server(contestant, workload, scale) as server:
            address = str(server.hear_json()["address"])
            command = echo_client.command(
                address,
                connections=self.connections,
                size=self.size,
                messages=messages,
                warm_up=scaled(messages, WARM_UP_SHARE),
                protocol=self.protocol,
                answer=self.answer,
                per_connection=self.per_connection,
            )
            with children.started(f"client of {server.label}", command, DEADLINE_SECONDS) as client:
                client.hear()
                begin = self._ask_usage(server)
                client.say("go")
                load = client.hear_json()
                end = self._ask_usage(server)
                client.finish()
            server.say("stop")
            server.finish()
        done = int(load["messages"])
        return end.per_operation_since(begin, done) | {
            # The client's clock: the readings of the server also span two lines through a pipe.
            "wall_ns": load["seconds"] * 1e9 / done,
            "operations_per_second": done / load["seconds"],
            "p50_us": float(load["p50_us"]),
            "p99_us": float(load["p99_us"]),
        }

    @contextlib.contextmanager
    def _server(self, contestant: str, workload: str, scale: float) -> Iterator[children.Child]:
        if CONTESTANTS[contestant].role != "limit":
            with children.worker(contestant, workload, self.name, scale, DEADLINE_SECONDS) as server:
                yield server
            return
        assert self.limit is not None
        with (
            tempfile.TemporaryDirectory() as folder,
            echo_client.server(self.limit, folder, f"{self.name} on {contestant}") as server,
        ):
            yield server

    @staticmethod
    def _ask_usage(server: children.Child) -> Usage:
        server.say("usage")
        return Usage.from_json(server.hear_json())

    def run_inside(self, runner: asyncio.Runner, scale: float) -> None:
        runner.run(self._serve_until_told())

    async def _serve_until_told(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        server = await self.serve()
        name = server.sockets[0].getsockname()
        address = name if isinstance(name, str) else f"{name[0]}:{name[1]}"

        def obey() -> None:
            # A thread that sleeps in read(): the loop under test does nothing for the measurement.
            for line in sys.stdin:
                if line.strip() != "usage":
                    break
                print(json.dumps(Usage.now().as_json()), flush=True)
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=obey, name="control", daemon=True).start()
        print(json.dumps({"address": address}), flush=True)
        await stop.wait()
        server.close()
