"""A run as text: aligned Markdown tables, readable in a terminal and in a README alike."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contestants import BASELINE, CONTESTANTS
from harness.figures import Figure, geometric_mean
from harness.results import RowResult, Run

NOTHING = "-"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """The first column to the left, all others to the right."""
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]

    def joined(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(aligned) + " |"

    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([joined(header), "| " + " | ".join(rule) + " |", *map(joined, lines)])


def number(value: float) -> str:
    """Three digits that count: 0.71, 7.1, 71, 712, 7121."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def times(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}x"


def cell(row: RowResult, contestant: str) -> str:
    """`433 ±2% 2.07x`: the median, its spread, and how many times as good as asyncio."""
    if contestant in row.failures:
        return "failed"
    figure: Figure | None = row.figures(contestant).get(row.primary)
    if figure is None:
        return NOTHING
    text = f"{number(figure.median)} ±{figure.spread:.0%}"
    ratio = row.ratio(contestant, BASELINE)
    return text if contestant == BASELINE or ratio is None else f"{text} {ratio:.2f}x"


def main_table(run: Run) -> str:
    """One line a row, one column a contestant, then how we stand against the best rival of the row."""
    ours = [name for name in run.contestants if CONTESTANTS[name].is_ours]
    header = ["row", "figure", *run.contestants, "best rival", *(f"{name} : best" for name in ours)]
    lines = []
    for row in run.rows:
        best = row.best_rival()
        against_best = [times(row.ratio(name, best)) for name in ours]
        cells = [cell(row, name) for name in run.contestants]
        figure = f"{row.primary}/{row.operation}"
        lines.append([row.name, figure, *cells, best or NOTHING, *against_best])
    return markdown(header, lines)


def group_table(run: Run) -> str:
    """Geometric means by group: over asyncio for everybody, over each row's best rival for ours."""
    ours = [name for name in run.contestants if CONTESTANTS[name].is_ours]
    others = [name for name in run.contestants if name != BASELINE]
    lines = []
    for group in dict.fromkeys(row.group for row in run.rows):
        rows = [row for row in run.rows if row.group == group]
        over_asyncio = [_mean_ratio(rows, name, [BASELINE] * len(rows)) for name in others]
        over_best = [_mean_ratio(rows, name, [row.best_rival() for row in rows]) for name in ours]
        lines.append([group, str(len(rows)), *over_asyncio, *over_best])
    return markdown(["group", "rows", *others, *(f"{name} : best" for name in ours)], lines)


def _mean_ratio(rows: Sequence[RowResult], contestant: str, against: Sequence[str | None]) -> str:
    """Nothing at all when a row is missing: a mean over fewer rows could not be compared."""
    ratios = [row.ratio(contestant, other) for row, other in zip(rows, against, strict=True)]
    present = [ratio for ratio in ratios if ratio is not None]
    return times(geometric_mean(present) if len(present) == len(ratios) else None)


def server_table(run: Run) -> str | None:
    """The other figures of the rows with a server, one line a contestant; None without such rows."""
    shown = {
        "user_ns": "user ns",
        "system_ns": "system ns",
        "operations_per_second": "per second",
        "p50_us": "p50 µs",
        "p99_us": "p99 µs",
    }
    lines = []
    for row in run.rows:
        for contestant in run.contestants:
            figures = row.figures(contestant)
            if "p50_us" not in figures:
                continue
            cells = [f"{number(figures[name].median)} ±{figures[name].spread:.0%}" for name in shown]
            lines.append([f"{row.name} {contestant}", *cells])
    return markdown(["server, per message", *shown.values()], lines) if lines else None


def instruction_table(run: Run) -> str | None:
    """Instructions per operation, ours against the best rival's; None if none were counted."""
    rows = [row for row in run.rows if row.instructions]
    if not rows:
        return None
    ours = [name for name in run.contestants if CONTESTANTS[name].is_ours]
    shown = [name for name in run.contestants if CONTESTANTS[name].role != "limit"]
    lines = []
    for row in rows:
        theirs = [count for name, count in row.instructions.items() if CONTESTANTS[name].is_rival]
        cells = [number(row.instructions[name]) if name in row.instructions else NOTHING for name in shown]
        ratios = [
            times(min(theirs) / row.instructions[name] if theirs and name in row.instructions else None)
            for name in ours
        ]
        lines.append([row.name, *cells, *ratios])
    return markdown(["instructions", *shown, *(f"{name} : best" for name in ours)], lines)


def facts(run: Run) -> str:
    """What was measured on what, and what went wrong."""
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    lines = [
        f"Command: {run.command}",
        f"Started: {run.started}; rounds {run.rounds}, scale {run.scale:g}",
        f"Machine: {run.machine['cpu']}, {run.machine['cores']} cores, {run.machine['kernel']}; "
        f"load average {run.load_average_before:.2f} before, {run.load_average_after:.2f} after",
        f"Python: {run.machine['python']}",
        f"Contestants: {versions}",
    ]
    lines += [f"Not installed: {name}" for name in run.not_installed]
    for row in run.rows:
        lines += [f"Failed: {row.name}: {reason}" for reason in row.failures.values()]
        if row.not_measured:
            lines.append(f"Not measured: {row.name}: {row.not_measured}")
    return "\n".join(lines)


def report(run: Run) -> str:
    legend = (
        "Cells: median ±half of the range over the rounds, then times as good as asyncio.\n"
        "Above 1.00x is better. cpu_ns is the CPU time of the whole process per operation; in rows with a\n"
        "server, of the server process."
    )
    parts = [facts(run), main_table(run), legend, group_table(run), instruction_table(run), server_table(run)]
    return "\n\n".join(part for part in parts if part)
