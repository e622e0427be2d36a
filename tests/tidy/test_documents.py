"""House rules about documents: what they say of the code, the tests and the commands is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from repository import CORE, PY, ROOT, files, shown

DOCUMENTS = files(".md")
TURN = (CORE / "scheduler" / "turn.rs", PY / "event_loop" / "run.rs")


def numbered(lines: list[str]) -> list[str]:
    """The first numbered list, an item a line, without the links that only one of the places has."""
    items: list[str] = []
    for line in lines:
        found = re.match(r"(\d)\. (.*)", line)
        if found and int(found[1]) == len(items) + 1:
            items.append(re.sub(r" \(\[[^\]]*\]\)", "", found[2]).rstrip())
    return items


def test_the_numbered_turn_is_the_same_in_every_place() -> None:
    document = numbered((ROOT / "ARCHITECTURE.md").read_text().splitlines())
    assert len(document) == 7
    for path in TURN:
        head = [line.removeprefix("//! ") for line in path.read_text().splitlines() if line.startswith("//!")]
        assert numbered(head) == document, shown(path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_tests_that_are_named_exist(path: Path) -> None:
    missing = []
    for file, name in re.findall(r"`([\w/.-]+\.(?:py|rs))::(\w+)`", path.read_text()):
        source = (ROOT / file).read_text() if (ROOT / file).exists() else ""
        if not re.search(rf"\b(?:def|fn) {name}\(", source):
            missing.append(f"{file}::{name}")
    assert missing == []


def test_every_difference_names_the_test_that_pins_it() -> None:
    text = (ROOT / "docs" / "differences.md").read_text()
    paragraphs = [part for part in text.split("\n\n") if part.startswith("**")]
    assert paragraphs
    assert [part.splitlines()[0] for part in paragraphs if "Pinned by `" not in " ".join(part.split())] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_commands_that_are_named_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", path.read_text(), re.MULTILINE))
    assert named - targets == set()


def test_decisions_are_numbered_without_a_gap() -> None:
    decisions = files(".md", under=ROOT / "docs" / "decisions")
    assert [path.name[:4] for path in decisions] == [f"{n:04}" for n in range(1, len(decisions) + 1)]
    for path in decisions:
        assert path.read_text().startswith(f"# {path.name[:4]} ")


def test_the_stub_names_what_the_package_imports() -> None:
    imported = re.findall(r"^    (\w+),$", (ROOT / "python/rasyncio/__init__.py").read_text(), re.MULTILINE)
    stub = (ROOT / "python/rasyncio/__init__.pyi").read_text()
    assert imported
    assert [name for name in imported if f'    "{name}",' not in stub] == []
