"""Runs one program under `python` and under `python -m rasyncio`, to compare what is seen from outside."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

Outcome = tuple[int, str, str]


def launch(launcher: list[str], arguments: list[str], folder: Path, **options: Any) -> Outcome:
    """Exit status, output and errors of the interpreter with these arguments, in `folder`."""
    done = subprocess.run(
        [sys.executable, *launcher, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def launch_both(folder: Path, *arguments: str, **options: Any) -> tuple[Outcome, Outcome]:
    """What `python ARGUMENTS` does, and what `python -m rasyncio ARGUMENTS` does."""
    return (
        launch([], list(arguments), folder, **options),
        launch(["-m", "rasyncio"], list(arguments), folder, **options),
    )


def write(folder: Path, name: str, source: str) -> str:
    """Puts a program into `folder`; gives its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return str(path)
