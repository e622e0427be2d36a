"""House rules about files: an opening line, a bounded length, a plain name, nothing unfinished, nothing of one machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from repository import ROOT, files, lines_with, shown, without_comments_and_strings

RUST, PYTHON = (".rs",), (".py", ".pyi")

# Files that may be longer than LINES, and why.
LINES = 500
LONGER: dict[str, str] = {}

# The package is names and types; a file may be longer for this reason only.
PACKAGE_LINES = 40
LONGER_IN_PACKAGE = {
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


def sources(*suffixes: str) -> list[Path]:
    return files(*suffixes)


@pytest.mark.parametrize("path", sources(*RUST), ids=shown)
def test_rust_file_opens_with_what_it_is_for(path: Path) -> None:
    assert path.read_text().startswith("//! ")


@pytest.mark.parametrize("path", sources(*PYTHON), ids=shown)
def test_python_file_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", sources(*RUST, *PYTHON, ".toml", ".md"), ids=shown)
def test_file_is_not_too_long(path: Path) -> None:
    count = len(path.read_text().splitlines())
    assert count <= LINES or shown(path) in LONGER, f"{count} lines; split it by job"


@pytest.mark.parametrize("path", files(*PYTHON, under=ROOT / "python"), ids=shown)
def test_package_file_holds_names_and_no_behaviour(path: Path) -> None:
    count = len(path.read_text().splitlines())
    assert count <= PACKAGE_LINES or shown(path) in LONGER_IN_PACKAGE, f"{count} lines"


def test_every_exception_to_the_lengths_is_needed() -> None:
    lengths = {
        shown(path): len(path.read_text().splitlines()) for path in files(*RUST, *PYTHON, ".toml", ".md")
    }
    assert [name for name in LONGER if lengths.get(name, 0) <= LINES] == []
    assert [name for name in LONGER_IN_PACKAGE if lengths.get(name, 0) <= PACKAGE_LINES] == []


@pytest.mark.parametrize("path", sources(*RUST, *PYTHON), ids=shown)
def test_file_and_folder_have_plain_names(path: Path) -> None:
    parts = [part.partition(".")[0] for part in path.relative_to(ROOT).parts]
    assert FORBIDDEN_NAMES.isdisjoint(parts)
    assert FORBIDDEN_NAMES.isdisjoint(part.removeprefix("test_") for part in parts)


@pytest.mark.parametrize("path", sources(), ids=shown)
def test_nothing_is_left_unfinished(path: Path) -> None:
    assert list(lines_with(UNFINISHED, path.read_text())) == []


@pytest.mark.parametrize("path", [path for path in sources() if path.suffix != ".lock"], ids=shown)
def test_file_names_no_place_of_one_machine(path: Path) -> None:
    assert list(lines_with(MACHINE, path.read_text())) == []


@pytest.mark.parametrize("path", sources(*RUST, *PYTHON), ids=shown)
def test_no_code_is_commented_out(path: Path) -> None:
    pattern = CODE_IN_RUST_COMMENT if path.suffix == ".rs" else CODE_IN_PYTHON_COMMENT
    found = [line for line in path.read_text().splitlines() if pattern.search(line)]
    assert found == []


@pytest.mark.parametrize("path", sources(*RUST), ids=shown)
def test_no_lint_is_silenced_without_a_reason(path: Path) -> None:
    code = without_comments_and_strings(path.read_text())
    assert re.findall(r"#!?\[allow\b", code) == [], (
        "an `expect` with a reason tells when it is needed no more"
    )
    for attribute in re.findall(r"#!?\[expect\((.*?)\)\]", code, re.DOTALL):
        assert "reason = " in attribute


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
    "text", ["tests/work/main", "$HOME/.cache", "~/root/x", "/proc/self/fd", "docs.python.org"]
)
def test_other_paths_are_not_places_of_one_machine(text: str) -> None:
    assert not re.search(MACHINE, text)
