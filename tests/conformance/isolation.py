"""Runs tests in forked processes, one each or those of a class in one: a crash or a hang costs one test.

The parent has imported the test modules and never makes a loop or a thread. A child gets a process group,
an output file, and a working directory of its own: CPython's tests write files there. What a child had not
come to when it crashed or hung is run by the next one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unittest
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from . import loops
from .suites import Case, adapt

Batch = Sequence[Case]
"""Tests of one class that share a process."""

GRACE_AFTER_ABORT = 5.0
"""Seconds a hung child has to write its stacks before it is killed."""

OUTPUT = "output.txt"
VERDICTS = "verdicts.jsonl"

Failure = tuple[type[BaseException], BaseException, TracebackType]


@dataclass(frozen=True)
class Outcome:
    """How a test ended (`passed`, `failed`, `hang`, `crash`, `skipped`, `excluded`), why, and all it said."""

    identity: str
    group: str
    status: str
    seconds: float
    reason: str = ""
    details: str = ""

    @property
    def is_failure(self) -> bool:
        return self.status in ("failed", "hang", "crash")


@dataclass
class Child:
    """A process that runs a batch."""

    batch: Batch
    process: int
    descriptor: int
    directory: Path
    timeout: float
    deadline: float
    written: int = 0
    hung: bool = False

    def goes_on(self) -> bool:
        """Whether a test has ended since this was asked for the last time; then the next one has its time."""
        verdicts = self.directory / VERDICTS
        before, self.written = self.written, verdicts.stat().st_size if verdicts.exists() else 0
        self.deadline = time.monotonic() + self.timeout
        return self.written > before

    def outcomes(self, wait_status: int) -> list[Outcome]:
        """Of the tests it came to, the last of which may be the one it ended in."""
        verdicts, output = self.directory / VERDICTS, (self.directory / OUTPUT).read_bytes()
        lines = verdicts.read_text(encoding="utf-8").splitlines() if verdicts.exists() else []
        found = []
        begin = 0
        for case, line in zip(self.batch, lines, strict=False):
            said = json.loads(line)
            own_output = output[begin : said["output_end"]].decode(errors="replace")
            begin = said["output_end"]
            details = said["details"] + own_output
            found.append(outcome_of(case, said["status"], said["seconds"], said["reason"], details))
        if len(found) < len(self.batch):
            last_output = output[begin:].decode(errors="replace")
            found.append(self._cut_off(self.batch[len(found)], wait_status, last_output))
        return found

    def _cut_off(self, case: Case, wait_status: int, output: str) -> Outcome:
        place = innermost_frame(output, case.suite.module)
        if self.hung:
            seconds = self.timeout
            return outcome_of(case, "hang", seconds, f"no end after {seconds:.0f} s at {place}", output)
        if os.WIFSIGNALED(wait_status):
            name = signal.Signals(os.WTERMSIG(wait_status)).name
            return outcome_of(case, "crash", 0.0, f"killed by {name} at {place}", output)
        code = os.waitstatus_to_exitcode(wait_status)
        return outcome_of(case, "crash", 0.0, f"left the interpreter with status {code}", output)


def outcome_of(case: Case, status: str, seconds: float, reason: str, details: str) -> Outcome:
    return Outcome(case.identity, case.suite.group, status, seconds, reason, details)


class Verdict(unittest.TestResult):
    """Remembers the first thing that went wrong in one line, and all of it in full."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""
        self.details: list[str] = []
        self.skip_reason = ""

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._remember(err)

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._remember(err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._remember(err)

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.reason = self.reason or "passed although the test says expectedFailure"

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self.skip_reason = reason

    def _remember(self, err: Failure) -> None:
        formatted = traceback.TracebackException(*err)
        self.details.append("".join(formatted.format()))
        if not self.reason:
            message = "".join(formatted.format_exception_only()).strip().partition("\n")[0]
            frames = [one for one in formatted.stack if not one.filename.endswith("unittest/case.py")]
            place = f" [{Path(frames[-1].filename).name}:{frames[-1].lineno}]" if frames else ""
            self.reason = message + place

    def as_dict(self) -> dict[str, str]:
        if not self.wasSuccessful():
            status, reason = "failed", self.reason
        elif self.skip_reason:
            status, reason = "skipped", self.skip_reason
        elif self.testsRun == 0:
            status, reason = "failed", "nothing ran"
        else:
            status, reason = "passed", ""
        return {"status": status, "reason": reason, "details": "".join(self.details)}


def run(batches: Sequence[Batch], subject: loops.Subject, jobs: int, timeout: float) -> Iterator[Outcome]:
    """The outcome of each test as its process ends; at most `jobs` run at once, a test `timeout` seconds."""
    waiting = list(reversed(batches))
    running: dict[int, Child] = {}
    directories = tempfile.TemporaryDirectory(prefix="conformance-")
    # What there is before the first test is no business of the collections in the children.
    gc.collect()
    gc.freeze()
    with selectors.DefaultSelector() as selector, directories as directory:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    child = start(waiting.pop(), subject, Path(directory), timeout)
                    running[child.descriptor] = child
                    selector.register(child.descriptor, selectors.EVENT_READ)
                next_deadline = min(child.deadline for child in running.values())
                for key, _ in selector.select(max(0.0, next_deadline - time.monotonic())):
                    selector.unregister(key.fd)
                    child = running.pop(key.fd)
                    outcomes = finish(child)
                    yield from outcomes
                    if len(outcomes) < len(child.batch):
                        waiting.append(child.batch[len(outcomes) :])
                for child in running.values():
                    if child.deadline <= time.monotonic() and (child.hung or not child.goes_on()):
                        interrupt(child)
        finally:
            for child in running.values():
                finish(child)


def start(batch: Batch, subject: loops.Subject, directory: Path, timeout: float) -> Child:
    own_directory = Path(tempfile.mkdtemp(dir=directory))
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        live_and_die(batch, subject, own_directory)
    # pidfd_open(2), Linux 5.3: readable when the child has ended, however it ended.
    descriptor = os.pidfd_open(process)
    return Child(batch, process, descriptor, own_directory, timeout, time.monotonic() + timeout)


def interrupt(child: Child) -> None:
    """Ask a hung child for its stacks, which faulthandler writes at SIGABRT; kill it if it cannot do that."""
    os.kill(child.process, signal.SIGKILL if child.hung else signal.SIGABRT)
    child.hung = True
    child.deadline = time.monotonic() + GRACE_AFTER_ABORT


def finish(child: Child) -> list[Outcome]:
    # What the test itself started lives in the child's process group and must not outlive it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process, signal.SIGKILL)
    _, wait_status = os.waitpid(child.process, 0)
    os.close(child.descriptor)
    outcomes = child.outcomes(wait_status)
    shutil.rmtree(child.directory, ignore_errors=True)
    return outcomes


def live_and_die(batch: Batch, subject: loops.Subject, directory: Path) -> NoReturn:
    """The whole life of a child: run the tests, write the verdicts, never return into the parent's code."""
    exit_code = 1
    try:
        os.setsid()
        redirect_output(directory / OUTPUT)
        faulthandler.enable()
        run_in_this_process(batch, subject, directory)
        exit_code = 0
    except BaseException:  # Whatever it is, a fork must not unwind into the runner.
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(exit_code)


def redirect_output(path: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def run_in_this_process(batch: Batch, subject: loops.Subject, directory: Path) -> None:
    """A line for each test as it ends, in the order of the batch."""
    suite = batch[0].suite
    if suite.loop == "selector_class":
        loops.replace_selector_loop(subject.factory)
    if suite.loop == "base_class":
        loops.replace_base_loops(subject.factory)
    test_class = adapt(suite, subject.factory)
    for case in batch:
        os.chdir(directory)
        subject.make_current()
        begun = time.monotonic()
        verdict = Verdict()
        unittest.TestSuite([test_class(case.method)]).run(verdict)
        # Objects that crash when they are collected shall do so while the test is still watched.
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
        said = verdict.as_dict() | {
            "seconds": time.monotonic() - begun,
            "output_end": (directory / OUTPUT).stat().st_size,
        }
        with (directory / VERDICTS).open("a", encoding="utf-8") as verdicts:
            verdicts.write(json.dumps(said) + "\n")


def innermost_frame(output: str, module: str) -> str:
    """Where faulthandler saw the current thread: its innermost frame, in the test's own file if any."""
    _, _, dump = output.rpartition("Current thread ")
    stack = (line.strip() for line in dump.partition("\n\n")[0].splitlines())
    frames = [line for line in stack if line.startswith("File ")]
    own_file = f"/{module.rpartition('.')[2]}.py"
    own_frames = [frame for frame in frames if own_file in frame]
    return next(iter(own_frames + frames), "a place that is not known")


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [asdict(outcome) for outcome in outcomes]
