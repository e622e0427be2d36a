"""run_in_executor, to_thread and the default executor: results, contexts, shutdown, and the closed loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import multiprocessing
import multiprocessing.resource_tracker
import os
import sys
import threading
from typing import Any

import pytest
from turns import Trace

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_the_default_executor_runs_in_another_thread(loop: Any, run: Any) -> None:
    async def main() -> Any:
        return await loop.run_in_executor(None, threading.get_ident)

    assert run(main) != threading.get_ident()


def test_arguments_are_passed_by_position(loop: Any, run: Any) -> None:
    async def main() -> Any:
        return await loop.run_in_executor(None, divmod, 17, 5)

    assert run(main) == (3, 2)


def test_it_returns_a_future_of_the_loop(loop: Any, run: Any) -> None:
    async def main() -> None:
        future = loop.run_in_executor(None, len, "four")
        assert asyncio.isfuture(future)
        assert future.get_loop() is loop
        assert await future == 4

    run(main)


def test_an_exception_comes_through(loop: Any, run: Any) -> None:
    error = ValueError("of the function")

    def fail() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(ValueError) as caught:
            await loop.run_in_executor(None, fail)
        assert caught.value is error

    run(main)


def test_a_base_exception_comes_through(loop: Any, run: Any) -> None:
    class Odd(BaseException):
        pass

    def fail() -> None:
        raise Odd

    async def main() -> None:
        with pytest.raises(Odd):
            await loop.run_in_executor(None, fail)

    run(main)


def test_many_calls_at_once(loop: Any, run: Any) -> None:
    async def main() -> Any:
        return await asyncio.gather(*(loop.run_in_executor(None, abs, -number) for number in range(200)))

    assert run(main) == list(range(200))


def test_calls_run_at_the_same_time(loop: Any, run: Any) -> None:
    meeting = threading.Barrier(3)

    async def main() -> Any:
        return await asyncio.gather(*(loop.run_in_executor(None, meeting.wait, 20) for _ in range(3)))

    assert sorted(run(main)) == [0, 1, 2]


def test_ones_own_executor(loop: Any, run: Any) -> None:
    async def main(executor: Any) -> Any:
        return await loop.run_in_executor(executor, lambda: threading.current_thread().name)

    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="own") as executor:
        assert run(main(executor)).startswith("own")


def test_the_default_executor_can_be_set(loop: Any, run: Any) -> None:
    async def main() -> Any:
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        loop.set_default_executor(executor)
        assert run(main).startswith("mine")


@pytest.mark.parametrize("thing", [None, 42, object()])
def test_the_default_executor_must_be_a_thread_pool(loop: Any, thing: Any) -> None:
    with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
        loop.set_default_executor(thing)


def test_the_context_is_not_carried_by_run_in_executor_but_by_to_thread(loop: Any, run: Any) -> None:
    async def main() -> Any:
        variable.set("of the task")
        return await loop.run_in_executor(None, variable.get), await asyncio.to_thread(variable.get)

    assert run(main) == ("unset", "of the task")


def test_to_thread_takes_keywords(run: Any) -> None:
    async def main() -> Any:
        return await asyncio.to_thread(sorted, [1, 3, 2], reverse=True)

    assert run(main) == [3, 2, 1]


def test_a_cancelled_wait_does_not_wait_for_the_thread(loop: Any, run: Any) -> None:
    release = threading.Event()
    started = threading.Event()

    def block() -> str:
        started.set()
        release.wait(20)
        return "nobody wants this"

    async def main() -> None:
        future = loop.run_in_executor(None, block)
        await loop.run_in_executor(None, started.wait, 20)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        assert not release.is_set()
        release.set()

    run(main)


def test_shutdown_waits_for_the_threads(loop: Any, run: Any) -> None:
    trace = Trace()
    release = threading.Event()

    def work() -> None:
        release.wait(20)
        trace.note("finished")

    async def main() -> None:
        loop.run_in_executor(None, work)
        loop.call_soon(release.set)
        assert await loop.shutdown_default_executor() is None
        trace.note("shut down")

    run(main)
    assert trace == ["finished", "shut down"]


def test_after_the_shutdown_the_default_executor_refuses(loop: Any, run: Any) -> None:
    async def main() -> None:
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match=r"^Executor shutdown has been called$"):
            loop.run_in_executor(None, print)
        with pytest.raises(RuntimeError, match=r"^Executor shutdown has been called$"):
            await asyncio.to_thread(print)

    run(main)


def test_shutdown_without_an_executor_and_twice(loop: Any, run: Any) -> None:
    async def main() -> None:
        await loop.shutdown_default_executor()
        await loop.shutdown_default_executor()

    run(main)


def test_another_executor_still_works_after_the_shutdown(loop: Any, run: Any) -> None:
    async def main(executor: Any) -> Any:
        await loop.shutdown_default_executor()
        return await loop.run_in_executor(executor, abs, -1)

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert run(main(executor)) == 1


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="3.12.1 has the timeout but waits for the threads all the same"
)
def test_a_shutdown_that_takes_too_long_warns_and_goes_on(loop: Any, run: Any) -> None:
    release = threading.Event()
    started = threading.Event()

    def block() -> None:
        started.set()
        release.wait(20)

    async def main() -> None:
        future = loop.run_in_executor(None, block)
        assert started.wait(20)
        with pytest.warns(
            RuntimeWarning, match=r"The executor did not finish(ing)? joining its threads within 0"
        ):
            await loop.shutdown_default_executor(timeout=0.01)
        release.set()
        await future

    run(main)


def test_no_thread_is_left_when_the_loop_is_closed_without_a_shutdown(loop: Any, run: Any) -> None:
    """The fixture checks it: close() lets the idle threads of the default executor go."""

    async def main() -> None:
        await loop.run_in_executor(None, abs, 1)

    run(main)
    loop.close()


def test_a_result_that_comes_after_the_loop_was_closed_is_dropped(loop: Any) -> None:
    release = threading.Event()
    finished = threading.Event()
    executor = concurrent.futures.ThreadPoolExecutor(1)

    def block() -> None:
        release.wait(20)

    future = loop.run_in_executor(executor, block)
    executor.submit(finished.set)
    loop.close()
    release.set()
    assert finished.wait(20)
    executor.shutdown()
    assert not future.done()


def test_what_cannot_be_called_fails_in_the_thread(loop: Any, run: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="not callable"):
            await loop.run_in_executor(None, 42)

    run(main)


def test_the_function_is_needed(loop: Any) -> None:
    with pytest.raises(TypeError):
        loop.run_in_executor()
    with pytest.raises(TypeError):
        loop.run_in_executor(None)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio before 3.13 never ends such a wait")
def test_stop_iteration_from_a_thread_is_no_result(loop: Any, run: Any) -> None:
    def stop() -> None:
        raise StopIteration

    async def main() -> None:
        with pytest.raises((RuntimeError, TypeError), match="StopIteration"):
            await asyncio.wait_for(loop.run_in_executor(None, stop), 20)

    run(main)


def test_a_closed_loop_calls_nothing_in_threads(loop: Any) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.run_in_executor(None, print)
    with (
        concurrent.futures.ThreadPoolExecutor(1) as executor,
        pytest.raises(RuntimeError, match=r"^Event loop is closed$"),
    ):
        loop.run_in_executor(executor, print)


def test_an_executor_that_was_shut_down_says_so_itself(loop: Any) -> None:
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        loop.run_in_executor(executor, print)


def test_debug_mode_refuses_coroutines_and_what_cannot_be_called(loop: Any) -> None:
    async def work() -> None: ...

    loop.set_debug(True)
    coroutine = work()
    for thing in (work, coroutine):
        with pytest.raises(TypeError, match=r"^coroutines cannot be used with run_in_executor\(\)$"):
            loop.run_in_executor(None, thing)
    coroutine.close()
    with pytest.raises(TypeError, match=r"^a callable object was expected by run_in_executor\(\), got 42$"):
        loop.run_in_executor(None, 42)


class Executor(concurrent.futures.ThreadPoolExecutor):
    """A default executor whose shutdown a test can look at, and make fail."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__(1)
        self.error = error
        self.shutdowns: list[bool] = []

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.shutdowns.append(wait)
        super().shutdown(wait, cancel_futures=cancel_futures)
        if self.error is not None:
            raise self.error


