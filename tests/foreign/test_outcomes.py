"""The comparison of two runs of a suite, and what is taken out of a source distribution."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from . import __main__ as command
from . import outcomes
from .installing import ROOT, unpack

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="good"/>
<testcase classname="tests.a" name="bad[1]"><failure>why</failure></testcase>
<testcase classname="tests.a" name="broken"><error>why</error></testcase>
<testcase classname="tests.a" name="torn down badly"/>
<testcase classname="tests.a" name="torn down badly"><error>why</error></testcase>
<testcase classname="tests.a" name="left out"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_read(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    found = outcomes.read(tmp_path / "report.xml")
    assert found == {
        "tests.a::good": "passed",
        "tests.a::bad[1]": "failed",
        "tests.a::broken": "failed",
        "tests.a::torn down badly": "failed",
        "tests.a::left out": "skipped",
    }
    assert outcomes.summary(found) == "1 passed, 3 failed, 1 skipped"


@pytest.mark.parametrize("ours", [{"a": "failed"}, {"a": "skipped"}, {}])
def test_what_only_the_oracle_passes_is_worse(ours: outcomes.Outcomes) -> None:
    assert outcomes.compare({"a": "passed", "b": "failed"}, ours).worse == ["a"]


def test_what_both_fail_or_leave_out_is_no_difference() -> None:
    oracle = {"a": "failed", "b": "skipped", "c": "passed"}
    assert outcomes.compare(oracle, dict(oracle)) == outcomes.Comparison([], [])


def test_what_only_the_oracle_fails_is_better() -> None:
    assert outcomes.compare({"a": "failed"}, {"a": "passed"}).better == ["a"]


def test_an_excuse_holds_for_all_parameters_and_ends_when_all_pass() -> None:
    ours = {"f::a[1]": "failed", "f::a[2]": "passed", "f::b": "failed", "f::c[1]": "passed"}
    verdict = outcomes.judge(["f::a[1]", "f::b"], ours, {"f::a", "f::c", "f::not run"})
    assert verdict == outcomes.Verdict(unexpected=["f::b"], stale=["f::c"])


def test_only_what_is_named_is_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name in ("a-1/tests/test_a.py", "a-1/tests_of_b/x.py", "a-1/pytest.ini", "a-1/a/__init__.py"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    unpack(tmp_path / "a.tar.gz", ["tests", "pytest.ini"], tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert found == {"tests/test_a.py", "pytest.ini"}


def test_every_suite_is_pinned_as_its_requirements_are() -> None:
    for suite in command.suites().values():
        pinned = (ROOT / "requirements" / "foreign" / f"{suite.name}.txt").read_text().splitlines()
        assert f"{suite.name}=={suite.version}" in pinned
        assert all("==" in line for line in pinned if not line.startswith("#"))
        assert not any(line.startswith("uvloop") for line in pinned)
