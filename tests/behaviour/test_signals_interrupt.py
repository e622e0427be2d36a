"""Ctrl+C: SIGINT sent to whole programs, in every state a loop can be in.

Each program prints "ready" when it is in that state, then gets the signal from outside.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Interrupt = Callable[..., tuple[int, str, str]]


@pytest.fixture
def interrupt(implementation: Any, tmp_path: Path) -> Interrupt:
    """Starts a program, sends it SIGINTs, each after a line "ready"; returns status, output, errors."""

    def interrupt_program(source: str, times: int = 1) -> tuple[int, str, str]:
        path = tmp_path / "program.py"
        path.write_text(f"import {implementation.module_name} as aio\n" + textwrap.dedent(source))
        environment = {**os.environ, **implementation.environment, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            # A parent that ignores SIGINT would otherwise hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        with process:
            try:
                assert process.stdout is not None and process.stderr is not None
                for _ in range(times):
                    line = process.stdout.readline()
                    assert line == "ready\n", (line, process.stderr.read())
                    process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=30)
            finally:
                process.kill()
        return process.returncode, output, errors

    return interrupt_program


def test_an_idle_loop_is_left_by_keyboard_interrupt(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        loop = aio.new_event_loop()
        loop.call_soon(print, "ready")
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("left", loop.is_running())
        loop.close()
        """)
    assert (status, output, errors) == (0, "left False\n", "")


def test_a_loop_busy_with_callbacks_is_left(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        loop = aio.new_event_loop()
        def again():
            loop.call_soon(again)
        loop.call_soon(print, "ready")
        loop.call_soon(again)
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("left")
        # An interrupt at the jump of its Python loop leaves asyncio's still marked as running.
        if aio.__name__ != "asyncio":
            loop.close()
        """)
    assert (status, output, errors) == (0, "left\n", "")


def test_a_loop_busy_with_tasks_is_left(interrupt: Interrupt) -> None:
    status, output, _errors = interrupt("""
        import asyncio
        async def again():
            print("ready")
            while True:
                await asyncio.sleep(0)
        loop = aio.new_event_loop()
        try:
            loop.run_until_complete(again())
        except KeyboardInterrupt:
            print("left")
        import logging
        logging.disable()
        # As above.
        if aio.__name__ != "asyncio":
            loop.close()
        """)
    assert (status, output) == (0, "left\n")


def test_a_callback_that_never_ends_is_left(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        loop = aio.new_event_loop()
        def spin():
            print("ready")
            while True:
                pass
        loop.call_soon(spin)
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("left")
        loop.close()
        """)
    assert (status, output, errors) == (0, "left\n", "")


def test_without_a_handler_the_program_ends_as_python_does(interrupt: Interrupt) -> None:
    status, _output, errors = interrupt("""
        loop = aio.new_event_loop()
        loop.call_soon(print, "ready")
        try:
            loop.run_forever()
        finally:
            loop.close()
        """)
    assert status == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_run_cancels_the_main_task_and_raises_keyboard_interrupt(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        import asyncio
        async def main():
            try:
                asyncio.get_running_loop().call_soon(print, "ready")
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                print("cancelled", error.args, asyncio.current_task().cancelling())
                raise
            finally:
                await asyncio.sleep(0)
                print("cleaned up")
        try:
            aio.run(main())
        except KeyboardInterrupt as error:
            print("interrupted", error.args)
        """)
    assert (status, output, errors) == (0, "cancelled () 1\ncleaned up\ninterrupted ()\n", "")


def test_run_is_left_from_a_main_task_that_is_busy(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        import asyncio
        async def main():
            print("ready")
            while True:
                await asyncio.sleep(0)
        try:
            aio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """)
    assert (status, output, errors) == (0, "interrupted\n", "")


def test_a_main_task_that_finishes_although_cancelled_returns_its_result(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        import asyncio
        async def main():
            try:
                asyncio.get_running_loop().call_soon(print, "ready")
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "finished"
        print(aio.run(main()))
        """)
    assert (status, output, errors) == (0, "finished\n", "")


def test_a_second_interrupt_is_not_held_back(interrupt: Interrupt) -> None:
    status, output, errors = interrupt(
        """
        import asyncio
        async def main():
            loop = asyncio.get_running_loop()
            try:
                loop.call_soon(print, "ready")
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                loop.call_soon(print, "ready")
                await asyncio.Event().wait()
        try:
            aio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """,
        times=2,
    )
    assert (status, output, errors) == (0, "interrupted\n", "")


def test_ones_own_handler_for_sigint_is_kept_by_run(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        import asyncio, signal
        def on_signal(number, frame):
            print("own handler")
            loop.call_soon_threadsafe(event.set)
        signal.signal(signal.SIGINT, on_signal)
        async def main():
            global loop, event
            loop, event = asyncio.get_running_loop(), asyncio.Event()
            loop.call_soon(print, "ready")
            await event.wait()
            return "finished"
        print(aio.run(main()))
        print(signal.getsignal(signal.SIGINT) is on_signal)
        """)
    assert (status, output, errors) == (0, "own handler\nfinished\nTrue\n", "")


def test_a_signal_handler_of_the_loop_takes_sigint(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        import asyncio, signal
        async def main():
            event = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, event.set)
            loop.call_soon(print, "ready")
            await event.wait()
            print("event", loop.remove_signal_handler(signal.SIGINT))
        aio.run(main())
        """)
    assert (status, output, errors) == (0, "event True\n", "")


def test_an_interrupt_while_the_loop_waits_for_its_executor(interrupt: Interrupt) -> None:
    status, output, errors = interrupt("""
        import asyncio, threading
        release = threading.Event()
        async def main():
            loop = asyncio.get_running_loop()
            try:
                loop.call_soon(print, "ready")
                await loop.run_in_executor(None, release.wait, 30)
            finally:
                release.set()
        try:
            aio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """)
    assert (status, output, errors) == (0, "interrupted\n", "")
