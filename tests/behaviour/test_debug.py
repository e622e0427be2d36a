"""Debug mode: what it checks, what it remembers, and the report of slow callbacks."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from typing import Any

import pytest
from turns import Trace, turn


async def coroutine_function() -> None:
    """Something that must be called before it can be scheduled."""


def test_debug_mode_is_off_and_can_be_switched(loop: Any) -> None:
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False


@pytest.mark.parametrize(
    ("environment", "expected"),
    [("1", "True"), ("yes", "True"), ("", "False")],
)
def test_the_environment_switches_debug_mode_on(
    script: Any, monkeypatch: pytest.MonkeyPatch, environment: str, expected: str
) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", environment)
    done = script("loop = aio.new_event_loop(); print(loop.get_debug()); loop.close()")
    assert (done.stdout, done.stderr) == (expected + "\n", "")


def test_the_development_mode_switches_debug_mode_on(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    done = script("loop = aio.new_event_loop(); print(loop.get_debug()); loop.close()")
    assert (done.stdout, done.stderr) == ("True\n", "")


SCHEDULERS = {
    "call_soon": lambda loop, callback: loop.call_soon(callback),
    "call_soon_threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback),
    "call_later": lambda loop, callback: loop.call_later(1000, callback),
    "call_at": lambda loop, callback: loop.call_at(loop.time() + 1000, callback),
    "run_in_executor": lambda loop, callback: loop.run_in_executor(None, callback),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_coroutine_function_is_no_callback(loop: Any, name: str) -> None:
    loop.set_debug(True)
    # call_later schedules through call_at, and asyncio names that one.
    named = {"call_later": "call_at"}.get(name, name)
    with pytest.raises(TypeError, match=rf"^coroutines cannot be used with {named}\(\)$"):
        SCHEDULERS[name](loop, coroutine_function)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_coroutine_is_no_callback(loop: Any, name: str) -> None:
    loop.set_debug(True)
    coroutine = coroutine_function()
    with pytest.raises(TypeError, match=r"^coroutines cannot be used with "):
        SCHEDULERS[name](loop, coroutine)
    coroutine.close()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_cannot_be_called_is_no_callback(loop: Any, name: str) -> None:
    loop.set_debug(True)
    named = {"call_later": "call_at"}.get(name, name)
    with pytest.raises(TypeError, match=rf"^a callable object was expected by {named}\(\), got 42$"):
        SCHEDULERS[name](loop, 42)


@pytest.mark.parametrize("name", ["call_soon", "call_later", "call_at"])
def test_another_thread_is_refused_in_debug_mode(loop: Any, name: str) -> None:
    trace = Trace()
    loop.set_debug(True)

    def elsewhere() -> None:
        with pytest.raises(
            RuntimeError, match=r"^Non-thread-safe operation invoked on an event loop other than"
        ):
            SCHEDULERS[name](loop, print)
        loop.call_soon_threadsafe(trace.note, "threadsafe is allowed")
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=elsewhere)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert trace == ["threadsafe is allowed"]


def test_another_thread_may_schedule_while_the_loop_does_not_run(loop: Any) -> None:
    trace = Trace()
    loop.set_debug(True)
    thread = threading.Thread(target=loop.call_soon, args=(trace.note, "scheduled"))
    thread.start()
    thread.join()
    turn(loop)
    assert trace == ["scheduled"]


def test_the_origin_of_coroutines_is_tracked_while_a_debugged_loop_runs(loop: Any) -> None:
    trace = Trace()
    before = sys.get_coroutine_origin_tracking_depth()
    loop.set_debug(True)
    loop.call_soon(lambda: trace.note(sys.get_coroutine_origin_tracking_depth()))
    turn(loop)
    assert trace == [10]
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_switching_debug_mode_while_running_switches_the_tracking_too(loop: Any) -> None:
    trace = Trace()

    async def switch() -> None:
        for debug in (True, False):
            loop.set_debug(debug)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            trace.note(sys.get_coroutine_origin_tracking_depth())

    loop.run_until_complete(switch())
    assert trace == [10, 0]


def innermost(stack: Any) -> list[str]:
    """The two innermost functions: asyncio's own create_future may be the very last."""
    return [frame.name for frame in stack[-2:]]


