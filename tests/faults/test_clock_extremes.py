"""Delays and deadlines at the edges of what a float can say."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from net_peers import kernel_asked, soon


@pytest.mark.parametrize("delay", [-1, -1e10, -math.inf, 0, 1e-12])
def test_a_delay_in_the_past_runs_at_once(loop: Any, run: Any, delay: float) -> None:
    async def main() -> None:
        done = loop.create_future()
        loop.call_later(delay, done.set_result, None)
        await soon(done)

    run(main())


@pytest.mark.parametrize("when", [0, -1, -math.inf, 0.0])
def test_a_deadline_in_the_past_runs_at_once(loop: Any, run: Any, when: float) -> None:
    async def main() -> None:
        done = loop.create_future()
        assert loop.call_at(when, done.set_result, None).when() == when
        await soon(done)

    run(main())


def test_deadlines_in_the_past_run_in_their_order(loop: Any, run: Any) -> None:
    async def main() -> list[str]:
        order: list[str] = []
        done = loop.create_future()
        loop.call_later(0, order.append, "now")
        loop.call_at(0, order.append, "zero")
        loop.call_later(-1, order.append, "a second ago")
        loop.call_at(-math.inf, order.append, "for ever ago")
        loop.call_at(0, order.append, "zero as well")
        loop.call_later(0.001, done.set_result, None)
        await soon(done)
        return order

    assert run(main()) == ["for ever ago", "zero", "zero as well", "a second ago", "now"]


@pytest.mark.parametrize("delay", [1e10, 1e300, math.inf])
def test_a_delay_beyond_all_measure_waits_and_disturbs_nothing(loop: Any, run: Any, delay: float) -> None:
    async def main() -> None:
        called: list[None] = []
        handle = loop.call_later(delay, called.append, None)
        assert handle.when() == pytest.approx(loop.time() + delay, rel=1e-6)
        # An ordinary timer still comes.
        await asyncio.sleep(0.001)
        await kernel_asked()
        assert called == []
        handle.cancel()

    run(main())


@pytest.mark.parametrize("when", [1e10, 1e300, math.inf])
def test_a_deadline_beyond_all_measure_is_kept_as_given(loop: Any, run: Any, when: float) -> None:
    async def main() -> None:
        handle = loop.call_at(when, print)
        assert handle.when() == when
        await kernel_asked()
        handle.cancel()

    run(main())


def test_a_loop_that_only_waits_for_ever_is_woken_by_another_thread(loop: Any, run: Any) -> None:
    async def main() -> str:
        never = loop.call_later(math.inf, print)
        answer: str = await loop.run_in_executor(None, lambda: "from the thread")
        never.cancel()
        return answer

    assert run(main()) == "from the thread"


@pytest.mark.parametrize("seconds", [1e10, math.inf])
def test_a_sleep_beyond_all_measure_can_be_cancelled(loop: Any, run: Any, seconds: float) -> None:
    async def main() -> None:
        sleeping = asyncio.ensure_future(asyncio.sleep(seconds))
        await kernel_asked()
        assert not sleeping.done()
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping

    run(main())


@pytest.mark.parametrize("seconds", [1e10, math.inf])
def test_a_timeout_beyond_all_measure_never_comes(loop: Any, run: Any, seconds: float) -> None:
    async def main() -> str:
        return await asyncio.wait_for(asyncio.sleep(0.001, "in time"), seconds)

    assert run(main()) == "in time"


@pytest.mark.parametrize("delay", [10**400, -(10**400)])
def test_a_number_no_float_can_hold_is_an_overflow_error(loop: Any, run: Any, delay: int) -> None:
    async def main() -> None:
        with pytest.raises(OverflowError):
            loop.call_later(delay, print)
        await kernel_asked()

    run(main())


@pytest.mark.parametrize(
    ("method", "wrong"), [("call_later", None), ("call_later", "1"), ("call_later", []), ("call_at", None)]
)
def test_what_is_no_time_is_a_type_error(loop: Any, run: Any, method: str, wrong: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            getattr(loop, method)(wrong, print)

    run(main())


def test_many_cancelled_far_deadlines_are_forgotten(loop: Any, run: Any) -> None:
    """A server sets and cancels a timeout per request; they must not stay until they would have been due."""

    async def main() -> None:
        handles = []
        for _ in range(10_000):
            handle = loop.call_later(1e6, print)
            handle.cancel()
            handles.append(handle)
        await kernel_asked()
        done = loop.create_future()
        loop.call_later(0.001, done.set_result, None)
        await soon(done)
        assert all(handle.cancelled() for handle in handles)

    run(main())
