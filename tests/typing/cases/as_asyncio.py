"""Type-check case: a program written for asyncio with one line changed. Checked by mypy, never run."""

from collections.abc import AsyncIterator
from typing import assert_type

import rasyncio as asyncio


async def number() -> int:
    await asyncio.sleep(0)
    return 1


async def text() -> str:
    return await asyncio.wait_for(asyncio.to_thread(str, 1), timeout=1)


async def numbers() -> AsyncIterator[int]:
    for each in range(3):
        yield await asyncio.sleep(0, each)


async def groups() -> None:
    assert_type(await asyncio.gather(number(), text()), tuple[int, str])
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        task = group.create_task(number())
    assert_type(task.result(), int)
    done, pending = await asyncio.wait([asyncio.create_task(number())], return_when=asyncio.FIRST_COMPLETED)
    assert_type({each.result() for each in done | pending}, set[int])
    assert_type(await asyncio.shield(number()), int)


async def primitives() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    await queue.put(1)
    assert_type(await queue.get(), int)
    event, lock, semaphore = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2)
    async with lock, semaphore:
        event.set()
    try:
        await asyncio.wait_for(event.wait(), 1)
    except asyncio.TimeoutError:
        raise asyncio.CancelledError from None


async def streams() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        await server.start_serving()
    reader, _ = await asyncio.open_connection("127.0.0.1", 80)
    assert_type(await reader.readexactly(3), bytes)
    child = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
    assert_type(await child.wait(), int)


async def main() -> int:
    await groups()
    await primitives()
    await streams()
    assert_type([each async for each in numbers()], list[int])
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = asyncio.Future(loop=loop)
    asyncio.isfuture(future)
    return await number()


if __name__ == "__main__":
    assert_type(asyncio.run(main()), int)