def test_any_executor_is_shut_down_by_its_own_method(loop: Any, run: Any) -> None:
    executor = Executor()
    loop.set_default_executor(executor)
    run(loop.shutdown_default_executor())
    assert executor.shutdowns == [True]
    loop.close()
    assert executor.shutdowns == [True, False]


def test_what_a_shutdown_raises_comes_through(loop: Any, run: Any) -> None:
    error = ZeroDivisionError("of the executor")
    executor = Executor(error)
    loop.set_default_executor(executor)
    with pytest.raises(ZeroDivisionError) as caught:
        run(loop.shutdown_default_executor())
    assert caught.value is error
    executor.error = None


def test_two_shutdowns_at_once(loop: Any, run: Any) -> None:
    async def main() -> None:
        await loop.run_in_executor(None, abs, 1)
        await asyncio.gather(loop.shutdown_default_executor(), loop.shutdown_default_executor())

    run(main)


def test_the_shutdown_lets_the_loop_go_on(loop: Any, run: Any) -> None:
    release = threading.Event()

    async def main() -> None:
        busy = loop.run_in_executor(None, release.wait, 20)
        shutdown = asyncio.ensure_future(loop.shutdown_default_executor())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not shutdown.done()
        release.set()
        await shutdown
        assert await busy

    run(main)


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="before 3.13 a cancelled shutdown waits for the threads"
)
def test_a_cancelled_shutdown_does_not_wait(loop: Any, run: Any) -> None:
    release = threading.Event()

    async def main() -> None:
        busy = loop.run_in_executor(None, release.wait, 20)
        shutdown = asyncio.ensure_future(loop.shutdown_default_executor())
        await asyncio.sleep(0)
        shutdown.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shutdown
        assert not release.is_set()
        release.set()
        assert await busy

    run(main)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="from 3.13 on a cancelled shutdown waits for nothing")
