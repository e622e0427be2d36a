"""Random pieces fed to a StreamReader and read in random ways: asyncio's and ours do the same with them."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pytest
import rasyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))

pieces = st.text("ab\n;", max_size=12).map(str.encode)
separators = st.text("ab\n;", min_size=1, max_size=3).map(str.encode)
several = st.lists(separators, min_size=1, max_size=3).map(tuple)
either = st.one_of(separators, several) if sys.version_info >= (3, 13) else separators
counts = st.integers(-1, 20)

steps = st.one_of(
    st.tuples(st.just("feed"), pieces),
    st.tuples(st.just("feed"), pieces),
    st.tuples(st.just("feed"), pieces.map(bytearray)),
    st.tuples(st.just("read"), counts),
    st.tuples(st.just("readexactly"), counts),
    st.tuples(st.just("readuntil"), either),
    st.tuples(st.just("readline")),
    st.tuples(st.just("turn")),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("look")),
    st.tuples(st.just("add"), pieces),
    st.tuples(st.just("drop"), st.integers(0, 5)),
    st.tuples(st.just("eof")),
    st.tuples(st.just("fail")),
)
programs = st.tuples(st.integers(1, 12), st.lists(steps, max_size=30))


class Transport:
    def __init__(self, trace: list[Any]) -> None:
        self.trace = trace

    def pause_reading(self) -> None:
        self.trace.append("pause")

    def resume_reading(self) -> None:
        self.trace.append("resume")

    def __repr__(self) -> str:
        return "<Transport>"


class Run:
    """One program on one implementation's reader."""

    def __init__(self, module: Any, limit: int) -> None:
        self.trace: list[Any] = []
        self.reader = module.StreamReader(limit=limit)
        self.reader.set_transport(Transport(self.trace))
        self.reading: asyncio.Task[Any] | None = None
        self.at_end = False

    def note(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.trace.append("cancelled")
        elif (error := task.exception()) is not None:
            self.trace.append((type(error), error.args, getattr(error, "partial", None)))
        else:
            self.trace.append(task.result())

    def feed(self, data: Any) -> None:
        if not self.at_end:
            self.reader.feed_data(data)

    def read_by(self, name: str, *arguments: Any) -> None:
        if self.reading is None or self.reading.done():
            self.reading = asyncio.ensure_future(getattr(self.reader, name)(*arguments))
            self.reading.add_done_callback(self.note)

    async def step(self, name: str, *arguments: Any) -> None:
        match name:
            case "feed":
                self.feed(*arguments)
            case "turn":
                await asyncio.sleep(0)
            case "cancel" if self.reading is not None:
                self.reading.cancel()
            case "look":
                self.trace.append((bytes(self.reader._buffer), self.reader.at_eof(), self.shown()))
            case "add":
                self.reader._buffer.extend(*arguments)
            case "drop":
                del self.reader._buffer[: arguments[0]]
            case "eof":
                self.at_end = True
                self.reader.feed_eof()
            case "fail":
                self.reader.set_exception(ZeroDivisionError("told"))
            case "read" | "readexactly" | "readuntil" | "readline":
                self.read_by(name, *arguments)

    def shown(self) -> str:
        text = repr(self.reader)
        return text if "waiter" not in text else "waits"


async def run(module: Any, program: Any) -> list[Any]:
    limit, instructions = program
    running = Run(module, limit)
    for instruction in instructions:
        await running.step(*instruction)
    if running.reading is not None:
        running.reading.cancel()
        await asyncio.wait([running.reading])
        await asyncio.sleep(0)
    return [*running.trace, bytes(running.reader._buffer), running.shown()]


@pytest.mark.hang_limit(240 * SCALE)
@settings(max_examples=1500 * SCALE, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs)
def test_readers_do_the_same(program: Any) -> None:
    with asyncio.Runner() as runner:
        expected = runner.run(run(asyncio, program))
        assert runner.run(run(rasyncio, program)) == expected
