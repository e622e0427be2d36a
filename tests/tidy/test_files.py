"""House rules about files: an opening line, a bounded length, a plain name, nothing unfinished."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from repository import ROOT, files, lines_with, shown, without_comments_and_strings

RUST, PYTHON = (".rs",), (".py", ".pyi")

# Files that may be longer than LINES, and why.
LINES = 500
LONGER = {"python/rasyncio/_rasyncio.pyi": "the stub of one module is one file"}

# The package is names and types; a file may be longer for this reason only.
PACKAGE_LINES = 40
LONGER_IN_PACKAGE = {
    "python/rasyncio/__init__.py": "names all that is native, by version",
    "python/rasyncio/__main__.py": "runs a program as the interpreter itself would",
    "python/rasyncio/__init__.pyi": "names every public name of asyncio, by version",
    "python/rasyncio/_rasyncio.pyi": "types of all that is native",
}

FORBIDDEN_NAMES = {
    "utils",
    "util",
    "common",
    "helpers",
    "helper",
    "misc",
    "base",
    "impl",
    "impl_",
    "internal",
}
FORBIDDEN_NAMES |= {"compat", "legacy", "manager"}

# Written in pieces, so that this file does not find itself.
UNFINISHED = r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|\b(todo|unimplemented|dbg)!"
MACHINE = (
    r"(?<![\w.~$}])/(?:wo"
    + r"rk|ro"
    + r"ot|ho"
    + r"me/\w+)/|\bpypi\.(?:org|python)|files\.pythonhosted|static\.crates\.io"
)

CODE_IN_RUST_COMMENT = re.compile(
    r"^\s*//(?![/!])\s*(?:let |pub |fn |use |impl |return\b.*;|if .*\{$|for .*\{$|\}|[\w.:]+\(.*\);$)"
)
CODE_IN_PYTHON_COMMENT = re.compile(
    r"^\s*#\s*(?:(?:from \w[\w.]* )?import \w[\w., ]*$|def \w+\(|class \w+[:(]|return\b|assert |"
    r"(?:if|for|while|with) .*:$|[\w.]+ = \w|[\w.]+\([^ ]*\)$)"
)


def length_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_every_rust_file_opens_with_what_it_is_for() -> None:
    assert [shown(path) for path in files(*RUST) if not path.read_text().startswith("//! ")] == []


def test_every_python_file_opens_with_what_it_is_for() -> None:
    assert [
        shown(path) for path in files(*PYTHON) if not ast.get_docstring(ast.parse(path.read_text()))
    ] == []


def test_no_file_is_too_long() -> None:
    lengths = {shown(path): length_of(path) for path in files(*RUST, *PYTHON, ".toml", ".md")}
    too_long = {name: length for name, length in lengths.items() if length > LINES}
    assert {name: too_long[name] for name in too_long.keys() - LONGER.keys()} == {}, "split it by job"
    assert LONGER.keys() - too_long.keys() == set(), "exceptions that are not needed"


def test_the_package_holds_names_and_no_behaviour() -> None:
    lengths = {shown(path): length_of(path) for path in files(*PYTHON, under=ROOT / "python")}
    too_long = {name for name, length in lengths.items() if length > PACKAGE_LINES}
    assert too_long == set(LONGER_IN_PACKAGE)


def test_files_and_folders_have_plain_names() -> None:
    found = []
    for path in files(*RUST, *PYTHON):
        parts = {part.partition(".")[0].removeprefix("test_") for part in path.relative_to(ROOT).parts}
        if not FORBIDDEN_NAMES.isdisjoint(parts):
            found.append(shown(path))
    assert found == []


def test_nothing_is_left_unfinished() -> None:
    found = {shown(path): list(lines_with(UNFINISHED, path.read_text())) for path in files()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_file_names_a_place_of_one_machine() -> None:
    kept = [path for path in files() if path.suffix != ".lock"]
    found = {shown(path): list(lines_with(MACHINE, path.read_text())) for path in kept}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_code_is_commented_out() -> None:
    found = {}
    for path in files(*RUST, *PYTHON):
        pattern = CODE_IN_RUST_COMMENT if path.suffix == ".rs" else CODE_IN_PYTHON_COMMENT
        found[shown(path)] = [line for line in path.read_text().splitlines() if pattern.search(line)]
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_lint_is_silenced_without_a_reason() -> None:
    silenced, unreasoned = [], []
    for path in files(*RUST):
        code = without_comments_and_strings(path.read_text())
        silenced += [shown(path) for _ in re.findall(r"#!?\[allow\b", code)]
        attributes = re.findall(r"#!?\[expect\((.*?)\)\]", code, re.DOTALL)
        unreasoned += [shown(path) for attribute in attributes if "reason = " not in attribute]
    assert silenced == [], "an `expect` tells when it is needed no more"
    assert unreasoned == []


@pytest.mark.parametrize(
    ("line", "is_code"),
    [
        ("    // let count = queue.len();", True),
        ("// use std::io;", True),
        ("    // queue.push(entry);", True),
        ("    // for each entry the loop asks again", False),
        ("    // What leaves is handed back (see `ReadyQueue`).", False),
    ],
)
def test_commented_out_rust_is_told_from_prose(line: str, is_code: bool) -> None:
    assert bool(CODE_IN_RUST_COMMENT.search(line)) is is_code


@pytest.mark.parametrize(
    ("line", "is_code"),
    [
        ("    # import asyncio", True),
        ("    # return result", True),
        ("    # loop.close()", True),
        ("    # if it is there, it counts", False),
        ("# returned by the server", False),
    ],
)
def test_commented_out_python_is_told_from_prose(line: str, is_code: bool) -> None:
    assert bool(CODE_IN_PYTHON_COMMENT.search(line)) is is_code


@pytest.mark.parametrize(
    "text", ["see /ro" + "ot/.cache", "cd /wo" + "rk/main", "https://pypi" + ".org/simple"]
)
def test_places_of_one_machine_are_found(text: str) -> None:
    assert re.search(MACHINE, text)


@pytest.mark.parametrize(
    "text", ["tests/home/x", "$HOME/.cache", "~/ro" + "ot/x", "/proc/self/fd", "docs.python.org"]
)
def test_other_paths_are_not_places_of_one_machine(text: str) -> None:
    assert not re.search(MACHINE, text)
