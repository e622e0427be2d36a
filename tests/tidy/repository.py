"""What the house rules are checked on: the files of the checkout, and Rust code without its prose."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "crates" / "rasyncio-core" / "src"
PY = ROOT / "crates" / "rasyncio-py" / "src"

# What building and testing leave behind (.gitignore names the same), and the history.
NOT_OURS = {
    ".git",
    ".venv",
    ".venv-bench",
    ".cache",
    "target",
    "dist",
    "__pycache__",
    ".hypothesis",
    "results",
}
NOT_OURS |= {".mypy_cache", ".ruff_cache", ".pytest_cache"}
BINARY = {".so", ".pyc", ".whl", ".png"}


def files(*suffixes: str, under: Path = ROOT) -> list[Path]:
    """The files below a folder that have one of the suffixes (none given: every text file)."""
    found = []
    for folder, folders, names in os.walk(under):
        folders[:] = sorted(set(folders) - NOT_OURS)
        # In a worktree `.git` is a file.
        paths = (Path(folder, name) for name in sorted(set(names) - NOT_OURS))
        found += [
            path for path in paths if path.suffix not in BINARY and (not suffixes or path.suffix in suffixes)
        ]
    return found


def shown(path: Path) -> str:
    """The path as messages and tables name it."""
    return path.relative_to(ROOT).as_posix()


def without_comments_and_strings(source: str) -> str:
    """Rust code with every comment and the inside of every string blanked, line for line."""
    return RUST_PROSE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)


def code_of(path: Path) -> str:
    """The code of a Rust file without its prose and without the unit tests at its end."""
    return UNIT_TESTS.split(without_comments_and_strings(path.read_text()))[0]


def lines_with(pattern: str, source: str) -> Iterator[tuple[int, str]]:
    """Numbers and texts of the lines that a pattern is found in."""
    for number, line in enumerate(source.splitlines(), 1):
        if re.search(pattern, line):
            yield number, line.strip()


RUST_PROSE = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'',
    re.DOTALL,
)
UNIT_TESTS = re.compile(r"^#\[cfg\((?:test|all\(test[^\n]*)\)\]\n(?:#\[[^\n]*\]\n)*mod ", re.MULTILINE)
