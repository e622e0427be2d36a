"""`python -m rasyncio -c COMMAND`, `-` and the bare shell behave as `python` and `python -m asyncio` do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from launching import launch, launch_both, write

pytestmark = pytest.mark.rasyncio_only(reason="the oracle, `python`, is run by every test itself")

LOOK = """
import sys
print(sys.argv, sys.path[0])
print(sorted(name for name in globals() if name.startswith("__")))
print(__name__, __package__, __doc__, __spec__, __loader__)
print(sys.modules["__main__"].__dict__ is globals(), __builtins__ is sys.modules["builtins"])
"""

ON_OUR_LOOP = """
import asyncio
async def main():
    return type(asyncio.get_running_loop()).__module__.split(".")[0]
print(asyncio.run(main()))
"""


def test_a_command_sees_itself_as_the_main_program(tmp_path: Path) -> None:
    expected, ours = launch_both(tmp_path, "-c", LOOK, "one", "--two", "-c")
    assert expected[0] == 0 and expected[2] == ""
    assert ours == expected


def test_standard_input_sees_itself_as_the_main_program(tmp_path: Path) -> None:
    expected, ours = launch_both(tmp_path, "-", "one", "--two", "-", input=LOOK + "print(__file__)\n")
    assert expected[0] == 0 and expected[2] == ""
    assert ours == expected


def test_a_command_finds_the_modules_of_the_current_folder(tmp_path: Path) -> None:
    write(tmp_path, "neighbour.py", "print('found', __name__)")
    expected, ours = launch_both(tmp_path, "-c", "import neighbour")
    assert expected == (0, "found neighbour\n", "")
    assert ours == expected


@pytest.mark.parametrize("arguments", [["-c", ON_OUR_LOOP], ["-"]], ids=["command", "input"])
def test_they_run_on_our_loop(tmp_path: Path, arguments: list[str]) -> None:
    expected, ours = launch_both(tmp_path, *arguments, input=ON_OUR_LOOP)
    assert expected == (0, "asyncio\n", "")
    assert ours == (0, "rasyncio\n", "")


@pytest.mark.parametrize(
    "program",
    [
        "def fail():\n    1 / 0\nfail()",
        "import sys; sys.exit(7)",
        "raise SystemExit('said at the end')",
        "if True\n    pass",
        "    indented = 1\n    print(indented)",
        "",
    ],
    ids=["traceback", "status", "message", "syntax", "indented", "empty"],
)
def test_every_ending_is_shown_the_same(tmp_path: Path, program: str) -> None:
    expected, ours = launch_both(tmp_path, "-c", program)
    assert ours == expected
    expected, ours = launch_both(tmp_path, "-", input=program)
    assert ours == expected


def test_the_encoding_that_the_input_declares_counts(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes("# coding: latin-1\nprint(ascii('ÿ'))\n".encode("latin-1"))
    for launcher in ([], ["-m", "rasyncio"]):
        with program.open() as file:
            assert launch(launcher, ["-"], tmp_path, stdin=file) == (0, "'\\xff'\n", "")


def test_started_bare_it_is_a_shell_with_top_level_await(tmp_path: Path) -> None:
    session = """\
loop = asyncio.get_running_loop()
await asyncio.sleep(0, "slept")
import contextvars; variable = contextvars.ContextVar("variable"); _ = variable.set(5)
type(asyncio.current_task()), type(loop).__name__ in ("EventLoop", "_UnixSelectorEventLoop")
1 / 0
raise KeyboardInterrupt
await asyncio.wait_for(asyncio.Event().wait(), 0)
"""
    expected = launch(["-m", "asyncio"], [], tmp_path, input=session)
    ours = launch(["-m", "rasyncio"], [], tmp_path, input=session)
    assert "'slept'" in expected[1] and "ZeroDivisionError" in expected[2] and "TimeoutError" in expected[2]
    assert ours[:2] == expected[:2]
    assert without_frames(ours[2]) == without_frames(expected[2])


def test_the_shell_runs_on_our_loop(tmp_path: Path) -> None:
    session = "type(asyncio.get_running_loop()).__module__\n"
    assert "'rasyncio" in launch(["-m", "rasyncio"], [], tmp_path, input=session)[1]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="older shells of asyncio give no status")
def test_the_shell_gives_the_status_that_exit_was_told(tmp_path: Path) -> None:
    assert launch(["-m", "asyncio"], [], tmp_path, input="exit(3)\n")[0] == 3
    assert launch(["-m", "rasyncio"], [], tmp_path, input="exit(3)\n")[0] == 3


def without_frames(errors: str) -> str:
    """Takes out the frames of the standard library, which are fewer here, and the line above them."""
    return re.sub(r'Traceback \(most recent call last\):\n|  File "[^<].*\n(?:    .*\n)*', "", errors)
