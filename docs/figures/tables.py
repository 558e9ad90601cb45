"""Write the tables of README.md and results.md from the committed leaderboard.

Each stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from seqbench.boards import Leaderboard
from seqbench.boards.board import Board, Overall, Row, Standing
from seqbench.boards.overall import by_name, overall_tables
from seqbench.boards.text import mean_rank
from seqbench.suite import load_suite

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
TASKS = ("sdigits", "pdigits", "smnist196", "pmnist196", "copy-memory", "mqar")
SHORT = ("sdigits", "pdigits", "smnist196", "pmnist196", "copy-memory 100", "mqar 64")
"""The boards of the README."""


def main() -> None:
    """Fill all tables in."""
    found = tables(load())
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), found), encoding="utf-8")


def load() -> Leaderboard:
    """The committed leaderboard."""
    path = ROOT / "leaderboards" / "leaderboard.json"
    return Leaderboard.model_validate_json(path.read_bytes())


def filled(text: str, found: Mapping[str, str]) -> str:
    """A page with its tables, by their names."""
    return re.sub(
        r"(<!-- table (\S+) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}\n{found[match[2]]}\n{match[3]}",
        text,
        flags=re.DOTALL,
    )


def tables(leaderboard: Leaderboard) -> dict[str, str]:
    """All tables, by their names."""
    boards = of_suite(leaderboard)
    return {
        "equal-examples": equal_examples(boards),
        "equal-examples-short": equal_examples(boards, SHORT),
        "equal-time": equal_time(leaderboard, ("smnist", "pmnist")),
        "equal-time-speech": equal_time(leaderboard, ("sc10-raw",)),
        "kernel-sizes": kernel_sizes(boards, "flexconv:flextcn-2"),
    }


def of_suite(leaderboard: Leaderboard) -> dict[str, Board]:
    """The boards of cpu-budget with the rows that were trained as it says, at all seeds."""
    runs = load_suite("cpu-budget").runs
    epochs = {task: block.set["train.epochs"] for block in runs for task in block.tasks}
    found = {}
    for board in leaderboard.boards:
        if board.official and board.budget == "full" and board.task.name in epochs:
            rows = [
                row
                for row in board.rows
                if row.standing is Standing.RANKED and row.train.epochs == epochs[board.task.name]
            ]
            found[short(board)] = board.model_copy(update={"rows": tuple(rows)})
    order = sorted(found, key=lambda title: TASKS.index(title.split()[0]))
    return {title: found[title] for title in order if found[title].rows}


def ranked(boards: Mapping[str, Board]) -> tuple[Overall, list[Board]]:
    """The overall table of these boards, and which of them it is over."""
    (overall,) = overall_tables(list(boards.values()))
    return overall, [board for board in boards.values() if board.title in overall.boards]


def equal_examples(boards: Mapping[str, Board], shown: Sequence[str] | None = None) -> str:
    """Every model on every board; those that have not been on all that are ranked come last."""
    overall, compared = ranked(boards)
    places = {row.name: row for row in overall.rows}
    everybody = {name for board in boards.values() for name in by_name(board)}
    names = [*places, *sorted(everybody - places.keys())]
    order = shown or tuple(boards)
    times = relative_times(compared, list(places))
    columns = [scores(boards[title], names) for title in order]
    heading = ("model", f"mean rank of {len(compared)}", *order, "time")
    first = min(row.mean_rank for row in overall.rows)
    lines = [
        (
            f"`{name}`",
            marked(mean_rank(places[name]), best=places[name].mean_rank == first)
            if name in places
            else "-",
            *cells,
            f"{times[name]:.2f}" if name in places else "-",
        )
        for name, cells in zip(names, zip(*columns, strict=True), strict=True)
    ]
    return markdown(heading, lines)


def equal_time(leaderboard: Leaderboard, tasks: Sequence[str]) -> str:
    """What every model has seen and learned on boards of step budgets, best first on the first.

    A dash stands where a model has not been run.
    """
    boards = [
        board
        for task in tasks
        for board in leaderboard.boards
        if board.task.name == task
        and board.budget == "steps"
        and board.task.config.get("rate", 1.0) == 1.0
        and "trained on" not in board.title
    ]
    rows = [by_name(board) for board in boards]
    names = sorted({name for of_board in rows for name in of_board})
    names.sort(key=lambda name: -(rows[0][name].mean or 0.0) if name in rows[0] else 1.0)
    columns: list[list[str]] = []
    for board, of_board in zip(boards, rows, strict=True):
        seen = [of_board[name].train if name in of_board else None for name in names]
        columns.append([f"{t.max_steps * t.batch_size:,}" if t else "-" for t in seen])
        columns.append(scores(board, names))
    heading = [title for task in tasks for title in (f"examples of {task}", task)]
    cells = zip(*columns, strict=True)
    lines = [(f"`{name}`", *line) for name, line in zip(names, cells, strict=True)]
    return markdown(("model", *heading), lines)


def kernel_sizes(boards: Mapping[str, Board], name: str) -> str:
    """The learned sizes of a model's convolutions in steps, means over seeds."""
    lines = []
    for title, board in boards.items():
        learned = [sizes(run) for run in by_name(board)[name].runs]
        means = [f"{statistics.fmean(each):.0f}" for each in zip(*learned, strict=True)]
        lines.append((title, *means))
    return markdown(("board", *(f"convolution {n + 1}" for n in range(len(means)))), lines)


def sizes(run: str) -> list[float]:
    """Those of a run's kernels at the epoch that was chosen."""
    (path,) = (ROOT / "leaderboards" / "results").glob(f"*/*-{run}.json")
    return json.loads(path.read_bytes())["learned"]["kernel_size"]


def short(board: Board) -> str:
    """A board by its task, with the length where there are several."""
    length = re.search(r"\(length=(\d+)", board.title)
    return f"{board.task.name} {length[1]}" if length else board.title


def scores(board: Board, names: Sequence[str]) -> list[str]:
    """Mean and deviation over seeds in percent, the best one in bold; a dash without a score."""
    rows = by_name(board)
    means = [rows[name].mean or 0.0 for name in names if name in rows]
    alone = sum(percent(mean) == percent(max(means)) for mean in means) == 1
    return [
        marked(score(rows[name]), best=alone and rows[name].mean == max(means))
        if name in rows
        else "-"
        for name in names
    ]


def score(row: Row) -> str:
    """One row's, without the deviation of one seed or of none that is shown."""
    spread = percent(row.sd or 0.0)
    return percent(row.mean) + (f" ± {spread}" if float(spread) else "")


def percent(value: float | None) -> str:
    """With two places."""
    return f"{100 * value:.2f}"


def relative_times(boards: Sequence[Board], names: Sequence[str]) -> dict[str, float]:
    """Seconds of training by those of the fastest, the geometric mean over boards."""
    seconds = [[by_name(board)[name].cost.train_seconds for name in names] for board in boards]
    ratios = [[each / min(of_board) for each in of_board] for of_board in seconds]
    return {
        name: statistics.geometric_mean(own)
        for name, own in zip(names, zip(*ratios, strict=True), strict=True)
    }


def marked(text: str, *, best: bool) -> str:
    """In bold, if it is the best."""
    return f"**{text}**" if best else text


def markdown(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table."""
    rows = [heading, ["---"] * len(heading), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
