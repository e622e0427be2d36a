"""Runs each test in a forked process of its own: a crash or a hang costs one test, and nothing leaks on.

The parent has imported the test modules and never makes a loop or a thread. A child gets a process group,
an output file, and a working directory of its own: CPython's tests write files there.
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

GRACE_AFTER_ABORT = 5.0
"""Seconds a hung child has to write its stacks before it is killed."""

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
    """A test that is running."""

    case: Case
    process: int
    descriptor: int
    directory: Path
    started: float
    deadline: float
    hung: bool = False

    def outcome(self, wait_status: int) -> Outcome:
        seconds = time.monotonic() - self.started
        output = (self.directory / "output.txt").read_text(encoding="utf-8", errors="replace")
        verdict = self.directory / "verdict.json"
        place = innermost_frame(output, self.case.suite.module)
        if self.hung:
            status, reason, details = "hang", f"no end after {seconds:.0f} s at {place}", output
        elif os.WIFSIGNALED(wait_status):
            name = signal.Signals(os.WTERMSIG(wait_status)).name
            status, reason, details = "crash", f"killed by {name} at {place}", output
        elif not verdict.exists():
            code = os.waitstatus_to_exitcode(wait_status)
            status, reason, details = "crash", f"left the interpreter with status {code}", output
        else:
            said = json.loads(verdict.read_text(encoding="utf-8"))
            status, reason, details = said["status"], said["reason"], said["details"] + output
        return Outcome(self.case.identity, self.case.suite.group, status, seconds, reason, details)


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


def run(cases: Sequence[Case], factory: loops.LoopFactory, jobs: int, timeout: float) -> Iterator[Outcome]:
    """The outcome of each case as it ends; at most `jobs` run at once, each for `timeout` seconds."""
    waiting = list(reversed(cases))
    running: dict[int, Child] = {}
    directories = tempfile.TemporaryDirectory(prefix="conformance-")
    with selectors.DefaultSelector() as selector, directories as directory:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    child = start(waiting.pop(), factory, Path(directory), timeout)
                    running[child.descriptor] = child
                    selector.register(child.descriptor, selectors.EVENT_READ)
                next_deadline = min(child.deadline for child in running.values())
                for key, _ in selector.select(max(0.0, next_deadline - time.monotonic())):
                    selector.unregister(key.fd)
                    yield finish(running.pop(key.fd))
                for child in running.values():
                    if child.deadline <= time.monotonic():
                        interrupt(child)
        finally:
            for child in running.values():
                finish(child)


def start(case: Case, factory: loops.LoopFactory, directory: Path, timeout: float) -> Child:
    own_directory = Path(tempfile.mkdtemp(dir=directory))
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        live_and_die(case, factory, own_directory)
    now = time.monotonic()
    # pidfd_open(2), Linux 5.3: readable when the child has ended, however it ended.
    return Child(case, process, os.pidfd_open(process), own_directory, now, now + timeout)


def interrupt(child: Child) -> None:
    """Ask a hung child for its stacks, which faulthandler writes at SIGABRT; kill it if it cannot do that."""
    os.kill(child.process, signal.SIGKILL if child.hung else signal.SIGABRT)
    child.hung = True
    child.deadline = time.monotonic() + GRACE_AFTER_ABORT


def finish(child: Child) -> Outcome:
    # What the test itself started lives in the child's process group and must not outlive it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process, signal.SIGKILL)
    _, wait_status = os.waitpid(child.process, 0)
    os.close(child.descriptor)
    outcome = child.outcome(wait_status)
    shutil.rmtree(child.directory, ignore_errors=True)
    return outcome


def live_and_die(case: Case, factory: loops.LoopFactory, directory: Path) -> NoReturn:
    """The whole life of a child: run the case, write the verdict, never return into the parent's code."""
    exit_code = 1
    try:
        os.setsid()
        redirect_output(directory / "output.txt")
        faulthandler.enable()
        os.chdir(directory)
        verdict = run_in_this_process(case, factory)
        # Objects that crash when they are collected shall do so while the test is still watched.
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
        (directory / "verdict.json").write_text(json.dumps(verdict.as_dict()), encoding="utf-8")
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


def run_in_this_process(case: Case, factory: loops.LoopFactory) -> Verdict:
    loops.install_policy(factory)
    if case.suite.loop == "selector_class":
        loops.replace_selector_loop(factory)
    if case.suite.loop == "base_class":
        loops.replace_base_loops(factory)
    test_class = adapt(case.suite, factory)
    verdict = Verdict()
    unittest.TestSuite([test_class(case.method)]).run(verdict)
    return verdict


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
