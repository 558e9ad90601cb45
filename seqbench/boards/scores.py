"""Models by boards: the scores behind an overall table, as a paper has them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seqbench.boards import text
from seqbench.boards.board import Board, Overall, Row
from seqbench.boards.overall import by_name

_NOTE = (
    "mean \N{PLUS-MINUS SIGN} standard deviation over seeds, the best in bold; of several settings "
    "of a model those that are best by validation"
)


@dataclass(frozen=True)
class Scores:
    """A column for each board and a row for each model.

    ``headings`` are short titles of the boards, each with its metric unless all have one, which is
    ``note`` then, with what scores are. ``cells`` gives a row's scores as text, each with whether
    no score on that board is better as it is shown.
    """

    note: str
    headings: tuple[str, ...]
    cells: dict[str, tuple[tuple[str, bool], ...]]

    def pieces(self, size: int) -> Iterator[Scores]:
        """The same in as few tables of at most ``size`` boards as it takes, about equally wide."""
        boards = len(self.headings)
        wide = math.ceil(boards / math.ceil(boards / size))
        for start in range(0, boards, wide):
            part = slice(start, start + wide)
            cells = {name: row[part] for name, row in self.cells.items()}
            yield Scores(self.note, self.headings[part], cells)


def scores_of(overall: Overall, boards: Sequence[Board]) -> Scores:
    """The scores of all models on the boards of an overall table.

    They are in the order of the table, then come those that it leaves out; a dash stands where
    one has no score.
    """
    named = {board.title: board for board in boards}
    compared = tuple(named[title] for title in overall.boards)
    names = [*(row.name for row in overall.rows), *sorted(overall.missing)]
    columns = [_column(board, names) for board in compared]
    rows = dict(zip(names, zip(*columns, strict=True), strict=True))
    headings = [_heading(board, compared) for board in compared]
    metrics = [text.score_heading(board) for board in compared]
    alike = len(set(metrics)) == 1
    if not alike:
        told = zip(headings, metrics, strict=True)
        headings = [f"{heading}: {metric}" for heading, metric in told]
    cells = [cell for row in rows.values() for cell, _ in row]
    notes = [f"{metrics[0]}, {_NOTE}" if alike else _NOTE]
    notes += [
        note for note in (text.ONE_SEED_NOTE, text.LOST_NOTE) if any(note[0] in c for c in cells)
    ]
    return Scores("; ".join(notes), tuple(headings), rows)


def _column(board: Board, names: Sequence[str]) -> list[tuple[str, bool]]:
    standing = by_name(board)
    best = max if board.metric.higher_is_better else min
    means = {name: row.mean for name, row in standing.items() if row.mean is not None}
    first = text.number(board, best(means.values()))
    return [
        (_cell(board, standing[name]), text.number(board, means[name]) == first)
        if name in means
        else (text.MISSING, False)
        for name in names
    ]


def _cell(board: Board, row: Row) -> str:
    return text.score(board, row) + (text.LOST if row.lost else "")


def _heading(board: Board, boards: Sequence[Board]) -> str:
    """The title without the kind of budget and what all boards of the task are alike in."""
    task = board.task
    same = [other.task.config for other in boards if other.task.name == task.name]
    kept = {
        field: value
        for field, value in task.config.items()
        if len(same) == 1 or any(config.get(field) != value for config in same)
    }
    origin = board.title.removeprefix(task.title).removesuffix(", step budget")
    return task.model_copy(update={"config": kept}).title + origin
