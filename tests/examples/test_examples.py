"""Every example, as its reader would start it: under asyncio and under ``python -m rasyncio``.

Both must print exactly what stands in ``expected/``, and nothing on stderr, in debug mode with warnings as
errors as well as without.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
SMALL = ("chat", "generators", "producer_consumer", "threads", "workers")
PAGES = ("--pages", "80", "--timeout", "2")
SECONDS = 60

UNDER = {"asyncio": (), "rasyncio": ("-m", "rasyncio")}
MODES = {"plain": (), "debug": ("-X", "dev", "-W", "error")}

every_way = pytest.mark.parametrize("under", UNDER)
every_mode = pytest.mark.parametrize("mode", MODES)


def command_for(name: str, under: str, mode: str, *arguments: str) -> list[str]:
    """The command line that runs one example."""
    return [sys.executable, *MODES[mode], *UNDER[under], str(EXAMPLES / f"{name}.py"), *arguments]


def environment() -> dict[str, str]:
    """Ours, without what would change how Python or asyncio behave."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )


def expected(name: str) -> str:
    return (HERE / "expected" / f"{name}.txt").read_text()


@every_mode
@every_way
@pytest.mark.parametrize("name", SMALL)
def test_example_prints_what_is_expected_and_warns_of_nothing(
    name: str, under: str, mode: str, tmp_path: Path
) -> None:
    finished = run(command_for(name, under, mode), tmp_path)
    assert finished.stderr == ""
    assert finished.stdout == expected(name)
    assert finished.returncode == 0


@every_mode
@every_way
def test_pages_are_fetched_stored_and_reported(under: str, mode: str, tmp_path: Path) -> None:
    finished = run(command_for("pages", under, mode, *PAGES, "--json", "pages.json"), tmp_path)
    *progress, last = finished.stderr.splitlines()
    assert progress == [f"pages: {done} of 80" for done in (20, 40, 60, 80)]
    assert last.startswith("stored the last page after ")
    assert finished.stdout == expected("pages")
    assert finished.returncode == 0
    outcome: dict[str, Any] = json.loads((tmp_path / "pages.json").read_text())
    assert outcome["loop"].partition(".")[0].lstrip("_") == under
    assert outcome["task"].partition(".")[0].lstrip("_") == under
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pages.json"]


@every_way
def test_pages_stops_at_once_on_ctrl_c(under: str, tmp_path: Path) -> None:
    command = command_for("pages", under, "debug", "--pages", "80", "--timeout", "1000")
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stderr is not None
            for line in program.stderr:
                if line == "pages: 60 of 80\n":
                    program.send_signal(signal.SIGINT)
                    break
            printed, complaints = program.communicate(timeout=SECONDS)
        finally:
            program.kill()
    assert complaints.splitlines()[-1] == "interrupted"
    assert "Traceback" not in complaints
    assert printed == ""
    assert program.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_demo_compares_both_runs_and_finds_them_equal(tmp_path: Path) -> None:
    finished = run([sys.executable, str(EXAMPLES / "demo.py"), *PAGES], tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(expected("pages"))
    assert finished.stdout.endswith("\nBoth results are equal.\n")


def test_demo_fails_when_a_run_fails(tmp_path: Path) -> None:
    finished = run([sys.executable, str(EXAMPLES / "demo.py"), "--deadline", "0.001"], tmp_path)
    assert finished.returncode == 1
    assert "asyncio: pages.py ended with status 1" in finished.stderr


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"result": {"stored": 397}}, ["stored: 398 under asyncio, 397 under rasyncio"]),
        ({"result": {}}, ["stored: 398 under asyncio, None under rasyncio"]),
        (
            {"loop": "asyncio.unix_events.SomeLoop"},
            ["the run called rasyncio was on the loop asyncio.unix_events.SomeLoop"],
        ),
    ],
)
def test_demo_names_every_difference_between_the_runs(changed: dict[str, Any], found: list[str]) -> None:
    demo = runpy.run_path(str(EXAMPLES / "demo.py"))
    plain = {"result": {"stored": 398}, "loop": "asyncio.unix_events.SomeLoop"}
    ours = {"result": {"stored": 398}, "loop": "rasyncio.EventLoop", **changed}
    runs = [
        demo["Run"](name, outcome, "", 0.0, 0.0) for name, outcome in (("asyncio", plain), ("rasyncio", ours))
    ]
    assert demo["differences"](*runs) == found


def test_every_example_has_a_test_and_an_expected_output() -> None:
    programs = {path.stem for path in EXAMPLES.glob("*.py")}
    assert programs == {*SMALL, "pages", "demo"}
    assert {path.stem for path in (HERE / "expected").iterdir()} == {*SMALL, "pages"}
