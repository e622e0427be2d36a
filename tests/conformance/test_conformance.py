"""`make test`'s entry: tries the runner on small fake test modules, then rasyncio on CPython's loop tests."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import expectations, report
from .isolation import Outcome
from .suites import version_name

ROOT = Path(__file__).resolve().parents[2]

FAKE_LOOPS = """
import asyncio

class CountedLoop(asyncio.SelectorEventLoop):
    made = 0

def new_event_loop():
    CountedLoop.made += 1
    return CountedLoop()

class CountedFuture:
    pass

plain = asyncio.Future

def install():
    asyncio.Future = asyncio.futures.Future = CountedFuture

def uninstall():
    asyncio.Future = asyncio.futures.Future = plain
"""

FAKE_PACKAGE = {
    "__init__": "",
    "test_skips": "import unittest; raise unittest.SkipTest('no such system')",
    "test_some": """
import asyncio, os, signal, sys, unittest
from asyncio import futures

class Covered:
    def test_of_the_suite(self):
        self.assertEqual(type(self.create_event_loop()).__name__, "CountedLoop")

class OfAnotherLoop(Covered, unittest.TestCase):
    def test_beside(self):
        self.assertEqual(asyncio.Future.__name__, "CountedFuture")

class UsesAccelerated(unittest.TestCase):
    Future = futures._CFuture
    def test_is_ours(self):
        self.assertEqual(self.Future.__name__, "CountedFuture")

