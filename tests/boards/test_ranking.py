"""Laws of the leaderboard: what competes with what, what counts, and that order does not."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_results import (
    ACCURACY,
    COST,
    ERROR,
    LOSSY,
    OFFICIAL,
    PROVENANCE,
    PUBLISHED,
    everything,
    failed,
    result_of,
    seeds,
    spec_of,
)

from seqbench.boards import Standing, rank
from seqbench.result import Status
from seqbench.spec import TrainSpec


def only_board(results):
    """The one board that the results make."""
    leaderboard = rank(results)
    assert not leaderboard.superseded
    (board,) = leaderboard.boards
    return board


def places(board):
    """Name, rank and position of every row, from the top."""
    return [(row.name, row.rank, row.position) for row in board.rows]


@pytest.fixture(scope="module")
def ranked():
    """The leaderboard of everything, in the order that it is made in."""
    return rank(everything(), PUBLISHED)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.permutations(range(len(everything()))), st.permutations(PUBLISHED), st.integers(0, 5))
def test_the_order_of_results_does_not_matter(ranked, order, published, twice):
    """Nor does it matter that a result is there twice, or in which order numbers are published."""
    results = [everything()[place] for place in order]
    assert rank(results + results[:twice], published) == ranked


def test_nothing_is_dropped_and_nothing_counts_twice():
    """Every run stands in exactly one row."""
    results = everything()
    leaderboard = rank(results)
    boards = [*leaderboard.boards, *leaderboard.superseded]
    rows = [row for board in boards for row in board.rows]
    assert sum(sum(row.statuses.values()) for row in rows) == len(results)


def test_no_results_make_an_empty_leaderboard():
    """Which is not an error here; the command line's is that a directory has none."""
    leaderboard = rank([])
    assert not leaderboard.boards
    assert not leaderboard.overall


# Rows


def test_a_row_is_the_runs_that_differ_only_in_seed():
    """Mean and standard deviation (n - 1) are over seeds."""
    (row,) = only_board(seeds([0.8, 0.9, 0.7])).rows
    assert row.mean == pytest.approx(0.8)
    assert row.sd == pytest.approx(0.1)
    assert row.standard_error is None
    assert [score.seed for score in row.scores] == [0, 1, 2]
    assert row.val_mean == pytest.approx(0.805)


def test_one_seed_has_the_standard_error_over_examples_and_no_deviation():
    """There is nothing to deviate from."""
    (row,) = only_board(seeds([0.8])).rows
    assert row.sd is None
    assert row.standard_error == 0.002


@pytest.mark.parametrize(
    "change",
    [
        {"train": TrainSpec(epochs=7)},
        {"train": TrainSpec(precision="bfloat16-mixed")},
        {"model_config": {"kernel_size": 7}},
        {"model": "gru"},
    ],
)
def test_whatever_else_differs_makes_another_row_of_the_board(change):
    """Model, its config, training settings and precision."""
    board = only_board([*seeds([0.8, 0.8]), *seeds([0.9, 0.9], **change)])
    assert [len(row.scores) for row in board.rows] == [2, 2]
    labels = {row.label for row in board.rows}
    assert len(labels) == 2


def test_a_row_names_all_its_runs():
    """Those that failed too, by seed."""
    results = [result_of(spec_of(seed=2)), failed(spec_of(seed=1)), result_of(spec_of(seed=0))]
    (row,) = only_board(results).rows
    assert row.runs == tuple(run.id for run in reversed(results))


def test_costs_are_medians_over_seeds_and_the_highest_peak():
    """One slow run does not make a slow model, but memory must suffice for all."""
    costs = [
        COST.model_copy(update={"train_seconds": seconds, "peak_bytes": peak, "flops": flops})
        for seconds, peak, flops in [(10.0, 5, 100), (12.0, 9, 102), (99.0, 7, 104)]
    ]
    results = [result_of(spec_of(seed=seed), cost=cost) for seed, cost in enumerate(costs)]
    (row,) = only_board(results).rows
    assert (row.cost.train_seconds, row.cost.peak_bytes, row.cost.flops) == (12.0, 9, 102)


def test_a_row_tells_processor_time_if_all_its_seeds_do():
    """Results from before the field do not, and the medians are to be of the same runs."""
    costs = [COST.model_copy(update={"train_cpu_seconds": seconds}) for seconds in (80.0, 20.0)]
    costs.append(COST)
    results = [result_of(spec_of(seed=seed), cost=cost) for seed, cost in enumerate(costs)]
    (row,) = only_board(results[:2]).rows
    assert row.cost.train_cpu_seconds == 50.0
    (row,) = only_board(results).rows
    assert row.cost.train_cpu_seconds is None


