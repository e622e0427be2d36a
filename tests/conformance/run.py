"""Starts the runner by its file's path: does what `python -m tests.conformance` does in the checkout."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    runpy.run_module("tests.conformance", run_name="__main__", alter_sys=True)
