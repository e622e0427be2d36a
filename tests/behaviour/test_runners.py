"""run and Runner: the loop they make, what they clean up, and what they refuse."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
import threading
from typing import Any

import pytest
from turns import Trace

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def answer() -> int:
    return 42


@pytest.fixture
def module(implementation: Any) -> Any:
    return implementation.module


def test_run_returns_the_result_and_raises_the_exception(module: Any) -> None:
    assert module.run(answer()) == 42

    async def fail() -> None:
        raise ValueError("of the coroutine")

    with pytest.raises(ValueError, match="of the coroutine"):
        module.run(fail())


def test_run_makes_a_loop_of_its_module_and_closes_it(module: Any, implementation: Any) -> None:
    async def main() -> Any:
        return asyncio.get_running_loop()

    loop = module.run(main())
    assert loop.is_closed()
    fresh = implementation.new_event_loop()
    assert type(loop) is type(fresh)
    fresh.close()
    assert module.run(main()) is not loop


def test_run_cannot_be_called_from_a_running_loop(module: Any) -> None:
    async def main() -> None:
        coroutine = answer()
        with pytest.raises(
            RuntimeError, match=r"asyncio\.run\(\) cannot be called from a running event loop"
        ):
            module.run(coroutine)
        coroutine.close()

    module.run(main())


@pytest.mark.parametrize("thing", [None, 42, answer])
def test_run_wants_a_coroutine(module: Any, thing: Any) -> None:
    expected = TypeError if sys.version_info >= (3, 14) else ValueError
    with pytest.raises(expected, match=r"required|a coroutine was expected"):
        module.run(thing)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="run takes any awaitable from 3.14 on")
def test_run_takes_any_awaitable(module: Any) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    assert module.run(Awaitable()) == "awaited"


def test_run_takes_its_options_as_keywords(module: Any) -> None:
    coroutine = answer()
    with pytest.raises(TypeError):
        module.run(coroutine, True)
    coroutine.close()


def test_debug_is_handed_to_the_loop(module: Any) -> None:
    async def main() -> Any:
        return asyncio.get_running_loop().get_debug()

    assert module.run(main(), debug=True) is True
    assert module.run(main(), debug=False) is False
    assert module.run(main()) is False


@pytest.mark.skipif(sys.version_info < (3, 12), reason="run(loop_factory=) came with 3.12")
def test_a_factory_may_be_given(module: Any, implementation: Any) -> None:
    trace = Trace()

    def factory() -> Any:
        loop = implementation.new_event_loop()
        trace.note(loop)
        return loop

    async def main() -> Any:
        return asyncio.get_running_loop()

    assert module.run(main(), loop_factory=factory) is trace[0]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="run(loop_factory=) came with 3.12")
def test_the_standard_librarys_run_takes_the_factory(implementation: Any) -> None:
    async def main() -> Any:
        return type(asyncio.get_running_loop())

    loop = implementation.new_event_loop()
    loop.close()
    options: Any = {"loop_factory": implementation.new_event_loop}
    assert asyncio.run(main(), **options) is type(loop)


def test_the_standard_librarys_runner_takes_the_factory(implementation: Any) -> None:
    async def main() -> Any:
        await asyncio.to_thread(abs, 1)
        return type(asyncio.get_running_loop())

    loop = implementation.new_event_loop()
    loop.close()
    with asyncio.Runner(loop_factory=implementation.new_event_loop) as runner:
        assert runner.run(main()) is type(loop)


def test_what_is_left_is_cancelled(module: Any) -> None:
    trace = Trace()

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            trace.note("cancelled")
            await asyncio.sleep(0)
            trace.note("cleaned up")
            raise

    async def main() -> None:
        tasks.append(asyncio.ensure_future(background()))
        await asyncio.sleep(0)

    tasks: list[Any] = []
    module.run(main())
    assert trace == ["cancelled", "cleaned up"]
    assert tasks[0].cancelled()


def test_what_fails_while_being_cancelled_is_reported(module: Any) -> None:
    trace = Trace()

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError("while cleaning up")

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: trace.note(context))
        task = asyncio.ensure_future(background())
        await asyncio.sleep(0)
        return task

    task = module.run(main())
    [context] = trace
    assert context["message"] == "unhandled exception during asyncio.run() shutdown"
    assert isinstance(context["exception"], ValueError)
    assert context["task"] is task


def test_generators_and_threads_are_shut_down(module: Any) -> None:
    trace = Trace()

    async def generator() -> Any:
        try:
            yield 1
        finally:
            trace.note("generator closed")

    async def main() -> None:
        open_generators.append(generator())
        await open_generators[0].__anext__()
        threads.append(await asyncio.to_thread(threading.current_thread))

    open_generators: list[Any] = []
    threads: list[Any] = []
    module.run(main())
    assert trace == ["generator closed"]
    assert not threads[0].is_alive()


def test_after_the_run_there_is_no_current_loop(module: Any) -> None:
    module.run(answer())
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="no current event loop"):
        asyncio.get_event_loop()


def test_inside_the_run_its_loop_is_the_current_one(module: Any) -> None:
    async def main() -> bool:
        return asyncio.get_event_loop() is asyncio.get_running_loop()

    assert module.run(main())


def test_run_works_in_another_thread(module: Any) -> None:
    trace = Trace()
    thread = threading.Thread(target=lambda: trace.note(module.run(answer())))
    thread.start()
    thread.join()
    assert trace == [42]


def test_a_runner_keeps_its_loop_and_context_between_runs(module: Any) -> None:
    async def look() -> tuple[Any, str]:
        before = variable.get()
        variable.set("set by the run before")
        return asyncio.get_running_loop(), before

    with module.Runner() as runner:
        first, before_first = runner.run(look())
        second, before_second = runner.run(look())
        assert first is second is runner.get_loop()
        assert not first.is_closed()
    assert first.is_closed()
    assert (before_first, before_second) == ("unset", "set by the run before")
    assert variable.get() == "unset"


def test_a_runner_takes_a_context(module: Any) -> None:
    async def look() -> str:
        return variable.get()

    context = contextvars.copy_context()
    context.run(variable.set, "given")
    with module.Runner() as runner:
        assert runner.run(look(), context=context) == "given"
        assert runner.run(look()) == "unset"


def test_a_runner_that_was_never_used_closes_quietly(module: Any) -> None:
    runner = module.Runner()
    runner.close()
    runner.close()
    with module.Runner():
        pass


def test_a_closed_runner_refuses(module: Any) -> None:
    with module.Runner() as runner:
        runner.run(answer())
    for use in (runner.get_loop, runner.__enter__):
        with pytest.raises(RuntimeError, match="Runner is closed"):
            use()
    coroutine = answer()
    with pytest.raises(RuntimeError, match="Runner is closed"):
        runner.run(coroutine)
    coroutine.close()


def test_a_runner_refuses_while_a_loop_runs(module: Any) -> None:
    with module.Runner() as runner:

        async def main() -> None:
            coroutine = answer()
            with pytest.raises(
                RuntimeError, match=r"Runner\.run\(\) cannot be called from a running event loop"
            ):
                runner.run(coroutine)
            coroutine.close()

        runner.run(main())


def test_a_runner_goes_on_after_an_exception(module: Any) -> None:
    async def fail() -> None:
        raise ValueError

    with module.Runner() as runner:
        with pytest.raises(ValueError):
            runner.run(fail())
        assert runner.run(answer()) == 42


def test_a_runner_takes_debug_and_factory(module: Any, implementation: Any) -> None:
    trace = Trace()

    def factory() -> Any:
        trace.note("made")
        return implementation.new_event_loop()

    with module.Runner(debug=True, loop_factory=factory) as runner:
        assert trace == [] or trace == ["made"]
        assert runner.get_loop().get_debug() is True
    assert trace == ["made"]
    with pytest.raises(TypeError):
        module.Runner(True)


def test_the_interrupt_handler_is_there_during_the_run_only(module: Any) -> None:
    trace = Trace()

    async def main() -> None:
        trace.note(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    module.run(main())
    assert trace == [False]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_handler_of_ones_own_is_left_alone(module: Any) -> None:
    def mine(_number: int, _frame: Any) -> None:
        """Somebody else's handler."""

    async def main() -> Any:
        return signal.getsignal(signal.SIGINT)

    signal.signal(signal.SIGINT, mine)
    try:
        assert module.run(main()) is mine
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_the_main_task_can_be_cancelled_from_inside(module: Any) -> None:
    async def main() -> None:
        asyncio.current_task().cancel("own")  # type: ignore[union-attr]
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        module.run(main())


