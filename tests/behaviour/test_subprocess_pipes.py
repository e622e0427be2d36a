"""The pipes of a child: what moves through them, and the order in which its protocol is told."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import signal
import subprocess
import sys
import weakref
from typing import Any

import pytest
from child_processes import FOREVER, NO_PIPES, PYTHON, Watcher, children, ended, started
from net_peers import kernel_asked, soon, until

PIPE = subprocess.PIPE
ALL_PIPES = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}

wait_ends_at_exit = sys.version_info >= (3, 14)
"""gh-119710: before, a child is waited for until its pipes are closed as well."""


def test_all_pipes_are_made_unless_said_otherwise(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await loop.subprocess_exec(Watcher, "cat")
        writing, *reading = (transport.get_pipe_transport(fd) for fd in range(3))
        assert isinstance(writing, asyncio.WriteTransport)
        assert all(isinstance(pipe, asyncio.ReadTransport) for pipe in reading)
        assert transport.get_pipe_transport(3) is None
        shown = [f"{name}={pipe}" for name, pipe in zip(ALL_PIPES, [writing, *reading], strict=True)]
        assert (
            repr(transport)
            == f"<_UnixSubprocessTransport pid={transport.get_pid()} running {' '.join(shown)}>"
        )
        writing.close()
        assert await ended(transport, watcher) == 0

    run(main())


def test_only_the_pipes_that_are_asked_for_are_made(loop: Any, run: Any) -> None:
    async def main() -> None:
        for number, name in enumerate(ALL_PIPES):
            transport, watcher = await started(loop, *FOREVER, **{name: PIPE})
            made = [transport.get_pipe_transport(fd) is not None for fd in range(3)]
            assert made == [fd == number for fd in range(3)]
            transport.close()
            await soon(watcher.lost)

    run(main())


def test_what_is_written_comes_back(loop: Any, run: Any) -> None:
    payload = bytes(range(256)) * 4000

    async def main() -> None:
        transport, watcher = await started(loop, "cat", stdin=PIPE, stdout=PIPE)
        stdin = transport.get_pipe_transport(0)
        stdin.write(b"one ")
        assert await watcher.read(1, 4) == b"one "
        stdin.write(payload)
        assert await watcher.read(1, 4 + len(payload)) == b"one " + payload
        stdin.close()
        assert await ended(transport, watcher) == 0
        assert watcher.calls[0] == "connection_made"
        assert watcher.calls[-1] == "connection_lost"
        assert sorted(map(str, watcher.calls[1:-1])) == sorted(
            map(str, [("data", 1), ("pipe_lost", 0), ("pipe_lost", 1), "process_exited"])
        )

    run(main())


def test_output_and_errors_are_told_apart(loop: Any, run: Any) -> None:
    async def main() -> None:
        command = loop.subprocess_shell(Watcher, "echo out; echo err >&2; exit 3", stdin=None)
        transport, watcher = await command
        assert await ended(transport, watcher) == 3
        assert watcher.data == {1: b"out\n", 2: b"err\n"}

    run(main())


def test_errors_may_come_with_the_output(loop: Any, run: Any) -> None:
    async def main() -> None:
        options = {"stdin": None, "stderr": subprocess.STDOUT}
        transport, watcher = await loop.subprocess_shell(Watcher, "echo out; echo err >&2", **options)
        assert transport.get_pipe_transport(2) is None
        assert await ended(transport, watcher) == 0
        assert watcher.data == {1: b"out\nerr\n", 2: b""}

    run(main())


def test_the_child_need_not_end_with_its_pipes(loop: Any, run: Any) -> None:
    async def main() -> None:
        command = "exec >&- 2>&-; exec sleep 3600"
        transport, watcher = await loop.subprocess_shell(Watcher, command, stdin=None)
        await until(lambda: len(watcher.calls) == 3)
        assert sorted(watcher.calls[1:]) == [("pipe_lost", 1), ("pipe_lost", 2)]
        await kernel_asked()
        assert transport.get_returncode() is None
        transport.kill()
        await ended(transport, watcher)
        assert watcher.calls[3:] == ["process_exited", "connection_lost"]

    run(main())


def test_the_pipes_need_not_end_with_the_child(loop: Any, run: Any) -> None:
    async def main() -> None:
        # The grandchild has the output too, until the input of both is closed.
        command = "read line; exec 3<&0; { cat <&3; echo late; } & exit 5"
        transport, watcher = await loop.subprocess_shell(Watcher, command, stderr=None)
        waiting = asyncio.ensure_future(transport._wait())
        await asyncio.sleep(0)
        transport.get_pipe_transport(0).write(b"end\n")
        await soon(watcher.exited)
        await kernel_asked()
        assert watcher.calls == ["connection_made", "process_exited"]
        assert transport.get_returncode() == 5
        assert waiting.done() is wait_ends_at_exit
        assert await soon(transport._wait()) == 5
        transport.get_pipe_transport(0).write(b"early ")
        transport.get_pipe_transport(0).close()
        assert await ended(transport, watcher) == 5
        assert watcher.data[1] == b"early late\n"
        assert watcher.calls[-1] == "connection_lost"
        assert await soon(waiting) == 5

    run(main())


def test_a_child_that_reads_no_more_ends_the_pipe_to_it(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, "sh", "-c", "exec <&-; exec sleep 3600", stdin=PIPE)
        await until(lambda: len(watcher.calls) == 2)
        assert watcher.calls[1][:2] == ("pipe_lost", 0)
        transport.kill()
        await ended(transport, watcher)

    run(main())


def test_writing_pauses_the_protocol_of_the_child(loop: Any, run: Any) -> None:
    class Paused(Watcher):
        def pause_writing(self) -> None:
            self.calls.append("pause_writing")

        def resume_writing(self) -> None:
            self.calls.append("resume_writing")

    async def main() -> None:
        transport, watcher = await loop.subprocess_exec(
            Paused, "sh", "-c", "read line; cat >/dev/null", stdout=None
        )
        stdin = transport.get_pipe_transport(0)
        # More than the pipe and the buffer take together, while the shell waits for the end of the line.
        stdin.write(b"x" * 1_000_000)
        assert watcher.calls == ["connection_made", "pause_writing"]
        stdin.write(b"\n")
        await until(lambda: "resume_writing" in watcher.calls)
        stdin.close()
        assert await ended(transport, watcher) == 0

    run(main())


def test_close_closes_the_pipes_and_kills(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, "cat", **ALL_PIPES)
        pipes = [transport.get_pipe_transport(fd) for fd in range(3)]
        transport.close()
        assert all(pipe.is_closing() for pipe in pipes)
        await soon(watcher.lost)
        assert transport.get_returncode() == -signal.SIGKILL
        assert [pipe.get_extra_info("pipe").closed for pipe in pipes] == [True] * 3
        lost = [call for call in watcher.calls if call[0] == "pipe_lost"]
        assert sorted(lost) == [("pipe_lost", 0), ("pipe_lost", 1), ("pipe_lost", 2)]

    run(main())


def test_the_protocols_of_the_pipes_are_asyncios(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, "cat", **ALL_PIPES)
        protocols: list[Any] = [transport.get_pipe_transport(fd).get_protocol() for fd in range(3)]
        names = ["WriteSubprocessPipeProto", "ReadSubprocessPipeProto", "ReadSubprocessPipeProto"]
        for fd, (protocol, name) in enumerate(zip(protocols, names, strict=True)):
            found = [isinstance(protocol, base) for base in (asyncio.BaseProtocol, asyncio.Protocol)]
            assert found == [True, fd > 0]
            assert protocol.proc is transport
            assert (protocol.fd, protocol.disconnected) == (fd, False)
            assert protocol.pipe is transport.get_pipe_transport(fd)
            assert repr(protocol) == f"<{name} fd={fd} pipe={protocol.pipe!r}>"
        assert transport._pipes == dict(enumerate(protocols))
        transport.close()
        await soon(watcher.lost)
        assert [(protocol.proc, protocol.disconnected) for protocol in protocols] == [(None, True)] * 3

    run(main())


def test_pipes_are_connected_through_the_loops_methods(loop: Any, run: Any) -> None:
    asked = []

    def noting(name: str) -> None:
        method = getattr(loop, name)

        async def connect(factory: Any, pipe: Any) -> Any:
            asked.append((name, pipe.fileno() >= 0))
            return await method(factory, pipe)

        setattr(loop, name, connect)

    async def main() -> None:
        await ended(*await started(loop, "true", **ALL_PIPES))

    noting("connect_read_pipe")
    noting("connect_write_pipe")
    run(main())
    assert asked == [("connect_write_pipe", True), ("connect_read_pipe", True), ("connect_read_pipe", True)]


def test_the_pipes_are_connected_by_a_task_of_the_factorys(loop: Any, run: Any) -> None:
    made = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def main() -> None:
        loop.set_task_factory(factory)
        await ended(*await started(loop, "true"))

    run(main())
    assert made == ["BaseSubprocessTransport._connect_pipes"]


@pytest.mark.parametrize("name", ["connect_read_pipe", "connect_write_pipe"])
def test_a_pipe_that_cannot_be_connected_leaves_nothing(
    loop: Any, run: Any, implementation: Any, name: str
) -> None:
    if implementation.is_oracle and sys.version_info < (3, 14):
        pytest.skip("asyncio waits for ever, or leaves the pipes to the garbage collector")

    async def refuse(factory: Any, pipe: Any) -> Any:
        raise LookupError(name)

    async def main() -> None:
        before = children()
        setattr(loop, name, refuse)
        with pytest.raises(LookupError, match=name):
            await soon(started(loop, *FOREVER, **ALL_PIPES))
        assert children() == before
        await kernel_asked()
        gc.collect()

    run(main())


def test_the_protocol_is_told_in_the_context_of_the_start(loop: Any, run: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    seen = {}

    class Looking(Watcher):
        def connection_made(self, transport: Any) -> None:
            seen["made"] = variable.get()
            # Seen by nobody else: each call has a context of its own.
            variable.set("changed")
            super().connection_made(transport)

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            seen["data"] = variable.get()
            super().pipe_data_received(fd, data)

        def pipe_connection_lost(self, fd: int, exc: Any) -> None:
            seen["pipe_lost"] = variable.get()
            super().pipe_connection_lost(fd, exc)

        def process_exited(self) -> None:
            seen["exited"] = variable.get()
            super().process_exited()

        def connection_lost(self, exc: Any) -> None:
            seen["lost"] = variable.get()
            super().connection_lost(exc)

    async def main() -> None:
        variable.set("started")
        command = loop.subprocess_exec(Looking, "echo", "hello", stdin=None, stdout=PIPE, stderr=None)
        transport, watcher = await command
        variable.set("later")
        await ended(transport, watcher)

    run(main())
    told = {"made", "data", "pipe_lost", "exited", "lost"}
    if sys.version_info < (3, 12) and seen["exited"] != "started":
        # The oracle's thread had no context.
        assert seen.pop("exited") == "nothing"
        told.remove("exited")
        assert seen.pop("lost") in ("nothing", "started")
        told.remove("lost")
    assert seen == dict.fromkeys(told, "started")


@pytest.mark.parametrize(
    "method",
    ["connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited", "connection_lost"],
)
def test_a_protocol_that_raises_is_reported_and_hinders_nobody(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]], method: str
) -> None:
    async def main() -> None:
        class Raising(Watcher):
            pass

        def fail(self: Any, *arguments: Any) -> None:
            getattr(Watcher, method)(self, *arguments)
            raise LookupError(method)

        setattr(Raising, method, fail)
        transport, watcher = await loop.subprocess_exec(Raising, "echo", "hello", stdin=None, stderr=None)
        assert await ended(transport, watcher) == 0
        assert watcher.data[1] == b"hello\n"
        assert await soon(transport._wait()) == 0

    run(main())
    (report,) = loop_errors
    assert type(report["exception"]) is LookupError
    assert report["message"].startswith("Exception in callback ")
    assert ("_call_connection_lost(" if method == "connection_lost" else "fail(") in report["message"]
    assert "handle" in report


def test_reading_can_be_paused(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, "cat", stdin=PIPE, stdout=PIPE)
        stdout = transport.get_pipe_transport(1)
        stdout.pause_reading()
        transport.get_pipe_transport(0).write(b"later")
        await kernel_asked()
        assert watcher.data[1] == b""
        stdout.resume_reading()
        assert await watcher.read(1, 5) == b"later"
        transport.get_pipe_transport(0).close()
        assert await ended(transport, watcher) == 0

    run(main())


def test_a_child_whose_output_nobody_reads_ends_all_the_same(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *PYTHON, "-c", "print('x' * 10)", stdout=PIPE)
        transport.get_pipe_transport(1).close()
        await soon(watcher.lost)
        transport.close()
        # The output may be gone before the child writes it.
        assert transport.get_returncode() in (0, 120, 1)

    run(main())


def test_everything_is_let_go(loop: Any, run: Any, implementation: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 12):
        pytest.skip("the thread that waited for the child may not be at its end yet")

    async def main() -> list[Any]:
        transport, watcher = await started(loop, "cat", stdin=PIPE, stdout=PIPE)
        protocols = [transport.get_pipe_transport(fd).get_protocol() for fd in (0, 1)]
        alive = [weakref.ref(each) for each in (transport, watcher, *protocols)]
        transport.get_pipe_transport(0).close()
        await ended(transport, watcher)
        return alive

    alive = run(main())
    gc.collect()
    assert [reference() for reference in alive] == [None] * 4


def test_a_transport_in_a_cycle_is_collected(implementation: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 12):
        pytest.skip("the thread that waited for the child may not be at its end yet")

    loop = implementation.new_event_loop()

    async def main() -> Any:
        transport, watcher = await loop.subprocess_exec(Watcher, "true", **NO_PIPES)
        await ended(transport, watcher)
        watcher.transport = transport
        with contextlib.suppress(AttributeError):
            transport.link = watcher
        transport.set_protocol(watcher)
        return weakref.ref(transport)

    reference = loop.run_until_complete(main())
    loop.close()
    gc.collect()
    assert reference() is None
