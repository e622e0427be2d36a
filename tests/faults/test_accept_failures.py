"""What accept(2) may fail with beside a lack of descriptors: a seccomp filter makes it fail.

The filter stays for the life of its process, so each test has a child of its own.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    os.environ.get("RASYNCIO_BACKEND") == "uring",
    reason="a ring accepts without the system call that the filter refuses",
)

# Serves on two listeners of which the first always fails to accept, while a client of it waits; prints what
# was reported meanwhile, how often the second one answered, and how much processor time all took.
SERVER = """
import asyncio, ctypes, json, platform, resource, socket, struct, sys, time

failure = int(sys.argv[1])
ACCEPT4 = {"x86_64": 288, "aarch64": 242}[platform.machine()]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ERRNO, ALLOW = 0x00050000, 0x7FFF0000
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
NUMBER, FIRST_ARGUMENT = 0, 16

def let_accept_fail(descriptor):
    steps = [
        (LOAD, 0, 0, NUMBER), (EQUAL, 0, 3, ACCEPT4),
        (LOAD, 0, 0, FIRST_ARGUMENT), (EQUAL, 0, 1, descriptor),
        (RETURN, 0, 0, ERRNO | failure),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert libc.prctl(SET_SECCOMP, FILTER, program, 0, 0) == 0, ctypes.get_errno()

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def served(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"hello")
    answer = await asyncio.wait_for(reader.readexactly(5), 10)
    writer.close()
    await writer.wait_closed()
    return answer == b"hello"

async def main():
    loop = asyncio.get_running_loop()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    broken = await loop.create_server(Echo, "127.0.0.1", 0)
    working = await loop.create_server(Echo, "127.0.0.1", 0)
    let_accept_fail(broken.sockets[0].fileno())
    client = socket.create_connection(broken.sockets[0].getsockname())
    begun = time.monotonic()
    used = time.process_time()
    answers = 0
    while time.monotonic() - begun < 1.5:
        answers += await served(working.sockets[0].getsockname())
        await asyncio.sleep(0.1)
    used = time.process_time() - used
    client.close()
    broken.close()
    working.close()
    said = [(one["message"], one["exception"].errno, "socket" in one) for one in reports]
    print(json.dumps({"answers": answers, "reports": said, "seconds": used}))

loop = aio.new_event_loop()
loop.run_until_complete(main())
loop.close()
"""


def outcome(script: Any, failure: int) -> dict[str, Any]:
    completed = script(SERVER, str(failure))
    assert completed.returncode == 0, completed.stdout + completed.stderr
    found: dict[str, Any] = json.loads(completed.stdout)
    assert found["answers"] > 0, "another listener is served all the while"
    return found


@pytest.mark.parametrize("failure", [errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_lack_of_memory_is_reported_and_others_are_served(
    implementation: Any, script: Any, failure: int
) -> None:
    found = outcome(script, failure)
    reported = ["socket.accept() out of system resource", failure, True]
    assert found["reports"][0] == reported
    if not implementation.is_oracle:
        # asyncio reports for each place of the backlog, and once more for each of them after a second.
        assert found["reports"] in ([reported], [reported] * 2)
        assert found["seconds"] < 1.0


@pytest.mark.parametrize("failure", [errno.ECONNABORTED, errno.EAGAIN])
def test_a_connection_that_came_to_nothing_is_not_reported(script: Any, failure: int) -> None:
    assert outcome(script, failure)["reports"] == []


@pytest.mark.rasyncio_only("asyncio takes the network's errors of a new connection for the listener's own")
@pytest.mark.parametrize("failure", [errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH])
def test_the_network_of_a_connection_may_be_broken(script: Any, failure: int) -> None:
    assert outcome(script, failure)["reports"] == []


@pytest.mark.rasyncio_only("asyncio lets the error out of the reader, once in each turn")
def test_a_listener_that_is_broken_for_good_is_reported_and_not_asked_at_once_again(script: Any) -> None:
    found = outcome(script, errno.EINVAL)
    reported = ["socket.accept() failed", errno.EINVAL, True]
    assert found["reports"] in ([reported], [reported] * 2)
    assert found["seconds"] < 1.0
