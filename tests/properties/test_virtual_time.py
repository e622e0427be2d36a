"""Random programs of tasks, timeouts, groups, locks and queues under a virtual clock, on both loops.

What happens, in which turn and order, with which results and exceptions, must be the same: with
everything of rasyncio, with its loop and tasks under asyncio's functions and primitives, and the other
way round. A program is known by its number; one that fails is made small and printed as a test.
RASYNCIO_PROGRAMS says how many there are (`make programs`: a hundred thousand), RASYNCIO_FIRST_PROGRAM
where they begin.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from typing import Any

import pytest
import rasyncio
from program_grammar import as_test, program_of, shrunk
from program_machine import Machine, Names, Program

PROGRAMS = int(os.environ.get("RASYNCIO_PROGRAMS", "5000"))
FIRST = int(os.environ.get("RASYNCIO_FIRST_PROGRAM", "0"))
SLICE = 500

NewLoop = Callable[[], asyncio.AbstractEventLoop]

# Loop, and where the names come from.
KINDS: dict[str, tuple[NewLoop, Names]] = {
    "everything": (rasyncio.new_event_loop, Names(rasyncio)),
    "loop alone": (rasyncio.new_event_loop, Names()),
    "names alone": (asyncio.new_event_loop, Names(rasyncio)),
}


def trace_of(program: Program, new_event_loop: NewLoop, names: Names) -> list[Any]:
    machine = Machine(new_event_loop(), names)
    try:
        # A context of its own, as nothing may leak from one program to the next.
        return contextvars.copy_context().run(machine.run, program)
    finally:
        machine.end()


def expected(program: Program) -> list[Any]:
    return trace_of(program, asyncio.new_event_loop, Names())


def difference(program: Program, kinds: list[str]) -> str | None:
    """The first kind whose trace is another than asyncio's."""
    trace = expected(program)
    return next((kind for kind in kinds if trace_of(program, *KINDS[kind]) != trace), None)


def assert_same(program: Program) -> None:
    trace = expected(program)
    for kind, (new_event_loop, names) in KINDS.items():
        assert trace_of(program, new_event_loop, names) == trace, kind


def kinds_of(number: int) -> list[str]:
    """The mixtures take their turns, everything of rasyncio is in each."""
    return ["everything", *({0: ["loop alone"], 1: ["names alone"]}.get(number % 6, []))]


def told(number: int, kind: str) -> str:
    """What to say about a program with another trace than asyncio's: a small one like it, and both traces."""

    def fails(program: Program) -> bool:
        return difference(program, [kind]) is not None

    small = shrunk(program_of(number), fails)
    found = trace_of(small, *KINDS[kind])
    return f"program {number}, {kind}\n\n{as_test(small)}\n{pairs(expected(small), found)}"


def pairs(wanted: list[Any], found: list[Any]) -> str:
    """Both traces from the first event in which they differ."""
    place = next((at for at, both in enumerate(zip(wanted, found, strict=False)) if both[0] != both[1]), 0)
    return f"asyncio:  {wanted[place:]}\n\nrasyncio: {found[place:]}"


@pytest.mark.slow
@pytest.mark.hang_limit(600)
@pytest.mark.parametrize("start", range(FIRST, FIRST + PROGRAMS, SLICE))
def test_programs_leave_the_same_trace(start: int) -> None:
    for number in range(start, start + SLICE):
        kind = difference(program_of(number), kinds_of(number))
        if kind is not None:
            pytest.fail(told(number, kind))


def test_a_program_that_fails_is_made_small_and_can_be_pasted() -> None:
    def fails(program: Program) -> bool:
        return "'fail'" in repr(program)

    tasks: Program = [("spawn", [("guarded", [("sleep", 1), ("fail", 2)]), ("sleep", 0)])]
    program: Program = [*tasks, ("gather", True, [[("sleep", 2)], [("get", 0), ("fail", 1)]]), ("sleep", 3)]
    small = shrunk(program, fails)
    assert [word for word, *_ in small] == ["fail"]
    pasted: list[Program] = []
    names: dict[str, Any] = {"assert_same": pasted.append}
    exec(as_test(small), names)
    names["test_what_was_found_once"]()
    assert pasted == [small]


def test_a_program_whose_trace_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Names):
        """A module whose sleep() gives something else."""

        async def sleep(self, delay: float, result: Any) -> Any:
            return await asyncio.sleep(delay, -1)

    monkeypatch.setitem(KINDS, "wrong", (asyncio.new_event_loop, Wrong()))
    number = next(number for number in range(100) if difference(program_of(number), ["wrong"]) is not None)
    text = told(number, "wrong")
    assert "assert_same(" in text
    assert "'sleep', -1)" in text


def test_a_task_that_never_began_gives_its_message_once() -> None:
    assert_same(
        [("wait", "FIRST_EXCEPTION", 0, [[("cancel_saying", 5), ("gather_tasks", True, (1, 5))], []])]
    )
