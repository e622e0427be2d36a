"""The fresh process of one measurement: `python -m harness.worker CONTESTANT WORKLOAD ROW SCALE`.

The contestant is imported, and installed if that is its way, before the workload, as a program would do it.
"""

from __future__ import annotations

import asyncio
import sys

from harness.contestants import CONTESTANTS
from harness.rows import workload_rows


def main() -> None:
    contestant_name, workload, row_name, scale = sys.argv[1:]
    contestant = CONTESTANTS[contestant_name]
    factory = contestant.prepare()
    row = next(row for row in workload_rows(workload) if row.name == row_name)
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        if not contestant.owns(loop):
            raise SystemExit(f"{contestant.name} runs on {type(loop).__module__}.{type(loop).__qualname__}")
        row.run_inside(runner, float(scale))


if __name__ == "__main__":
    main()
