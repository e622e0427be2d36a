"""add_signal_handler and remove_signal_handler, within this process."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from turns import Trace, turn


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    yield
    after = [signal.getsignal(number) for number in numbers]
    assert after == before
    previous = signal.set_wakeup_fd(-1)
    assert previous == -1


def deliver(number: int) -> None:
    """Sends this process a signal."""
    os.kill(os.getpid(), number)


def test_the_handler_is_called_by_the_loop_with_its_arguments(loop: Any) -> None:
    trace = Trace()

    def on_signal(*arguments: Any) -> None:
        trace.note(*arguments, asyncio.get_running_loop() is loop)
        loop.stop()

    assert loop.add_signal_handler(signal.SIGUSR1, on_signal, 1, "two") is None
    loop.call_soon(deliver, signal.SIGUSR1)
    loop.run_forever()
    assert trace == [(1, "two", True)]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


def test_a_signal_that_came_before_the_run_is_delivered_by_it(loop: Any) -> None:
    trace = Trace()
    loop.add_signal_handler(signal.SIGUSR1, lambda: (trace.note("delivered"), loop.stop()))
    deliver(signal.SIGUSR1)
    assert trace == []
    loop.run_forever()
    assert trace == ["delivered"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_wakes_an_idle_loop(loop: Any) -> None:
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    sender = threading.Thread(target=deliver, args=(signal.SIGUSR1,))
    loop.call_soon(sender.start)
    loop.run_forever()
    sender.join()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_several_signals_have_their_own_handlers(loop: Any) -> None:
    trace = Trace()

    def on_signal(name: str) -> None:
        trace.note(name)
        if len(trace) == 2:
            loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, on_signal, "one")
    loop.add_signal_handler(signal.SIGUSR2, on_signal, "two")
    loop.call_soon(deliver, signal.SIGUSR2)
    loop.call_soon(deliver, signal.SIGUSR1)
    loop.run_forever()
    assert sorted(trace) == ["one", "two"]
    loop.remove_signal_handler(signal.SIGUSR1)
    loop.remove_signal_handler(signal.SIGUSR2)


def test_a_second_handler_replaces_the_first(loop: Any) -> None:
    trace = Trace()
    loop.add_signal_handler(signal.SIGUSR1, trace.note, "first")
    loop.add_signal_handler(signal.SIGUSR1, lambda: (trace.note("second"), loop.stop()))
    loop.call_soon(deliver, signal.SIGUSR1)
    loop.run_forever()
    assert trace == ["second"]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_removing_restores_what_python_does_by_default(loop: Any) -> None:
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL
    loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    loop.add_signal_handler(signal.SIGINT, print)
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_remove_of_what_was_never_added(loop: Any) -> None:
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_the_wakeup_descriptor_is_ours_only_as_long_as_there_are_handlers(loop: Any) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    wakeup = signal.set_wakeup_fd(-1)
    assert wakeup != -1
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.set_wakeup_fd(-1) == -1


def test_close_removes_the_handlers(loop: Any) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_a_raising_handler_is_reported(loop: Any, loop_errors: Any) -> None:
    loop.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
    deliver(signal.SIGUSR1)
    loop.add_signal_handler(signal.SIGUSR2, loop.stop)
    loop.call_soon(loop.call_soon, deliver, signal.SIGUSR2)
    loop.run_forever()
    assert [type(context["exception"]) for context in loop_errors] == [ZeroDivisionError]
    loop.remove_signal_handler(signal.SIGUSR1)
    loop.remove_signal_handler(signal.SIGUSR2)


def test_handlers_of_the_signal_module_run_while_the_loop_idles(loop: Any) -> None:
    """A plain signal.signal handler must not wait for the loop to wake for some other reason."""
    trace = Trace()
    sender = threading.Thread(target=deliver, args=(signal.SIGUSR1,))

    def on_signal(_number: int, _frame: Any) -> None:
        trace.note("handled")
        loop.call_soon_threadsafe(loop.stop)

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        loop.call_soon(sender.start)
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    sender.join()
    assert trace == ["handled"]


def test_a_handler_of_the_signal_module_may_raise_out_of_an_idle_loop(loop: Any) -> None:
    sender = threading.Thread(target=deliver, args=(signal.SIGUSR1,))

    def on_signal(_number: int, _frame: Any) -> None:
        raise SystemExit(7)

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        loop.call_soon(sender.start)
        with pytest.raises(SystemExit) as caught:
            loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    sender.join()
    assert caught.value.code == 7
    assert not loop.is_running()
    turn(loop)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_what_cannot_be_caught_is_refused(loop: Any, number: int) -> None:
    with pytest.raises(RuntimeError, match=rf"^sig {int(number)} cannot be caught$"):
        loop.add_signal_handler(number, print)
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("number", [-1, 0, 1000])
def test_a_number_that_is_no_signal_is_refused(loop: Any, number: int) -> None:
    with pytest.raises(ValueError, match=rf"^invalid signal number {number}$"):
        loop.add_signal_handler(number, print)
    with pytest.raises(ValueError, match=rf"^invalid signal number {number}$"):
        loop.remove_signal_handler(number)


@pytest.mark.parametrize("number", ["SIGUSR1", None, 10.0])
def test_what_is_no_number_is_refused(loop: Any, number: Any) -> None:
    with pytest.raises(TypeError, match=r"^sig must be an int, not "):
        loop.add_signal_handler(number, print)
    with pytest.raises(TypeError, match=r"^sig must be an int, not "):
        loop.remove_signal_handler(number)


def test_a_coroutine_is_no_handler(loop: Any) -> None:
    async def handler() -> None:
        """Would never be awaited."""

    with pytest.raises(TypeError, match=r"^coroutines cannot be used with add_signal_handler"):
        loop.add_signal_handler(signal.SIGUSR1, handler)
    coroutine = handler()
    with pytest.raises(TypeError, match=r"^coroutines cannot be used with add_signal_handler"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)
    coroutine.close()


def test_only_the_main_thread_may_add_a_handler(implementation: Any) -> None:
    trace = Trace()

    def elsewhere() -> None:
        loop = implementation.new_event_loop()
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except (RuntimeError, ValueError) as error:
            trace.note(str(error))
        finally:
            loop.close()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    [text] = trace
    assert "main thread" in text


def test_a_context_is_kept_for_the_handler(loop: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    trace = Trace()
    token = variable.set("when added")
    loop.add_signal_handler(signal.SIGUSR1, lambda: (trace.note(variable.get()), loop.stop()))
    variable.reset(token)
    loop.call_soon(deliver, signal.SIGUSR1)
    loop.run_forever()
    assert trace == ["when added"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_interrupts_no_timer(loop: Any) -> None:
    """EINTR in the kernel wait must neither end the run nor fire a timer early."""
    trace = Trace()
    before = signal.signal(signal.SIGUSR1, lambda *_: trace.note("handled"))
    try:
        moment = loop.time() + 0.05
        loop.call_at(moment, lambda: (trace.note(loop.time() >= moment - 1e-6), loop.stop()))
        sender = threading.Thread(target=deliver, args=(signal.SIGUSR1,))
        loop.call_soon(sender.start)
        loop.run_forever()
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert trace == ["handled", True]


@pytest.fixture
def own_wakeup() -> Iterator[int]:
    """A pipe of the program's that Python writes the numbers of signals to; gives the end to read from."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    yield reader
    signal.set_wakeup_fd(-1)
    os.close(reader)
    os.close(writer)


