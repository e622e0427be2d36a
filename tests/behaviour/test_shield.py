"""shield: the inner awaitable goes on when the outer future is cancelled."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest


def test_result_and_exception_pass_through(loop: Any, run: Any, aio: Any) -> None:
    async def failing() -> None:
        raise KeyError("k")

    async def main() -> None:
        assert await aio.shield(aio.sleep(0, "r")) == "r"
        with pytest.raises(KeyError, match="k"):
            await aio.shield(failing())

    run(main)


def test_what_is_done_is_returned_itself(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        future = loop.create_future()
        future.set_result(1)
        assert aio.shield(future) is future

    run(main)


def test_cancelling_the_outer_leaves_the_inner(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        inner = loop.create_task(aio.sleep(0.005, "done"))
        outer = aio.shield(inner)
        assert outer.cancel() and outer.cancelled()
        await aio.sleep(0)
        assert not inner.done() and not inner._callbacks
        assert await inner == "done"

    run(main)


def test_cancelling_the_task_that_waits_leaves_the_inner(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        inner = loop.create_future()

        async def wait() -> None:
            await aio.shield(inner)

        task = loop.create_task(wait())
        await aio.sleep(0)
        task.cancel("stop")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("stop",)
        assert not inner.done()

    run(main)


def test_cancelling_the_inner_cancels_the_outer(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        inner = loop.create_future()
        outer = aio.shield(inner)
        inner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert outer.cancelled()

    run(main)


def test_an_exception_of_the_inner_after_the_outer_was_cancelled_is_reported(
    loop: Any, run: Any, aio: Any, loop_errors: Any
) -> None:
    async def main() -> None:
        inner = loop.create_future()
        outer = aio.shield(inner)
        outer.cancel()
        await aio.sleep(0)
        inner.set_exception(KeyError("lost"))
        await aio.sleep(0)

    run(main)
    gc.collect()
    assert [context["message"] for context in loop_errors] == ["Future exception was never retrieved"]


def test_both_end_in_the_same_turn(loop: Any, run: Any, aio: Any, loop_errors: Any) -> None:
    async def main() -> None:
        inner = loop.create_future()
        outer = aio.shield(inner)
        inner.set_exception(KeyError("lost"))
        outer.cancel()
        await aio.sleep(0)

    run(main)
    gc.collect()
    # Up to 3.13 it counts as retrieved.
    assert len(loop_errors) == (1 if sys.version_info >= (3, 14) else 0)


def test_the_exception_of_both_is_reported_once(loop: Any, run: Any, aio: Any, loop_errors: Any) -> None:
    async def main() -> None:
        inner = loop.create_future()
        aio.shield(inner)
        inner.set_exception(KeyError("lost"))
        await aio.sleep(0)

    run(main)
    gc.collect()
    assert len(loop_errors) == 1


def test_it_is_done_one_turn_after_the_inner(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        inner = loop.create_future()
        outer = aio.shield(inner)
        inner.set_result(1)
        assert not outer.done()
        await aio.sleep(0)
        assert outer.result() == 1

    run(main)


def test_a_shield_in_a_timeout(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        inner = loop.create_future()
        with pytest.raises(TimeoutError):
            await aio.wait_for(aio.shield(inner), 0.001)
        assert not inner.done()

    run(main)


def test_gathered_shields(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        inner = [loop.create_future() for _ in range(2)]
        gathered = aio.gather(*[aio.shield(each) for each in inner])
        gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathered
        assert not any(each.done() for each in inner)

    run(main)


def test_futures_of_another_kind(loop: Any, run: Any, aio: Any) -> None:
    class Own(asyncio.Future):  # type: ignore[type-arg]
        pass

    async def main() -> None:
        own = Own(loop=loop)
        outer = aio.shield(own)
        own.set_result("own")
        assert await outer == "own"
        own = Own(loop=loop)
        outer = aio.shield(own)
        outer.cancel()
        await aio.sleep(0)
        assert not own._callbacks and not own.done()

    run(main)


def test_what_cannot_be_awaited_is_a_type_error(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"An asyncio.Future, a coroutine or an awaitable is required"):
            aio.shield(5)

    run(main)