def test_a_cancelled_shutdown_waits_for_the_threads_nevertheless(
    loop: Any, run: Any, implementation: Any, asyncio_log: Any
) -> None:
    release = threading.Event()

    async def main() -> None:
        loop.run_in_executor(None, release.wait, 20)
        shutdown = asyncio.ensure_future(loop.shutdown_default_executor())
        await asyncio.sleep(0)
        timer = threading.Timer(0.05, release.set)
        timer.start()
        shutdown.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shutdown
        assert release.is_set()
        timer.join()

    run(main)
    errors = asyncio_log.errors()
    if implementation.is_oracle:
        # It gives the cancelled future its result nevertheless, which the future refuses.
        errors = [error for error in errors if "InvalidStateError" not in error]
    assert not errors


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the timeout came with 3.12")
@pytest.mark.parametrize("timeout", [None, 20, 20.5])
def test_a_shutdown_in_time_warns_of_nothing(loop: Any, run: Any, timeout: Any) -> None:
    async def main() -> None:
        await loop.run_in_executor(None, abs, 1)
        assert await loop.shutdown_default_executor(timeout) is None

    run(main)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the timeout came with 3.12")
def test_there_is_no_timeout_yet(loop: Any) -> None:
    with pytest.raises(TypeError, match=r"shutdown_default_executor\(\) got an unexpected keyword argument"):
        loop.shutdown_default_executor(timeout=1)


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="3.12.1 has the timeout but waits for the threads all the same"
)
@pytest.mark.parametrize("timeout", [0, -1])
def test_a_shutdown_without_patience(loop: Any, run: Any, timeout: int) -> None:
    release = threading.Event()
    executor = Executor()
    loop.set_default_executor(executor)

    async def main() -> None:
        busy = loop.run_in_executor(None, release.wait, 20)
        text = rf"^The executor did not finishing joining its threads within {timeout} seconds\.$"
        with pytest.warns(RuntimeWarning, match=text) as caught:
            await loop.shutdown_default_executor(timeout)
        assert caught[0].filename == __file__
        assert executor.shutdowns == [True, False]
        release.set()
        assert await busy

    run(main)


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="before 3.13 no error of the executor's is taken for this"
)
def test_a_timeout_of_the_executor_s_own_is_taken_for_the_shutdown_s(loop: Any, run: Any) -> None:
    class Impatient(Executor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait, cancel_futures=cancel_futures)
            if self.shutdowns == [True]:
                raise TimeoutError("of the executor")

    loop.set_default_executor(Impatient())
    with pytest.warns(RuntimeWarning, match="within None seconds"):
        run(loop.shutdown_default_executor())


@pytest.fixture(scope="session")
def tracker_of_processes() -> None:
    """multiprocessing's helper process, which lives until the end, must not be counted as a test's leak."""
    multiprocessing.resource_tracker.ensure_running()


def test_a_process_pool_works_as_executor(tracker_of_processes: None, loop: Any, run: Any) -> None:
    async def main(executor: Any) -> Any:
        return await loop.run_in_executor(executor, os.getpid)

    spawning = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawning) as executor:
        assert run(main(executor)) != os.getpid()