def test_flops_that_one_seed_does_not_know_are_not_known():
    """Never a low number."""
    unknown = COST.model_copy(update={"flops": None})
    results = [result_of(spec_of(seed=0)), result_of(spec_of(seed=1), cost=unknown)]
    (row,) = only_board(results).rows
    assert row.cost.flops is None


def test_a_name_has_the_model_settings_made_by_hand():
    """Settings of the task belong to the board, those of training to the settings mark."""
    overrides = {"model.dropout": 0.2, "task.length": 9, "train.epochs": 3}
    (row,) = only_board(seeds([0.8], origin={"preset": "big", "overrides": overrides})).rows
    assert row.label == "tcn:big (dropout=0.2)"


def test_rows_of_one_name_are_told_apart_by_their_training():
    """Only where there is more than one."""
    longer = seeds([0.9], train=TrainSpec(epochs=40), origin={"overrides": {"train.epochs": 40}})
    labels = [row.label for row in only_board([*seeds([0.8]), *longer]).rows]
    assert labels == ["tcn:default (epochs=40)", "tcn:default"]


def test_the_settings_mark_is_the_least_strict_of_any_seed():
    """One seed with settings of its own makes the row custom."""
    marks = ["published", "searched", "published"]
    results = [
        result_of(spec_of(seed=seed), origin={"settings": mark}) for seed, mark in enumerate(marks)
    ]
    (row,) = only_board(results).rows
    assert row.settings == "searched"


# Standing and rank


@pytest.mark.parametrize(("n", "standing"), [(1, "provisional"), (2, "provisional"), (3, "ranked")])
def test_a_rank_takes_three_seeds(n, standing):
    """Fewer are provisional: they have a position and no rank."""
    (row,) = only_board(seeds([0.5] * n)).rows
    assert row.standing == standing
    assert row.position == 1
    assert row.rank == (1 if n == 3 else None)


def test_provisional_rows_stand_in_order_and_move_no_rank():
    """A single lucky seed does not take the first rank from anyone."""
    board = only_board(
        [
            *seeds([0.99], model="lucky"),
            *seeds([0.9] * 3, model="a"),
            *seeds([0.7] * 2, model="c"),
            *seeds([0.8] * 3, model="b"),
        ]
    )
    expected = [("lucky", None, 1), ("a", 1, 2), ("b", 2, 3), ("c", None, 4)]
    assert places(board) == [(f"{name}:default", *both) for name, *both in expected]


def test_ties_share_a_rank():
    """And the next one counts those before it; seeds in another order are a tie all the same."""
    board = only_board(
        [
            *seeds([0.1, 0.2, 0.7], model="a"),
            *seeds([0.7, 0.1, 0.2], model="b"),
            *seeds([0.3, 0.3, 0.3], model="c"),
        ]
    )
    assert [row.rank for row in board.rows] == [1, 1, 3]


@pytest.mark.parametrize(("metric", "first"), [(ACCURACY, "high"), (ERROR, "low")])
def test_the_metric_says_which_way_is_better(metric, first):
    """An error is better when lower."""
    board = only_board(
        [
            *seeds([0.9] * 3, model="high", metric=metric),
            *seeds([0.1] * 3, model="low", metric=metric),
        ]
    )
    assert board.rows[0].model.name == first
    assert [row.rank for row in board.rows] == [1, 2]


LOSSES = [Status.DIVERGED, Status.FAILED, Status.TIMEOUT, Status.OOM]


@pytest.mark.parametrize("status", LOSSES)
@pytest.mark.parametrize("data", [None, OFFICIAL.model_copy(update={"test_sha256": None})])
def test_a_failed_seed_never_changes_a_score(status, data):
    """It is counted beside the others, whether or not it got to see its data."""
    before = rank(everything())
    lost = [
        failed(result.spec.model_copy(update={"seed": 90}), status, data=data, metric=result.metric)
        for result in everything()
        if result.status is Status.OK
    ]
    after = rank([*everything(), *lost])

    def scores(leaderboard):
        return {
            (board.title, row.id): (row.mean, row.sd, row.rank, row.position)
            for board in leaderboard.boards
            for row in board.rows
            if row.mean is not None
        }

    assert scores(after) == scores(before)
    assert [board.title for board in after.boards] == [board.title for board in before.boards]
    rows = [row for board in after.boards for row in board.rows]
    assert sum(row.lost for row in rows) > sum(
        row.lost for board in before.boards for row in board.rows
    )


