"""Children that die at any moment, no descriptors left, others who wait, kernels that cannot watch."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from child_processes import FOREVER, Watcher, children, ended, started
from net_peers import kernel_asked, soon
from refusing import REFUSING

PIPE = subprocess.PIPE
ALL_PIPES = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def test_a_child_killed_at_any_moment(loop: Any, run: Any) -> None:
    async def killed_after(turns: int) -> None:
        before = set(children())
        starting = asyncio.ensure_future(started(loop, "cat", **ALL_PIPES))
        # The child is there after the first turn; the others connect its pipes and tell of them.
        for _ in range(turns):
            await asyncio.sleep(0)
        (number,) = set(children()) - before
        os.kill(number, signal.SIGKILL)
        transport, watcher = await soon(starting)
        assert await ended(transport, watcher) == -signal.SIGKILL
        assert watcher.calls[0] == "connection_made"
        assert watcher.calls[-1] == "connection_lost"
        assert {"process_exited", ("pipe_lost", 1), ("pipe_lost", 2)} < {*watcher.calls}

    async def main() -> None:
        for turns in range(1, 20):
            await killed_after(turns)

    run(main())


def test_a_child_that_is_gone_before_its_pipes_are_connected(loop: Any, run: Any) -> None:
    connect = loop.connect_read_pipe

    async def late(factory: Any, pipe: Any) -> Any:
        # None is left where asyncio's watching thread has reaped it already.
        for number in children():
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)
        await kernel_asked()
        return await connect(factory, pipe)

    async def main() -> None:
        loop.connect_read_pipe = late
        transport, watcher = await started(loop, "echo", "hello", stdout=PIPE)
        assert await ended(transport, watcher) == 0
        assert watcher.data[1] == b"hello\n"
        assert watcher.calls[0] == "connection_made"
        assert sorted(map(str, watcher.calls[1:])) == sorted(
            map(str, ["process_exited", ("data", 1), ("pipe_lost", 1), "connection_lost"])
        )

    run(main())


def test_a_storm_of_children_that_are_killed(loop: Any, run: Any) -> None:
    chance = random.Random(1)

    async def one() -> None:
        transport, watcher = await started(loop, "cat", stdin=PIPE, stdout=PIPE)
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)
        ending = chance.choice([transport.kill, transport.close, transport.get_pipe_transport(0).close])
        ending()
        await soon(watcher.lost)
        transport.close()
        assert transport.get_returncode() in (0, -signal.SIGKILL)

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(100)))

    run(main())


@pytest.mark.rasyncio_only("a start of asyncio's fails when the child is gone before it is watched")
def test_somebody_who_waits_for_every_child(loop: Any, run: Any, asyncio_log: Any) -> None:
    """The returncode is right or unknown, and nobody hangs."""
    over = threading.Event()

    def reap() -> None:
        while not over.is_set():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)

    async def one(number: int) -> None:
        transport, watcher = await started(loop, "sh", "-c", f"exit {number}", stdout=PIPE)
        with contextlib.suppress(ProcessLookupError):
            transport.send_signal(0)
        assert await ended(transport, watcher) in (number, 255)

    async def main() -> None:
        for number in range(1, 60):
            await one(number)

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        run(main())
    finally:
        over.set()
        thread.join()


@pytest.mark.rasyncio_only("asyncio leaves the child and its pipes behind when it cannot watch it")
def test_no_descriptor_left_at_any_point_of_a_start(script: Any) -> None:
    finished = script(
        """
        import asyncio, errno, gc, os, resource

        PIPES = dict.fromkeys(["stdin", "stdout", "stderr"], asyncio.subprocess.PIPE)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)

        def open_descriptors():
            return sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1]

        def children():
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                return file.read()

        async def attempt(limit):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
            try:
                process = await asyncio.create_subprocess_exec("cat", **PIPES)
            except OSError as error:
                assert error.errno == errno.EMFILE, error
                return False
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            assert await process.communicate(b"hello") == (b"hello", b"")
            assert process.returncode == 0
            return True

        async def main():
            loop = asyncio.get_running_loop()
            await attempt(most)
            before = open_descriptors()
            # No hole below, so that a limit is a number of descriptors that are left.
            fillers = [os.dup(0) for _ in range(before[-1] + 1 - len(before))]
            first = open_descriptors()[-1] + 1
            worked = []
            for left in range(14):
                worked.append(await attempt(first + left))
                # The transports of the pipes close at the end of a turn.
                for _ in range(3):
                    await asyncio.sleep(0)
                gc.collect()
                assert open_descriptors()[-1] == first - 1, (left, open_descriptors())
                assert children() == "", left
            for filler in fillers:
                os.close(filler)
            print(worked == sorted(worked), worked[0], worked[-1])

        aio.run(main())
        """
    )
    assert (finished.stdout, finished.stderr) == ("True False True\n", "")


def test_a_preexec_fn_that_raises_leaves_no_pipe(loop: Any, run: Any) -> None:
    async def main() -> None:
        for _ in range(10):
            with pytest.raises(subprocess.SubprocessError):
                await loop.subprocess_exec(Watcher, "cat", preexec_fn=lambda: 1 / 0)

    run(main())


def test_a_task_factory_that_raises_leaves_no_child(loop: Any, run: Any, implementation: Any) -> None:
    if implementation.is_oracle:
        pytest.skip("asyncio leaves the child to the garbage collector")

    def refuse(loop: Any, coroutine: Any, **options: Any) -> Any:
        coroutine.close()
        raise LookupError("no task")

    async def main() -> None:
        loop.set_task_factory(refuse)
        with pytest.raises(LookupError, match="no task"):
            await loop.subprocess_exec(Watcher, *FOREVER)
        loop.set_task_factory(None)
        while children():
            await kernel_asked()

    run(main())


def test_a_forked_child_does_no_harm_to_its_siblings(script: Any) -> None:
    finished = script(
        """
        import asyncio, gc, os, warnings

        async def main():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.subprocess_exec(
                asyncio.SubprocessProtocol, "sleep", "3600", stdin=None, stdout=None, stderr=None)
            forked = os.fork()
            if not forked:
                transport.close()
                os._exit(0)
            os.waitpid(forked, 0)
            print(os.waitid(os.P_PID, transport.get_pid(), os.WEXITED | os.WNOWAIT | os.WNOHANG))
            transport.kill()
            print(await transport._wait())
            transport.close()

        warnings.simplefilter("ignore")
        aio.run(main())
        """
    )
    assert (finished.stdout, finished.stderr) == ("None\n-9\n", "")


@pytest.mark.rasyncio_only("asyncio cannot run a loop in a forked child that shares it with its parent")
def test_a_forked_child_is_refused_children_of_the_loop(script: Any) -> None:
    finished = script(
        """
        import asyncio, os

        async def main():
            loop = asyncio.get_running_loop()
            coroutine = loop.subprocess_exec(asyncio.SubprocessProtocol, "true")
            forked = os.fork()
            if not forked:
                try:
                    coroutine.send(None)
                except RuntimeError as error:
                    print(str(error)[:37], flush=True)
                os._exit(0)
            os.waitpid(forked, 0)
            coroutine.close()

        aio.run(main())
        """
    )
    assert finished.stdout == "The event loop was made before fork()\n"


REFUSALS = {
    "an_old_kernel": "refuse(434, errno.ENOSYS)",
    "a_sandbox": "refuse(434, errno.EPERM)",
    "signals_through_descriptors": "refuse(424, errno.ENOSYS)",
    "waiting_for_descriptors": "refuse({'x86_64': 247, 'aarch64': 95}[os.uname().machine], errno.EINVAL, 3)",
    "everything_of_it": "refuse(434, errno.EPERM); refuse(424, errno.EPERM)",
}


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="the numbers of system calls differ"
)
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_without_descriptors_of_processes(script: Any, implementation: Any, refusal: str) -> None:
    finished = script(
        REFUSING
        + f"""
    {refusal}
