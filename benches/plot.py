"""Draws what `compare.py --json` wrote, one SVG per group: `python benches/plot.py RUN.json FOLDER`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.plots import draw


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="plot.py", description="Draws a run as one SVG per group.")
    parser.add_argument("run", type=Path, help="what compare.py --json wrote")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    arguments = parser.parse_args(words)
    try:
        run = json.loads(arguments.run.read_text())
    except (OSError, ValueError) as error:
        print(f"plot.py: {arguments.run}: {error}", file=sys.stderr)
        return 2
    for path in draw(run, arguments.folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
