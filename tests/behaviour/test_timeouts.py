"""timeout, timeout_at and Timeout: deadlines, rescheduling, states, other cancellations that meet them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from typing import Any

import pytest


def current() -> Any:
    return asyncio.current_task()


def test_in_time(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.timeout(10) as block:
            await aio.sleep(0)
            assert not block.expired()
        assert not block.expired()
        assert repr(block) == "<Timeout [finished]>"

    run(main)


def test_too_late(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        begin = loop.time()
        with pytest.raises(TimeoutError) as caught:
            async with aio.timeout(0.01) as block:
                await aio.sleep(10)
        assert 0.01 <= loop.time() - begin < 5
        assert block.expired() and current().cancelling() == 0
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert isinstance(caught.value.__context__, asyncio.CancelledError)
        assert repr(block) == "<Timeout [expired]>"

    run(main)


def test_nothing_of_a_dead_timeout_is_left_in_the_next_one(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.timeout(60) as first:
            pass
        reference = weakref.ref(first)
        del first
        await asyncio.sleep(0)
        assert reference() is None
        second = aio.timeout(None)
        assert (second.when(), second.expired()) == (None, False)
        assert "created" in repr(second)
        async with second:
            await asyncio.sleep(0)
        assert reference() is None

    run(main())


def test_no_deadline(run: Any, aio: Any) -> None:
    async def main() -> None:
        for make in (aio.timeout, aio.timeout_at, aio.Timeout):
            async with make(None) as block:
                assert block.when() is None
                assert repr(block) == "<Timeout [active] when=None>"
                await aio.sleep(0)

    run(main)


@pytest.mark.parametrize("delay", [0, -1])
def test_a_deadline_that_has_passed_ends_the_block_at_its_first_wait(
    run: Any, aio: Any, delay: float
) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with aio.timeout(delay) as block:
                assert not block.expired()
                await aio.sleep(10)
        async with aio.timeout(delay) as block:
            pass
        assert not block.expired()
        await aio.sleep(0)

    run(main)


def test_an_absolute_deadline(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        when = loop.time() + 0.01
        with pytest.raises(TimeoutError):
            async with aio.timeout_at(when) as block:
                assert block.when() == when
                assert repr(block) == f"<Timeout [active] when={round(when, 3)}>"
                await aio.sleep(10)
        async with aio.timeout_at(int(loop.time()) + 100) as block:
            assert isinstance(block.when(), int)

    run(main)


def test_moved_and_taken_away(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.timeout(0.001) as block:
            block.reschedule(loop.time() + 60)
            await aio.sleep(0.005)
            block.reschedule(None)
            await aio.sleep(0.005)
            assert block.when() is None
        with pytest.raises(TimeoutError):
            async with aio.timeout(None) as block:
                block.reschedule(loop.time() + 0.001)
                await aio.sleep(10)
        with pytest.raises(TimeoutError):
            async with aio.timeout(60) as block:
                block.reschedule(loop.time() - 1)
                await aio.sleep(10)

    run(main)


def test_moved_out_of_turn(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        block = aio.timeout(60)
        with pytest.raises(RuntimeError, match=r"^Timeout has not been entered$"):
            block.reschedule(1)
        assert repr(block) == "<Timeout [created]>"
        async with block:
            pass
        with pytest.raises(RuntimeError, match=r"^Cannot change state of finished Timeout$"):
            block.reschedule(1)
        with pytest.raises(RuntimeError, match=r"^Timeout has already been entered$"):
            async with block:
                pass
        with pytest.raises(TimeoutError):
            async with aio.timeout(0) as block:
                try:
                    await aio.sleep(10)
                finally:
                    assert repr(block) == "<Timeout [expiring]>"
                    with pytest.raises(RuntimeError, match=r"^Cannot change state of expiring Timeout$"):
                        block.reschedule(1)

    run(main)


def test_only_in_a_task(loop: Any, run: Any, aio: Any) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.timeout(1)
    caught: list[str] = []

    def step() -> None:
        try:
            aio.timeout(1).__aenter__().send(None)
        except RuntimeError as error:
            caught.append(str(error))

    loop.call_soon(step)
    run(aio.sleep(0))
    assert caught == ["Timeout should be used inside a task"]


def test_cancelled_from_outside_is_no_timeout(loop: Any, run: Any, aio: Any) -> None:
    async def work() -> None:
        async with aio.timeout(10):
            await aio.sleep(10)

    async def main() -> None:
        task = loop.create_task(work())
        await aio.sleep(0)
        task.cancel("stop")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("stop",)

    run(main)


def test_cancelled_from_outside_and_timed_out(loop: Any, run: Any, aio: Any) -> None:
    async def work() -> None:
        async with aio.timeout(0.001):
            try:
                await aio.sleep(10)
            finally:
                current().cancel()

    async def main() -> None:
        task = loop.create_task(work())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    run(main)


def test_cancelled_before_the_block_began(loop: Any, run: Any, aio: Any) -> None:
    async def work() -> None:
        current().cancel()
        async with aio.timeout(10):
            await aio.sleep(10)

    async def main() -> None:
        task = loop.create_task(work())
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_another_exception_passes(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            async with aio.timeout(10):
                raise KeyError
        with pytest.raises(KeyError) as caught:
            async with aio.timeout(0.001):
                try:
                    await aio.sleep(10)
                except asyncio.CancelledError:
                    raise KeyError from None
        assert current().cancelling() == 0
        # The timeout stands between the error and the cancellation that it came from.
        error = caught.value.__context__
        if sys.version_info >= (3, 13):
            assert isinstance(error, TimeoutError)
            assert isinstance(error.__cause__, asyncio.CancelledError)

    run(main)


def test_a_block_that_swallows_the_cancellation(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with aio.timeout(0.001) as block:
            with contextlib.suppress(asyncio.CancelledError):
                await aio.sleep(10)
        assert block.expired() and current().cancelling() == 0
        await aio.sleep(0)

    run(main)


def test_a_subclass_of_cancelled_error(run: Any, implementation: Any, aio: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 13):
        pytest.skip("asyncio takes the class itself only up to 3.12 (gh-112622)")

    class Own(asyncio.CancelledError):
        pass

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with aio.timeout(0.001):
                try:
                    await aio.sleep(10)
                except asyncio.CancelledError:
                    raise Own from None

    run(main)


def test_the_timeout_in_an_exception_group(run: Any, implementation: Any, aio: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 13):
        pytest.skip("asyncio names the cause from 3.13 on")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.timeout(0.001):
                try:
                    await aio.sleep(10)
                except asyncio.CancelledError:
                    try:
                        raise KeyError
                    except KeyError as part:
                        raise ExceptionGroup("group", [part]) from None
        assert isinstance(caught.value.exceptions[0].__context__, TimeoutError)

    run(main)


def test_nested_blocks_expire_on_their_own(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with aio.timeout(10) as outer, aio.timeout(0.001) as inner:
                await aio.sleep(10)
        assert inner.expired() and not outer.expired()
        with pytest.raises(TimeoutError):
            async with aio.timeout(0.001) as outer:
                try:
                    async with aio.timeout(10) as inner:
                        await aio.sleep(10)
                finally:
                    assert not inner.expired()
        assert outer.expired()

    run(main)


def test_both_expire_in_the_same_turn(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        when = loop.time() + 0.001
        with pytest.raises(TimeoutError):
            async with aio.timeout_at(when) as outer:
                with pytest.raises(asyncio.CancelledError):
                    async with aio.timeout_at(when) as inner:
                        await aio.sleep(10)
                await aio.sleep(0)
                raise asyncio.CancelledError
        assert outer.expired() and inner.expired()
        assert current().cancelling() == 0

    run(main)


def test_blocks_leave_no_timers(loop: Any, run: Any, aio: Any) -> None:
    async def main() -> None:
        for _ in range(300):
            async with aio.timeout(3600):
                await aio.sleep(0)

    run(main)


def test_a_subclass_may_reschedule_in_its_own_way(run: Any, aio: Any) -> None:
    calls: list[Any] = []

    class Own(aio.Timeout):  # type: ignore[misc]
        def reschedule(self, when: Any) -> None:
            calls.append(when)
            super().reschedule(None)

    async def main() -> None:
        async with Own(1.5) as block:
            assert block.when() is None
            await aio.sleep(0)

    run(main)
    assert calls == [1.5]


def test_closed_while_it_waits(loop: Any, run: Any, aio: Any) -> None:
    async def work() -> None:
        async with aio.timeout(10):
            await aio.sleep(10)

    async def main() -> None:
        coroutine = work()
        coroutine.send(None)
        coroutine.close()

    run(main)


def test_the_private_names_tell_where_the_block_stands(run: Any, aio: Any) -> None:
    async def main() -> None:
        deadline = asyncio.get_running_loop().time() + 1000
        block = aio.timeout_at(deadline)
        states = [block._state.name]
        async with block:
            states.append(block._state.name)
            assert block._when == deadline
        states.append(block._state.name)
        assert states == ["CREATED", "ENTERED", "EXITED"]

    run(main)