class Shares(unittest.TestCase):
    seen = []
    def test_1_begins(self):
        asyncio.Future = None
        self.seen.append(os.getpid())
    def test_2_is_in_the_same_process(self):
        self.assertEqual(self.seen, [os.getpid()])
        self.assertEqual(asyncio.Future.__name__, "CountedFuture")
    def test_3_is_killed(self):
        print("this is said at the end", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    def test_4_is_in_another(self):
        self.assertEqual(self.seen, [])
""",
}

FAKE_PACKAGE_SUITES = """
[[suite]]
group = "loop-mixins"
module = "fake_package.test_some"
class = "Covered"
loop = "method"
[[not_loop_tests]]
class = "test_some.*"
reason = "not part of this trial"
"""

FAKE_TESTS = """
import asyncio, ctypes, os, signal, time, unittest

seen = []

class Mixin:
    def setUp(self):
        super().setUp()
        self.loop = self.create_event_loop()
        self.set_event_loop(self.loop)
    def test_passes(self):
        self.assertEqual(type(self.loop).__name__, "CountedLoop")
    def test_says_no(self):
        self.assertEqual("one", "two")
    def test_skips_itself(self):
        self.skipTest("no such thing here")

class UsesPolicy(unittest.IsolatedAsyncioTestCase):
    async def test_runs_on_the_loop(self):
        self.assertEqual(type(asyncio.get_running_loop()).__name__, "CountedLoop")

class UsesSelectorClass(unittest.TestCase):
    def test_makes_it_by_name(self):
        loop = asyncio.SelectorEventLoop()
        self.addCleanup(loop.close)
        self.assertEqual(type(loop).__name__, "CountedLoop")

class UsesBaseClass(unittest.TestCase):
    def test_makes_it_and_derives_from_it(self):
        class Derived(asyncio.base_events.BaseEventLoop):
            pass
        for made in (asyncio.base_events.BaseEventLoop(), Derived()):
            self.addCleanup(made.close)
            self.assertIn("CountedLoop", [ancestor.__name__ for ancestor in type(made).__mro__])

class NeedsSetUp:
    def test_has_a_loop(self):
        self.assertEqual(type(self.loop).__name__, "CountedLoop")

class Troubles(unittest.TestCase):
    def test_hangs_for_ever(self):
        while True:
            time.sleep(60)
    def test_is_killed(self):
        os.kill(os.getpid(), signal.SIGSEGV)
    def test_leaves(self):
        os._exit(7)
    def test_is_well(self):
        pass

class Leaks(unittest.TestCase):
    def leak(self):
        self.assertEqual(seen, [])
        seen.append(self)
        open("file", "x").close()
    test_first = leak
    test_second = leak
"""

SOURCES = {
    "Mixin": "method",
    "UsesPolicy": "policy",
    "UsesSelectorClass": "selector_class",
    "UsesBaseClass": "base_class",
    "NeedsSetUp": "set_up",
    "Troubles": "policy",
    "Leaks": "policy",
}


@dataclass
class Workshop:
    """A directory with a fake test module, its suites and its expectations, and the command run on them."""

    directory: Path

    @property
    def expectations(self) -> Path:
        return self.directory / "expectations.toml"

    def expect(self, text: str = "") -> None:
        self.expectations.write_text(textwrap.dedent(text) + expectations.MACHINE_WRITTEN, encoding="utf-8")

    def name_suites(self, *class_names: str, others: str = "*") -> None:
        start = '[[suite]]\ngroup = "loop-mixins"\nmodule = "fake_tests"\n'
        suites = "".join(f'{start}class = "{name}"\nloop = "{SOURCES[name]}"\n' for name in class_names)
        rest = f'[[not_loop_tests]]\nclass = "fake_tests.{others}"\nreason = "not part of this trial"\n'
        (self.directory / "suites.toml").write_text(suites + rest, encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        files = ["--suites", str(self.directory / "suites.toml"), "--expectations", str(self.expectations)]
        start = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(self.directory)!r}]"
        command = f"{start}; from tests.conformance.__main__ import main; sys.exit(main(sys.argv[1:]))"
        return subprocess.run(
            [sys.executable, "-c", command, "--loop", "fake_loops", *files, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    (tmp_path / "fake_tests.py").write_text(FAKE_TESTS, encoding="utf-8")
    (tmp_path / "fake_loops.py").write_text(FAKE_LOOPS, encoding="utf-8")
    shop = Workshop(tmp_path)
    shop.expect()
    return shop


@pytest.fixture
def package_workshop(workshop: Workshop) -> Workshop:
    folder = workshop.directory / "fake_package"
    folder.mkdir()
    for name, text in FAKE_PACKAGE.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    (workshop.directory / "suites.toml").write_text(FAKE_PACKAGE_SUITES, encoding="utf-8")
    return workshop


def last_line(completed: subprocess.CompletedProcess[str]) -> str:
    return completed.stdout.splitlines()[-1]


def test_every_way_to_a_loop_leads_to_the_loop_under_test(workshop: Workshop) -> None:
    workshop.name_suites("Mixin", "UsesPolicy", "UsesSelectorClass", "UsesBaseClass", "NeedsSetUp")
    completed = workshop.run("-k", "s")
    assert completed.returncode == 1, completed.stderr
    assert last_line(completed) == "passed 5, failed 1, excluded 0 (83.3 % of those that apply)"


def test_a_failure_is_listed_with_its_last_line_and_place(workshop: Workshop) -> None:
    workshop.name_suites("Mixin")
    completed = workshop.run()
    place = 1 + FAKE_TESTS.splitlines().index('        self.assertEqual("one", "two")')
    line = f"FAILED fake_tests.Mixin.test_says_no: AssertionError: 'one' != 'two' [fake_tests.py:{place}]"
    assert line in completed.stdout.splitlines()
    assert "Traceback" not in completed.stdout
    assert "Traceback" in workshop.run("--verbose").stdout


def test_a_hang_is_reported_with_the_line_it_hangs_in(workshop: Workshop) -> None:
    workshop.name_suites("Troubles")
    completed = workshop.run("-k", "hangs", "--timeout", "1")
    assert "HANG   fake_tests.Troubles.test_hangs_for_ever: no end after" in completed.stdout
    assert "in test_hangs_for_ever" in completed.stdout
    assert last_line(completed) == "passed 0, failed 1, excluded 0 (0.0 % of those that apply)"


def test_a_crash_costs_one_test_and_is_reported_with_its_signal(workshop: Workshop) -> None:
    workshop.name_suites("Troubles")
    completed = workshop.run("-k", "is_", "--jobs", "1")
    assert "CRASH  fake_tests.Troubles.test_is_killed: killed by SIGSEGV at File" in completed.stdout
    assert "in test_is_killed" in completed.stdout
    assert last_line(completed) == "passed 1, failed 1, excluded 0 (50.0 % of those that apply)"


def test_a_test_that_leaves_the_interpreter_is_reported_with_its_status(workshop: Workshop) -> None:
    workshop.name_suites("Troubles")
    completed = workshop.run("-k", "leaves")
    assert "CRASH  fake_tests.Troubles.test_leaves: left the interpreter with status 7" in completed.stdout


def test_neither_memory_nor_files_pass_from_one_test_to_the_next(workshop: Workshop) -> None:
    workshop.name_suites("Leaks")
    completed = workshop.run("--jobs", "1")
    assert last_line(completed) == "passed 2, failed 0, excluded 0 (100.0 % of those that apply)"


def test_the_whole_package_has_every_test_once_with_the_names_installed(package_workshop: Workshop) -> None:
    completed = package_workshop.run("--whole-package", "--package", "fake_package", "--verbose")
    assert last_line(completed) == "passed 6, failed 1, excluded 0 (85.7 % of those that apply)"
    assert "skipped test_skips: no such system" in completed.stdout
    assert "CRASH  test_some.Shares.test_3_is_killed: killed by SIGSEGV" in completed.stdout
    assert completed.stdout.count("this is said at the end") == 1


def test_a_class_that_is_alone_has_a_process_for_each_test(package_workshop: Workshop) -> None:
    alone = '[[alone]]\nclass = "test_some.Shares"\nreason = "wants to be alone"\n'
    with (package_workshop.directory / "suites.toml").open("a", encoding="utf-8") as suites:
        suites.write(alone)
    command = ("--whole-package", "--package", "fake_package", "-k", "same_process")
    assert (
        last_line(package_workshop.run(*command))
        == "passed 0, failed 1, excluded 0 (0.0 % of those that apply)"
    )


def test_what_is_said_of_one_run_is_not_said_of_the_other(package_workshop: Workshop) -> None:
    command = ("--whole-package", "--package", "fake_package", "-k", "Shares")
    package_workshop.expect(
        f"""
        [[exclude]]
        test = "test_some.OfAnotherLoop.*"
        run = "whole_package"
        versions = ["{version_name()}"]
        reason = "in the package, and no suite"
        """
    )
    assert package_workshop.run(*command, "--update-known-failures").returncode == 0
    assert package_workshop.run(*command, "--strict").returncode == 0
    completed = package_workshop.run("--strict")
    assert completed.returncode == 0, completed.stderr
    assert last_line(completed) == "passed 1, failed 0, excluded 0 (100.0 % of those that apply)"


def test_an_excluded_test_is_not_run_and_does_not_count(workshop: Workshop) -> None:
    workshop.name_suites("Mixin")
    workshop.expect(
        f"""
        [[exclude]]
        test = "fake_tests.Mixin.test_says_*"
        versions = ["{version_name()}"]
        reason = "says no"
        """
    )
    completed = workshop.run()
    assert completed.returncode == 0, completed.stderr
    assert last_line(completed) == "passed 1, failed 0, excluded 1 (100.0 % of those that apply)"
    assert "1 skipped by a condition of their own" in completed.stdout


def test_an_exclusion_that_matches_nothing_is_an_error(workshop: Workshop) -> None:
    workshop.name_suites("Mixin")
    workshop.expect(
        f"""
        [[exclude]]
        test = "fake_tests.Mixin.test_that_went_away"
        versions = ["{version_name()}"]
        reason = "once there was one"
        """
    )
    completed = workshop.run()
    assert completed.returncode == 2
    assert "match nothing" in completed.stderr and "fake_tests.Mixin.test_that_went_away" in completed.stderr


def test_an_exclusion_for_another_version_is_not_asked_for(workshop: Workshop) -> None:
    workshop.name_suites("UsesPolicy")
    workshop.expect('[[exclude]]\ntest = "no.such.test"\nversions = ["2.7"]\nreason = "old"\n')
    assert workshop.run().returncode == 0


def test_an_exclusion_without_a_reason_is_an_error(workshop: Workshop) -> None:
    workshop.name_suites("UsesPolicy")
    workshop.expect('[[exclude]]\ntest = "*"\nversions = ["2.7"]\n')
    completed = workshop.run()
    assert completed.returncode == 2 and "without a reason" in completed.stderr


def test_a_class_of_tests_that_no_suite_mentions_is_an_error(workshop: Workshop) -> None:
    workshop.name_suites("Mixin", others="[!L]*")
    completed = workshop.run()
    assert completed.returncode == 2
    assert "suites.toml does not mention fake_tests.Leaks" in completed.stderr


def test_a_failure_that_is_not_listed_fails_a_strict_run(workshop: Workshop) -> None:
    workshop.name_suites("Mixin")
    completed = workshop.run("--strict")
    assert completed.returncode == 1
    assert "fake_tests.Mixin.test_says_no: failed, not a known failure" in completed.stderr


def test_known_failures_are_written_and_then_satisfy_a_strict_run(workshop: Workshop) -> None:
    workshop.name_suites("Mixin")
    workshop.expect("# kept\n")
    assert workshop.run("--update-known-failures").returncode == 0
    written = workshop.expectations.read_text(encoding="utf-8")
    listed = f'[known_failures.loop_tests]\n"{version_name()}" = [\n    "fake_tests.Mixin.test_says_no",\n]\n'
    assert written == "# kept\n" + expectations.MACHINE_WRITTEN + listed
    assert workshop.run("--strict").returncode == 0
    assert workshop.run("--update-known-failures").returncode == 0
    assert workshop.expectations.read_text(encoding="utf-8") == written


def test_a_listed_failure_that_passes_or_is_gone_fails_a_strict_run(workshop: Workshop) -> None:
    workshop.name_suites("UsesPolicy")
    listed = ["fake_tests.UsesPolicy.test_runs_on_the_loop", "fake_tests.UsesPolicy.test_gone"]
    known = expectations.known_failures_as_toml({"loop_tests": {version_name(): listed}})
    workshop.expectations.write_text(expectations.MACHINE_WRITTEN + known, encoding="utf-8")
    completed = workshop.run("--strict")
    assert completed.returncode == 1
    assert f"{listed[0]}: passed, but listed as a known failure" in completed.stderr
    assert f"{listed[1]}: listed as a known failure, but there is no such test" in completed.stderr


def test_fail_under_tolerates_failures_down_to_its_share(workshop: Workshop) -> None:
    workshop.name_suites("Mixin")
    assert workshop.run("--fail-under", "50").returncode == 0
    assert workshop.run("--fail-under", "50.1").returncode == 1


def test_the_update_keeps_what_was_not_run_and_the_other_versions(tmp_path: Path) -> None:
    path = tmp_path / "expectations.toml"
    other_run = {"3.14": ["now_passes"]}
    known = {
        "loop_tests": {"3.9": ["z"], "3.14": ["not_run", "now_passes", "gone"]},
        "whole_package": other_run,
    }
    listed = expectations.known_failures_as_toml(known)
    path.write_text(expectations.MACHINE_WRITTEN + listed, encoding="utf-8")
    outcomes = [Outcome("now_passes", "g", "passed", 0.0), Outcome("hangs", "g", "hang", 9.0)]
    expectations.load(path, "3.14").update_known_failures(outcomes, ["not_run", "now_passes", "hangs"])
    updated = {"3.9": ["z"], "3.14": ["hangs", "not_run"]}
    assert expectations.load(path, "3.14").known_failures == {
        "loop_tests": updated,
        "whole_package": other_run,
    }


def test_the_percentage_counts_what_applies_and_never_rounds_up() -> None:
    counted = report.Count(passed=1999, failed=0, hang=1, crash=0, excluded=50, skipped=50)
    assert counted.line() == "passed 1999, failed 1, excluded 50 (99.9 % of those that apply)"
    assert report.Count(passed=7, failed=1, hang=1, crash=1).line().endswith("(70.0 % of those that apply)")
    assert report.Count(excluded=3).percentage == 0.0


def test_the_cells_of_a_run_in_the_readme_are_replaced_and_no_others() -> None:
    other = "| 3.1.4 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |\n"
    document = f"{other}| 3.14.0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |\n"
    counted = report.Count(passed=70, failed=10, hang=10, excluded=50, skipped=60)
    loop_tests = report.with_cells(document, "3.14.2", "loop_tests", counted)
    assert loop_tests == f"{other}| 3.14.2 | 70 | 90 | 50 | 60 | 5 | 6 | 7 | 8 |\n"
    whole_package = report.with_cells(document, "3.14.2", "whole_package", counted)
    assert whole_package == f"{other}| 3.14.2 | 1 | 2 | 3 | 4 | 70 | 90 | 50 | 60 |\n"
    with pytest.raises(ValueError, match=r"0 lines for Python 3\.16"):
        report.with_cells(document, "3.16.0", "loop_tests", counted)


@pytest.mark.conformance
@pytest.mark.hang_limit(1300)
@pytest.mark.parametrize("what", [(), ("--whole-package",)], ids=["loop tests", "whole package"])
def test_rasyncio_passes_the_tests_of_this_python(what: tuple[str, ...]) -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "tests.conformance", "--strict", *what],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
