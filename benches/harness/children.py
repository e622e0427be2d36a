"""Processes of a measurement: started fresh, spoken to in lines, and never waited for beyond a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

BENCHES = Path(__file__).resolve().parent.parent
# Debug switches of the caller's environment would measure debug code.
DEBUG_SWITCHES = ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "PYTHONPROFILEIMPORTTIME")


class MeasurementFailed(Exception):
    """A process of the measurement died, hung or answered nonsense; the text says which and how."""


class Child:
    """A running process, spoken to in lines. Made by `started`."""

    def __init__(self, label: str, process: subprocess.Popen[str], errors: TextIO, deadline: float) -> None:
        self.label = label
        self._process = process
        self._errors = errors
        self._deadline = deadline
        self._is_late = False

    def stop_late_process(self) -> None:
        """Called by the watchdog: whoever waits for a line hears of it."""
        self._is_late = True
        self._process.kill()

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def hear(self) -> str:
        """The next line of its output; raises when it ends or the deadline passes before that."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failure()
        return line.rstrip("\n")

    def hear_json(self) -> dict[str, Any]:
        line = self.hear()
        try:
            answer = json.loads(line)
        except ValueError:
            raise MeasurementFailed(f"{self.label} answered {line[:200]!r}") from None
        if not isinstance(answer, dict):
            raise MeasurementFailed(f"{self.label} answered {line[:200]!r}")
        return answer

    def finish(self) -> None:
        """Waits for its end, which must be a good one."""
        if self._process.wait() != 0:
            raise self._failure()

    def _failure(self) -> MeasurementFailed:
        status = self._process.wait()
        if self._is_late:
            return MeasurementFailed(f"{self.label} did not finish within {self._deadline:g} s")
        self._errors.seek(0)
        complaint = self._errors.read().strip().splitlines()
        return MeasurementFailed(f"{self.label} ended with status {status}: {' | '.join(complaint[-3:])}")


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in DEBUG_SWITCHES}


@contextlib.contextmanager
def started(label: str, command: Sequence[str], deadline: float) -> Iterator[Child]:
    """The process is gone when the block ends, and earlier when `deadline` seconds have passed."""
    with (
        # A file, not a pipe: a child that complains at length must not block on us.
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(
            command,
            cwd=BENCHES,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        child = Child(label, process, errors, deadline)
        watchdog = threading.Timer(deadline, child.stop_late_process)
        watchdog.start()
        try:
            yield child
        finally:
            watchdog.cancel()
            process.kill()
            # Text that it never read is of no interest any more.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def worker(
    contestant: str, workload: str, row: str, scale: float, deadline: float
) -> contextlib.AbstractContextManager[Child]:
    """A fresh interpreter, the one that runs us, measuring one row on one contestant."""
    command = [sys.executable, "-m", "harness.worker", contestant, workload, row, repr(scale)]
    return started(f"{row} on {contestant}", command, deadline)


def sample_of_worker(
    contestant: str, workload: str, row: str, scale: float, deadline: float
) -> dict[str, float]:
    """The figures that such an interpreter prints as its only line."""
    with worker(contestant, workload, row, scale, deadline) as child:
        answer = child.hear_json()
        child.finish()
    return {name: float(figure) for name, figure in answer.items()}
