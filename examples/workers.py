"""Workers side by side, some of which fail: what the others see, and what the caller gets to know.

The same work three times over: in a task group, where one error stops all; with ``gather`` collecting every
outcome; and with ``wait`` until the first error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

SECONDS_FOR_ALL = 30.0


class BadJob(ValueError):
    """A job that cannot be done."""


class Bench:
    """Jobs whose steps are counted rather than timed, so that every run tells the same story."""

    def __init__(self, title: str) -> None:
        self.lines = [title]

    async def job(self, name: str, steps: int, failure: BaseException | None = None) -> str:
        try:
            for _ in range(steps):
                await asyncio.sleep(0)
            if failure:
                raise failure
        except asyncio.CancelledError:
            self.lines.append(f"  {name} was stopped")
            raise
        self.lines.append(f"  {name} is done")
        return name.upper()


async def stop_at_the_first_error() -> list[str]:
    """A task group cancels the others and raises all that went wrong together."""
    bench = Bench("task group:")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.job("quick", 1))
            group.create_task(bench.job("slow", 100))
            group.create_task(bench.job("broken", 2, BadJob("no such file")))
            group.create_task(bench.job("also broken", 2, OSError("disk full")))
    except* BadJob as errors:
        bench.lines += [f"  bad job: {error}" for error in errors.exceptions]
    except* OSError as errors:
        bench.lines += [f"  system: {error}" for error in errors.exceptions]
    return bench.lines


async def collect_every_outcome() -> list[str]:
    """gather lets all of them finish and gives the errors back as results, in the order of the arguments."""
    bench = Bench("gather:")
    outcomes = await asyncio.gather(
        bench.job("slow", 5),
        bench.job("broken", 2, BadJob("no such file")),
        bench.job("quick", 1),
        return_exceptions=True,
    )
    return [*bench.lines, f"  {outcomes!r}"]


async def wait_for_trouble() -> list[str]:
    """wait comes back at the first error and leaves the rest running; what to do with them is our choice."""
    bench = Bench("wait:")
    jobs: list[Coroutine[Any, Any, str]] = [
        bench.job("quick", 1),
        bench.job("broken", 3, BadJob("no such file")),
        bench.job("endless", 1_000_000),
    ]
    tasks = [asyncio.create_task(job, name=f"job {number}") for number, job in enumerate(jobs)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    bench.lines += [
        f"  {task.get_name()}: {task.exception() or task.result()}" for task in tasks if task in done
    ]
    for task in pending:
        task.cancel("not needed any more")
    await asyncio.wait(pending)
    bench.lines += [f"  {task.get_name()}: cancelled {task.cancelled()}" for task in tasks if task in pending]
    return bench.lines


async def shield_what_matters() -> list[str]:
    """A timeout ends the waiting, not the work behind a shield."""
    bench = Bench("shield:")
    may_finish = asyncio.Event()

    async def save() -> str:
        await may_finish.wait()
        return await bench.job("saving", 1)

    saving = asyncio.create_task(save())
    try:
        await asyncio.wait_for(asyncio.shield(saving), timeout=0.01)
    except TimeoutError:
        bench.lines.append("  nobody waits any longer")
    may_finish.set()
    return [*bench.lines, f"  {await saving}"]


async def main() -> None:
    async with asyncio.timeout(SECONDS_FOR_ALL):
        for part in (stop_at_the_first_error, collect_every_outcome, wait_for_trouble, shield_what_matters):
            print("\n".join(await part()))


if __name__ == "__main__":
    asyncio.run(main())
