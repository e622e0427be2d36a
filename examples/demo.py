"""The main job, side by side: ``pages.py`` under asyncio, then the same file under rasyncio.

Run it with the Python that has rasyncio and aiohttp installed; ``make demo`` does. It prints what was fetched
and stored, whether both runs agree, and what they took. It fails when a run fails, when the results differ,
or when a run was not on the loop it should have been on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent
RUN_SECONDS = 180


@dataclass(frozen=True)
class Contestant:
    """One way to run the program, and what it is to be told about its database."""

    name: str
    interpreter_options: tuple[str, ...]
    program_options: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """What one run gave and what it took."""

    name: str
    outcome: dict[str, Any]
    summary: str
    wall: float
    processor: float


class RunFailed(RuntimeError):
    """A run ended with an error."""


def run(contestant: Contestant, arguments: list[str], folder: Path) -> Run:
    """Run pages.py once, with its progress going where ours goes."""
    outcome = folder / f"{contestant.name}.json"
    command = [sys.executable, *contestant.interpreter_options, str(EXAMPLES / "pages.py")]
    command += [*contestant.program_options, *arguments, "--json", str(outcome)]
    print(f"{contestant.name}: python {' '.join(command[1:-2])}", file=sys.stderr, flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    try:
        finished = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=RUN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"{contestant.name}: pages.py did not end within {RUN_SECONDS} s") from error
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if finished.returncode != 0:
        raise RunFailed(
            f"{contestant.name}: pages.py ended with status {finished.returncode}\n{finished.stdout}"
        )
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(contestant.name, json.loads(outcome.read_text()), finished.stdout, wall, processor)


@contextlib.contextmanager
def contestants(with_mariadb: bool) -> Iterator[list[Contestant]]:
    """Both ways to run it, each with a database of its own."""
    ways: list[tuple[str, tuple[str, ...]]] = [("asyncio", ()), ("rasyncio", ("-m", "rasyncio"))]
    if not with_mariadb:
        yield [Contestant(name, options, ()) for name, options in ways]
        return
    # The tests' own helper: it knows how to start and stop a server.
    sys.path.insert(0, str(EXAMPLES.parent / "tests" / "ecosystem"))
    import mariadb

    try:
        with mariadb.running_server() as server:
            for name, _ in ways:
                server.create_database(name)
            yield [
                Contestant(name, options, ("--database", server.address_of(name))) for name, options in ways
            ]
    except mariadb.ServerMissing as error:
        sys.exit(f"--mariadb: {error}")


def report(runs: list[Run]) -> None:
    """Print what was fetched and stored, and the times."""
    print(runs[-1].summary)
    print(f"{'':10}{'wall':>10}{'processor':>12}{'all stored after':>19}  loop")
    for each in runs:
        stored_after = each.outcome["stored_after"]
        print(
            f"{each.name:10}{each.wall:8.2f} s{each.processor:10.2f} s{stored_after:17.2f} s"
            f"  {each.outcome['loop']}"
        )
    print("(the wall time of both holds the wait for the page that never answers)\n")


def differences(plain: Run, ours: Run) -> list[str]:
    """Why the two runs do not count as equal; empty when they do."""
    found = []
    for name in sorted({*plain.outcome["result"], *ours.outcome["result"]}):
        expected, seen = plain.outcome["result"].get(name), ours.outcome["result"].get(name)
        if expected != seen:
            found.append(f"{name}: {expected!r} under asyncio, {seen!r} under rasyncio")
    for each in (plain, ours):
        if each.outcome["loop"].partition(".")[0].lstrip("_") != each.name:
            found.append(f"the run called {each.name} was on the loop {each.outcome['loop']}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mariadb", action="store_true", help="store in a MariaDB server started for this")
    options, for_pages = parser.parse_known_args()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="demo-") as folder,
            contestants(options.mariadb) as entered,
        ):
            runs = [run(contestant, for_pages, Path(folder)) for contestant in entered]
    except RunFailed as error:
        print(error, file=sys.stderr)
        return 1
    report(runs)
    found = differences(*runs)
    print("\n".join(["The results differ:", *found]) if found else "Both results are equal.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
