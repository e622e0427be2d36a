"""What random programs are made of; how one is made from a number, and how one that fails is made small.

A generator of its own: it makes a program in a fraction of the time in which hypothesis would draw one, and a
hundred thousand of them are wanted.
"""

from __future__ import annotations

import pprint
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

from program_machine import Instruction, Program

Maker = Callable[["Writer"], tuple[Any, ...]]

FUTURES, TASKS, LOCKS, EVENTS, SEMAPHORES, QUEUES = range(3), range(6), range(2), range(2), range(2), range(4)
DELAYS = (0, 0, 1, 2, 3, 5, 8)
CONDITIONS = ("FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED")

# Word, weight, arguments.
LEAVES: list[tuple[str, int, Maker]] = [
    ("sleep", 12, lambda it: (it.pick(DELAYS),)),
    ("set_result", 3, lambda it: (it.pick(FUTURES),)),
    ("set_exception", 1, lambda it: (it.pick(FUTURES),)),
    ("cancel_future", 2, lambda it: (it.pick(FUTURES),)),
    ("cancel", 4, lambda it: (it.pick(TASKS),)),
    ("cancel_saying", 4, lambda it: (it.pick(TASKS),)),
    ("uncancel", 2, lambda it: (it.pick(TASKS),)),
    ("watch", 1, lambda it: (it.pick(TASKS),)),
    ("watch_future", 1, lambda it: (it.pick(FUTURES),)),
    ("fail", 3, lambda it: (it.pick(range(5)),)),
    ("fail_cancelled", 1, lambda it: (it.pick(range(5)),)),
    ("later", 3, lambda it: (it.pick(DELAYS), it.pick(TASKS))),
    ("later_result", 2, lambda it: (it.pick(DELAYS), it.pick(FUTURES))),
    ("await_future", 3, lambda it: (it.pick(FUTURES),)),
    ("await_task", 4, lambda it: (it.pick(TASKS),)),
    ("shield_task", 2, lambda it: (it.pick(TASKS),)),
    ("wait_for_future", 2, lambda it: (it.pick(FUTURES), it.pick(DELAYS))),
    ("wait_for_task", 2, lambda it: (it.pick(TASKS), it.pick(DELAYS))),
    ("gather_tasks", 2, lambda it: (it.pick((True, False)), (it.pick(TASKS), it.pick(TASKS)))),
    ("reschedule", 3, lambda it: (it.pick(range(3)), it.pick(DELAYS))),
    ("release", 2, lambda it: (it.pick(LOCKS),)),
    ("acquire", 2, lambda it: (it.pick(LOCKS),)),
    ("give_back", 1, lambda it: (it.pick(SEMAPHORES),)),
    ("set_event", 4, lambda it: (it.pick(EVENTS),)),
    ("clear_event", 2, lambda it: (it.pick(EVENTS),)),
    ("wait_event", 4, lambda it: (it.pick(EVENTS),)),
    ("notify", 3, lambda it: (it.pick(range(1, 3)),)),
    ("notify_all", 2, lambda it: ()),
    ("wait_condition", 3, lambda it: ()),
    ("wait_condition_for", 2, lambda it: (it.pick(EVENTS),)),
    ("wait_barrier", 4, lambda it: ()),
    ("reset_barrier", 1, lambda it: ()),
    ("abort_barrier", 1, lambda it: ()),
    ("put", 6, lambda it: (it.pick(QUEUES), it.pick(range(4)))),
    ("get", 6, lambda it: (it.pick(QUEUES),)),
    ("put_nowait", 2, lambda it: (it.pick(QUEUES), it.pick(range(4)))),
    ("get_nowait", 2, lambda it: (it.pick(QUEUES),)),
    ("task_done", 3, lambda it: (it.pick(QUEUES),)),
    ("join", 2, lambda it: (it.pick(QUEUES),)),
]
COMPOUNDS: list[tuple[str, int, Maker]] = [
    ("spawn", 14, lambda it: (it.body(),)),
    ("shield", 3, lambda it: (it.body(),)),
    ("wait_for", 4, lambda it: (it.pick((*DELAYS, None)), it.body())),
    ("timeout", 5, lambda it: (it.pick((*DELAYS, None)), it.body())),
    ("timeout_at", 2, lambda it: (it.pick((-1, *DELAYS)), it.body())),
    ("gather", 5, lambda it: (it.pick((True, False)), it.bodies())),
    ("wait", 4, lambda it: (it.pick(CONDITIONS), it.pick((*DELAYS, None, None)), it.bodies())),
    ("as_completed", 4, lambda it: (it.pick((*DELAYS, None, None)), it.pick(IS_ASYNC), it.bodies())),
    ("guarded", 7, lambda it: (it.body(),)),
    ("stubborn", 3, lambda it: (it.body(),)),
    ("cleaned", 4, lambda it: (it.body(), it.body())),
    ("with_lock", 6, lambda it: (it.pick(LOCKS), it.body())),
    ("with_semaphore", 5, lambda it: (it.pick(SEMAPHORES), it.body())),
    ("with_condition", 8, lambda it: (it.body(),)),
]

