"""What a board says of its rows against each other and against published numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from synthetic_results import (
    ERROR,
    LOSSY,
    OFFICIAL,
    PUBLISHED,
    failed,
    result_of,
    seeds,
    spec_of,
)

from seqbench.boards import rank
from seqbench.boards.statistics import EXACT, SAMPLED, holm, mean_interval, paired_test
from seqbench.result import Packed, Status, score_of
from seqbench.spec import TrainSpec


def runs_of(model, rows, **fields):
    """A run for each row of scores per example."""
    return [
        result_of(
            spec_of(model=model, seed=seed),
            test=score_of(row),
            test_scores=Packed.pack(row),
            **fields,
        )
        for seed, row in enumerate(np.asarray(rows, float).tolist())
    ]


def scores_with(right, n=1000, seed=0):
    """Scores of one seed, this many of them 1, in an order of its own."""
    scores = np.arange(n) < right
    np.random.default_rng(seed).shuffle(scores)
    return scores[None]


def board_of(models, **fields):
    """The one board of {model: scores (seed, example)}."""
    results = [run for model, rows in models.items() for run in runs_of(model, rows, **fields)]
    (board,) = rank(results).boards
    return board


def groups_of(board):
    """The groups by model."""
    names = {row.id: row.model.name for row in board.rows}
    return [[names[row] for row in group] for group in board.groups]


# Neighbours


def test_every_row_is_tested_against_the_one_below():
    """Over the same examples, in the metric's units; the last one is not."""
    models = {"a": scores_with(900), "b": scores_with(880, seed=1), "c": scores_with(700, seed=2)}
    rows = board_of(models).rows
    assert [row.model.name for row in rows] == ["a", "b", "c"]
    for upper, lower in itertools.pairwise(rows):
        expected = paired_test(models[upper.model.name], models[lower.model.name])
        below = upper.below
        assert (below.other, below.test, below.n) == (lower.id, EXACT, 1000)
        assert (below.p, below.difference) == (expected.p, expected.difference)
    assert rows[0].below.difference == pytest.approx(0.02)
    assert rows[2].below is None


def test_p_values_are_adjusted_over_the_board():
    """By Holm's method."""
    right = {"a": 900, "b": 870, "c": 840, "d": 835}
    rows = board_of({m: scores_with(n, seed=n) for m, n in right.items()}).rows
    below = [row.below for row in rows if row.below]
    assert [test.p_adjusted for test in below] == holm([test.p for test in below])


def test_a_lower_score_is_better_for_an_error():
    """The difference keeps its sign: this row minus the other."""
    generator = np.random.default_rng(0)
    models = {"good": generator.random((2, 200)), "bad": 1 + generator.random((3, 200))}
    upper, lower = board_of(models, metric=ERROR).rows
    assert upper.model.name == "good"
    assert upper.below.test == SAMPLED
    assert upper.below.difference == pytest.approx(-1.0, abs=0.1)
    assert upper.below.p < 0.001
    assert lower.below is None


def test_only_competing_rows_are_tested():
    """Not weights from elsewhere, nor rows without a score; both see their own interval."""
    foreign = spec_of(model="ckconv", weights_sha256="ab" * 32)
    results = [
        *runs_of("a", scores_with(900)),
        result_of(foreign, 0.9, status=Status.EVALUATED),
        failed(spec_of(model="rnn")),
    ]
    a, evaluated, lost = rank(results).boards[0].rows
    assert [row.below for row in (a, evaluated, lost)] == [None] * 3
    assert evaluated.interval is not None
    assert lost.interval is None
    assert rank(results).boards[0].groups == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"test_scores": None},
        {"test_scores": Packed.pack([1.0, 0.0] * 300)},
        {"test_scores": Packed.pack([float("nan")] * 1000)},
    ],
)
def test_rows_without_the_same_examples_are_not_tested(fields):
    """The row itself stands in its place all the same."""
    results = [*runs_of("a", scores_with(900)), *seeds([0.8], model="b", **fields)]
    a, b = rank(results).boards[0].rows
    assert a.below is None
    assert a.interval is not None
    assert (b.position, b.mean) == (2, 0.8)
    assert rank(results).boards[0].groups == ()


def test_unknown_test_data_are_not_tested():
    """The same number of examples is not enough."""
    results = [*seeds([0.9], model="a", data=None), *seeds([0.8], model="b", data=None)]
    assert [row.below for row in rank(results).boards[0].rows] == [None, None]


# Groups


