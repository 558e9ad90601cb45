"""Write the tables of README.md and results.md from the committed leaderboard.

Each stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from seqbench.boards import Leaderboard
from seqbench.boards.board import Board, Overall, Row
from seqbench.boards.overall import by_name, overall_tables
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
    first = leaderboard.overall[0]
    names = {model for block in load_suite("cpu-budget").runs for model in block.models}
    of_all = [board for board in leaderboard.boards if names <= by_name(board).keys()]
    (everybody,) = (o for o in overall_tables(of_all) if o.budget == first.budget)
    return {
        "equal-examples": equal_examples(leaderboard, first),
        "equal-examples-short": equal_examples(leaderboard, first, SHORT),
        "equal-examples-all-models": equal_examples(
            leaderboard.model_copy(update={"boards": tuple(of_all)}), everybody
        ),
        "equal-time": equal_time(leaderboard, "smnist"),
        "kernel-sizes": kernel_sizes(leaderboard, "flexconv:flextcn-2"),
    }


def equal_examples(
    leaderboard: Leaderboard, overall: Overall, shown: Sequence[str] | None = None
) -> str:
    """The models of an overall table on all boards that most of them stand on."""
    names = [row.name for row in overall.rows]
    boards = boards_of(leaderboard, names)
    order = shown or tuple(boards)
    times = relative_times(
        [board for board in boards.values() if board.title in overall.boards], names
    )
    columns = [scores(boards[title], names) for title in order]
    heading = ("model", f"mean rank of {len(overall.boards)}", *order, "time")
    first = min(row.mean_rank for row in overall.rows)
    lines = [
        (
            f"`{row.name}`",
            marked(f"{row.mean_rank:.2f}", best=row.mean_rank == first),
            *cells,
            f"{times[row.name]:.2f}",
        )
        for row, cells in zip(overall.rows, zip(*columns, strict=True), strict=True)
    ]
    return markdown(heading, lines)


def equal_time(leaderboard: Leaderboard, task: str) -> str:
    """The rows of a board of step budgets, the best first."""
    (board,) = (b for b in leaderboard.boards if b.title == f"{task}, step budget")
    rows = sorted(by_name(board).values(), key=lambda row: -(row.mean or 0.0))
    lines = [
        (
            f"`{row.preset_name}`",
            f"{row.train.max_steps:,}",
            f"{row.train.max_steps * row.train.batch_size:,}",
            score,
        )
        for row, score in zip(rows, scores(board, [row.preset_name for row in rows]), strict=True)
    ]
    return markdown(("model", "steps", "images seen", "test accuracy"), lines)


def kernel_sizes(leaderboard: Leaderboard, name: str) -> str:
    """The learned sizes of a model's convolutions in steps, means over seeds."""
    names = [row.name for row in leaderboard.overall[0].rows]
    lines = []
    for title, board in boards_of(leaderboard, names).items():
        row = by_name(board)[name]
        learned = [sizes(run) for run in row.runs]
        means = [f"{statistics.fmean(each):.0f}" for each in zip(*learned, strict=True)]
        lines.append((title, *means))
    return markdown(("board", *(f"convolution {n + 1}" for n in range(len(means)))), lines)


def sizes(run: str) -> list[float]:
    """Those of a run's kernels at the epoch that was chosen."""
    (path,) = (ROOT / "leaderboards" / "results").glob(f"*/*-{run}.json")
    return json.loads(path.read_bytes())["learned"]["kernel_size"]


def boards_of(leaderboard: Leaderboard, names: Collection[str]) -> dict[str, Board]:
    """The boards of equal examples that most of these models stand on, in the order of TASKS."""
    boards = {
        short(board): board
        for board in leaderboard.boards
        if board.official and board.budget == leaderboard.overall[0].budget
        if board.task.name in TASKS
        if 2 * len(by_name(board).keys() & set(names)) > len(names)
    }
    order = sorted(boards, key=lambda title: TASKS.index(title.split()[0]))
    return {title: boards[title] for title in order}


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