def test_a_row_without_a_score_stands_last_with_its_cause():
    """Failures are shown, never dropped."""
    lost = failed(spec_of(model="rnn"), Status.DIVERGED, "the loss is not finite\nhint: less")
    board = only_board([lost, *seeds([0.01], model="bad")])
    last = board.rows[-1]
    assert last.standing is Standing.FAILED
    assert (last.rank, last.position, last.mean) == (None, None, None)
    assert last.cause == "the loss is not finite"
    assert last.statuses == {"diverged": 1}


def test_a_task_on_which_everything_failed_has_a_board():
    """Of which the data are not known, if no run got as far."""
    board = only_board([failed(spec_of(model="a")), failed(spec_of(model="b"))])
    assert board.official is None
    assert [row.standing for row in board.rows] == [Standing.FAILED] * 2


def test_evaluated_weights_stand_unranked():
    """Weights from elsewhere do not compete, however good they are."""
    foreign = spec_of(model="ckconv", weights_sha256="ab" * 32)
    board = only_board(
        [*seeds([0.5] * 3), result_of(foreign, 0.9, status=Status.EVALUATED, val=None)]
    )
    assert [row.standing for row in board.rows] == [Standing.RANKED, Standing.EVALUATED]
    assert board.rows[0].rank == 1
    assert board.rows[1].mean == 0.9
    assert board.rows[1].position is None


@pytest.mark.parametrize("selection", ["validation", "test", "unknown", None])
def test_evaluated_weights_keep_what_they_were_selected_on(selection):
    """Of a result that does not say, it is not known; trained rows have nothing of it."""
    origin = {} if selection is None else {"weights": {"selection": selection}}
    foreign = spec_of(model="ckconv", weights_sha256="ab" * 32)
    evaluated = result_of(foreign, 0.9, status=Status.EVALUATED, origin=origin)
    trained, row = only_board([*seeds([0.5]), evaluated]).rows
    assert row.weights.selection == (selection or "unknown")
    assert trained.weights is None


def test_trials_of_a_search_are_no_results():
    """They have no test score and are not a model's outcome."""
    trial = result_of(spec_of(model="trial"), status=Status.TRIAL, test=None, test_scores=None)
    assert rank([*seeds([0.5]), trial]) == rank(seeds([0.5]))


def test_of_one_run_done_twice_the_earliest_that_ended_well_counts():
    """So that doing a run again cannot pick the better score."""
    spec = spec_of()
    times = [f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3)]
    begun = [PROVENANCE.model_copy(update={"started_at": time}) for time in times]
    results = [
        failed(spec, provenance=begun[0]),
        result_of(spec, 0.5, provenance=begun[1]),
        result_of(spec, 0.9, provenance=begun[2]),
    ]
    for order in itertools.permutations(results):
        (row,) = only_board(order).rows
        assert row.mean == 0.5
        assert row.statuses == {"ok": 1}


# Boards


def test_official_and_other_data_never_share_a_board():
    """Even of the same runs, whose specs do not name the data."""
    results = [*seeds([0.9] * 3), *seeds([0.7] * 3, data=LOSSY)]
    official, lossy = rank(results).boards
    assert (official.official, official.title) == (True, "smnist")
    assert (lossy.official, lossy.title) == (False, "smnist@1f1f1f1f")
    assert lossy.label == "JPEG quality 75"
    assert [row.mean for row in official.rows] == [pytest.approx(0.9)]
    assert [row.mean for row in lossy.rows] == [pytest.approx(0.7)]


def test_two_kinds_of_unofficial_data_never_share_a_board():
    """Training data decide, and test data as well."""
    data = [
        LOSSY,
        LOSSY.model_copy(update={"fit_sha256": "2f" * 32}),
        LOSSY.model_copy(update={"test_sha256": "2e" * 32}),
    ]
    results = [result_of(spec_of(seed=seed), data=datum) for seed, datum in enumerate(data)]
    boards = rank(results).boards
    assert [len(board.rows[0].scores) for board in boards] == [1, 1, 1]
    assert len({board.title for board in boards}) == 3


@pytest.mark.parametrize("data", [None, LOSSY.model_copy(update={"test_sha256": None})])
def test_a_run_that_never_saw_its_data_stands_with_its_own_row(data):
    """Here on unofficial data, though there is an official board too."""
    results = [*seeds([0.9], model="gru"), *seeds([0.7], data=LOSSY)]
    official, lossy = rank([*results, failed(spec_of(seed=1), data=data)]).boards
    assert official.rows[0].lost == 0
    assert lossy.rows[0].lost == 1


