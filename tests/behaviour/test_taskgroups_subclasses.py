"""Subclasses of TaskGroup that change its private methods: well-known ways not to fail fast."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest


async def fail() -> None:
    raise ValueError("failed")


async def answer(value: int) -> int:
    for _ in range(3):
        await asyncio.sleep(0)
    return value


def messages(group: BaseExceptionGroup[BaseException]) -> list[str]:
    return [str(error) for error in group.exceptions]


def test_a_group_that_does_not_abort_waits_for_the_others(aio: Any, run: Any) -> None:
    """The block itself is cancelled all the same."""

    class Forgiving(aio.TaskGroup):  # type: ignore[misc]
        def _abort(self) -> None:
            pass

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with Forgiving() as group:
                tasks = [
                    group.create_task(answer(1)),
                    group.create_task(fail()),
                    group.create_task(answer(2)),
                ]
        assert messages(caught.value) == ["failed"]
        assert [task.result() for task in (tasks[0], tasks[2])] == [1, 2]

    run(main)


def test_an_object_that_does_not_abort(aio: Any, run: Any) -> None:
    async def main() -> None:
        group = aio.TaskGroup()
        group._abort = lambda: None
        with pytest.raises(BaseExceptionGroup):
            async with group:
                group.create_task(fail())
                task = group.create_task(answer(1))
        assert task.result() == 1

    run(main)


def test_a_group_that_pretends_to_have_cancelled_its_block(aio: Any, run: Any) -> None:
    """It goes on when tasks fail, and a done callback of its own sees each of them."""
    seen = []

    class Forgiving(aio.TaskGroup):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._parent_cancel_requested = True

        def _on_task_done(self, task: asyncio.Task[Any]) -> None:
            seen.append(None if task.cancelled() else task.exception() or task.result())
            super()._on_task_done(task)

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with Forgiving() as group:
                group.create_task(fail())
                group.create_task(answer(1))
                await answer(0)
                group.create_task(answer(2))
                group.create_task(fail())
        assert messages(caught.value) == ["failed", "failed"]

    run(main)
    assert [str(one) for one in seen] == ["failed", "1", "failed", "2"]


def test_a_group_that_collects_by_itself(aio: Any, run: Any) -> None:
    """Without a word to asyncio's own method: by the set, the future and the flags."""

    class Collecting(aio.TaskGroup):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.outcomes: list[Any] = []

        def _on_task_done(self, task: asyncio.Task[Any]) -> None:
            self.outcomes.append(task.exception() or task.result())
            self._tasks.discard(task)
            if not self._tasks and self._on_completed_fut is not None and not self._on_completed_fut.done():
                self._on_completed_fut.set_result(True)

    async def main() -> list[Any]:
        async with Collecting() as group:
            for coroutine in (answer(1), fail(), answer(2)):
                group.create_task(coroutine)
        outcomes: list[Any] = group.outcomes
        return outcomes

    assert [str(one) for one in run(main)] == ["failed", "1", "2"]


def test_a_group_that_lets_more_through(aio: Any, run: Any) -> None:
    class Stop(Exception):
        pass

    class Stopping(aio.TaskGroup):  # type: ignore[misc]
        def _is_base_error(self, exc: BaseException) -> bool:
            return isinstance(exc, Stop) or bool(super()._is_base_error(exc))

    async def stop() -> None:
        raise Stop

    async def in_a_task() -> None:
        async with Stopping() as group:
            group.create_task(fail())
            group.create_task(stop())

    async def in_the_block() -> None:
        async with Stopping() as group:
            group.create_task(answer(1))
            raise Stop

    for main in (in_a_task, in_the_block):
        with pytest.raises(Stop):
            run(main)


def test_tasks_and_errors_are_the_objects_themselves(aio: Any, run: Any) -> None:
    async def main() -> None:
        group = aio.TaskGroup()
        assert group._tasks == set() and group._errors == [] and not group._entered
        with pytest.raises(BaseExceptionGroup) as caught:
            async with group:
                before = group.create_task(answer(1))
                tasks, errors = group._tasks, group._errors
                after = group.create_task(answer(2))
                assert tasks == {before, after} and group._tasks is tasks and group._errors is errors
                assert (
                    group._parent_task is asyncio.current_task() and group._loop is asyncio.get_running_loop()
                )
                assert repr(group) == "<TaskGroup tasks=2 entered>"
                tasks.discard(before)
                errors.append(ValueError("put there"))
        assert messages(caught.value) == ["put there"]
        assert after.done() and tasks == set()

    run(main)


def test_flags_that_are_set(aio: Any, run: Any) -> None:
    async def main() -> None:
        async with aio.TaskGroup() as group:
            group._aborting = True
            coroutine = answer(1)
            with pytest.raises(RuntimeError, match="is shutting down"):
                group.create_task(coroutine)
            coroutine.close()
            group._aborting = False
            task = group.create_task(answer(1))
            group._exiting = True
            group._tasks = set()
            coroutine = answer(1)
            with pytest.raises(RuntimeError, match="is finished"):
                group.create_task(coroutine)
            coroutine.close()
        assert not task.done()
        await task

    run(main)


def test_a_failure_of_an_own_method_is_reported(aio: Any, run: Any, loop: Any) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    class Broken(aio.TaskGroup):  # type: ignore[misc]
        def _on_task_done(self, task: asyncio.Task[Any]) -> None:
            super()._on_task_done(task)
            raise LookupError("broken")

    async def main() -> None:
        async with Broken() as group:
            group.create_task(answer(1))

    run(main)
    assert [str(report["exception"]) for report in reports] == ["broken"]