def wakeup_descriptor() -> int:
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    return descriptor


def test_the_programs_own_wakeup_descriptor_is_left_in_place(loop: Any, own_wakeup: int) -> None:
    trace = Trace()
    before = wakeup_descriptor()
    previous = signal.signal(signal.SIGUSR1, lambda *_: trace.note("handled"))
    loop.call_soon(lambda: trace.note(wakeup_descriptor() == before))
    loop.call_soon(deliver, signal.SIGUSR1)
    turn(loop, 2)
    signal.signal(signal.SIGUSR1, previous)
    assert trace == [True, "handled"]
    assert os.read(own_wakeup, 2) == bytes([signal.SIGUSR1])
    assert wakeup_descriptor() == before
    loop.close()
    assert wakeup_descriptor() == before


def test_a_handler_takes_the_programs_wakeup_descriptor_and_does_not_give_it_back(
    loop: Any, own_wakeup: int
) -> None:
    trace = Trace()
    before = wakeup_descriptor()
    loop.call_soon(loop.add_signal_handler, signal.SIGUSR1, trace.note, "handled")
    turn(loop)
    assert wakeup_descriptor() not in (before, -1)
    # Between two runs: it is handled in the next.
    deliver(signal.SIGUSR1)
    assert trace == []
    turn(loop, 3)
    assert trace == ["handled"]
    loop.remove_signal_handler(signal.SIGUSR1)
    assert wakeup_descriptor() == -1


def test_close_in_another_thread_cannot_remove_handlers_and_says_so(loop: Any) -> None:
    trace = Trace()
    loop.add_signal_handler(signal.SIGUSR1, print)

    def elsewhere() -> None:
        try:
            loop.close()
        except ValueError as error:
            trace.note(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    [text] = trace
    assert "main thread" in text
    assert loop.is_closed()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_loop_in_another_thread_leaves_signals_to_the_main_one(implementation: Any, number: int) -> None:
    loop = implementation.new_event_loop()
    seen: list[Any] = []
    previous = signal.signal(number, lambda *_: seen.append(threading.current_thread()))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert wakeup_descriptor() == -1
    deliver(number)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    signal.signal(number, previous)
    assert seen == [threading.main_thread()]
