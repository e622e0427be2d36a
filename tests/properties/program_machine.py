"""Runs one random program on one loop under a virtual clock, and keeps the trace of what was seen.

A program is a list of instructions: tuples of a word, which is a method of `Machine`, and its arguments.
A list among the arguments is a body, a program of its own that runs inside, or a list of such. The clock
goes on by one in each turn, so sleeps, timeouts and wake-ups meet in all orders, and nothing depends on
the time that passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Coroutine, Iterator
from types import ModuleType
from typing import Any

LAST_TURN = 60
# Turns behind the end of the main task, for what it left.
LAST_WORDS = 12

Instruction = tuple[Any, ...]
Program = list[Instruction]


class Failure(Exception):
    """What programs raise."""


class Names:
    """Where a program takes asyncio's names from: ours where we have them."""

    def __init__(self, *modules: ModuleType) -> None:
        self.modules = (*modules, asyncio)

    def __getattr__(self, name: str) -> Any:
        return next(getattr(module, name) for module in self.modules if hasattr(module, name))


class Ordered(dict[Any, None]):
    """A set in the order of arrival: a group of asyncio cancels its children in that of their addresses."""

    add = dict.setdefault

    def discard(self, item: Any) -> None:
        self.pop(item, None)


def shown(value: Any) -> Any:
    """What of a value does not differ between implementations."""
    if isinstance(value, BaseExceptionGroup):
        return type(value).__name__, value.message, [shown(error) for error in value.exceptions]
    if isinstance(value, asyncio.InvalidStateError):
        # asyncio has two texts for it, one of its Future in C and one of that in Python.
        return "InvalidStateError"
    if isinstance(value, BaseException):
        cause = shown(value.__cause__) if value.__cause__ is not None else None
        return type(value).__name__, [shown(argument) for argument in value.args], cause
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, set):
        return sorted(shown(item) for item in value)
    if isinstance(value, asyncio.Task):
        return value.get_name()
    if isinstance(value, str):
        # A message may show an object.
        return re.sub(r"<.*>", "<>", value)
    return value if value is None or isinstance(value, (bool, int, float)) else type(value).__name__


def outcome(future: Any) -> Any:
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    return shown(future.exception() or future.result())


