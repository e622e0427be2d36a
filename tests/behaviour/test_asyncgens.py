"""Asynchronous generators: the hooks of a running loop, their finalization, and shutdown_asyncgens."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from turns import Trace, turn


async def numbers(trace: Trace) -> AsyncGenerator[int, None]:
    """Yields without end; notes that it was closed."""
    try:
        number = 0
        while True:
            yield number
            number += 1
    finally:
        await asyncio.sleep(0)
        trace.note("closed")


def test_the_hooks_are_set_while_the_loop_runs_and_restored_afterwards(loop: Any) -> None:
    trace = Trace()
    before = sys.get_asyncgen_hooks()
    loop.call_soon(lambda: trace.note(sys.get_asyncgen_hooks()))
    turn(loop)
    [hooks] = trace
    assert callable(hooks.firstiter) and callable(hooks.finalizer)
    assert sys.get_asyncgen_hooks() == before


def test_hooks_of_others_are_restored(loop: Any) -> None:
    def firstiter(_generator: Any) -> None:
        """A hook of somebody else."""

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=firstiter)
    try:
        turn(loop)
        assert sys.get_asyncgen_hooks().firstiter is firstiter
        loop.call_soon(lambda: 1 / 0)
        loop.set_exception_handler(lambda _loop, _context: loop.stop())
        loop.run_forever()
        assert sys.get_asyncgen_hooks().firstiter is firstiter
    finally:
        sys.set_asyncgen_hooks(*before)


def test_hooks_are_restored_when_an_exit_leaves_the_loop(loop: Any) -> None:
    before = sys.get_asyncgen_hooks()

    def leave() -> None:
        raise SystemExit

    loop.call_soon(leave)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert sys.get_asyncgen_hooks() == before


def test_a_generator_dropped_half_way_is_closed_by_the_loop(loop: Any) -> None:
    trace = Trace()

    async def drop() -> None:
        generator = numbers(trace)
        trace.note(await generator.__anext__())
        del generator
        gc.collect()
        trace.note("dropped")
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(drop())
    assert trace == [0, "dropped", "closed"]


def test_a_generator_dropped_by_another_thread_is_closed_by_the_loop(loop: Any) -> None:
    trace = Trace()

    async def drop() -> None:
        holder = [numbers(trace)]
        await holder[0].__anext__()
        await loop.run_in_executor(None, holder.clear)
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(drop())
    assert trace == ["closed"]


def test_shutdown_closes_what_is_still_open(loop: Any) -> None:
    trace = Trace()
    generators = [numbers(trace) for _ in range(3)]

    async def begin() -> None:
        for generator in generators:
            await generator.__anext__()

    loop.run_until_complete(begin())
    assert trace == []
    assert loop.run_until_complete(loop.shutdown_asyncgens()) is None
    assert trace == ["closed"] * 3
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert trace == ["closed"] * 3


def test_shutdown_leaves_alone_what_was_finished(loop: Any) -> None:
    trace = Trace()

    async def exhaust() -> None:
        async for number in numbers(trace):
            if number == 3:
                break
        generator = numbers(trace)
        await generator.__anext__()
        await generator.aclose()

    loop.run_until_complete(exhaust())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert trace.count("closed") == 2


def test_a_generator_that_fails_to_close_is_reported(loop: Any, loop_errors: Any) -> None:
    trace = Trace()
    error = ValueError("while closing")

    async def stubborn() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise error

    generators = [stubborn(), numbers(trace)]

    async def begin() -> None:
        for generator in generators:
            await generator.__anext__()

    loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert trace == ["closed"]
    [context] = loop_errors
    assert (
        context["message"] == f"an error occurred during closing of asynchronous generator {generators[0]!r}"
    )
    assert context["exception"] is error
    assert context["asyncgen"] is generators[0]
    assert set(context) == {"message", "exception", "asyncgen"}


def test_a_generator_begun_after_the_shutdown_warns(loop: Any) -> None:
    trace = Trace()

    async def begin_late() -> None:
        await loop.shutdown_asyncgens()
        generator = numbers(trace)
        with pytest.warns(ResourceWarning, match=r"was scheduled after loop\.shutdown_asyncgens\(\) call"):
            await generator.__anext__()
        await generator.aclose()

    loop.run_until_complete(begin_late())
    assert trace == ["closed"]


def test_the_loop_does_not_keep_a_generator_alive(loop: Any) -> None:
    trace = Trace()

    async def begin() -> weakref.ref[Any]:
        generator = numbers(trace)
        await generator.__anext__()
        await generator.aclose()
        return weakref.ref(generator)

    reference = loop.run_until_complete(begin())
    gc.collect()
    assert reference() is None


def test_shutdown_asyncgens_is_awaitable_as_a_task(loop: Any) -> None:
    trace = Trace()

    async def main() -> None:
        generator = numbers(trace)
        await generator.__anext__()
        await asyncio.create_task(loop.shutdown_asyncgens())
        trace.note("shut down")

    loop.run_until_complete(main())
    assert trace == ["closed", "shut down"]


def test_a_generator_dropped_when_its_loop_is_closed_is_left_alone(loop: Any) -> None:
    """Nobody can close it any more; that must not raise, and the finally clause does not run."""
    trace = Trace()
    holder = [numbers(trace)]

    async def begin() -> None:
        await holder[0].__anext__()

    loop.run_until_complete(begin())
    loop.close()
    holder.clear()
    gc.collect()
    assert trace == []
