"""Random small programs run on asyncio and on rasyncio: what happens, and in which order, must be the same.

A program is a list of instructions for the main task; tasks and callbacks it starts have their own.
Every event is noted with the number of the turn it happened in. Nothing depends on the time that passes.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))

FUTURES = 4
TASKS = 4
LAST_TURN = 40

future_numbers = st.integers(0, FUTURES - 1)
task_numbers = st.integers(0, TASKS - 1)

simple = st.one_of(
    st.tuples(st.just("note"), st.integers(0, 9)),
    st.tuples(st.just("set_result"), future_numbers),
    st.tuples(st.just("set_exception"), future_numbers),
    st.tuples(st.just("cancel_future"), future_numbers),
    st.tuples(st.just("cancel_task"), task_numbers),
    st.tuples(st.just("uncancel_task"), task_numbers),
    st.tuples(st.just("watch_future"), future_numbers),
    st.tuples(st.just("watch_task"), task_numbers),
    st.tuples(st.just("unwatch_future"), future_numbers),
    st.tuples(st.just("cancel_handle"), st.integers(0, 3)),
    st.tuples(st.just("raise"), st.integers(0, 9)),
)


def with_callbacks(instructions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What both callbacks and tasks may do, some of which starts others."""
    inner = st.lists(instructions, max_size=4)
    return st.one_of(
        simple,
        st.tuples(st.just("call_soon"), inner),
        st.tuples(st.just("call_soon_threadsafe"), inner),
        st.tuples(st.just("call_later"), inner),
    )


callback_instructions = st.recursive(simple, with_callbacks, max_leaves=8)


