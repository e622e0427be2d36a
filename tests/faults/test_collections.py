"""The garbage collector at every chance it has: on 3.11 each allocation, in the midst of our code too."""

from __future__ import annotations

from typing import Any

import pytest

SCRIPT = """
import asyncio, gc, os, sys

class OwnFuture(aio.Future): pass
class OwnLock(aio.Lock): pass
class OwnReader(aio.StreamReader): pass

async def children():
    async def one():
        program = "-S", "-c", "print(input())"
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        child = await aio.create_subprocess_exec(sys.executable, *program, **pipes)
        output, _ = await child.communicate(b"heard\\n")
        assert output == b"heard\\n"
    await asyncio.gather(one(), one())

async def pipes():
    loop = asyncio.get_running_loop()
    for _ in range(20):
        reader, writer = os.pipe()
        reading, _ = await loop.connect_read_pipe(asyncio.Protocol, open(reader, "rb", 0))
        writing, _ = await loop.connect_write_pipe(asyncio.Protocol, open(writer, "wb", 0))
        writing.write(b"data")
        reading.close(), writing.close()
        await asyncio.sleep(0)

async def connections():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
    server = await aio.start_server(echo, "127.0.0.1", 0)
    for _ in range(10):
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\\n")
        assert await reader.read() == b"line\\n"
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()

async def datagrams():
    loop = asyncio.get_running_loop()
    local = ("127.0.0.1", 0)
    for _ in range(20):
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=local)
        transport.sendto(b"data", transport.get_extra_info("sockname"))
        transport.close()
        await asyncio.sleep(0)

async def primitives():
    kept = []
    for _ in range(200):
        kept.append([aio.Lock(), OwnLock(), aio.Event(), aio.Condition()])
        kept.append([aio.Semaphore(2), aio.BoundedSemaphore(2)])
        kept.append([aio.StreamReader(), OwnReader(), aio.StreamReaderProtocol(aio.StreamReader())])
        kept.append([aio.Queue(), aio.PriorityQueue(), aio.LifoQueue(), aio.Barrier(2)])
        if len(kept) > 20:
            kept.clear()

async def futures():
    loop = asyncio.get_running_loop()
    kept = []
    for _ in range(200):
        kept.append([loop.create_future(), aio.Future(), OwnFuture(), aio.ensure_future(asyncio.sleep(0))])
        kept.append([loop.call_soon(int), loop.call_later(0.001, int)])
        await asyncio.sleep(0)
        if len(kept) > 20:
            kept.clear()

loop = aio.new_event_loop()
gc.set_threshold(1, 1, 1)
loop.run_until_complete(globals()[sys.argv[1]]())
gc.set_threshold(700, 10, 10)
loop.close()
print("done")
"""


@pytest.mark.parametrize("work", ["children", "pipes", "connections", "datagrams", "primitives", "futures"])
def test_a_collection_at_any_allocation_does_no_harm(script: Any, work: str) -> None:
    completed = script(SCRIPT, work)
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "done\n", "")
