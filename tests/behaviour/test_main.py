"""`python -m rasyncio PROGRAM` runs a program exactly as `python PROGRAM` would, on rasyncio's loop.

Every test runs the same program both ways and compares what can be seen from outside.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest
from launching import Outcome, launch, launch_both, write

pytestmark = pytest.mark.rasyncio_only(reason="the oracle, `python`, is run by every test itself")

Both = Callable[..., tuple[Outcome, Outcome]]


@pytest.fixture
def both(tmp_path: Path) -> Both:
    """Runs the arguments under `python` and under `python -m rasyncio`, in the folder of the test."""

    return functools.partial(launch_both, tmp_path)


def without_runpy(errors: str) -> str:
    """Takes out the interpreter's own frames, of which `-m` shows some."""
    return re.sub(r'  File "<frozen runpy>", line \d+, in \w+\n', "", errors)


LOOK = """
    import os, sys
    print(sys.argv)
    print(os.path.realpath(sys.path[0]))
    print(__name__, __file__, __package__, __doc__, __spec__ and __spec__.name, type(__loader__).__name__)
    print(sys.modules["__main__"].__dict__ is globals())
    print(__builtins__ is sys.modules["builtins"])
    print(sorted(name for name in globals() if name.startswith("__") and name != "__annotations__"))
    print(sys.flags.optimize, sys.dont_write_bytecode, sys.gettrace())
"""


def test_a_script_sees_itself_as_the_main_program(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "script.py", LOOK)
    expected, ours = both("script.py", "one", "--two", "-m", "three four")
    assert expected[0] == 0
    assert ours == expected


def test_a_script_in_another_folder_finds_its_neighbours(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "folder/neighbour.py", "value = 'found'")
    write(tmp_path, "folder/script.py", LOOK + "    import neighbour; print(neighbour.value)")
    expected, ours = both("folder/script.py", "argument")
    assert "found" in expected[1]
    assert ours == expected
    expected, ours = both(str(tmp_path / "folder" / "script.py"))
    assert ours == expected


def test_a_script_behind_a_symbolic_link(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "real/neighbour.py", "value = 'found'")
    write(tmp_path, "real/script.py", LOOK + "    import neighbour; print(neighbour.value)")
    (tmp_path / "link.py").symlink_to(tmp_path / "real" / "script.py")
    expected, ours = both("link.py")
    assert "found" in expected[1]
    assert ours == expected


def test_a_module(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "program.py", LOOK)
    expected, ours = both("-m", "program", "one", "-m", "--two")
    assert expected[0] == 0
    assert ours == expected


def test_a_package_and_a_module_in_it(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "package/__init__.py", "print('initialized', __name__)")
    write(tmp_path, "package/__main__.py", LOOK + "    from . import sibling")
    write(tmp_path, "package/sibling.py", LOOK)
    for name in ("package", "package.sibling"):
        expected, ours = both("-m", name, "argument")
        assert expected[0] == 0
        assert ours == expected


def test_a_folder_and_an_archive_with_a_main(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "application/__main__.py", LOOK + "    import part")
    write(tmp_path, "application/part.py", "print('part', __name__)")
    zipapp.create_archive(tmp_path / "application", tmp_path / "application.pyz")
    for name in ("application", "application.pyz"):
        expected, ours = both(name, "argument")
        assert "part part" in expected[1], expected
        assert ours == expected


@pytest.mark.parametrize(
    "ending",
    [
        "sys.exit()",
        "sys.exit(0)",
        "sys.exit(3)",
        "sys.exit('a message')",
        "sys.exit([1, 2])",
        "raise SystemExit",
        "os._exit(4)",
        "os.kill(os.getpid(), 15)",
        "raise ValueError('text')",
        "raise KeyboardInterrupt",
        "import signal; signal.raise_signal(signal.SIGINT)",
        "import atexit; atexit.register(print, 'at exit'); raise LookupError",
        "sys.stderr.write('warned'); print('printed')",
        "import warnings; warnings.warn('of the program')",
        "sys.excepthook = lambda *error: print('hook', error[0]); raise ValueError",
        "import threading; threading.Thread(target=lambda: 1 / 0).start()",
        "import threading, time; threading.Thread(target=lambda: print('a thread')).start()",
        "class Group(ExceptionGroup): pass\nraise Group('several', [ValueError(1), LookupError(2)])",
    ],
)
def test_every_way_to_end(both: Both, tmp_path: Path, ending: str) -> None:
    write(tmp_path, "script.py", f"import os, sys\nprint('begun', flush=True)\n{ending}\n")
    expected, ours = both("script.py")
    assert strip_addresses(ours) == strip_addresses(expected)