def with_tasks(instructions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What a task may do besides: wait, and start other tasks."""
    inner = st.lists(instructions, max_size=5)
    return st.one_of(
        callback_instructions,
        st.tuples(st.just("sleep"), st.just(0)),
        st.tuples(st.just("await_future"), future_numbers),
        st.tuples(st.just("await_task"), task_numbers),
        st.tuples(st.just("shield_task"), task_numbers),
        st.tuples(st.just("create_task"), inner),
        st.tuples(st.just("gather"), st.tuples(inner, inner)),
        st.tuples(st.just("group"), inner),
        st.tuples(st.just("guarded"), inner),
        st.tuples(st.just("wait_first"), inner),
    )


task_instructions = st.recursive(
    st.one_of(simple, st.tuples(st.just("sleep"), st.just(0))), with_tasks, max_leaves=25
)
programs = st.lists(task_instructions, min_size=1, max_size=8)


class Failure(Exception):
    """What programs raise."""


class Machine:
    """Runs one program on one loop and keeps the trace."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.trace: list[Any] = []
        self.turn = 0
        self.futures = [loop.create_future() for _ in range(FUTURES)]
        self.tasks: list[Any] = []
        self.handles: list[Any] = []
        self.watchers = [self.watcher(f"future {number}") for number in range(FUTURES)]
        self.started = 0
        self.ranks: dict[Any, int] = {}
        loop.set_exception_handler(self.on_error)

    def note(self, *what: Any) -> None:
        self.trace.append((self.turn, *what))

    def on_error(self, _loop: Any, context: dict[str, Any]) -> None:
        if context["message"].endswith(("was never retrieved", "but it is pending!")):
            # When the object goes is the business of the collector, not of the program.
            return
        # Where a message names a callback it names a function of one implementation.
        self.note("reported", context["message"].split(" in callback")[0], repr(context.get("exception")))

    def watcher(self, name: str) -> Callable[[Any], None]:
        def watch(future: Any) -> None:
            self.note("done", name, self.outcome(future))

        return watch

    @staticmethod
    def outcome(future: Any) -> str:
        if future.cancelled():
            return "cancelled"
        return repr(future.exception() or future.result())

    def run(self, program: list[Any]) -> list[Any]:
        self.remember(self.loop.create_task(self.work("main", program), name="main"))
        for self.turn in range(LAST_TURN):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        self.note(
            "end", [self.state(task) for task in self.tasks], [self.state(future) for future in self.futures]
        )
        # What taking the program down adds is not part of it.
        return list(self.trace)

    def state(self, future: Any) -> str:
        return self.outcome(future) if future.done() else "pending"

    def next_name(self) -> str:
        self.started += 1
        return f"number {self.started}"

    async def work(self, name: str, instructions: list[Any]) -> str:
        self.note("begins", name)
        # The children of gather are tasks nobody else knows.
        self.ranks.setdefault(asyncio.current_task(), self.started)
        try:
            for number, (word, argument) in enumerate(instructions):
                self.note(name, number, word)
                if word in WAITS:
                    self.note(name, "got", repr(await getattr(self, word)(argument)))
                else:
                    getattr(self, word)(argument)
        except asyncio.CancelledError as error:
            self.note(name, "cancelled", error.args)
            raise
        finally:
            self.note("ends", name)
        return name

    def callback(self, instructions: list[Any]) -> Callable[[], None]:
        name = self.next_name()

        def run_callback() -> None:
            for word, argument in instructions:
                self.note(name, word)
                getattr(self, word)(argument)

        return run_callback

    def pick(self, number: int) -> Any:
        return self.tasks[number % len(self.tasks)]

    def remember(self, task: Any) -> None:
        self.tasks.append(task)
        self.ranks[task] = self.started

    def pick_younger(self, number: int) -> Any:
        """A task begun after the current one, or None: tasks that await each other in a circle cannot end."""
        task, mine = self.pick(number), asyncio.current_task()
        return task if self.ranks[task] > self.ranks[mine] else None

    # Instructions that do not wait.

    def call_soon(self, instructions: list[Any]) -> None:
        self.handles.append(self.loop.call_soon(self.callback(instructions)))

    def call_soon_threadsafe(self, instructions: list[Any]) -> None:
        self.handles.append(self.loop.call_soon_threadsafe(self.callback(instructions)))

    def call_later(self, instructions: list[Any]) -> None:
        self.handles.append(self.loop.call_later(0, self.callback(instructions)))

    def cancel_handle(self, number: int) -> None:
        if number < len(self.handles):
            self.handles[number].cancel()

    def set_result(self, number: int) -> None:
        if not self.futures[number].done():
            self.futures[number].set_result(number)

    def set_exception(self, number: int) -> None:
        if not self.futures[number].done():
            self.futures[number].set_exception(Failure(number))
            # Whether somebody fetches it must not decide about a report at the end.
            self.futures[number]._log_traceback = False

    def cancel_future(self, number: int) -> None:
        self.note(self.futures[number].cancel(f"future {number}"))

    def cancel_task(self, number: int) -> None:
        task = self.pick(number)
        self.note(task.cancel(f"task {number}"), task.cancelling())

    def uncancel_task(self, number: int) -> None:
        self.note(self.pick(number).uncancel())

    def watch_future(self, number: int) -> None:
        self.futures[number].add_done_callback(self.watchers[number])

    def unwatch_future(self, number: int) -> None:
        self.note(self.futures[number].remove_done_callback(self.watchers[number]))

    def watch_task(self, number: int) -> None:
        self.pick(number).add_done_callback(self.watcher(self.pick(number).get_name()))

    def create_task(self, instructions: list[Any]) -> None:
        name = self.next_name()
        self.remember(self.loop.create_task(self.work(name, instructions), name=name))

    # Instructions that wait.

    async def sleep(self, _argument: int) -> None:
        await asyncio.sleep(0)

    async def await_future(self, number: int) -> Any:
        return await self.futures[number]

    async def await_task(self, number: int) -> Any:
        task = self.pick_younger(number)
        return task and await task

    async def shield_task(self, number: int) -> Any:
        task = self.pick_younger(number)
        return task and await asyncio.shield(task)

    async def gather(self, works: tuple[list[Any], list[Any]]) -> Any:
        return await asyncio.gather(
            *(self.work(self.next_name(), work) for work in works), return_exceptions=True
        )

    async def group(self, instructions: list[Any]) -> Any:
        # One child only: a group keeps its children in a set, so it cancels them in any order.
        async with asyncio.TaskGroup() as group:
            name = self.next_name()
            self.remember(group.create_task(self.work(name, instructions), name=name))

    async def guarded(self, instructions: list[Any]) -> Any:
        try:
            return await self.work(self.next_name(), instructions)
        except (Failure, asyncio.CancelledError, RuntimeError, BaseExceptionGroup) as error:
            # A message may name the task, which shows its callbacks, which differ.
            return type(error).__name__

    async def wait_first(self, instructions: list[Any]) -> Any:
        name = self.next_name()
        task = self.loop.create_task(self.work(name, instructions), name=name)
        self.remember(task)
        await asyncio.wait([task, *self.futures], return_when=asyncio.FIRST_COMPLETED)
        return self.state(task)


def raise_failure(_machine: Machine, number: int) -> None:
    raise Failure(number)


setattr(Machine, "raise", raise_failure)

WAITS = {"sleep", "await_future", "await_task", "shield_task", "gather", "group", "guarded", "wait_first"}


def trace_of(new_event_loop: Callable[[], asyncio.AbstractEventLoop], program: list[Any]) -> list[Any]:
    loop = new_event_loop()
    machine = Machine(loop)
    try:
        # A context of its own, as nothing may leak from one program to the next.
        return contextvars.copy_context().run(machine.run, program)
    finally:
        end(loop, machine)


def end(loop: asyncio.AbstractEventLoop, machine: Machine) -> None:
    """Takes down what still waits, without a word."""
    loop.set_exception_handler(lambda _loop, _context: None)
    for _ in range(LAST_TURN):
        for pending in [*asyncio.all_tasks(loop), *machine.futures]:
            pending.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
    for task in machine.tasks:
        if task.done() and not task.cancelled():
            task.exception()
    loop.close()


@pytest.mark.hang_limit(300 * SCALE)
# Hypothesis counts references to tell whether what it seeds will last; from 3.14 on there is one less.
@pytest.mark.filterwarnings("ignore:It looks like `register_random` was passed an object")
@given(program=programs)
@settings(
    max_examples=300 * SCALE,
    # The same programs every time, so that a failure is about the change at hand.
    derandomize=SCALE == 1,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_same_program_leaves_the_same_trace(implementation: Any, program: list[Any]) -> None:
    expected = trace_of(asyncio.new_event_loop, program)
    assert trace_of(implementation.new_event_loop, program) == expected