def test_a_task_with_another_config_is_another_board():
    """A longer sequence is another problem."""
    lengths = [seeds([0.9], task="adding", task_config={"length": n}) for n in (100, 1000)]
    titles = [board.title for board in rank(itertools.chain(*lengths)).boards]
    assert titles == ["adding (length=100)", "adding (length=1000)"]


def test_a_fixed_number_of_steps_is_a_board_of_its_own():
    """Unless a published recipe counts in steps."""
    cut = TrainSpec(max_steps=500)
    custom = seeds([0.8], model="gru", train=cut, origin={"settings": "custom"})
    published = seeds([0.8], model="gru", train=cut, origin={"settings": "published"})
    boards = rank([*seeds([0.9]), *custom]).boards
    assert [(board.title, board.budget) for board in boards] == [
        ("smnist", "full"),
        ("smnist, step budget", "steps"),
    ]
    assert len(only_board([*seeds([0.9]), *published]).rows) == 2


@pytest.mark.parametrize("kind", ["task", "model"])
def test_an_older_version_does_not_compete(kind):
    """It is kept apart, without a rank."""
    old = seeds([0.99] * 3, **{f"{kind}_version": 1})
    new = seeds([0.5] * 3, **{f"{kind}_version": 2})
    leaderboard = rank([*old, *new])
    (board,) = leaderboard.boards
    (kept,) = leaderboard.superseded
    assert [(row.mean, row.rank) for row in board.rows] == [(0.5, 1)]
    assert [(row.standing, row.rank) for row in kept.rows] == [(Standing.SUPERSEDED, None)]
    assert kept.rows[0].mean == pytest.approx(0.99)


# Over all boards


def overall_of(scores):
    """The overall table of {task: {model: score}}, three seeds each."""
    results = [
        result
        for task, models in scores.items()
        for model, score in models.items()
        for result in seeds([score] * 3, task=task, model=model)
    ]
    return rank(results).overall


def test_overall_is_the_mean_rank_over_boards():
    """Of models that stand on all of them; the others are named with what they miss."""
    (overall,) = overall_of(
        {
            "t1": {"a": 0.9, "b": 0.8, "c": 0.85},
            "t2": {"a": 0.7, "b": 0.6},
            "t3": {"a": 0.1, "b": 0.2, "c": 0.3},
        }
    )
    assert overall.boards == ("t1", "t2", "t3")
    assert [(row.name, row.rank, row.ranks) for row in overall.rows] == [
        ("a:default", 1, (1, 1, 2)),
        ("b:default", 2, (2, 2, 1)),
    ]
    assert overall.rows[0].mean_rank == pytest.approx(4 / 3)
    assert overall.missing == {"c:default": ("t2",)}


def test_overall_is_over_the_largest_complete_set_of_boards_and_models():
    """A board of few models, or a model on few boards, does not take the others' table away."""
    full = {m: 0.9 - 0.1 * i for i, m in enumerate("abcd")}
    scores = {f"t{t}": full for t in range(4)} | {"few": {"a": 0.9, "e": 0.8}}
    scores["t0"] = full | {"e": 0.95}
    (overall,) = overall_of(scores)
    assert overall.boards == ("t0", "t1", "t2", "t3")
    assert [row.name[0] for row in overall.rows] == ["a", "b", "c", "d"]
    assert overall.missing == {"e:default": ("t1", "t2", "t3")}


def test_the_largest_complete_set_need_not_be_what_two_models_share():
    """Here any two share a board besides that the third is missing on."""
    scores = {f"t{t}": {m: 0.9 - 0.1 * i for i, m in enumerate("abc")} for t in range(4)}
    scores |= {f"of {a} and {b}": {a: 0.9, b: 0.8} for a, b in ("ab", "bc", "ac")}
    (overall,) = overall_of(scores)
    assert overall.boards == ("t0", "t1", "t2", "t3")
    assert len(overall.rows) == 3


def test_a_row_of_one_seed_does_not_stand_for_a_model_that_has_one_of_three():
    """However good it is; where there is no other it does, and says so."""
    results = [
        result
        for task in ("t1", "t2")
        for model in ("a", "b", "c")
        for result in seeds([0.6 - 0.1 * (model == "c")] * 3, task=task, model=model)
    ]
    lucky = seeds([0.9], task="t1", model="c", train=TrainSpec(epochs=7))
    (overall,) = rank([*results, *lucky]).overall
    assert {row.name[0]: row.ranks for row in overall.rows}["c"] == (3, 3)
    assert not any(row.provisional for row in overall.rows)
    alone = [r for r in results if (r.spec.task.name, r.spec.model.name) != ("t1", "c")]
    (overall,) = rank([*alone, *lucky]).overall
    assert {row.name[0]: row.ranks for row in overall.rows}["c"] == (1, 3)
    assert [row.name[0] for row in overall.rows if row.provisional] == ["c"]


