"""A run as pictures: per group, how many times as good as asyncio each contestant is in each row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.contestants import BASELINE, CONTESTANTS

# Of equal lightness; ours stand out.
COLOURS = {
    "uvloop": "#8da0cb",
    "rloop": "#a6d854",
    "rsloop": "#e5c494",
    "zuvloop": "#b3b3b3",
    "rasyncio": "#fc8d62",
    "rasyncio-installed": "#d53e4f",
    "limit": "#444444",
}
BAR_HEIGHT = 0.16
WIDTH_INCHES = 8.0


def draw(run: dict[str, Any], folder: Path) -> list[Path]:
    """`run` as `Run.as_json` gives it. Writes one SVG per group into the folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = dict.fromkeys(row["group"] for row in run["rows"])
    paths = []
    for group in groups:
        rows = [row for row in run["rows"] if row["group"] == group and row["contestants"]]
        if rows:
            path = folder / f"{group}.svg"
            _draw_group(rows, [name for name in run["versions"] if name != BASELINE], path)
            paths.append(path)
    return paths


def _draw_group(rows: Sequence[dict[str, Any]], contestants: Sequence[str], path: Path) -> None:
    # Here, not above: whoever draws nothing needs no matplotlib.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text stays text, and the same run gives the same file.
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "rasyncio"
    height = BAR_HEIGHT * len(rows) * (len(contestants) + 1) + 1.0
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = figure.add_subplot()
    thickness = 1 / (len(contestants) + 1)
    for number, name in enumerate(contestants):
        ratios = [row["contestants"].get(name, {}).get("times_as_good_as_asyncio") or 0.0 for row in rows]
        places = [index + number * thickness for index in range(len(rows))]
        bars = axes.barh(places, ratios, thickness, label=name, color=COLOURS.get(name))
        axes.bar_label(bars, [f"{ratio:.2f}" if ratio else "" for ratio in ratios], padding=2, fontsize=6)
    axes.axvline(1.0, color="black", linewidth=0.8)
    middle = thickness * (len(contestants) - 1) / 2
    axes.set_yticks([index + middle for index in range(len(rows))], [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(f"times as good as {CONTESTANTS[BASELINE].name} in the same run (more is better)")
    axes.margins(x=0.08)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})
