"""The overall table: mean ranks over boards, and which of them differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import get_args

import numpy as np
from scipy.stats import rankdata

from seqbench.boards.board import Board, Budget, Overall, OverallRow, Row, Standing
from seqbench.boards.statistics import (
    LEVEL,
    adjacent_groups,
    critical_difference,
    friedman_p,
)


def overall_tables(boards: Sequence[Board]) -> tuple[Overall, ...]:
    """A table for each kind of budget, over the boards of official data.

    Models are compared as Demsar (2006) says: Friedman's test of all together, and if it finds a
    difference, Nemenyi's critical difference for any two. Of two models nothing is claimed.
    """
    tables = [
        _track(budget, [board for board in boards if board.official and board.budget == budget])
        for budget in get_args(Budget)
    ]
    return tuple(table for table in tables if table is not None)


def _track(budget: Budget, boards: Sequence[Board]) -> Overall | None:
    """The overall table of boards with one kind of budget, if there is anything to compare."""
    standing = {board.title: by_name(board) for board in boards}
    complete, titles = _largest_block(standing)
    if not complete:
        return None
    compared = [board for board in boards if board.title in titles]
    names = sorted({name for board in compared for name in standing[board.title]})
    missing = {
        name: tuple(board.title for board in compared if name not in standing[board.title])
        for name in names
    }
    table = [[standing[board.title][name] for name in complete] for board in compared]
    rows = _rows(complete, compared, table)
    many = len(complete) > 2
    difference = critical_difference(len(complete), len(compared)) if many else None
    p = friedman_p(np.array([row.ranks for row in rows]).T)
    return Overall(
        budget=budget,
        boards=tuple(board.title for board in compared),
        rows=rows,
        friedman_p=p,
        critical_difference=difference,
        groups=_groups(rows, difference, p) if difference is not None else (),
        missing={name: titles for name, titles in missing.items() if titles},
    )


def _largest_block(standing: Mapping[str, Collection[str]]) -> tuple[list[str], frozenset[str]]:
    """The models and boards with a score each, two or more of both, of which there are most.

    Sought greedily: from the boards of each model, leaving out those of the next that costs
    least. Of equals the one of more boards; nothing if there is none.
    """
    boards_of: dict[str, set[str]] = defaultdict(set)
    for title, names in standing.items():
        for name in names:
            boards_of[name].add(title)
    counts = Counter(frozenset(titles) for titles in boards_of.values())

    def size(titles: frozenset[str]) -> tuple[int, int, list[str]]:
        models = sum(count for own, count in counts.items() if titles <= own)
        return models * len(titles) if models > 1 else 0, len(titles), sorted(titles)

    found: set[frozenset[str]] = set()
    for start in counts:
        titles = start
        while len(titles) > 1 and titles not in found:
            found.add(titles)
            fewer = {titles & own for own in counts} - {titles}
            titles = max(fewer, key=size, default=frozenset())
    best = max(found, key=size, default=frozenset())
    if not size(best)[0]:
        return [], frozenset()
    return sorted(name for name, own in boards_of.items() if best <= own), best


def _rows(
    names: Sequence[str], boards: Sequence[Board], table: Sequence[Sequence[Row]]
) -> tuple[OverallRow, ...]:
    """The rows by mean rank; ``table`` has a row of each name for each board."""
    ranks = np.array([_ranks(board, rows) for board, rows in zip(boards, table, strict=True)])
    means = ranks.mean(axis=0)
    rows = [
        OverallRow(
            name=name,
            rank=1 + int(np.count_nonzero(means < means[i])),
            mean_rank=float(means[i]),
            ranks=tuple(ranks[:, i].tolist()),
            provisional=any(line[i].standing is Standing.PROVISIONAL for line in table),
        )
        for i, name in enumerate(names)
    ]
    return tuple(sorted(rows, key=lambda row: (row.mean_rank, row.name)))


def _ranks(board: Board, rows: Sequence[Row]) -> list[float]:
    """Ranks from the best, 1; those of equal scores are their mean."""
    sign = -1.0 if board.metric.higher_is_better else 1.0
    ranks: list[float] = rankdata([sign * (row.mean or 0.0) for row in rows]).tolist()
    return ranks


def _groups(
    rows: Sequence[OverallRow], difference: float, p: float | None
) -> tuple[tuple[str, ...], ...]:
    """Rows that are not shown to differ; all of them, unless Friedman's test finds a difference."""

    def alike(upper: int, lower: int) -> bool:
        none = p is not None and p >= LEVEL
        return none or rows[lower].mean_rank - rows[upper].mean_rank < difference

    found = adjacent_groups(len(rows), alike)
    return tuple(tuple(rows[i].name for i in places) for places in found)


def by_name(board: Board) -> dict[str, Row]:
    """The competing row that stands for each model and preset: of several the preferred one."""
    best: dict[str, Row] = {}
    for row in by_preference(board):
        best.setdefault(row.preset_name, row)
    return best


def by_preference(board: Board) -> list[Row]:
    """The competing rows from the best by validation, those with too few seeds for a rank last."""
    sign = -1 if board.metric.higher_is_better else 1
    return sorted(
        (row for row in board.rows if row.competes),
        key=lambda row: (
            row.standing is Standing.PROVISIONAL,
            row.val_mean is None,
            sign * (row.val_mean or 0.0),
            row.label,
        ),
    )