def strip_addresses(outcome: Outcome) -> Outcome:
    """Thread names and addresses differ from run to run."""
    status, output, errors = outcome
    return status, output, re.sub(r"0x[0-9a-f]+", "0x", errors)


def test_the_traceback_of_a_script_is_the_same(both: Both, tmp_path: Path) -> None:
    write(
        tmp_path,
        "script.py",
        """
        def inner():
            raise ValueError("text")

        def outer():
            try:
                inner()
            except ValueError as error:
                raise LookupError("from") from error

        outer()
        """,
    )
    expected, ours = both("script.py")
    assert expected[0] == 1 and "LookupError: from" in expected[2]
    assert ours == expected


def test_the_traceback_of_a_module_is_the_same_but_for_the_interpreters_frames(
    both: Both, tmp_path: Path
) -> None:
    write(tmp_path, "program.py", "def fail():\n    raise ValueError('text')\n\nfail()\n")
    expected, ours = both("-m", "program")
    assert (ours[0], ours[1], without_runpy(ours[2])) == (
        expected[0],
        expected[1],
        without_runpy(expected[2]),
    )


def test_a_syntax_error_is_shown_the_same(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "script.py", "print('never')\nthis is no python\n")
    expected, ours = both("script.py")
    assert expected[0] == 1 and "SyntaxError" in expected[2]
    assert ours == expected


def test_an_error_from_a_coroutine_is_shown_from_the_program_on(both: Both, tmp_path: Path) -> None:
    source = """
        import asyncio

        async def main():
            await asyncio.sleep(0)
            raise ValueError("of the coroutine")

        asyncio.run(main())
        """
    write(tmp_path, "script.py", source)
    expected, ours = both("script.py")
    assert ours[:2] == expected[:2] == (1, "")

    def of_the_program(errors: str) -> list[str]:
        return re.findall(r'File "[^"]*script\.py", line \d+, in .*', errors)

    assert of_the_program(ours[2]) == of_the_program(expected[2])
    assert ours[2].splitlines()[-1] == expected[2].splitlines()[-1]
    assert ours[2].splitlines()[:3] == expected[2].splitlines()[:3]


def test_a_missing_script_and_a_missing_module(both: Both) -> None:
    expected, ours = both("no_such_script.py")
    assert expected[0] == 2
    assert ours == expected
    expected, ours = both("-m", "no_such_module")
    assert expected[0] == 1
    assert ours == expected
    expected, ours = both("-m", "no_such_package.module")
    assert ours[0] == expected[0] == 1
    assert "no_such_package" in ours[2]