def test_an_exit_in_the_main_task_leaves_run_and_cleans_up(module: Any) -> None:
    trace = Trace()

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            trace.note("cleaned up")

    async def main() -> None:
        tasks.append(asyncio.ensure_future(background()))
        await asyncio.sleep(0)
        raise SystemExit(5)

    tasks: list[Any] = []
    with pytest.raises(SystemExit) as caught:
        module.run(main())
    assert caught.value.code == 5
    assert trace == ["cleaned up"]


@pytest.mark.filterwarnings("ignore:.*policy.*:DeprecationWarning")
@pytest.mark.skipif(sys.version_info >= (3, 16), reason="event loop policies went away in 3.16")
@pytest.mark.rasyncio_only(reason="asyncio's own policy is in force already")
def test_the_policy_gives_the_loop_to_the_standard_library(module: Any) -> None:
    async def main() -> Any:
        return type(asyncio.get_running_loop())

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(module.EventLoopPolicy())
    try:
        assert issubclass(asyncio.run(main()), module.EventLoop)
        loop = asyncio.new_event_loop()
        assert isinstance(loop, module.EventLoop)
        asyncio.set_event_loop(loop)
        assert asyncio.get_event_loop() is loop
        asyncio.set_event_loop(None)
        loop.close()
    finally:
        asyncio.set_event_loop_policy(before)