"""
        + """
    async def main():
        loop = asyncio.get_running_loop()
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        print(await process.communicate(b"hello"), process.returncode)
        for number in 0, signal.SIGTERM, signal.SIGKILL:
            process = await asyncio.create_subprocess_exec("sleep", "3600")
            process.send_signal(number)
            if not number:
                process.terminate()
            print(await process.wait())
        codes = [await asyncio.create_subprocess_shell(f"exit {number}") for number in range(20)]
        print(await asyncio.gather(*(process.wait() for process in codes)) == list(range(20)))
        starting = asyncio.ensure_future(asyncio.create_subprocess_exec("sleep", "3600"))
        await asyncio.sleep(0)
        starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            print("cancelled")

    aio.run(main())
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        print(repr(file.read()))
"""
    )
    expected = ["(b'hello', None) 0", "-15", "-15", "-9", "True", "cancelled", "''"]
    assert (finished.stdout.splitlines(), finished.stderr) == (expected, "")


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="asyncio's watching thread reaps before the loop knows"
)
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="the numbers of system calls differ"
)
def test_a_loop_closed_before_a_waiting_thread_is_done(script: Any, implementation: Any) -> None:
    if implementation.is_oracle:
        pytest.skip("asyncio's thread reaps the child and complains of the closed loop")
    finished = script(
        REFUSING
        + """
    refuse(434, errno.ENOSYS)

    async def start():
        loop = asyncio.get_running_loop()
        return await loop.subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "3600", stdin=None, stdout=None, stderr=None)

    loop = aio.new_event_loop()
    transport, _ = loop.run_until_complete(start())
    loop.close()
    transport.close()
    print(transport.get_extra_info("subprocess").wait())
"""
    )
    assert (finished.stdout, finished.stderr) == ("-9\n", "")
