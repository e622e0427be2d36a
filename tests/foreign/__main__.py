"""The command: runs the suites on both implementations, prints what differs, fails if rasyncio is worse.

A test that only rasyncio failed is run once more, alone, on both: what another test left behind, or a busy
machine, is nobody's difference. Both times are shown.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from . import outcomes
from .installing import ROOT, Place, Suite, ready
from .outcomes import Outcomes

HERE = Path(__file__).resolve().parent
WAYS: dict[str, list[str]] = {"asyncio": [], "rasyncio": ["-m", "rasyncio"]}
SECONDS = 3600


def suites() -> dict[str, Suite]:
    with (HERE / "suites.toml").open("rb") as file:
        table = tomllib.load(file)
    return {
        name: Suite(
            name,
            entry["version"],
            entry["files"],
            entry["arguments"],
            entry.get("environment", {}),
            {exception["test"]: exception["reason"] for exception in entry.get("exceptions", [])},
        )
        for name, entry in table.items()
    }


def parse(arguments: Sequence[str] | None, known: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m tests.foreign", description=__doc__)
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"some of {', '.join(known)}; default: all"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "foreign", help="where all is kept")
    pip = ROOT / ".venv" / "tools" / "bin" / "python"
    parser.add_argument("--pip", type=Path, default=pip, help="an interpreter that has pip")
    options, rest = parser.parse_known_args(arguments)
    unknown = set(options.suites) - set(known)
    if unknown:
        parser.error(f"there is no suite {', '.join(sorted(unknown))}")
    return options, rest


def path_of_rasyncio(folder: Path) -> Path:
    """A folder for PYTHONPATH in which the rasyncio of this interpreter is, and nothing else."""
    found = importlib.util.find_spec("rasyncio")
    assert found is not None and found.submodule_search_locations
    path = folder / "path"
    path.mkdir(parents=True, exist_ok=True)
    link = path / "rasyncio"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(found.submodule_search_locations[0]).resolve())
    return path


def run(suite: Suite, place: Place, way: str, path: Path, arguments: Sequence[str]) -> Outcomes:
    """One run of pytest; RuntimeError when it did not come to a report."""
    report = place.tests / f"{way}.xml"
    report.unlink(missing_ok=True)
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", f"--junit-xml={report}"]
    command = [str(place.python), *WAYS[way], *pytest, *suite.arguments, *arguments]
    environment = {**os.environ, **suite.environment, "PYTHONPATH": str(path)}
    with (place.tests / f"{way}.log").open("wb") as log:
        subprocess.run(
            command, cwd=place.tests, env=environment, stdout=log, stderr=log, timeout=SECONDS, check=False
        )
    if not report.exists():
        raise RuntimeError(f"{suite.name} under {way} ended without a report: see {log.name}")
    return outcomes.read(report)


def alone(suite: Suite, place: Place, way: str, path: Path, names: list[str]) -> Outcomes:
    """The tests of these names and no others, in a run of their own."""
    # pytest's report names a class and a file alike; its own selection wants the last part only.
    words = sorted({outcomes.function_of(name).rpartition("::")[2] for name in names})
    found = run(suite, place, way, path, ["-k", " or ".join(words)])
    return {name: outcome for name, outcome in found.items() if name in names}


def examine(suite: Suite, options: argparse.Namespace, path: Path, arguments: Sequence[str]) -> bool:
    """Runs a suite on both and prints what came of it; whether rasyncio is as good as asyncio."""
    place = ready(suite, options.folder, options.pip)
    oracle = run(suite, place, "asyncio", path, arguments)
    ours = run(suite, place, "rasyncio", path, arguments)
    for way, found in ("asyncio", oracle), ("rasyncio", ours):
        print(f"{suite.name} {suite.version} under {way}: {outcomes.summary(found)}", flush=True)
    comparison = outcomes.compare(oracle, ours)
    for name in comparison.better:
        print(f"    only asyncio fails {name}")
    worse = comparison.worse
    if worse:
        again = outcomes.compare(*(alone(suite, place, way, path, worse) for way in WAYS)).worse
        for name in worse:
            if name not in again:
                print(f"    not when run again: {name}")
        worse = again
    verdict = outcomes.judge(worse, ours, suite.exceptions)
    for name in worse:
        reason = suite.exceptions.get(outcomes.function_of(name), "UNEXPECTED")
        print(f"    only rasyncio fails {name}: {reason}")
    for name in verdict.stale:
        print(f"    passes, though suites.toml excuses it: {name}")
    return "passed" in oracle.values() and not verdict.unexpected and not verdict.stale


def main(arguments: Sequence[str] | None = None) -> int:
    known = suites()
    options, rest = parse(arguments, list(known))
    options.folder.mkdir(parents=True, exist_ok=True)
    path = path_of_rasyncio(options.folder)
    good = [examine(known[name], options, path, rest) for name in options.suites or known]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