def test_futures_and_tasks_remember_where_they_were_made(loop: Any) -> None:
    assert loop.create_future()._source_traceback is None
    loop.set_debug(True)
    future = loop.create_future()
    assert "test_futures_and_tasks_remember_where_they_were_made" in innermost(future._source_traceback)
    task = loop.create_task(coroutine_function())
    assert "test_futures_and_tasks_remember_where_they_were_made" in innermost(task._source_traceback)
    assert re.search(r" created at .*\.py:\d+>$", repr(future))
    assert re.search(r" created at .*test_debug\.py:\d+>$", repr(task))
    loop.run_until_complete(task)


def test_reports_carry_where_the_object_was_made(loop: Any, loop_errors: Any) -> None:
    loop.set_debug(True)
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    [context] = loop_errors
    assert context["source_traceback"][-1].name == "test_reports_carry_where_the_object_was_made"


def test_a_never_retrieved_exception_carries_where_its_future_was_made(loop: Any, loop_errors: Any) -> None:
    loop.set_debug(True)
    future = loop.create_future()
    future.set_exception(ValueError("lost"))
    del future
    [context] = loop_errors
    assert context["message"] == "Future exception was never retrieved"
    place = "test_a_never_retrieved_exception_carries_where_its_future_was_made"
    assert place in innermost(context["source_traceback"])


def slow() -> None:
    """A callback that is slow, measured with a limit of nothing."""


def test_a_slow_callback_is_reported(loop: Any, asyncio_log: Any) -> None:
    loop.set_debug(True)
    assert loop.slow_callback_duration == 0.1
    loop.slow_callback_duration = 0
    loop.call_soon(slow)
    turn(loop)
    reports = [message for message in asyncio_log.messages if " slow() " in message]
    place = r".*test_debug\.py:\d+"
    assert len(reports) == 1
    assert re.fullmatch(
        rf"Executing <Handle slow\(\) at {place} created at {place}> took \d+\.\d{{3}} seconds", reports[0]
    )
    [record] = [record for record in asyncio_log.records if record.getMessage() == reports[0]]
    assert record.levelname == "WARNING"


def test_a_slow_timer_is_reported(loop: Any, asyncio_log: Any) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.call_later(0, slow)
    turn(loop)
    [report] = [message for message in asyncio_log.messages if " slow() " in message]
    assert re.fullmatch(
        r"Executing <TimerHandle when=\d+\.\d+ slow\(\) at .*> took \d+\.\d{3} seconds", report
    )


def test_a_slow_step_of_a_task_is_reported_as_the_task(loop: Any, asyncio_log: Any) -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.run_until_complete(loop.create_task(work(), name="slow one"))
    reports = [message for message in asyncio_log.messages if "slow one" in message]
    assert len(reports) == 2
    assert re.match(
        r"Executing <Task pending name='slow one' coro=<.*work\(\) running at .*:\d+> ", reports[0]
    )
    assert re.match(
        r"Executing <Task finished name='slow one' coro=<.*work\(\) done, defined at .*:\d+> ", reports[1]
    )
    assert all(re.search(r"> took \d+\.\d{3} seconds$", report) for report in reports)


def test_a_quick_callback_is_not_reported(loop: Any, asyncio_log: Any) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 1000
    loop.call_soon(slow)
    turn(loop)
    assert not [message for message in asyncio_log.messages if message.startswith("Executing")]


def test_nothing_is_reported_outside_of_debug_mode(loop: Any, asyncio_log: Any) -> None:
    loop.slow_callback_duration = 0
    loop.call_soon(slow)
    turn(loop)
    assert not [message for message in asyncio_log.messages if message.startswith("Executing")]


def test_a_coroutine_that_is_never_awaited_says_where_it_was_made(loop: Any) -> None:
    async def forget() -> None:
        coroutine_function()  # type: ignore[unused-coroutine]

    loop.set_debug(True)
    with pytest.warns(RuntimeWarning) as caught:
        loop.run_until_complete(forget())
    [warning] = caught
    text = str(warning.message)
    assert text.startswith(
        "coroutine 'coroutine_function' was never awaited\nCoroutine created at (most recent call"
    )
    assert "coroutine_function()" in text.splitlines()[-1]