def test_groups_hold_the_rows_that_do_not_differ():
    """They may overlap; a row that differs from all others stands in none."""
    right = {"a": 955, "b": 954, "c": 910, "d": 885, "e": 853, "f": 500}
    board = board_of({m: scores_with(n, seed=n) for m, n in right.items()})
    assert groups_of(board) == [["a", "b"], ["c", "d"], ["d", "e"]]


def test_the_same_network_twice_is_one_group():
    """Whatever the number of seeds."""
    scores = scores_with(900)
    board = board_of({"a": scores, "b": np.repeat(scores, 3, axis=0)})
    assert groups_of(board) == [["a", "b"]]
    assert board.rows[0].below.p == 1.0


def test_neighbours_that_differ_never_share_a_group():
    """Even if the first and last, whose errors have less in common, do not differ."""
    one = scores_with(600)[0]
    two = scores_with(590, seed=1)[0]
    three = two.copy()
    three[np.flatnonzero(two)[:12]] = False
    board = board_of({"a": [one], "b": [two], "c": [three]})
    assert [row.below.p < 0.001 for row in board.rows[:2]] == [False, True]
    assert paired_test([one], [three]).p > 0.05
    assert groups_of(board) == [["a", "b"]]


def test_groups_are_more_cautious_than_neighbours():
    """Their level is 0.05 over all pairs, for first and last are chosen to be far apart."""
    one = np.arange(1000) < 900
    two, three = one.copy(), one.copy()
    two[:20], two[900:907] = False, True
    three[:25], three[900:909] = False, True
    board = board_of({"a": [one], "b": [two], "c": [three]})
    p = board.rows[0].below.p
    assert 0.05 / 3 < p < 0.05 / 2
    assert board.rows[0].below.p_adjusted < 0.05
    assert groups_of(board) == [["a", "b"], ["b", "c"]]


# Intervals


def test_an_interval_is_of_its_row_alone():
    """It depends on no other row and on no order."""
    scores = np.concatenate([scores_with(900, seed=seed) for seed in range(3)])
    (row,) = board_of({"a": scores}).rows
    assert (row.interval.low, row.interval.high) == mean_interval(scores)
    assert row.interval.low < row.mean < row.interval.high


def test_an_interval_of_accuracy_ends_where_accuracy_does():
    """Seeds far apart reach beyond it."""
    scores = np.concatenate([scores_with(right) for right in (100, 900, 1000)])
    (row,) = board_of({"a": scores}).rows
    assert (row.interval.low, row.interval.high) == (0.0, 1.0)


# Published numbers


def test_published_numbers_stand_on_the_board_of_their_task():
    """Best first, and only where data are official and the training is a whole one."""
    cut = {"train": TrainSpec(max_steps=5), "origin": {"settings": "custom"}}
    results = [*seeds([0.9]), *seeds([0.8], data=LOSSY), *seeds([0.7], **cut)]
    boards = {(board.official, board.budget): board for board in rank(results, PUBLISHED).boards}
    shown = boards.pop((True, "full")).published
    assert [one.score for one in shown] == [0.9963, 0.996, 0.99]
    assert [board.published for board in boards.values()] == [(), ()]


def test_published_numbers_change_nothing_else():
    """They are never ranked."""
    with_, without = rank(seeds([0.9, 0.8, 0.7]), PUBLISHED), rank(seeds([0.9, 0.8, 0.7]))
    (row,), (bare,) = with_.boards[0].rows, without.boards[0].rows
    assert row.model_copy(update={"minus_published": None}) == bare
    assert with_.overall == without.overall


@pytest.mark.parametrize(
    ("overrides", "compared"),
    [({}, True), ({"train.epochs": 3}, True), ({"model.dropout": 0.2}, False)],
)
def test_a_row_is_compared_with_the_number_of_its_model_and_preset(overrides, compared):
    """Unless its model was changed by hand, for that is another network."""
    (row,) = rank(seeds([0.985], origin={"overrides": overrides}), PUBLISHED).boards[0].rows
    assert row.minus_published == (pytest.approx(-0.005) if compared else None)


def test_another_preset_or_metric_is_compared_with_nothing():
    """Nor is a task with another config."""
    others = [
        seeds([0.9], origin={"preset": "big"}),
        seeds([0.9], metric=ERROR),
        seeds([0.9], task_config={"length": 9}, data=OFFICIAL),
    ]
    for results in others:
        (board,) = rank(results, PUBLISHED).boards
        assert board.rows[0].minus_published is None
