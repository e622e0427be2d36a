"""Rows with a server: it runs in a process of its own and tells its CPU time, a Rust program is the load.

parent -> server   usage | stop                 (lines on stdin)
server -> parent   {"address": ...} once, then {"wall": ..., "cpu": ...} per `usage`
parent -> client   go, once it has said that the warm-up is over
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness import children, echo_client
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

    def measure(self, contestant: str, workload: str, scale: float) -> Sample:
        # With fewer messages than connections some of these would stay idle.
        messages = max(self.connections, scaled(self.messages, scale))
        with children.worker(contestant, workload, self.name, scale, DEADLINE_SECONDS) as server:
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
        host, port = server.sockets[0].getsockname()[:2]

        def obey() -> None:
            # A thread that sleeps in read(): the loop under test does nothing for the measurement.
            for line in sys.stdin:
                if line.strip() != "usage":
                    break
                print(json.dumps(Usage.now().as_json()), flush=True)
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=obey, name="control", daemon=True).start()
        print(json.dumps({"address": f"{host}:{port}"}), flush=True)
        await stop.wait()
        server.close()
