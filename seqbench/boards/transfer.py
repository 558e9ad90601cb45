"""Tables of networks trained at one sampling rate and tested at another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from seqbench.boards.board import Board, Row, Transfer, TransferRow, TransferScore, row_id
from seqbench.spec import Component, RunSpec, canonical_json

_Key = tuple[str, bool | None, str | None]
"""A row's id and the kind of its data."""

_SETTINGS = ("rate", "resolution")
"""What tasks call the setting of their sampling rate."""


def transfer_tables(boards: Sequence[Board]) -> tuple[Transfer, ...]:
    """A table for each task that networks were tested on at another rate than their training's.

    A network's score at the rate of its training stands beside, where there is one.
    """
    home = {(row.id, board.official, board.label): row for board in boards for row in board.rows}
    tables: dict[str, list[tuple[Board, Row]]] = defaultdict(list)
    for board in boards:
        for row in board.rows:
            if row.rate_change and len(board.trained_on) == 1:
                tables[_table_key(board)].append((board, row))
    drawn = [_table(pairs, home) for _, pairs in sorted(tables.items())]
    return tuple(sorted(drawn, key=lambda table: (table.title, not table.official)))


def _table_key(board: Board) -> str:
    """Boards of one table: the same task but for its rate, on data of one kind."""
    head = board.model_copy(update={"task": _without_rate(board), "trained_on": (), "title": ""})
    data = {"fingerprint", "test_fingerprint", "rows", "groups", "published"}
    return canonical_json(head.model_dump(mode="json", exclude=data))


def _without_rate(board: Board) -> Component:
    """The task at any rate; how it is resampled is said at lower rates alone."""
    task = min(board.task, *board.trained_on, key=_rate)
    config = {name: value for name, value in task.config.items() if name not in _SETTINGS}
    return task.model_copy(update={"config": config})


def _table(pairs: Sequence[tuple[Board, Row]], home: Mapping[_Key, Row]) -> Transfer:
    scores: dict[str, dict[float, TransferScore | None]] = defaultdict(dict)
    rows: dict[str, TransferRow] = {}
    for board, row in pairs:
        if row.parent is None:
            continue
        key = _row_key(row, row.parent)
        trained, tested = _rates(board, row, row.parent)
        scores[key][tested] = _score(row)
        own = home.get((row_id(row.parent, board.metric), board.official, board.label))
        if own and row.train is None:
            scores[key][trained] = _score(own)
        rows[key] = TransferRow(name=row.label, trained=trained, scores=())
    rates = sorted({rate for cells in scores.values() for rate in cells}, reverse=True)
    first = pairs[0][0]
    filled = (
        row.model_copy(update={"scores": tuple(scores[key].get(rate) for rate in rates)})
        for key, row in rows.items()
    )
    return Transfer(
        title=_without_rate(first).title,
        task=_without_rate(first),
        metric=first.metric,
        budget=first.budget,
        official=first.official,
        label=first.label,
        rates=tuple(rates),
        rows=tuple(sorted(filled, key=lambda row: (row.name, -row.trained))),
    )


def _row_key(row: Row, parent: RunSpec) -> str:
    """Scores of one row: the same network, trained in the same way at the same rate."""
    train = row.train.model_dump(mode="json") if row.train else None
    return canonical_json({"parent": parent.model_dump(mode="json"), "train": train})


def _score(row: Row) -> TransferScore | None:
    if row.mean is None:
        return None
    return TransferScore(row=row.id, mean=row.mean, sd=row.sd, seeds=len(row.scores))


def _rates(board: Board, row: Row, parent: RunSpec) -> tuple[float, float]:
    """The rate that a network was trained at, and the one that it was tested at."""
    change = row.rate_change
    if change is None or change.rate is None:
        return _rate(parent.task), _rate(board.task)
    return round(change.rate / change.ratio, 9), change.rate


def _rate(task: Component) -> float:
    rate = task.config.get("rate", 1.0)
    return float(rate) if isinstance(rate, int | float) else 1.0
