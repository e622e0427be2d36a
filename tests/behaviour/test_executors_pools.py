"""Pools of threads under run_in_executor(): what is cancelled, broken, or replaced in them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from typing import Any

import pytest


def one_thread() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(1)


def test_what_is_cancelled_before_it_begins_is_never_called(loop: Any, run: Any) -> None:
    release = threading.Event()
    called: list[str] = []

    async def main() -> None:
        with one_thread() as pool:
            first = loop.run_in_executor(pool, release.wait, 20)
            second = loop.run_in_executor(pool, called.append, "second")
            third = loop.run_in_executor(pool, called.append, "third")
            second.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            release.set()
            await third
            assert await first and second.cancelled()
        assert called == ["third"]

    run(main)


def test_a_pool_that_is_shut_down_cancels_what_it_has_not_begun(loop: Any, run: Any) -> None:
    begun, release = threading.Event(), threading.Event()
    called: list[str] = []

    def begin() -> bool:
        begun.set()
        return release.wait(20)

    async def main() -> None:
        pool = one_thread()
        first = loop.run_in_executor(pool, begin)
        await loop.run_in_executor(None, begun.wait, 20)
        second = loop.run_in_executor(pool, called.append, "second")
        pool.shutdown(wait=False, cancel_futures=True)
        release.set()
        assert await first
        with pytest.raises(asyncio.CancelledError):
            await second
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            loop.run_in_executor(pool, print)
        assert called == []

    run(main)


def test_a_pool_whose_threads_cannot_begin_fails_its_calls(loop: Any, run: Any) -> None:
    broken = concurrent.futures.thread.BrokenThreadPool

    def begin() -> None:
        raise LookupError

    async def main() -> None:
        pool = concurrent.futures.ThreadPoolExecutor(1, initializer=begin)
        with pytest.raises(broken):
            await loop.run_in_executor(pool, print)
        with pytest.raises(broken):
            await loop.run_in_executor(pool, print)

    run(main)


@pytest.mark.parametrize("where", ["subclass", "object", "class"])
def test_a_replaced_submit_is_called(loop: Any, run: Any, monkeypatch: Any, where: str) -> None:
    kind = concurrent.futures.ThreadPoolExecutor
    submitted: list[Any] = []
    original = kind.submit

    def submit(self: Any, fn: Any, /, *args: Any) -> Any:
        submitted.append((fn, args))
        return original(self, fn, *args)

    async def main() -> None:
        with (type("Derived", (kind,), {"submit": submit}) if where == "subclass" else kind)() as pool:
            assert await loop.run_in_executor(pool, abs, -1) == 1
            submitted.clear()
            if where == "object":
                pool.submit = functools.partial(submit, pool)
            elif where == "class":
                monkeypatch.setattr(kind, "submit", submit)
            assert await loop.run_in_executor(pool, abs, -2) == 2
            assert submitted == [(abs, (-2,))]

    run(main)


def test_the_executors_own_cancellation_is_one_of_asyncio(loop: Any, run: Any) -> None:
    def cancelled() -> None:
        raise concurrent.futures.CancelledError("there")

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError, match="there"):
            await loop.run_in_executor(None, cancelled)

    run(main)