@pytest.mark.filterwarnings("ignore:.*policy.*:DeprecationWarning")
@pytest.mark.skipif(sys.version_info >= (3, 16), reason="event loop policies went away in 3.16")
@pytest.mark.rasyncio_only(reason="asyncio's own policy is in force already")
def test_the_policy_is_a_policy(module: Any) -> None:
    policy = module.EventLoopPolicy()
    base = getattr(asyncio, "AbstractEventLoopPolicy", None) or asyncio.events._AbstractEventLoopPolicy
    assert isinstance(policy, base)
    loop = policy.new_event_loop()
    policy.set_event_loop(loop)
    assert policy.get_event_loop() is loop
    policy.set_event_loop(None)
    loop.close()


def test_a_runner_has_the_private_names(module: Any) -> None:
    with module.Runner(debug=True) as runner:
        assert runner._loop is runner.get_loop() and runner._debug is True
        assert runner._state.value == "initialized" and runner._interrupt_count == 0
        assert runner.run(asyncio.sleep(0, "result"), context=runner._context) == "result"
    assert runner._state.value == "closed" and runner._loop is None
    with pytest.raises(RuntimeError, match="Runner is closed"):
        runner._lazy_init()
    with pytest.raises(AttributeError, match="'Runner' object has no attribute 'nothing'"):
        _ = runner.nothing


def test_the_end_of_the_block_closes_a_runner_by_its_own_method(module: Any) -> None:
    closed = []

    class Telling(module.Runner):  # type: ignore[misc]
        def __init__(self) -> None:
            assert not hasattr(self, "anything")
            super().__init__()
            with pytest.raises(AttributeError, match="'Telling' object has no attribute 'anything'"):
                _ = self.anything

        def close(self) -> None:
            closed.append(self)
            super().close()

    with Telling() as runner:
        runner.run(asyncio.sleep(0))
    assert closed == [runner]
