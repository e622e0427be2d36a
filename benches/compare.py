"""Compares event loops: `python benches/compare.py [ROW ...]`. See README.md beside this file.

Every measurement is a fresh process; the contestants take turns within each row, so that a disturbance of the
machine meets all of them.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import echo_client, instructions, machine
from harness.children import MeasurementFailed
from harness.contestants import CONTESTANTS
from harness.loop_rows import LoopRow
from harness.results import RowResult, Run
from harness.rows import Entry, all_entries, selected_entries
from harness.servers import ServerMissing
from harness.tables import report
from harness.targets import group_targets_from_toml, judge, judge_groups, targets_from_toml

TARGETS = Path(__file__).resolve().parent / "targets.toml"


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare.py", description="Compares event loops, row by row.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="row, workload or group, or a pattern of them")
    parser.add_argument("--rounds", type=positive_int, default=5, help="measurements of each (default 5)")
    parser.add_argument("--scale", type=positive_float, default=1.0, help="factor to the work of each")
    parser.add_argument("--contestants", type=contestant_names, default=list(CONTESTANTS), metavar="A,B")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples and figures to FILE")
    parser.add_argument(
        "--instructions", action="store_true", help="count them too, where one thread works alone"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--list", action="store_true", help="print rows and contestants, measure nothing")
    return parser.parse_args(words)


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def contestant_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in CONTESTANTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(CONTESTANTS)}")
    # Everybody once, in the order of the table.
    return [name for name in CONTESTANTS if name in names]


def print_list() -> None:
    for entry in all_entries():
        print(f"{entry.row.name:28} {entry.row.group:12} workloads/{entry.workload}.py")
    for contestant in CONTESTANTS.values():
        state = contestant.version() if contestant.is_installed() else "not installed"
        print(f"{contestant.name:28} {state}")


def new_run(arguments: argparse.Namespace, command: str) -> Run:
    present = [name for name in arguments.contestants if CONTESTANTS[name].is_installed()]
    return Run(
        command=command,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine.describe(),
        versions={name: CONTESTANTS[name].version() for name in present},
        not_installed=[name for name in arguments.contestants if name not in present],
        rounds=arguments.rounds,
        scale=arguments.scale,
        load_average_before=machine.load_average(),
    )


def measure_row(entry: Entry, contestants: Sequence[str], rounds: int, scale: float) -> RowResult:
    """Each round starts one contestant later, so nobody always follows the same neighbour."""
    result = RowResult.of(entry.row)
    if missing := entry.row.missing():
        result.not_measured = f"needs {', '.join(missing)}"
        return result
    taking_part = [name for name in contestants if entry.row.takes(name)]
    try:
        with entry.row.surroundings():
            for turn in range(rounds):
                first = turn % max(1, len(taking_part))
                for name in [*taking_part[first:], *taking_part[:first]]:
                    measure_once(entry, name, scale, result)
    except ServerMissing as missing_server:
        result.not_measured = str(missing_server)
    return result


def measure_once(entry: Entry, contestant: str, scale: float, result: RowResult) -> None:
    """Who failed once is not asked again."""
    if contestant in result.failures:
        return
    try:
        sample = entry.row.measure(contestant, entry.workload, scale)
    except MeasurementFailed as failure:
        result.failures[contestant] = str(failure)
    else:
        result.samples.setdefault(contestant, []).append(sample)
    print(".", end="", file=sys.stderr, flush=True)


def count_instructions(entry: Entry, result: RowResult) -> None:
    """Of everybody who was measured."""
    row = entry.row
    if not isinstance(row, LoopRow) or not instructions.is_counted(row):
        return
    for name in result.samples:
        if name in result.failures:
            continue
        try:
            result.instructions[name] = instructions.per_operation(name, entry.workload, row)
        except MeasurementFailed as failure:
            result.failures[name] = str(failure)
        print(":", end="", file=sys.stderr, flush=True)


def main(words: Sequence[str]) -> int:
    arguments = parse_arguments(words)
    if arguments.list:
        print_list()
        return 0
    try:
        entries = selected_entries(arguments.rows)
    except LookupError as error:
        print(f"compare.py: {error.args[0]}; --list shows what there is", file=sys.stderr)
        return 2
    if arguments.instructions and not instructions.is_available():
        print("compare.py: --instructions needs valgrind", file=sys.stderr)
        return 2
    if any(entry.row.needs_echo_client for entry in entries):
        try:
            echo_client.build()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"compare.py: the load program could not be built: {error}", file=sys.stderr)
            return 2
    run = new_run(arguments, shlex.join(["python", "benches/compare.py", *words]))
    for entry in entries:
        print(f"{entry.row.name} ", end="", file=sys.stderr, flush=True)
        result = measure_row(entry, run.contestants, run.rounds, run.scale)
        if arguments.instructions:
            count_instructions(entry, result)
        run.rows.append(result)
        print(file=sys.stderr)
    run.load_average_after = machine.load_average()
    print(report(run))
    if arguments.json:
        run.write(arguments.json)
    return 1 if arguments.check and not is_satisfying(run) else 0


def is_satisfying(run: Run) -> bool:
    """Prints the verdicts. A contestant of ours that fails is never fine, with a target or without."""
    text = TARGETS.read_text()
    verdicts = [*judge(run, targets_from_toml(text)), *judge_groups(run, group_targets_from_toml(text))]
    failures = [name for row in run.rows for name in row.failures if CONTESTANTS[name].is_ours]
    if verdicts:
        print("\nTargets:", *verdicts, sep="\n")
    return not failures and all(verdict.is_met for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
