"""Asynchronous generators and context managers, and when their clean-up runs.

Read to the end, left early, dropped without a word, cancelled in the middle, or forgotten until the loop
closes: each prints when its ``finally`` is reached.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

SECONDS_FOR_ALL = 30.0


async def count(name: str, limit: int) -> AsyncGenerator[int, None]:
    """Count, letting others run between the numbers; clean up with an await of its own."""
    try:
        for number in range(limit):
            await asyncio.sleep(0)
            yield number
    finally:
        await asyncio.sleep(0)
        print(f"  {name}: cleaned up")


@contextlib.asynccontextmanager
async def resource(name: str) -> AsyncIterator[str]:
    """Something that is opened and closed."""
    print(f"  {name}: opened")
    try:
        await asyncio.sleep(0)
        yield name
    except ValueError as error:
        print(f"  {name}: saw {error!r}")
        raise
    finally:
        await asyncio.sleep(0)
        print(f"  {name}: closed")


async def read_to_the_end() -> None:
    print("read to the end:")
    squares = [number * number async for number in count("squares", 5) if number % 2 == 0]
    pairs = {name: total async for name, total in named_totals()}
    print(f"  {squares} {pairs}")


async def named_totals() -> AsyncIterator[tuple[str, int]]:
    """A generator over generators."""
    for name, limit in (("a", 3), ("b", 4)):
        yield name, sum([number async for number in count(name, limit)])


async def leave_early() -> None:
    print("left early:")
    async with contextlib.aclosing(count("closed at once", 100)) as numbers:
        async for number in numbers:
            if number == 2:
                break
    print("  after the block")


async def drop() -> None:
    print("dropped:")
    closed = asyncio.Event()

    async def letters() -> AsyncGenerator[str, None]:
        try:
            for letter in "abc":
                yield letter
        finally:
            await asyncio.sleep(0)
            closed.set()

    dropped = letters()
    print(f"  got {await anext(dropped)}")
    del dropped  # nobody can close it now but the loop, which hears of it from the interpreter
    await closed.wait()
    print("  cleaned up by the loop")


async def nest() -> None:
    print("nested:")
    try:
        async with contextlib.AsyncExitStack() as stack:
            for name in ("outer", "middle", "inner"):
                await stack.enter_async_context(resource(name))
            raise ValueError("trouble inside")
    except ValueError as error:
        print(f"  got {error!r}")


async def cancel_in_the_middle() -> None:
    print("cancelled:")
    reached = asyncio.Event()

    async def reader() -> None:
        async with resource("held"), contextlib.aclosing(count("cancelled", 10)) as numbers:
            async for number in numbers:
                if number == 3:
                    reached.set()
                    await asyncio.Event().wait()

    task = asyncio.create_task(reader())
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    print(f"  cancelled: {task.cancelled()}")


async def talk_back() -> None:
    print("talked to:")

    async def echo() -> AsyncGenerator[str, str]:
        answer = "ready"
        while True:
            try:
                heard = yield answer
                await asyncio.sleep(0)
                answer = heard[::-1]
            except LookupError as error:
                answer = f"sorry about {error}"

    async with contextlib.aclosing(echo()) as conversation:
        answers = [await anext(conversation), await conversation.asend("stressed")]
        answers += [await conversation.athrow(LookupError("that")), await conversation.asend("drawer")]
    print(f"  {answers}")


async def main() -> AsyncGenerator[int, None]:
    """Gives back the last generator, still open."""
    async with asyncio.timeout(SECONDS_FOR_ALL):
        for part in (read_to_the_end, leave_early, drop, nest, cancel_in_the_middle, talk_back):
            await part()
    print("forgotten:")
    forgotten = count("forgotten", 100)
    print(f"  got {await anext(forgotten)}, the program ends")
    return forgotten


if __name__ == "__main__":
    # Still referenced when the loop ends, so that it is the loop's shutdown that closes it.
    kept = asyncio.run(main())
    print("the loop is closed")
