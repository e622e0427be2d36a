"""What a program costs before it does anything: interpreter, import, a loop, an empty coroutine, the end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from harness.children import MeasurementFailed, clean_environment
from harness.contestants import BASELINE, CONTESTANTS
from harness.rows import Row, Sample, scaled

OURS = "import rasyncio as asyncio{install}\nasync def main(): pass\nasyncio.run(main())"
BASE = "import asyncio\nasync def main(): pass\nasyncio.run(main())"
THEIRS = (
    "import asyncio, {package}\nasync def main(): pass\n"
    "with asyncio.Runner(loop_factory={package}.new_event_loop) as runner: runner.run(main())"
)


def program(contestant: str) -> str:
    """The shortest program, as the package's own documentation has it."""
    chosen = CONTESTANTS[contestant]
    if contestant == BASELINE:
        return BASE
    if chosen.is_ours:
        return OURS.format(install="; asyncio.install()" if chosen.installs else "")
    return THEIRS.format(package=chosen.package)


@dataclass(frozen=True)
class StartRow(Row):
    """So many processes, one after the other; the figures are of one, interpreter included."""

    processes: int

    def measure(self, contestant: str, workload: str, scale: float) -> Sample:
        processes = scaled(self.processes, scale)
        command = [sys.executable, "-c", program(contestant)]
        user = system = 0.0
        begin = time.perf_counter_ns()
        for _ in range(processes):
            child = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                label = f"{self.name} on {contestant}"
                raise MeasurementFailed(f"{label} ended with status {child.returncode}")
            user += used.ru_utime * 1e9
            system += used.ru_stime * 1e9
        wall = time.perf_counter_ns() - begin
        figures = {"cpu_ns": user + system, "user_ns": user, "system_ns": system, "wall_ns": wall}
        return {name: value / processes for name, value in figures.items()}

    def run_inside(self, runner: asyncio.Runner, scale: float) -> None:
        raise NotImplementedError("there is no inside")