def test_an_interrupt_from_outside(tmp_path: Path) -> None:
    write(
        tmp_path,
        "script.py",
        """
        import asyncio

        async def main():
            asyncio.get_running_loop().call_soon(lambda: print("ready", flush=True))
            await asyncio.Event().wait()

        asyncio.run(main())
        """,
    )
    outcomes = []
    for launcher in ([], ["-m", "rasyncio"]):
        process = subprocess.Popen(
            [sys.executable, *launcher, "script.py"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
        outcomes.append((process.returncode, output, errors.splitlines()[-1]))
    assert outcomes[0] == outcomes[1] == (-signal.SIGINT, "", "KeyboardInterrupt")


def test_standard_input_is_the_programs(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "script.py", "import sys; print(sys.stdin.read()[::-1])")
    expected, ours = both("script.py", input="to be reversed")
    assert expected[1] == "desrever eb ot\n"
    assert ours == expected


def test_classes_of_the_program_can_be_pickled(both: Both, tmp_path: Path) -> None:
    write(
        tmp_path,
        "script.py",
        """
        import multiprocessing, pickle

        class Mine:
            pass

        def double(number):
            return number * 2

        if __name__ == "__main__":
            print(type(pickle.loads(pickle.dumps(Mine()))) is Mine)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(double, [1, 2, 3]))
        """,
    )
    expected, ours = both("script.py")
    assert expected == (0, "True\n[2, 4, 6]\n", "")
    assert ours == expected


def test_the_program_runs_on_our_loop(both: Both, tmp_path: Path) -> None:
    write(
        tmp_path,
        "script.py",
        """
        import asyncio

        async def main():
            loop = asyncio.get_running_loop()
            things = loop, asyncio.current_task(), loop.create_future()
            return [type(thing).__module__.split(".")[0] for thing in things]

        print(asyncio.run(main()))
        """,
    )
    expected, ours = both("script.py")
    assert "rasyncio" not in expected[1]
    assert ours == (0, "['rasyncio', 'rasyncio', 'rasyncio']\n", "")


def test_who_asks_for_a_loop_by_its_class_gets_ours(both: Both, tmp_path: Path) -> None:
    """As uvicorn does."""
    write(
        tmp_path,
        "script.py",
        """
        import asyncio
        from asyncio.unix_events import SelectorEventLoop

        async def main():
            loop = asyncio.get_running_loop()
            print(isinstance(loop, asyncio.SelectorEventLoop), isinstance(loop, SelectorEventLoop))
            print(type(loop) is type(asyncio.new_event_loop()), type(loop).__module__)

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())
        """,
    )
    expected, ours = both("script.py")
    assert expected == (0, "True True\nTrue asyncio.unix_events\n", "")
    assert ours == (0, "True True\nTrue rasyncio\n", "")


def test_who_asks_the_default_policy_for_a_loop_gets_ours(both: Both, tmp_path: Path) -> None:
    """As fixtures of tests do."""
    write(
        tmp_path,
        "script.py",
        """
        import asyncio, warnings

        warnings.simplefilter("ignore")

        async def main():
            loop = asyncio.get_running_loop()
            child = await asyncio.create_subprocess_exec("true")
            print(isinstance(loop, asyncio.SelectorEventLoop), type(loop).__module__, await child.wait())

        policy = asyncio.DefaultEventLoopPolicy()
        asyncio.set_event_loop_policy(policy)
        loop = policy.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.close()
        asyncio.run(main())
        """,
    )
    expected, ours = both("script.py")
    assert expected == (0, "True asyncio.unix_events 0\n" * 2, "")
    assert ours == (0, "True rasyncio 0\n" * 2, "")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_says_how_to_use_it(tmp_path: Path, option: str) -> None:
    status, output, errors = launch(["-m", "rasyncio"], [option], tmp_path)
    assert status == 0 and errors == ""
    assert "python -m rasyncio" in output and "-m module" in output


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["-m"], ["-c"], ["-x", "script.py"]])
def test_a_wrong_use_is_told(tmp_path: Path, arguments: list[str]) -> None:
    status, output, errors = launch(["-m", "rasyncio"], arguments, tmp_path)
    assert status == 2 and output == ""
    assert "usage: python -m rasyncio" in errors


def test_options_of_the_interpreter_stay_in_force(tmp_path: Path) -> None:
    write(tmp_path, "script.py", "assert False\nimport sys; print(sys.flags.optimize, sys.flags.dev_mode)")
    options = ["-O", "-X", "dev"]
    expected = launch(options, ["script.py"], tmp_path)
    assert expected == (0, "1 True\n", "")
    assert launch([*options, "-m", "rasyncio"], ["script.py"], tmp_path) == expected


def test_nothing_of_the_launcher_is_left_in_the_environment(both: Both, tmp_path: Path) -> None:
    write(tmp_path, "script.py", "import os; print(sorted(os.environ))")
    # rasyncio need not be installed, and is found through PYTHONPATH then.
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    expected, ours = both("script.py", env=kept)
    assert ours == expected
