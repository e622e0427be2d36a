"""create_subprocess_exec and its like: child processes with streams."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import pytest
from child_processes import FOREVER, children
from net_peers import soon

PIPE = asyncio.subprocess.PIPE


def test_communicate(run: Any, streams: Any) -> None:
    payload = b"some input\n" * 100_000

    async def main() -> None:
        process = await streams.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert await soon(process.communicate(payload)) == (payload, None)
        assert process.returncode == 0

    run(main())


def test_communicate_with_everything(run: Any, streams: Any) -> None:
    async def main() -> None:
        command = "cat; echo err >&2; exit 4"
        process = await streams.create_subprocess_shell(command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert await soon(process.communicate(b"in")) == (b"in", b"err\n")
        assert (process.returncode, await process.wait()) == (4, 4)

    run(main())


def test_communicate_with_a_child_that_does_not_read(run: Any, streams: Any) -> None:
    async def main() -> None:
        process = await streams.create_subprocess_exec("true", stdin=PIPE)
        assert await soon(process.communicate(b"x" * 1_000_000)) == (None, None)
        assert process.returncode == 0

    run(main())


def test_a_conversation_by_lines(run: Any, streams: Any) -> None:
    async def main() -> None:
        process = await streams.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(100):
            line = b"line %d\n" % number
            process.stdin.write(line)
            await process.stdin.drain()
            assert await soon(process.stdout.readline()) == line
        process.stdin.close()
        await soon(process.stdin.wait_closed())
        assert await soon(process.stdout.read()) == b""
        assert await soon(process.wait()) == 0

    run(main())


def test_much_output_is_read_under_flow_control(run: Any, streams: Any) -> None:
    async def main() -> None:
        command = "head -c 5000000 /dev/zero"
        process = await streams.create_subprocess_shell(command, stdout=PIPE, limit=1000)
        assert process.stdout is not None
        received = 0
        while data := await soon(process.stdout.read(10_000)):
            received += len(data)
        assert received == 5_000_000
        assert await soon(process.wait()) == 0

    run(main())


def test_signals_through_the_process(run: Any, streams: Any) -> None:
    async def main() -> None:
        for method, number in ("terminate", signal.SIGTERM), ("kill", signal.SIGKILL):
            process = await streams.create_subprocess_exec(*FOREVER)
            getattr(process, method)()
            assert await soon(process.wait()) == -number
        process = await streams.create_subprocess_exec(*FOREVER)
        process.send_signal(signal.SIGHUP)
        assert await soon(process.wait()) == -signal.SIGHUP
        with pytest.raises(ProcessLookupError):
            process.send_signal(signal.SIGHUP)

    run(main())


def test_many_wait_for_one(run: Any, streams: Any) -> None:
    async def main() -> None:
        process = await streams.create_subprocess_shell("sleep 0.1; exit 3")
        assert await soon(asyncio.gather(*(process.wait() for _ in range(5)))) == [3] * 5

    run(main())


def test_wait_under_a_timeout(run: Any, streams: Any) -> None:
    async def main() -> None:
        process = await streams.create_subprocess_exec(*FOREVER)
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), 0.001)
        process.kill()
        assert await soon(process.wait()) == -signal.SIGKILL

    run(main())


def test_many_children_talk_at_once(run: Any, streams: Any) -> None:
    async def echo(number: int) -> None:
        process = await streams.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        payload = b"%d " % number * 10_000
        assert await soon(process.communicate(payload)) == (payload, None)

    async def main() -> None:
        await asyncio.gather(*(echo(number) for number in range(30)))

    run(main())
    assert children() == []


def test_a_child_ended_and_everything_it_wrote_is_still_there(run: Any, streams: Any) -> None:
    async def main() -> None:
        process = await streams.create_subprocess_exec(
            sys.executable, "-c", "print('x' * 10000)", stdout=PIPE
        )
        assert process.stdout is not None
        if sys.version_info >= (3, 14):
            assert await soon(process.wait()) == 0
        assert await soon(process.stdout.read()) == b"x" * 10_000 + b"\n"
        assert await soon(process.wait()) == 0

    run(main())


@pytest.mark.parametrize("name", ["create_subprocess_exec", "create_subprocess_shell"])
def test_text_is_refused(run: Any, streams: Any, name: str) -> None:
    for options in {"text": True}, {"encoding": "utf-8"}, {"errors": "strict"}, {"universal_newlines": True}:
        with pytest.raises(ValueError, match="must be"):
            run(getattr(streams, name)("true", **options))


def test_run_in_a_program(script: Any) -> None:
    finished = script(
        """
        import asyncio

        async def main():
            process = await aio.create_subprocess_exec("echo", "hello", stdout=asyncio.subprocess.PIPE)
            print(await process.communicate(), process.returncode)

        aio.run(main(), debug=True)
        """
    )
    assert (finished.stdout, finished.stderr) == ("(b'hello\\n', None) 0\n", "")
