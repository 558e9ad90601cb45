"""Rows of a board against each other, over the same test examples, and against published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise

from seqbench.boards.board import Board, Comparison, Interval, Row
from seqbench.boards.published import Published
from seqbench.boards.statistics import (
    LEVEL,
    Array,
    PairedTest,
    adjacent_groups,
    holm,
    mean_interval,
    paired_test,
)

_Scores = Mapping[str, Array | None]


def compared(board: Board, scores: _Scores) -> Board:
    """The board with intervals, and its competing rows tested against each other.

    ``scores`` are by row, ``(seed, example)``; a row without them has no interval, is not tested
    and stands in no group. Every row is tested against the one below it, adjusted by Holm's method
    over these tests. Groups come from more cautious tests, at level 0.05 over all pairs of the
    board together (Bonferroni), for first and last of a group are chosen to be far apart.
    """
    order = [row.id for row in board.rows if row.competes]
    neighbours = [_tested(scores, *pair) for pair in pairwise(order)]
    below = _comparisons(list(pairwise(order)), neighbours)
    rows = []
    for row in board.rows:
        found = {"interval": _interval(board, scores.get(row.id)), "below": below.get(row.id)}
        rows.append(row.model_copy(update=found))
    groups = _groups(order, scores, neighbours)
    return board.model_copy(update={"rows": tuple(rows), "groups": groups})


def _interval(board: Board, scores: Array | None) -> Interval | None:
    """None of it lies where no score of the metric can be."""
    ends = None if scores is None else mean_interval(scores)
    if scores is None or ends is None:
        return None
    low, high = ends
    if scores.min() >= 0.0:
        low = max(low, 0.0)
    return Interval(low=low, high=min(high, 1.0) if board.metric.name == "accuracy" else high)


def _tested(scores: _Scores, one: str, other: str) -> PairedTest | None:
    ours, theirs = scores.get(one), scores.get(other)
    if ours is None or theirs is None or ours.shape[1] != theirs.shape[1]:
        return None
    return paired_test(ours, theirs)


def _comparisons(
    pairs: Sequence[tuple[str, str]], tests: Sequence[PairedTest | None]
) -> dict[str, Comparison]:
    """Each tested row's comparison with the one below it."""
    tested = {pair: test for pair, test in zip(pairs, tests, strict=True) if test}
    adjusted = holm([test.p for test in tested.values()])
    return {
        one: Comparison(other=other, p_adjusted=p, **asdict(test))
        for ((one, other), test), p in zip(tested.items(), adjusted, strict=True)
    }


def _groups(
    order: Sequence[str], scores: _Scores, neighbours: Sequence[PairedTest | None]
) -> tuple[tuple[str, ...], ...]:
    level = LEVEL / max(1, math.comb(len(order), 2))

    def alike(upper: int, lower: int) -> bool:
        """Whether neither the two differ nor the lower one and its neighbour above."""
        near = neighbours[lower - 1]
        if near is None or near.p <= level:
            return False
        far = near if lower - upper == 1 else _tested(scores, order[upper], order[lower])
        return far is not None and far.p > level

    return tuple(tuple(order[i] for i in places) for places in adjacent_groups(len(order), alike))


def beside(board: Board, published: Sequence[Published]) -> Board:
    """The board with the published numbers of its task, best first.

    They are of the official data and of whole trainings, so other boards have none. A row is
    compared with the number of its ``MODEL:PRESET``, unless a setting of the model was made by
    hand, for that is another network. Its training may be another all the same: the mark of its
    settings says so.
    """
    if not board.official or board.budget != "full":
        return board
    ours = [one for one in published if one.belongs_to(board.task, board.metric.name)]
    sign = -1.0 if board.metric.higher_is_better else 1.0
    ours.sort(key=lambda one: (sign * one.score, one.model, one.source))
    scores = {one.row: one.score for one in ours if one.row}
    rows = [row.model_copy(update={"minus_published": _minus(row, scores)}) for row in board.rows]
    return board.model_copy(update={"rows": tuple(rows), "published": tuple(ours)})


def _minus(row: Row, scores: Mapping[str, float]) -> float | None:
    by_hand = any(path.startswith("model.") for path in row.overrides)
    score = scores.get(row.preset_name)
    return None if by_hand or row.mean is None or score is None else row.mean - score
