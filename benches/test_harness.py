"""Tests of the benchmark harness itself: arithmetic, tables, targets, processes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import compare
import plot
import pytest
from harness import children, figures, tables
from harness.contestants import CONTESTANTS, Contestant
from harness.loop_rows import LoopRow
from harness.results import RowResult, Run
from harness.rows import Entry, all_entries, selected_entries
from harness.servers import ServerMissing
from harness.targets import (
    BEST_RIVAL,
    GroupTarget,
    Target,
    group_targets_from_toml,
    judge,
    judge_groups,
    targets_from_toml,
)

SMOKE_SCALE = 0.01
IMPOSSIBLE = "a_package_that_nobody_installed"


def row_result(**cpu: list[float]) -> RowResult:
    samples = {
        name.replace("_", "-"): [{"cpu_ns": value} for value in values] for name, values in cpu.items()
    }
    return RowResult("sleep0", "scheduling", "switch", "cpu_ns", samples)


def run_of(*rows: RowResult) -> Run:
    names = dict.fromkeys(name for row in rows for name in [*row.samples, *row.failures])
    machine: dict[str, object] = {"cpu": "a cpu", "cores": 2, "kernel": "a kernel", "python": "a python"}
    return Run("a command", "a date", machine, dict.fromkeys(names, "1.0"), ["zuvloop"], 3, 0.5, list(rows))


# Arithmetic


def test_a_figure_is_the_median_and_half_of_the_range_over_it() -> None:
    figure = figures.Figure.of([90.0, 200.0, 100.0])
    assert figure.median == 100.0
    assert figure.spread == pytest.approx(0.55)


def test_a_figure_of_zeros_has_no_spread() -> None:
    assert figures.Figure.of([0.0, 0.0]) == figures.Figure(0.0, 0.0)


def test_only_figures_of_every_round_count() -> None:
    assert set(figures.figures_of([{"cpu_ns": 1.0, "p50_us": 2.0}, {"cpu_ns": 3.0}])) == {"cpu_ns"}
    assert figures.figures_of([]) == {}


@pytest.mark.parametrize(
    ("figure", "ours", "other", "expected"),
    [("cpu_ns", 50.0, 100.0, 2.0), ("cpu_ns", 100.0, 50.0, 0.5), ("operations_per_second", 100.0, 50.0, 2.0)],
)
def test_a_ratio_above_one_is_always_the_better(
    figure: str, ours: float, other: float, expected: float
) -> None:
    assert figures.times_as_good(figure, ours, other) == expected


def test_the_best_is_the_lowest_time_and_the_highest_throughput() -> None:
    medians = {"asyncio": 3.0, "uvloop": 1.0, "rloop": 2.0}
    assert figures.best_of("cpu_ns", medians) == "uvloop"
    assert figures.best_of("operations_per_second", medians) == "asyncio"
    assert figures.best_of("cpu_ns", {}) is None


def test_a_geometric_mean_of_nothing_is_none() -> None:
    assert figures.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert figures.geometric_mean([]) is None


# Rows


def test_our_own_contestants_are_never_the_best_rival() -> None:
    row = row_result(asyncio=[900.0], uvloop=[450.0], rasyncio=[90.0], rasyncio_installed=[80.0])
    assert row.best_rival() == "uvloop"
    assert row.ratio("rasyncio", row.best_rival()) == pytest.approx(5.0)
    assert row.ratio("rasyncio-installed", "asyncio") == pytest.approx(11.25)


def test_a_contestant_that_failed_in_a_later_round_has_no_figures() -> None:
    row = row_result(asyncio=[900.0, 900.0], uvloop=[450.0])
    row.failures["uvloop"] = "crashed"
    assert row.median("uvloop") is None
    assert row.best_rival() == "asyncio"
    assert row.ratio("uvloop", "asyncio") is None


def test_names_of_rows_are_unique() -> None:
    names = [entry.row.name for entry in all_entries()]
    assert sorted(set(names)) == sorted(names)


def test_rows_are_selected_by_row_workload_group_or_pattern() -> None:
    def names(*patterns: str) -> set[str]:
        return {entry.row.name for entry in selected_entries(patterns)}

    assert names("call_soon_chain") == {"call_soon_chain"}
    assert names("udp_echo") == names("datagrams") == names("udp_echo_*")
    assert names("sleep0", "ping_pong") == {"sleep0", "ping_pong"}
    assert names() == {entry.row.name for entry in all_entries()}


def test_a_pattern_that_selects_nothing_is_an_error() -> None:
    with pytest.raises(LookupError, match="no_such_row"):
        selected_entries(["sleep0", "no_such_row"])
    assert compare.main(["no_such_row"]) == 2


# Tables


def test_a_table_is_aligned_markdown() -> None:
    assert tables.markdown(["a", "b"], [["long", "1"], ["x", "200"]]).splitlines() == [
        "| a    |   b |",
        "| ---- | --: |",
        "| long |   1 |",
        "| x    | 200 |",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.7134, "0.713"), (7.134, "7.13"), (71.34, "71.3"), (713.4, "713"), (7134.2, "7134")]
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert tables.number(value) == text


def test_a_cell_shows_median_spread_and_speed_up() -> None:
    row = row_result(asyncio=[880.0, 900.0, 920.0], uvloop=[450.0, 450.0, 450.0])
    row.failures["rloop"] = "crashed"
    assert tables.cell(row, "asyncio") == "900 ±2%"
    assert tables.cell(row, "uvloop") == "450 ±0% 2.00x"
    assert tables.cell(row, "rloop") == "failed"
    assert tables.cell(row, "rsloop") == "-"


def test_the_main_table_compares_ours_with_the_best_rival() -> None:
    run = run_of(row_result(asyncio=[900.0], zuvloop=[300.0], rasyncio=[100.0]))
    line = tables.main_table(run).splitlines()[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:2] == ["sleep0", "cpu_ns/switch"]
    assert cells[2:] == ["900 ±0%", "300 ±0% 3.00x", "100 ±0% 9.00x", "zuvloop", "3.00x"]


def test_a_group_with_a_missing_row_has_no_mean() -> None:
    complete = row_result(asyncio=[900.0], uvloop=[450.0], rasyncio=[100.0])
    partial = row_result(asyncio=[800.0], uvloop=[100.0])
    line = tables.group_table(run_of(complete, partial)).splitlines()[2]
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["scheduling", "2", "4.00x", "-", "-"]


def test_the_report_names_who_is_missing_and_who_failed() -> None:
    row = row_result(asyncio=[900.0])
    row.failures["rloop"] = "sleep0 on rloop ended with status -11"
    text = tables.report(run_of(row))
    assert "Not installed: zuvloop" in text
    assert "sleep0 on rloop ended with status -11" in text


def test_the_json_holds_samples_medians_and_ratios(tmp_path: Path) -> None:
    row = row_result(
        asyncio=[900.0, 800.0, 1000.0], uvloop=[450.0, 450.0, 450.0], rasyncio=[90.0, 90.0, 90.0]
    )
    run_of(row).write(tmp_path / "new" / "run.json")
    written = json.loads((tmp_path / "new" / "run.json").read_text())
    ours = written["rows"][0]["contestants"]["rasyncio"]
    assert ours["medians"] == {"cpu_ns": 90.0}
    assert ours["times_as_good_as_best_rival"] == 5.0
    assert ours["times_as_good_as_asyncio"] == 10.0
    assert written["rows"][0]["contestants"]["asyncio"]["samples"][1] == {"cpu_ns": 800.0}
    assert {"command", "machine", "versions", "not_installed", "rounds", "scale"} <= set(written)


# Targets


def test_a_target_that_names_two_rows_is_two_targets() -> None:
    text = (
        '[[target]]\nrows = ["a", "b"]\nfigure = "cpu_ns"\n'
        'contestant = "rasyncio"\nagainst = "uvloop"\nat_least = 1\n'
    )
    expected = [Target(row, "cpu_ns", "rasyncio", "uvloop", 1.0) for row in ("a", "b")]
    assert targets_from_toml(text) == expected


def test_the_targets_of_the_project_name_what_exists() -> None:
    rows = {entry.row.name for entry in all_entries()}
    text = compare.TARGETS.read_text()
    groups = {entry.row.group for entry in all_entries()}
    assert {target.group for target in group_targets_from_toml(text)} <= groups
    for target in targets_from_toml(text):
        assert target.row in rows
        assert target.contestant in CONTESTANTS
        assert target.against in {BEST_RIVAL, *CONTESTANTS}
        assert target.figure == "cpu_ns"


@pytest.mark.parametrize(("ours", "is_met"), [(200.0, True), (201.0, False)])
def test_a_target_is_met_from_its_limit_on(ours: float, is_met: bool) -> None:
    run = run_of(row_result(asyncio=[900.0], zuvloop=[300.0], rasyncio=[ours]))
    (verdict,) = judge(run, [Target("sleep0", "cpu_ns", "rasyncio", BEST_RIVAL, 1.5)])
    assert verdict.is_met is is_met
    assert "zuvloop" in str(verdict)
    assert str(verdict).startswith("met" if is_met else "MISSED")


def test_a_target_without_figures_is_missed_and_one_of_an_unasked_row_is_no_matter() -> None:
    run = run_of(row_result(asyncio=[900.0]))
    asked = Target("sleep0", "cpu_ns", "rasyncio", "uvloop", 1.0)
    unasked = Target("create_task", "cpu_ns", "rasyncio", "uvloop", 1.0)
    verdicts = judge(run, [asked, unasked])
    assert [(verdict.target, verdict.is_met) for verdict in verdicts] == [(asked, False)]


def test_a_group_is_met_when_each_row_and_their_mean_are() -> None:
    first, second = (
        row_result(asyncio=[900.0], rasyncio=[300.0]),
        row_result(asyncio=[900.0], rasyncio=[600.0]),
    )
    second.name = "call_soon"
    run = run_of(first, second)

    def verdicts(each: float, mean: float) -> list[bool]:
        target = GroupTarget("scheduling", "rasyncio", "cpu_ns", each, mean)
        return [verdict.is_met for verdict in judge_groups(run, [target])]

    assert verdicts(1.5, 2.1) == [True, True, True]
    assert verdicts(2.0, 2.2) == [True, False, False]
    assert "MISSED group scheduling" in str(
        judge_groups(run, [GroupTarget("scheduling", "rasyncio", "cpu_ns", None, 9)])[0]
    )


# Contestants and processes


def test_a_package_that_is_not_there_is_not_installed() -> None:
    assert not Contestant("nobody", IMPOSSIBLE).is_installed()
    assert CONTESTANTS["asyncio"].is_installed()


@pytest.mark.parametrize("installs", [False, True])
def test_only_an_installing_contestant_installs(
    installs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"package_for_{installs}".lower()
    source = "from asyncio import new_event_loop\ninstalled = []\ndef install(): installed.append(1)\n"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    factory = Contestant(name, name, installs=installs).prepare()
    loop = factory()
    loop.close()
    assert sys.modules[name].installed == [1] * installs
    assert not Contestant(name, name).owns(loop)
    assert CONTESTANTS["asyncio"].owns(loop)


def test_a_contestant_that_falls_back_to_another_loop_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uvloop.py").write_text("from asyncio import new_event_loop\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(children.MeasurementFailed, match="uvloop runs on asyncio"):
        selected_entries(["sleep0"])[0].row.measure("uvloop", "sleep0", SMOKE_SCALE)


def test_a_contestant_that_crashes_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uvloop.py").write_text("raise RuntimeError('no luck')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = compare.measure_row(selected_entries(["sleep0"])[0], ["uvloop", "asyncio"], 2, SMOKE_SCALE)
    assert "no luck" in result.failures["uvloop"]
    assert len(result.samples["asyncio"]) == 2
    assert "uvloop" not in result.samples


def failure_of(action: Callable[[], object]) -> str:
    with pytest.raises(children.MeasurementFailed) as raised:
        action()
    return str(raised.value)


def test_a_process_that_hangs_is_stopped_at_its_deadline() -> None:
    with children.started("sleeper", [sys.executable, "-c", "input()"], deadline=0.2) as child:
        failure = failure_of(child.hear)
    assert failure == "sleeper did not finish within 0.2 s"


def test_a_process_that_answers_nonsense_is_reported() -> None:
    with children.started("parrot", [sys.executable, "-c", "print('hello')"], deadline=30) as child:
        failure = failure_of(child.hear_json)
    assert failure == "parrot answered 'hello'"


def test_debug_switches_of_the_environment_do_not_reach_a_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    code = "import os; print('PYTHONASYNCIODEBUG' in os.environ)"
    with children.started("child", [sys.executable, "-c", code], deadline=30) as child:
        assert child.hear() == "False"


# The whole


def test_a_row_without_its_package_or_its_server_is_reported_as_not_measured() -> None:
    async def nothing(operations: int) -> int:
        return operations

    def no_server() -> contextlib.AbstractContextManager[str]:
        raise ServerMissing("no such server")

    for row, reason in (
        (LoopRow("a", "b", "c", 1, nothing, packages=(IMPOSSIBLE,)), f"needs {IMPOSSIBLE}"),
        (LoopRow("a", "b", "c", 1, nothing, no_server), "no such server"),
    ):
        result = compare.measure_row(Entry("sleep0", row), ["asyncio"], 1, SMOKE_SCALE)
        assert result.not_measured == reason
        assert not result.samples
        assert f"Not measured: a: {reason}" in tables.report(run_of(result))


def test_a_run_is_drawn_as_one_picture_per_group(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="there may be no wheel for this Python")
    file = tmp_path / "run.json"
    run_of(row_result(asyncio=[900.0], uvloop=[450.0], rasyncio=[100.0])).write(file)
    assert plot.main([str(file), str(tmp_path / "plots")]) == 0
    (picture,) = (tmp_path / "plots").iterdir()
    assert picture.name == "scheduling.svg"
    drawn = picture.read_text()
    assert "9.00" in drawn
    assert "sleep0" in drawn
    assert plot.main([str(tmp_path / "nothing.json"), str(tmp_path)]) == 2


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.json"
    words = ["sleep0", "--rounds", "2", "--scale", "0.01", "--contestants", "asyncio", "--json", str(file)]
    assert compare.main(words) == 0
    assert "| sleep0" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert len(written["rows"][0]["contestants"]["asyncio"]["samples"]) == 2
    assert written["command"].startswith("python benches/compare.py sleep0")


def test_check_fails_when_a_target_is_missed_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = tmp_path / "targets.toml"
    target = 'figure = "cpu_ns"\ncontestant = "rasyncio"\nagainst = "uvloop"\nat_least = 1\n'
    targets.write_text(f'[[target]]\nrows = ["sleep0"]\n{target}')
    monkeypatch.setattr(compare, "TARGETS", targets)
    without_ours = ["--rounds", "1", "--scale", "0.01", "--contestants", "asyncio", "--check"]
    assert compare.main(["sleep0", *without_ours]) == 1
    assert "MISSED sleep0" in capsys.readouterr().out
    assert compare.main(["call_soon_chain", *without_ours]) == 0


def test_check_fails_when_our_own_contestant_fails_in_any_row() -> None:
    row = row_result(asyncio=[900.0])
    row.name, row.group = "a row without a target", "a group without targets"
    assert compare.is_satisfying(run_of(row))
    row.failures["rloop"] = "crashed"
    assert compare.is_satisfying(run_of(row))
    row.failures["rasyncio"] = "crashed"
    assert not compare.is_satisfying(run_of(row))


@pytest.mark.parametrize(
    "words", [["--rounds", "0"], ["--scale", "0"], ["--scale", "nan"], ["--contestants", "asyncio,nobody"]]
)
def test_a_wrong_command_line_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        compare.parse_arguments(words)
    assert refusal.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_requirements_pin_every_rival_but_asyncio() -> None:
    lines = Path(compare.__file__).with_name("requirements.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if line and not line.startswith("#")}
    rivals = {name for name, entry in CONTESTANTS.items() if entry.is_rival}
    assert pinned == rivals - {"asyncio"}
    assert all("==" in line for line in lines if line and not line.startswith("#"))
