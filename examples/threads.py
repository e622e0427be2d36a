"""Blocking work in threads, while the loop goes on; and threads that talk to the loop.

Nothing here waits for a time to pass: a thread blocks until the loop does something, which proves that the
loop runs meanwhile.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

SECONDS_FOR_ALL = 30.0
request = contextvars.ContextVar("request", default="none")


def digest(rounds: int) -> str:
    """Work for a processor, outside the loop."""
    value = b"start"
    for _ in range(rounds):
        value = hashlib.sha256(value).digest()
    return value.hex()[:16]


async def many_at_once() -> None:
    results = await asyncio.gather(*(asyncio.to_thread(digest, rounds) for rounds in (10, 1000, 3000, 0)))
    print(f"digests: {' '.join(results)}")


async def loop_runs_meanwhile() -> None:
    """The thread comes back only because the loop still turns."""
    go_on = threading.Event()

    def blocked() -> bool:
        return go_on.wait(SECONDS_FOR_ALL)

    waiting = asyncio.create_task(asyncio.to_thread(blocked))
    turns = 0
    while turns < 1000:
        await asyncio.sleep(0)
        turns += 1
    print(f"the loop made {turns} turns, thread finished: {waiting.done()}")
    go_on.set()
    print(f"the thread was let go: {await waiting}")


async def context_travels() -> None:
    request.set("number 7")
    seen = await asyncio.to_thread(request.get)
    changed = await asyncio.to_thread(lambda: (request.set("changed in the thread"), request.get())[1])
    print(f"a thread sees {seen!r}, may say {changed!r}, and here it stays {request.get()!r}")


async def errors_travel() -> None:
    try:
        await asyncio.to_thread(int, "seven")
    except ValueError as error:
        print(f"raised in a thread, caught here: {error}")


async def thread_calls_the_loop() -> None:
    """A thread hands callbacks and coroutines to the loop and waits for their results."""
    loop = asyncio.get_running_loop()
    loop_thread = threading.get_ident()
    heard: list[int] = []

    async def add(left: int, right: int) -> int:
        await asyncio.sleep(0)
        return left + right if threading.get_ident() == loop_thread else -1

    def outsider() -> int:
        for number in range(100):
            loop.call_soon_threadsafe(heard.append, number)
        return asyncio.run_coroutine_threadsafe(add(20, 22), loop).result(SECONDS_FOR_ALL)

    answer = await asyncio.to_thread(outsider)
    print(f"the loop answered {answer}, and heard {len(heard)} numbers in order: {heard == sorted(heard)}")


async def wakes_a_sleeping_loop() -> None:
    """With nothing to do the loop sleeps in the kernel; a thread's call wakes it at once."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[str] = loop.create_future()
    caller = threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set_result, "awake"))
    caller.start()
    print(f"the loop is {await woken}")
    caller.join()


async def own_executor() -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="archive") as archive:
        order: list[int] = []
        await asyncio.gather(*(loop.run_in_executor(archive, order.append, number) for number in range(20)))
        name = await loop.run_in_executor(archive, lambda: threading.current_thread().name)
    print(f"one thread of our own keeps the order: {order == sorted(order)} ({name})")


async def main() -> None:
    async with asyncio.timeout(SECONDS_FOR_ALL):
        await many_at_once()
        await loop_runs_meanwhile()
        await context_travels()
        await errors_travel()
        await thread_calls_the_loop()
        await wakes_a_sleeping_loop()
        await own_executor()


if __name__ == "__main__":
    asyncio.run(main())