# What an old version is known to do otherwise than the newest, whose rules are ours, is left out there.
IS_ASYNC: tuple[bool, ...] = (False,)
if sys.version_info >= (3, 12):
    COMPOUNDS.append(("spawn_eagerly", 5, lambda it: (it.body(),)))
if sys.version_info >= (3, 13):
    IS_ASYNC = (False, True)
    LEAVES.append(("shutdown", 1, lambda it: (it.pick(QUEUES), it.pick((True, False)))))
    # Before, a group that failed left its cancellation of the parent counted.
    COMPOUNDS.append(("group", 8, lambda it: (it.bodies(), it.body())))
    COMPOUNDS.append(("join_group", 2, lambda it: (it.pick(range(3)), it.body())))
if sys.version_info >= (3, 14):
    # In 3.13.0 a group does not wait for a child that ended in its first step.
    LEAVES.append(("start_tasks_eagerly", 2, lambda it: (it.pick((True, True, False)),)))


class Writer:
    """Writes the program of a number: the same on every version that knows the same words."""

    def __init__(self, number: int) -> None:
        self.random = random.Random(number)
        self.left = self.random.randint(3, 30)
        self.depth = 0

    def pick(self, choices: Any) -> Any:
        return choices[int(self.random.random() * len(choices))]

    def body(self) -> Program:
        self.depth += 1
        length = self.random.randint(1, 4)
        body = [self.instruction() for _ in range(length) if self.left > 0]
        self.depth -= 1
        return body

    def bodies(self) -> list[Program]:
        return [self.body() for _ in range(self.random.randint(1, 3)) if self.left > 0]

    def instruction(self) -> Instruction:
        self.left -= 1
        is_leaf = self.depth > 4 or self.random.random() < 0.35 + 0.1 * self.depth
        (word, _, maker), *_ = self.random.choices(*LEAF_CHOICE if is_leaf else COMPOUND_CHOICE)
        return (word, *maker(self))

    def program(self) -> Program:
        """Mostly tasks side by side: a main task that fails at once shows little."""
        body: Program = []
        while self.left > 0:
            chance = self.random.random()
            if chance < 0.5:
                body.append(("spawn", self.body()))
            elif chance < 0.8:
                body.append(("guarded", self.body()))
            else:
                body.append(self.instruction())
        return body


LEAF_CHOICE = LEAVES, [weight for _, weight, _ in LEAVES]
COMPOUND_CHOICE = COMPOUNDS, [weight for _, weight, _ in COMPOUNDS]


def program_of(number: int) -> Program:
    return Writer(number).program()


def smaller(program: Program) -> Iterator[Program]:
    """Programs with a little less in them, the smallest first."""
    for index, instruction in enumerate(program):
        rest = program[index + 1 :]
        yield [*program[:index], *rest]
        for place, argument in enumerate(instruction):
            if isinstance(argument, list):
                inner = argument if not argument or isinstance(argument[0], tuple) else argument[0]
                yield [*program[:index], *inner, *rest]
                for less in smaller_argument(argument):
                    yield [*program[:index], (*instruction[:place], less, *instruction[place + 1 :]), *rest]


def smaller_argument(argument: list[Any]) -> Iterator[list[Any]]:
    """A body, or a list of bodies."""
    if not argument or isinstance(argument[0], tuple):
        yield from smaller(argument)
        return
    for index, body in enumerate(argument):
        yield [*argument[:index], *argument[index + 1 :]]
        for less in smaller(body):
            yield [*argument[:index], less, *argument[index + 1 :]]


def shrunk(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The smallest program that still fails which can be had by leaving something out of it."""
    while True:
        found = next((less for less in smaller(program) if fails(less)), None)
        if found is None:
            return program
        program = found


def as_test(program: Program) -> str:
    """A test of this program alone, to be pasted."""
    lines = pprint.pformat(program, width=100).splitlines()
    text = "\n".join([lines[0], *(f"        {line}" for line in lines[1:])])
    return f"def test_what_was_found_once() -> None:\n    assert_same(\n        {text}\n    )\n"
