"""Draw the figures of results.md from the committed leaderboard; needs matplotlib.

Shown are the boards and models of its first overall table.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

LEADERBOARD = Path(__file__).parents[2] / "leaderboards" / "leaderboard.json"


def main() -> None:
    """Write both figures beside this file."""
    mpl.rcParams.update(
        {
            "axes.spines.right": False,
            "axes.spines.top": False,
            "font.family": "sans-serif",
            "font.size": 10,
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "seqbench",
        }
    )
    page = json.loads(LEADERBOARD.read_text(encoding="utf-8"))
    overall = page["overall"][0]
    boards = [board for board in page["boards"] if board["title"] in overall["boards"]]
    names = [row["name"] for row in overall["rows"]]
    save(scores(boards, names), "results-scores")
    save(costs(boards, overall), "results-costs")


def save(figure: Figure, name: str) -> None:
    """As SVG, the same bytes every time."""
    figure.savefig(Path(__file__).with_name(f"{name}.svg"), metadata={"Date": None})


def row_of(board: dict[str, Any], name: str) -> dict[str, Any]:
    """The row of a model and preset: of several the one best by validation, as in the table."""
    sign = 1 if board["metric"]["higher_is_better"] else -1
    named = [row for row in board["rows"] if f"{row['model']['name']}:{row['preset']}" == name]
    ranked = [row for row in named if row["standing"] in {"ranked", "provisional"}]
    return max(ranked, key=lambda row: sign * row["val_mean"])


def scores(boards: list[dict[str, Any]], names: list[str]) -> Figure:
    """A panel a board: mean and every seed of each model, the best overall on top."""
    columns = 3
    lines = -(-len(boards) // columns)
    figure = Figure(figsize=(10, 0.5 + lines * (0.6 + 0.24 * len(names))), layout="constrained")
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axis, board in zip(axes, boards, strict=False):
        percent = 100 if board["metric"]["name"] == "accuracy" else 1
        for place, name in enumerate(names):
            row = row_of(board, name)
            seeds = [percent * score["test"] for score in row["scores"]]
            axis.plot(seeds, [place] * len(seeds), "|", c="0.6", ms=9)
            axis.plot(percent * row["mean"], place, "o", c=f"C{place}", ms=5)
        axis.set_title(board["title"].replace(" (", "\n("), fontsize=8)
        axis.grid(axis="x", lw=0.4)
        axis.margins(0.12)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    for axis in axes[len(boards) :]:
        axis.set_axis_off()
    figure.supxlabel("test accuracy (%): mean and every seed", fontsize=9)
    return figure


def costs(boards: list[dict[str, Any]], overall: dict[str, Any]) -> Figure:
    """Mean rank against the time of training, relative to the fastest model on each board."""
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axis = figure.subplots()
    names = [row["name"] for row in overall["rows"]]
    seconds = {
        name: [row_of(board, name)["cost"]["train_seconds"] for board in boards] for name in names
    }
    fastest = [min(each) for each in zip(*seconds.values(), strict=True)]
    for place, row in enumerate(overall["rows"]):
        times = [s / least for s, least in zip(seconds[row["name"]], fastest, strict=True)]
        x = statistics.geometric_mean(times)
        axis.plot(x, row["mean_rank"], "o", c=f"C{place}")
        at = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        axis.annotate(row["name"], (x, row["mean_rank"]), **at)
    axis.set(xlabel="seconds of training, by those of the fastest", ylabel="mean rank")
    axis.margins(0.25, 0.15)
    axis.invert_yaxis()
    axis.grid(lw=0.4)
    return figure


if __name__ == "__main__":
    main()