class Machine:
    """The objects of one program, and its trace."""

    def __init__(self, loop: asyncio.AbstractEventLoop, names: Any) -> None:
        self.loop = loop
        self.aio = names
        self.turn = 0
        self.trace: list[Any] = []
        self.is_over = False
        self.turns_left = LAST_TURN
        self.tasks: list[Any] = []
        self.ranks: dict[Any, int] = {}
        self.started = 0
        self.timeouts: list[Any] = []
        self.groups: list[Any] = []
        self.spans = 0
        self.futures = [loop.create_future() for _ in range(3)]
        self.locks = [names.Lock(), names.Lock()]
        self.events = [names.Event(), names.Event()]
        self.condition = names.Condition()
        self.semaphores = [names.Semaphore(1), names.BoundedSemaphore(2)]
        self.barrier = names.Barrier(2)
        self.queues = [names.Queue(1), names.Queue(), names.PriorityQueue(2), names.LifoQueue(1)]
        loop.time = self.time  # type: ignore[method-assign]
        loop.set_exception_handler(self.on_error)

    def time(self) -> float:
        return float(self.turn)

    def later_than(self, delay: int) -> float:
        """A delay that no other has: which of two timers of one moment comes first is nobody's promise."""
        self.spans += 1
        return delay + self.spans / 1024

    def soon(self, delay: int | None) -> float | None:
        """Likewise where 0 means that there is no timer, and None that there is no end."""
        return self.later_than(delay) if delay and delay > 0 else delay

    def within(self, delay: int | None) -> float | None:
        return None if delay is None else self.later_than(delay)

    def note(self, *what: Any) -> None:
        if not self.is_over:
            self.trace.append((self.turn, *what))

    def on_error(self, _loop: Any, context: dict[str, Any]) -> None:
        message = context["message"]
        if not message.endswith(("was never retrieved", "but it is pending!")):
            # When an object goes is the business of the collector, not of the program.
            self.note("reported", shown(message.split(" in callback")[0]), shown(context.get("exception")))

    # Running.

    def run(self, program: Program) -> list[Any]:
        main = self.loop.create_task(self.work("main", program), name="main")
        self.remember(main)
        main.add_done_callback(self.on_end)
        self.loop.call_soon(self.go_on)
        self.loop.run_forever()
        self.note("end", [outcome(task) for task in self.tasks], [outcome(future) for future in self.futures])
        # What taking the program down adds is not part of it.
        self.is_over = True
        return self.trace

    def on_end(self, _main: Any) -> None:
        self.turns_left = min(self.turns_left, LAST_WORDS)

    def go_on(self) -> None:
        self.turn += 1
        self.turns_left -= 1
        if self.turns_left > 0:
            self.loop.call_soon(self.go_on)
        else:
            self.loop.stop()

    def end(self) -> None:
        """Takes down what still waits, without a word."""
        self.loop.set_exception_handler(lambda _loop, _context: None)
        for _ in range(LAST_TURN):
            pending = [*asyncio.all_tasks(self.loop), *(each for each in self.futures if not each.done())]
            if not pending:
                break
            for each in pending:
                each.cancel()
            if self.condition.locked():
                # Whoever was notified waits for the lock whatever happens.
                self.condition.release()
            self.turn += 1
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        for each in [*self.tasks, *self.futures]:
            if each.done() and not each.cancelled():
                each.exception()
        self.loop.close()

    async def work(self, name: str, body: Program) -> str:
        self.note("begins", name)
        # The children of gather are tasks that nobody else knows.
        self.ranks.setdefault(asyncio.current_task(), self.started)
        try:
            await self.obey(name, body)
        except BaseException as error:
            if not self.is_over:
                task = asyncio.current_task()
                self.note(name, "raises", shown(error), task.cancelling() if task else None)
            raise
        self.note("ends", name)
        return name

    async def obey(self, name: str, body: Program) -> None:
        for word, *arguments in body:
            if self.is_over:
                return
            result = getattr(self, word)(*arguments)
            if isinstance(result, Coroutine):
                self.note(name, word)
                result = await result
            self.note(name, word, shown(result))

    def next_name(self) -> str:
        self.started += 1
        return f"number {self.started}"

    def remember(self, task: Any) -> Any:
        self.tasks.append(task)
        # An eager one knows its rank by now.
        self.ranks.setdefault(task, self.started)
        return task

    def pick(self, number: int) -> Any:
        return self.tasks[number % len(self.tasks)]

    def pick_younger(self, number: int) -> Any:
        """A task begun after the current one, or None: tasks that await each other in a circle cannot end."""
        task, mine = self.pick(number), asyncio.current_task()
        return task if self.ranks[task] > self.ranks[mine] else None

    def task(self, body: Program, **options: Any) -> Any:
        name = self.next_name()
        return self.remember(self.loop.create_task(self.work(name, body), name=name, **options))

    def works(self, bodies: list[Program]) -> list[Coroutine[Any, Any, str]]:
        return [self.work(self.next_name(), body) for body in bodies]

    @contextlib.contextmanager
    def noted(self, word: str) -> Iterator[None]:
        """The errors that an instruction which does not wait is known to give."""
        try:
            yield
        except (
            *(asyncio.InvalidStateError, asyncio.QueueEmpty, asyncio.QueueFull),
            *(RuntimeError, ValueError, getattr(asyncio, "QueueShutDown", RuntimeError)),
        ) as error:
            self.note(word, shown(error))

    # Futures and tasks, at once.

    def set_result(self, number: int) -> None:
        with self.noted("set_result"):
            self.futures[number].set_result(number)

    def set_exception(self, number: int) -> None:
        with self.noted("set_exception"):
            self.futures[number].set_exception(Failure(number))

    def cancel_future(self, number: int) -> Any:
        return self.futures[number].cancel(f"future {number}")

    def cancel(self, number: int) -> Any:
        return self.pick(number).cancel()

    def cancel_saying(self, number: int) -> Any:
        return self.pick(number).cancel(f"task {number}"), self.pick(number).cancelling()

    def uncancel(self, number: int) -> Any:
        return self.pick(number).uncancel()

    def watch(self, number: int) -> None:
        task = self.pick(number)
        task.add_done_callback(lambda done: self.note("done", done.get_name(), outcome(done)))

    def watch_future(self, number: int) -> None:
        self.futures[number].add_done_callback(lambda done: self.note("done", number, outcome(done)))

    def fail(self, number: int) -> None:
        raise Failure(number)

    def fail_cancelled(self, number: int) -> None:
        raise asyncio.CancelledError(number)

    def spawn(self, body: Program) -> None:
        self.task(body)

    def spawn_eagerly(self, body: Program) -> None:
        name = self.next_name()
        self.remember(self.aio.Task(self.work(name, body), loop=self.loop, name=name, eager_start=True))

    def start_tasks_eagerly(self, eagerly: bool) -> None:
        self.loop.set_task_factory(self.aio.eager_task_factory if eagerly else None)

    def later(self, delay: int, number: int) -> None:
        self.loop.call_later(self.later_than(delay), self.cancel_saying, number)

    def later_result(self, delay: int, number: int) -> None:
        self.loop.call_later(self.later_than(delay), self.set_result, number)

    # Primitives, at once.

    def release(self, number: int) -> Any:
        with self.noted("release"):
            self.locks[number].release()
        return self.locks[number].locked()

    def give_back(self, number: int) -> Any:
        with self.noted("give_back"):
            self.semaphores[number].release()
        return self.semaphores[number].locked()

    def set_event(self, number: int) -> Any:
        return self.events[number].set(), self.events[number].is_set()

    def clear_event(self, number: int) -> None:
        self.events[number].clear()

    def notify(self, count: int) -> Any:
        with self.noted("notify"):
            self.condition.notify(count)
        return self.condition.locked()

    def notify_all(self) -> None:
        with self.noted("notify_all"):
            self.condition.notify_all()

    def put_nowait(self, number: int, item: int) -> Any:
        with self.noted("put_nowait"):
            self.queues[number].put_nowait(item)
        return self.queues[number].qsize(), self.queues[number].full()

    def get_nowait(self, number: int) -> Any:
        with self.noted("get_nowait"):
            self.note("got", self.queues[number].get_nowait())
        return self.queues[number].qsize(), self.queues[number].empty()

    def task_done(self, number: int) -> None:
        with self.noted("task_done"):
            self.queues[number].task_done()

    def shutdown(self, number: int, immediate: bool) -> None:
        self.queues[number].shutdown(immediate)

    def reschedule(self, number: int, delay: int) -> None:
        if self.timeouts:
            timeout = self.timeouts[number % len(self.timeouts)]
            with self.noted("reschedule"):
                timeout.reschedule(self.loop.time() + self.later_than(delay))
            self.note(timeout.when(), timeout.expired())

    def join_group(self, number: int, body: Program) -> None:
        """Another child for a group that somebody else may have made."""
        if self.groups:
            name = self.next_name()
            work = self.work(name, body)
            try:
                self.remember(self.groups[number % len(self.groups)].create_task(work, name=name))
            except RuntimeError as error:
                work.close()
                self.note("refused", shown(error))

    # What waits.

    async def sleep(self, delay: int) -> Any:
        return await self.aio.sleep(self.soon(delay), delay)

    async def await_future(self, number: int) -> Any:
        return await self.futures[number]

    async def await_task(self, number: int) -> Any:
        task = self.pick_younger(number)
        return task and await task

    async def shield_task(self, number: int) -> Any:
        task = self.pick_younger(number)
        return task and await self.aio.shield(task)

    async def shield(self, body: Program) -> Any:
        return await self.aio.shield(self.work(self.next_name(), body))

    async def wait_for_future(self, number: int, delay: int) -> Any:
        return await self.aio.wait_for(self.aio.shield(self.futures[number]), self.soon(delay))

    async def wait_for_task(self, number: int, delay: int) -> Any:
        task = self.pick_younger(number)
        return task and await self.aio.wait_for(task, self.soon(delay))

    async def wait_for(self, delay: int | None, body: Program) -> Any:
        return await self.aio.wait_for(self.work(self.next_name(), body), self.soon(delay))

    async def timeout(self, delay: int | None, body: Program) -> Any:
        async with self.aio.timeout(self.soon(delay)) as timeout:
            self.timeouts.append(timeout)
            await self.obey("timeout", body)
        return timeout.when(), timeout.expired()

    async def timeout_at(self, delay: int, body: Program) -> Any:
        async with self.aio.timeout_at(self.loop.time() + self.later_than(delay)) as timeout:
            await self.obey("timeout_at", body)
        return timeout.expired()

    async def gather(self, return_exceptions: bool, bodies: list[Program]) -> Any:
        return await self.aio.gather(*self.works(bodies), return_exceptions=return_exceptions)

    async def gather_tasks(self, return_exceptions: bool, numbers: tuple[int, ...]) -> Any:
        tasks = [task for number in numbers if (task := self.pick_younger(number)) is not None]
        return await self.aio.gather(*tasks, *tasks[:1], return_exceptions=return_exceptions)

    async def wait(self, condition: str, delay: int | None, bodies: list[Program]) -> Any:
        tasks = [self.task(body) for body in bodies]
        if not tasks:
            return None
        done, pending = await self.aio.wait(tasks, timeout=self.within(delay), return_when=condition)
        return shown(done), shown(pending)

    async def as_completed(self, delay: int | None, is_async: bool, bodies: list[Program]) -> Any:
        # Those that are done already come in the order of a set.
        tasks = [task for body in bodies if not (task := self.task(body)).done()]
        results: list[Any] = []
        with self.collected(results):
            if is_async:
                async for task in self.aio.as_completed(tasks, timeout=self.within(delay)):
                    results.append(outcome(task))
            else:
                for awaitable in self.aio.as_completed(tasks, timeout=self.within(delay)):
                    results.append(await awaitable)
        return shown(results)

    @contextlib.contextmanager
    def collected(self, results: list[Any]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.note("so far", shown(results))
            raise

    async def group(self, bodies: list[Program], body: Program) -> Any:
        async with self.aio.TaskGroup() as group:
            if type(group) is asyncio.TaskGroup:
                group._tasks = Ordered()  # type: ignore[assignment]
            self.groups.append(group)
            for each in bodies:
                name = self.next_name()
                self.remember(group.create_task(self.work(name, each), name=name))
            await self.obey("group", body)

    async def guarded(self, body: Program) -> Any:
        try:
            await self.obey("guarded", body)
        except (Exception, BaseExceptionGroup) as error:
            return shown(error)

    async def stubborn(self, body: Program) -> Any:
        try:
            await self.obey("stubborn", body)
        except BaseException as error:
            return shown(error)

    async def cleaned(self, body: Program, cleaning: Program) -> None:
        try:
            await self.obey("cleaned", body)
        finally:
            self.note("cleaning")
            await self.obey("cleaning", cleaning)

    async def with_lock(self, number: int, body: Program) -> None:
        async with self.locks[number]:
            await self.obey("with_lock", body)

    async def acquire(self, number: int) -> Any:
        return await self.locks[number].acquire()

    async def with_semaphore(self, number: int, body: Program) -> None:
        async with self.semaphores[number]:
            await self.obey("with_semaphore", body)

    async def with_condition(self, body: Program) -> None:
        async with self.condition:
            await self.obey("with_condition", body)

    async def wait_condition(self) -> Any:
        return await self.condition.wait()

    async def wait_condition_for(self, number: int) -> Any:
        return await self.condition.wait_for(self.events[number].is_set)

    async def wait_event(self, number: int) -> Any:
        return await self.events[number].wait()

    async def wait_barrier(self) -> Any:
        return await self.barrier.wait(), self.barrier.n_waiting, self.barrier.broken

    async def reset_barrier(self) -> Any:
        return await self.barrier.reset()

    async def abort_barrier(self) -> Any:
        await self.barrier.abort()
        return self.barrier.broken

    async def put(self, number: int, item: int) -> Any:
        return await self.queues[number].put(item)

    async def get(self, number: int) -> Any:
        return await self.queues[number].get()

    async def join(self, number: int) -> Any:
        return await self.queues[number].join()