def test_equal_scores_share_their_mean_rank_overall():
    """As Friedman's test has it, so that every board gives the same sum of ranks."""
    (overall,) = overall_of(
        {"t1": {"a": 0.9, "b": 0.9, "c": 0.8}, "t2": {"a": 0.9, "b": 0.8, "c": 0.8}}
    )
    ranks = {row.name[0]: row.ranks for row in overall.rows}
    assert ranks == {"a": (1.5, 1), "b": (1.5, 2.5), "c": (3, 2.5)}
    assert [row.rank for row in overall.rows] == [1, 2, 3]


def test_overall_groups_are_within_the_critical_difference():
    """If Friedman's test finds a difference at all."""
    scores = {f"t{t}": {m: 0.9 - 0.1 * i for i, m in enumerate("abcd")} for t in range(8)}
    (overall,) = overall_of(scores)
    assert overall.friedman_p < 0.05
    assert 1 < overall.critical_difference < 2
    groups = [[name[0] for name in group] for group in overall.groups]
    assert groups == [["a", "b"], ["b", "c"], ["c", "d"]]


def test_overall_claims_no_difference_of_two_models():
    """Nemenyi's difference is below what five wins of five can show."""
    (overall,) = overall_of({f"t{t}": {"a": 0.9, "b": 0.8} for t in range(5)})
    assert [row.mean_rank for row in overall.rows] == [1, 2]
    assert (overall.critical_difference, overall.groups) == (None, ())


def test_overall_is_one_group_if_friedmans_test_finds_nothing():
    """Here on two boards, where nothing can be found."""
    scores = {f"t{t}": {m: 0.9 - 0.1 * i for i, m in enumerate("abcd")} for t in range(2)}
    (overall,) = overall_of(scores)
    assert overall.friedman_p > 0.05
    assert overall.groups == (("a:default", "b:default", "c:default", "d:default"),)


def test_a_model_on_some_boards_moves_no_overall_rank():
    """Places are counted among the models that stand on all boards."""
    scores = {"t1": {"a": 0.9, "b": 0.8}, "t2": {"a": 0.9, "b": 0.8}}
    (before,) = overall_of(scores)
    scores["t1"]["c"] = 0.85
    (after,) = overall_of(scores)
    assert after.rows == before.rows


@pytest.mark.parametrize(
    "scores",
    [
        {"t1": {"a": 0.9, "b": 0.8}},
        {"t1": {"a": 0.9, "b": 0.8}, "t2": {"a": 0.9}},
        {"t1": {"a": 0.9, "b": 0.8}, "t2": {"a": 0.9, "c": 0.8}},
    ],
)
def test_there_is_no_overall_table_of_one_board_or_one_model(scores):
    """It would compare nothing."""
    assert overall_of(scores) == ()


def test_unofficial_data_take_no_part_in_the_overall_table():
    """Two boards on other data and one official one give none."""
    results = [
        *seeds([0.9], task="t1"),
        *seeds([0.8], task="t1", model="gru"),
        *seeds([0.9], task="t2", data=LOSSY),
        *seeds([0.8], task="t2", model="gru", data=LOSSY),
    ]
    assert rank(results).overall == ()


def test_overall_is_provisional_if_a_row_of_it_is():
    """One board with fewer than 3 seeds suffices."""
    results = [
        *seeds([0.9] * 3, task="t1"),
        *seeds([0.8] * 3, task="t1", model="gru"),
        *seeds([0.9] * 3, task="t2"),
        *seeds([0.8], task="t2", model="gru"),
    ]
    (overall,) = rank(results).overall
    assert [(row.name, row.provisional) for row in overall.rows] == [
        ("tcn:default", False),
        ("gru:default", True),
    ]


def test_of_rows_of_one_name_validation_chooses_the_one_that_counts_overall():
    """Not the test score, which would be a choice on test data."""
    val = {"mean": 0.99, "standard_error": 0.0, "n": 9}
    shy = result_of(spec_of("t1", train=TrainSpec(epochs=9)), 0.7, val=val)
    results = [
        shy,
        *seeds([0.9], task="t1"),
        *seeds([0.8], task="t1", model="gru"),
        *seeds([0.9], task="t2"),
        *seeds([0.8], task="t2", model="gru"),
    ]
    (overall,) = rank(results).overall
    ranks = {row.name: row.ranks for row in overall.rows}
    assert ranks == {"tcn:default": (2, 1), "gru:default": (1, 2)}
