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
    "of a model the best by validation, those of three seeds or more first"
)


@dataclass(frozen=True)
class Scores:
    """A column for each board and a row for each model.

    ``titles`` are those of the boards in lines, the task and fields of its config. ``cells`` gives
    a row's scores as text, each with whether no score on that board is better as it is shown.
    """

    titles: tuple[tuple[str, ...], ...]
    metrics: tuple[str, ...]
    cells: dict[str, tuple[tuple[str, bool], ...]]

    @property
    def headings(self) -> tuple[tuple[str, ...], ...]:
        """The titles, each with its metric unless all have one."""
        if self._one_metric:
            return self.titles
        return tuple(
            (*title, metric) for title, metric in zip(self.titles, self.metrics, strict=True)
        )

    @property
    def note(self) -> str:
        """What scores are, and what their marks mean."""
        cells = [cell for row in self.cells.values() for cell, _ in row]
        marks = [
            note
            for note in (text.ONE_SEED_NOTE, text.LOST_NOTE)
            if any(note[0] in cell for cell in cells)
        ]
        return "; ".join([f"{self.metrics[0]}, {_NOTE}" if self._one_metric else _NOTE, *marks])

    @property
    def _one_metric(self) -> bool:
        return len(set(self.metrics)) == 1

    def pieces(self, size: int) -> Iterator[Scores]:
        """The same in as few tables of at most ``size`` boards as it takes, about equally wide."""
        boards = len(self.titles)
        wide = math.ceil(boards / math.ceil(boards / size))
        for start in range(0, boards, wide):
            part = slice(start, start + wide)
            cells = {name: row[part] for name, row in self.cells.items()}
            yield Scores(self.titles[part], self.metrics[part], cells)


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
    titles = tuple(_title(board, compared) for board in compared)
    return Scores(titles, tuple(map(text.score_heading, compared)), rows)


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


def _title(board: Board, boards: Sequence[Board]) -> tuple[str, ...]:
    """The title in lines, without the kind of budget and what all boards of the task share."""
    task = board.task
    same = [other.task.config for other in boards if other.task.name == task.name]
    fields = [
        f"{field}={value}"
        for field, value in sorted(task.config.items())
        if len(same) == 1 or any(config.get(field) != value for config in same)
    ]
    origin = board.title.removeprefix(task.title).removesuffix(", step budget").strip(", ")
    return (task.name, *fields, *([origin] if origin else []))
