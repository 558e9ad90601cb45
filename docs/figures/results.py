"""Draw the figures of results.md from the committed leaderboard; needs matplotlib.

Ranked are the boards of cpu-budget that most of its models have all been on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from tables import load, of_suite, ranked, relative_times

from seqbench.boards.board import Board, Overall
from seqbench.boards.overall import by_name


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
    every = of_suite(load())
    overall, boards = ranked(every)
    names = [row.name for row in overall.rows]
    save(scores([*every.values()], names), "results-scores")
    save(costs(boards, overall), "results-costs")


def save(figure: Figure, name: str) -> None:
    """As SVG, the same bytes every time."""
    figure.savefig(Path(__file__).with_name(f"{name}.svg"), metadata={"Date": None})


def scores(boards: Sequence[Board], names: Sequence[str]) -> Figure:
    """A panel a board: mean and every seed of each model, the best overall on top."""
    columns = 3
    lines = -(-len(boards) // columns)
    figure = Figure(figsize=(10, 0.5 + lines * (0.6 + 0.24 * len(names))), layout="constrained")
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axis, board in zip(axes, boards, strict=False):
        percent = 100 if board.metric.name == "accuracy" else 1
        rows = by_name(board)
        for place, name in enumerate(names):
            if name not in rows:
                continue
            row = rows[name]
            seeds = [percent * score.test for score in row.scores]
            axis.plot(seeds, [place] * len(seeds), "|", c="0.6", ms=9)
            axis.plot(percent * row.mean, place, "o", c=f"C{place}", ms=5)
        axis.set_title(board.title.replace(" (", "\n("), fontsize=8)
        axis.grid(axis="x", lw=0.4)
        axis.margins(0.12)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    for axis in axes[len(boards) :]:
        axis.set_axis_off()
    figure.supxlabel("test accuracy (%): mean and every seed", fontsize=9)
    return figure


def costs(boards: Sequence[Board], overall: Overall) -> Figure:
    """Mean rank against the time of training, relative to the fastest model on each board."""
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axis = figure.subplots()
    times = relative_times(boards, [row.name for row in overall.rows])
    for place, row in enumerate(overall.rows):
        x = times[row.name]
        axis.plot(x, row.mean_rank, "o", c=f"C{place}")
        at = {"xytext": (5, -6), "textcoords": "offset points", "va": "center", "fontsize": 9}
        axis.annotate(row.name, (x, row.mean_rank), **at)
    axis.set(xlabel="seconds of training, by those of the fastest", ylabel="mean rank")
    axis.margins(0.25, 0.15)
    axis.invert_yaxis()
    axis.grid(lw=0.4)
    return figure


if __name__ == "__main__":
    main()
