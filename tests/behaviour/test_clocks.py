"""A loop whose time() was replaced, on the object or in a subclass: its timers follow that clock.

Test suites move such clocks by hand to let hours pass in no time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable
from fractions import Fraction
from typing import Any

import pytest
from turns import Trace, turn

DAY = 86400.0


class Clock:
    """Stands still unless it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=[0.0, 1000.0, -50.0, 1.8e9, 1e15])
def clock(request: pytest.FixtureRequest, loop: Any) -> Clock:
    """The clock of `loop`, beginning early or late."""
    clock = Clock(request.param)
    loop.time = clock
    return clock


def test_timers_are_set_by_the_replaced_clock(loop: Any, clock: Clock) -> None:
    timer = loop.call_later(8, print)
    assert timer.when() == clock.now + 8
    timer.cancel()


def test_a_timer_fires_when_the_clock_is_moved(loop: Any, clock: Clock) -> None:
    trace = Trace()
    loop.call_later(DAY, trace.note, "fired")
    turn(loop)
    assert trace == []
    clock.now += DAY - 1
    turn(loop)
    assert trace == []
    clock.now += 2
    turn(loop)
    assert trace == ["fired"]


def test_timers_fire_in_the_order_of_their_times_however_far_the_clock_is_moved(
    loop: Any, clock: Clock
) -> None:
    trace = Trace()
    for hours in (5, 1, 4, 2, 3):
        loop.call_later(hours * 3600, trace.note, hours)
    loop.call_at(clock.now + 9 * 3600, trace.note, "later")
    clock.now += 8 * 3600
    turn(loop)
    assert trace == [1, 2, 3, 4, 5]
    clock.now += 8 * 3600
    turn(loop)
    assert trace == [1, 2, 3, 4, 5, "later"]


