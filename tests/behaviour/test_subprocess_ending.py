"""The end of a child: returncodes, signals, who is told, and what happens when somebody else was told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from child_processes import (
    FOREVER,
    NO_PIPES,
    Watcher,
    children,
    end_unnoticed,
    ended,
    is_zombie,
    returncode_of,
    started,
)
from net_peers import kernel_asked, soon, until


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


@contextlib.contextmanager
def handling(number: int, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_a_status_is_the_returncode(loop: Any, run: Any, status: int) -> None:
    assert run(returncode_of(loop, "sh", "-c", f"exit {status}")) == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGRTMIN])
def test_a_signal_is_its_negative_number(loop: Any, run: Any, number: int) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        assert transport.get_returncode() is None
        assert transport.send_signal(number) is None
        assert await ended(transport, watcher) == -number

    run(main())


def test_terminate_and_kill(loop: Any, run: Any) -> None:
    async def main() -> None:
        for method, number in ("terminate", signal.SIGTERM), ("kill", signal.SIGKILL):
            transport, watcher = await started(loop, *FOREVER)
            assert getattr(transport, method)() is None
            assert await ended(transport, watcher) == -number

    run(main())


def test_signal_zero_and_what_is_no_signal(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        transport.send_signal(0)
        for wrong, error in (
            (1000, OSError),
            (-1, OSError),
            ("TERM", TypeError),
            (None, TypeError),
            (15.0, TypeError),
        ):
            with pytest.raises(error):
                transport.send_signal(wrong)
        assert transport.get_returncode() is None
        transport.kill()
        await ended(transport, watcher)

    run(main())


def test_a_signal_is_told_to_audit_hooks(script: Any) -> None:
    finished = script(
        """
        import asyncio, os, signal, sys

        async def main():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.subprocess_exec(
                asyncio.SubprocessProtocol, "sleep", "3600", stdin=None, stdout=None, stderr=None)
            sys.addaudithook(lambda name, given: print(name, given[0] == transport.get_pid(), given[1])
                             if name == "os.kill" else None)
            transport.terminate()
            await transport._wait()
            transport.close()

        aio.run(main())
        """
    )
    assert (finished.stdout, finished.stderr) == ("os.kill True 15\n", "")


def test_the_transport_knows_its_child(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert watcher.transport is transport
        assert transport.get_protocol() is watcher
        popen = transport.get_extra_info("subprocess")
        assert isinstance(popen, subprocess.Popen)
        assert transport.get_pid() == popen.pid
        assert popen.pid in children()
        assert transport.get_extra_info("pipe") is None
        assert transport.get_extra_info("pipe", "nothing") == "nothing"
        assert [transport.get_pipe_transport(fd) for fd in (0, 1, 2, 3, -1)] == [None] * 5
        assert transport.is_closing() is False
        assert repr(transport) == f"<_UnixSubprocessTransport pid={popen.pid} running>"
        transport.kill()
        await soon(watcher.lost)
        assert transport.is_closing() is False
        assert transport.get_protocol() is None
        assert transport.get_extra_info("subprocess") is popen
        assert popen.returncode == -9
        assert repr(transport) == f"<_UnixSubprocessTransport pid={popen.pid} returncode=-9>"
        assert transport.close() is None  # type: ignore[func-returns-value]
        assert transport.is_closing() is True
        assert repr(transport) == f"<_UnixSubprocessTransport closed pid={popen.pid} returncode=-9>"
        assert transport.close() is None  # type: ignore[func-returns-value]

    run(main())


def test_a_new_protocol_is_told_from_then_on(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, first = await started(loop, *FOREVER)
        second = Watcher()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        transport.kill()
        await ended(transport, second)
        assert first.calls == ["connection_made"]
        assert second.calls == ["process_exited", "connection_lost"]

    run(main())


def test_the_protocol_is_told_in_order_and_in_its_context(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, "true")
        await ended(transport, watcher)
        assert watcher.calls == ["connection_made", "process_exited", "connection_lost"]

    run(main())


def test_popen_knows_the_returncode_when_the_protocol_is_told(loop: Any, run: Any) -> None:
    seen = []

    class Looking(Watcher):
        def process_exited(self) -> None:
            assert self.transport is not None
            seen.append(
                (self.transport.get_returncode(), self.transport.get_extra_info("subprocess").returncode)
            )
            super().process_exited()

    async def main() -> None:
        transport, watcher = await loop.subprocess_exec(Looking, "sh", "-c", "exit 3", **NO_PIPES)
        await ended(transport, watcher)

    run(main())
    assert seen == [(3, 3)]


def test_everyone_who_waits_gets_the_returncode(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        waiting = [asyncio.ensure_future(transport._wait()) for _ in range(3)]
        await kernel_asked()
        waiting[1].cancel()
        transport.terminate()
        results = await soon(asyncio.gather(*waiting, return_exceptions=True))
        assert [results[0], type(results[1]), results[2]] == [-15, asyncio.CancelledError, -15]
        await ended(transport, watcher)
        assert await transport._wait() == -15

    run(main())


def test_after_the_end_nothing_can_be_sent(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, "true")
        await soon(watcher.lost)
        for call in transport.kill, transport.terminate, lambda: transport.send_signal(1):
            with pytest.raises(ProcessLookupError):
                call()
        transport.close()

    run(main())


def test_between_the_end_and_its_news_signals_go_nowhere(loop: Any, run: Any, implementation: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 13):
        pytest.skip("gh-87744: sending a signal may take the status away from the watcher")

    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        end_unnoticed(transport.get_pid())
        transport.kill()
        assert await ended(transport, watcher) == -signal.SIGTERM

    run(main())


def test_close_kills_a_child_that_runs(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        transport.close()
        assert transport.is_closing() is True
        await soon(watcher.lost)
        assert transport.get_returncode() == -signal.SIGKILL
        assert watcher.calls == ["connection_made", "process_exited", "connection_lost"]

    run(main())


@pytest.mark.rasyncio_only(
    "asyncio's close() takes the status away from its own watcher, and then reports 255"
)
def test_close_of_a_child_that_has_ended_unnoticed_loses_nothing(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        end_unnoticed(transport.get_pid())
        transport.close()
        await soon(watcher.lost)
        assert transport.get_returncode() == -signal.SIGTERM

    run(main())


def test_close_goes_through_kill_of_popen(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        popen = transport.get_extra_info("subprocess")
        killed = []
        kill = popen.kill

        def noting() -> None:
            killed.append(popen.pid)
            kill()

        popen.kill = noting
        transport.close()
        assert killed == [popen.pid]
        await soon(watcher.lost)

    run(main())


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_close_takes_no_for_an_answer(loop: Any, run: Any, implementation: Any, error: type[OSError]) -> None:
    if implementation.is_oracle and error is PermissionError and sys.version_info < (3, 13):
        pytest.skip("asyncio lets PermissionError out before 3.13")

    def refuse() -> None:
        raise error

    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        transport.get_extra_info("subprocess").kill = refuse
        transport.close()
        os.kill(transport.get_pid(), signal.SIGKILL)
        await soon(watcher.lost)

    run(main())


def test_an_unclosed_transport_warns_and_takes_its_child_with_it(script: Any, implementation: Any) -> None:
    if implementation.is_oracle and sys.version_info < (3, 12):
        pytest.skip("the thread that waits for the child keeps the transport")
    finished = script(
        """
        import asyncio, contextlib, gc, os, sys, warnings

        async def start():
            loop = asyncio.get_running_loop()
            return await loop.subprocess_exec(
                asyncio.SubprocessProtocol, "sleep", "3600", stdin=None, stdout=None, stderr=None)

        loop = aio.new_event_loop()
        transport, _ = loop.run_until_complete(start())
        pid, shown = transport.get_pid(), repr(transport)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # As long as the loop lives it waits for the child.
            loop.close()
            del transport, loop, _
            gc.collect()
        said = [str(warning.message) for warning in caught]
        print(said.count(f"unclosed transport {shown}"))
        # Popen may have had the status already.
        with contextlib.suppress(ChildProcessError):
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9)
        sys.stdout.flush()
        # Popen would look for it, too, and warn again.
        os._exit(0)
        """,
        timeout=20,
    )
    assert finished.stderr == ""
    assert finished.stdout in ("1\n", "1\nTrue\n")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio's watching thread is faster there")
@pytest.mark.parametrize("how", ["waitpid", "popen"])
def test_a_child_that_somebody_else_reaped_has_returncode_255(
    loop: Any, run: Any, asyncio_log: Any, how: str
) -> None:
    async def main() -> Any:
        transport, watcher = await started(loop, *FOREVER)
        os.kill(transport.get_pid(), signal.SIGTERM)
        if how == "waitpid":
            os.waitpid(transport.get_pid(), 0)
        else:
            assert transport.get_extra_info("subprocess").wait() == -signal.SIGTERM
        assert await ended(transport, watcher) == 255
        return transport.get_pid()

    pid = run(main())
    warned = [record.getMessage() for record in asyncio_log.records if record.levelname == "WARNING"]
    assert warned == [f"child process pid {pid} exit status already read:  will report returncode 255"]


def test_a_child_nobody_is_told_of_has_returncode_255(loop: Any, run: Any, asyncio_log: Any) -> None:
    with handling(signal.SIGCHLD, signal.SIG_IGN):
        assert run(returncode_of(loop, "sh", "-c", "sleep 0.1; exit 3")) == 255
    assert [record.levelname for record in asyncio_log.records].count("WARNING") == 1


def test_the_programs_own_handler_of_sigchld_is_called_and_stays(loop: Any, run: Any) -> None:
    seen = []

    def on_child(number: int, frame: Any) -> None:
        seen.append(number)

    async def main() -> None:
        assert await returncode_of(loop, "sh", "-c", "exit 3") == 3
        await until(lambda: seen)

    with handling(signal.SIGCHLD, on_child):
        run(main())
        assert signal.getsignal(signal.SIGCHLD) is on_child
    assert set(seen) == {signal.SIGCHLD}


def test_the_loops_own_handler_of_sigchld_is_called(loop: Any, run: Any) -> None:
    async def main() -> None:
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGCHLD, seen.set)
        assert await returncode_of(loop, "sh", "-c", "exit 3") == 3
        await soon(seen.wait())
        loop.remove_signal_handler(signal.SIGCHLD)

    run(main())


def test_other_children_of_the_process_are_left_alone(loop: Any, run: Any) -> None:
    async def main() -> None:
        other = subprocess.Popen(["sh", "-c", "exit 8"])
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert await returncode_of(loop, "true") == 0
        assert is_zombie(other.pid)
        assert other.wait() == 8

    run(main())


def test_a_child_that_is_stopped_has_not_ended(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, watcher = await started(loop, *FOREVER)
        transport.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, transport.get_pid(), os.WSTOPPED | os.WNOWAIT)
        await kernel_asked()
        assert transport.get_returncode() is None
        transport.send_signal(signal.SIGCONT)
        transport.terminate()
        assert await ended(transport, watcher) == -15

    run(main())


def test_many_children_at_once(loop: Any, run: Any) -> None:
    async def main() -> None:
        codes = [returncode_of(loop, "sh", "-c", f"exit {number}") for number in range(50)]
        assert await asyncio.gather(*codes) == list(range(50))

    run(main())


def test_a_child_may_be_started_in_another_thread_than_the_main_one(loop: Any, implementation: Any) -> None:
    def in_thread() -> int | None:
        other = implementation.new_event_loop()
        try:
            return other.run_until_complete(returncode_of(other, "sh", "-c", "exit 3"))  # type: ignore[no-any-return]
        finally:
            other.close()

    assert loop.run_until_complete(loop.run_in_executor(None, in_thread)) == 3


def test_the_loop_may_rest_while_the_child_runs(loop: Any, run: Any) -> None:
    transport, watcher = run(started(loop, *FOREVER))
    end_unnoticed(transport.get_pid())
    assert run(ended(transport, watcher)) == -signal.SIGTERM


@pytest.mark.rasyncio_only(
    "asyncio leaves the descriptor of the child's process open, or a thread that waits"
)
def test_closing_the_loop_leaves_the_child_to_popen(loop: Any, run: Any) -> None:
    transport, _ = run(started(loop, *FOREVER))
    loop.close()
    transport.close()
    assert transport.get_extra_info("subprocess").wait() == -signal.SIGKILL
