"""Datagrams by the hundred thousand leave memory, descriptors and objects where they were."""

from __future__ import annotations

import os
from typing import Any

import pytest
from measuring import MEASURING

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))
DATAGRAMS = 100_000 * SCALE

pytestmark = [pytest.mark.soak, pytest.mark.hang_limit(180 + 120 * SCALE)]

MEASURED = (
    MEASURING
    + """
    import tempfile

    TOGETHER = 50

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            self.transport.sendto(data, addr)

    class Questions(asyncio.DatagramProtocol):
        error = answered = None

        def connection_made(self, transport):
            self.transport = transport

        def ask(self, count):
            self.missing = count
            self.answered = asyncio.get_running_loop().create_future()
            for number in range(count):
                self.transport.sendto(b"%d" % number * 50)
            return self.answered

        def one_less(self):
            self.missing -= 1
            if not self.missing and not self.answered.done():
                self.answered.set_result(None)

        def datagram_received(self, data, addr):
            self.one_less()

        def error_received(self, exc):
            self.error = exc
            self.one_less()

    async def echoed(loop, folder):
        echo, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        address = echo.get_extra_info("sockname")
        return [echo], await loop.create_datagram_endpoint(Questions, remote_addr=address)

    async def echoed_by_path(loop, folder):
        path = os.path.join(folder, "echo")
        echo, _ = await loop.create_datagram_endpoint(Echo, family=socket.AF_UNIX, local_addr=path)
        ours = os.path.join(folder, "ours")
        return [echo], await loop.create_datagram_endpoint(
            Questions, family=socket.AF_UNIX, local_addr=ours, remote_addr=path
        )

    async def refused(loop, folder):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = gone.getsockname()
        return [], await loop.create_datagram_endpoint(Questions, remote_addr=address)

    async def ask(questions, at_once, count):
        for _ in range(count // at_once):
            await asyncio.wait_for(questions.ask(at_once), 60)

    async def main(loop, work, count):
        # Refusals are kept by the kernel one at a time: one question, one answer.
        at_once = 1 if work is refused else TOGETHER
        with tempfile.TemporaryDirectory() as folder:
            others, (transport, questions) = await work(loop, folder)
            await measure(questions, at_once, count, rounds=ask, first=5000)
            for each in [transport, *others]:
                each.close()
            await asyncio.sleep(0)

    async def opened(loop, arguments, count):
        for _ in range(count):
            transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
            transport.sendto(b"to myself", transport.get_extra_info("sockname"))
            transport.close()
            await asyncio.sleep(0)

    loop = aio.new_event_loop()
    work, count = sys.argv[1], int(sys.argv[2])
    if work == "opened":
        loop.run_until_complete(measure(loop, None, count // 20, rounds=opened))
    else:
        loop.run_until_complete(main(loop, globals()[work], count))
    loop.close()
"""
)


@pytest.mark.parametrize("work", ["echoed", "echoed_by_path", "refused", "opened"])
def test_datagrams_leave_everything_where_it_was(script: Any, work: str) -> None:
    result = script(MEASURED, work, str(DATAGRAMS), timeout=170 + 110 * SCALE)
    assert (result.stderr, result.returncode) == ("", 0)
    # Ten bytes kept per datagram are a megabyte here and grow with the count; an allocator's slack does not.
    assert int(result.stdout) < 1_000_000, f"{DATAGRAMS} left {result.stdout.strip()} bytes behind"
