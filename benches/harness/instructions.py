"""Instructions per operation in user space, counted by valgrind: repeatable, however busy the machine is.

Two runs of different length are counted; their difference has no start in it.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from harness import children
from harness.children import MeasurementFailed
from harness.loop_rows import LoopRow
from harness.rows import Row

# Rows of one thread that hardly ask the kernel.
GROUPS = frozenset({"locks", "nested", "queues", "scheduling", "tasks"})
# Valgrind takes fifty times as long.
DEADLINE_SECONDS = 600.0
SHORT, LONG = 20_000, 60_000


def is_available() -> bool:
    return shutil.which("valgrind") is not None


def is_counted(row: Row) -> bool:
    return isinstance(row, LoopRow) and row.group in GROUPS


def per_operation(contestant: str, workload: str, row: LoopRow) -> float:
    """Raises MeasurementFailed as other measurements do."""
    few, operations_of_few = _counted(contestant, workload, row, SHORT)
    many, operations_of_many = _counted(contestant, workload, row, LONG)
    return (many - few) / (operations_of_many - operations_of_few)


def _counted(contestant: str, workload: str, row: LoopRow, operations: int) -> tuple[int, float]:
    """Instructions of a whole process, and how many operations it did."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts")
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}"]
        scale = repr(operations / row.operations)
        command = [*valgrind, sys.executable, "-m", "harness.worker", contestant, workload, row.name, scale]
        label = f"{row.name} on {contestant} under valgrind"
        with children.started(label, command, DEADLINE_SECONDS) as child:
            done = float(child.hear_json()["operations"])
            child.finish()
        found = re.search(r"^(?:summary|totals): (\d+)", counts.read_text(), re.MULTILINE)
        if found is None:
            raise MeasurementFailed(f"{label}: no sum in its output")
        return int(found[1]), done