def test_a_clock_in_the_class_is_followed_as_long_as_it_is_there(
    loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loop.call_later(8, print).when() >= loop.time()
    monkeypatch.setattr(type(loop), "time", lambda _: 5000.0)
    assert loop.call_later(8, print).when() == 5008.0
    monkeypatch.undo()
    begun = loop.time()
    assert begun + 8 <= loop.call_later(8, print).when() <= loop.time() + 8


def test_a_clock_that_goes_back_holds_its_timers_up(loop: Any, clock: Clock) -> None:
    trace = Trace()
    loop.call_later(100, trace.note, "fired")
    clock.now -= 1000
    turn(loop)
    clock.now += 1000
    turn(loop)
    assert trace == []
    clock.now += 101
    turn(loop)
    assert trace == ["fired"]


def test_the_loop_waits_for_what_the_clock_says_is_left(loop: Any) -> None:
    """A day of its own passes in the moment between setting the timer and waiting for it."""
    clock = Clock(1000.0)
    loop.time = clock
    loop.call_later(DAY, loop.stop)
    loop.call_soon(setattr, clock, "now", 1000.0 + DAY)
    begun = time.monotonic()
    loop.run_forever()
    assert time.monotonic() - begun < 10


def test_a_clock_that_stands_still_lets_no_timer_fire_however_long_the_loop_waits(loop: Any) -> None:
    trace = Trace()
    loop.time = Clock(1000.0)
    loop.call_later(0.001, trace.note, "fired")
    loop.call_soon(time.sleep, 0.002)
    turn(loop)
    turn(loop)
    assert trace == []


def test_a_clock_with_an_offset_goes_as_fast_as_the_usual_one(loop: Any) -> None:
    loop.time = lambda: time.monotonic() + 1e6
    begun = time.monotonic()
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    assert 0.05 <= time.monotonic() - begun < 10


@pytest.mark.parametrize("now", [1000, Fraction(3001, 3), True])
def test_the_clock_may_give_any_number(loop: Any, now: Any) -> None:
    trace = Trace()
    loop.time = lambda: now
    timer = loop.call_later(0, trace.note, "fired")
    assert float(timer.when()) == float(now)
    turn(loop)
    assert trace == ["fired"]


def test_a_timer_of_this_very_moment_fires_at_large_times_too(loop: Any, implementation: Any) -> None:
    trace = Trace()
    clock = Clock(1e15)
    loop.time = clock
    loop.call_at(math.nextafter(1e15, 0), trace.note, "before")
    turn(loop)
    assert trace == ["before"]
    if implementation.is_oracle:
        pytest.skip("most versions of asyncio let such a timer wait until the clock goes on")
    loop.call_at(1e15, trace.note, "now")
    turn(loop)
    assert trace == ["before", "now"]


def test_a_clock_that_fails_ends_the_run(loop: Any) -> None:
    def fail() -> float:
        raise ZeroDivisionError("of the clock")

    loop.call_later(3600, print).cancel()
    timer = loop.call_later(3600, print)
    loop.time = fail
    with pytest.raises(ZeroDivisionError, match="of the clock"):
        loop.call_later(1, print)
    with pytest.raises(ZeroDivisionError, match="of the clock"):
        loop.run_forever()
    del loop.time
    assert not loop.is_running()
    timer.cancel()
    turn(loop)


def test_slow_callbacks_are_measured_by_the_replaced_clock(loop: Any, clock: Clock, asyncio_log: Any) -> None:
    def slow() -> None:
        clock.now += 8

    loop.set_debug(True)
    loop.call_soon(slow)
    turn(loop)
    [report] = [record for record in asyncio_log.records if "slow()" in record.getMessage()]
    assert report.levelno == logging.WARNING
    assert report.getMessage().endswith(" took 8.000 seconds")


def test_a_replaced_clock_of_the_class_counts(
    loop: Any, implementation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = Trace()
    clock = Clock(1000.0)
    monkeypatch.setattr(type(loop), "time", lambda _loop: clock(), raising=False)
    loop.call_later(DAY, trace.note, "fired")
    turn(loop)
    clock.now += DAY
    turn(loop)
    assert trace == ["fired"]


def virtual_loop(implementation: Any) -> Any:
    """A loop whose clock jumps to the next timer whenever nothing else is left to do."""
    base: Any = asyncio.SelectorEventLoop if implementation.is_oracle else implementation.module.EventLoop

    class VirtualLoop(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.now = 0.0
            self.deadlines: list[float] = []

        def time(self) -> float:
            return self.now

        def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
            self.deadlines.append(when)
            return super().call_at(when, callback, *args, context=context)

        def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
            return self.call_at(self.time() + delay, callback, *args, context=context)

        async def pump(self) -> None:
            while True:
                for _ in range(20):
                    await asyncio.sleep(0)
                if self.deadlines:
                    self.now = max(self.now, min(self.deadlines))
                    self.deadlines.remove(min(self.deadlines))

    return VirtualLoop()


def in_virtual_time(implementation: Any, work: Awaitable[Any]) -> Any:
    """What `work` returns; it may take days, none of them ours."""
    loop = virtual_loop(implementation)

    async def main() -> Any:
        pump = asyncio.ensure_future(loop.pump())
        try:
            return await work
        finally:
            pump.cancel()

    begun = time.monotonic()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        assert time.monotonic() - begun < 20


def test_sleeping_takes_virtual_time(implementation: Any) -> None:
    async def main() -> Any:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(DAY)
        return asyncio.get_running_loop().time() - begun

    assert in_virtual_time(implementation, main()) == DAY


def test_many_sleepers_wake_in_their_order(implementation: Any) -> None:
    trace = Trace()

    async def sleep(hours: int) -> None:
        await asyncio.sleep(hours * 3600)
        trace.note((hours, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(*(sleep(hours) for hours in (3, 1, 2, 24)))

    in_virtual_time(implementation, main())
    assert trace == [(hours, hours * 3600.0) for hours in (1, 2, 3, 24)]


def test_timeouts_end_in_virtual_time(implementation: Any) -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        moments = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.sleep(DAY)
        moments.append(loop.time())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_future(), 60)
        moments.append(loop.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(1000):
                await loop.create_future()
        moments.append(loop.time())
        sleeper = asyncio.ensure_future(asyncio.sleep(7200))
        await asyncio.wait([sleeper], timeout=100)
        moments.append(loop.time())
        sleeper.cancel()
        async with asyncio.timeout(50) as limit:
            limit.reschedule(loop.time() + 5000)
            await asyncio.sleep(4000)
        moments.append(loop.time())
        return moments

    assert in_virtual_time(implementation, main()) == [60, 120, 1000, 1100, 5100]


def test_queues_and_events_wait_in_virtual_time(implementation: Any) -> None:
    async def main() -> tuple[list[int], float]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def produce() -> None:
            for number in range(10):
                await asyncio.sleep(600)
                await queue.put(number)

        producer = asyncio.ensure_future(produce())
        received = [await asyncio.wait_for(queue.get(), 3600) for _ in range(10)]
        await producer
        return received, asyncio.get_running_loop().time()

    assert in_virtual_time(implementation, main()) == (list(range(10)), 6000.0)
