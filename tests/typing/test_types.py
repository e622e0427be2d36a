"""The type stubs: stubtest holds them against the binary, mypy checks programs that use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
COMMON = HERE / "allowlist.txt"
OF_THIS_VERSION = HERE / f"allowlist-{sys.version_info.major}.{sys.version_info.minor}.txt"
SECONDS = 300

pytestmark = [pytest.mark.slow, pytest.mark.hang_limit(SECONDS)]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a module of mypy away from the checkout, whose configuration and sources must play no part."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def mypy(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return run(folder, "mypy", "--strict", "--cache-dir", str(folder / "cache"), *map(str, files))


def test_stubs_agree_with_the_binary(tmp_path: Path) -> None:
    lists = [COMMON] + ([OF_THIS_VERSION] if OF_THIS_VERSION.exists() else [])
    options = [word for path in lists for word in ("--allowlist", str(path))]
    finished = run(tmp_path, "mypy.stubtest", "--concise", *options, "rasyncio")
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_line_of_an_allowlist_has_a_reason_above_it() -> None:
    for path in sorted(HERE.glob("allowlist*.txt")):
        for block in path.read_text().strip().split("\n\n")[1:]:
            first, *rest = block.splitlines()
            assert first.startswith("# "), f"{path.name}: {first} has no reason"
            assert any(not line.startswith("#") for line in rest), f"{path.name}: {first} excuses nothing"


def test_programs_that_use_the_names_type_check(tmp_path: Path) -> None:
    finished = mypy(tmp_path, *sorted((HERE / "cases").glob("*.py")))
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_a_wrong_program_does_not_type_check(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import rasyncio\n\n\nasync def main() -> int:\n    return 1\n\n\ntext: str = rasyncio.run(main())\n"
    )
    finished = mypy(tmp_path, wrong)
    assert finished.returncode == 1
    assert 'expression has type "int", variable has type "str"' in finished.stdout
