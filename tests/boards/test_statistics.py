"""Tests and intervals, against libraries, enumeration and published examples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from synthetic_results import result_of, spec_of

from seqbench.boards.statistics import (
    DRAWS,
    EXACT,
    SAMPLED,
    adjacent_groups,
    critical_difference,
    example_scores,
    friedman_p,
    holm,
    mean_interval,
    paired_test,
)
from seqbench.errors import ResultError
from seqbench.result import Packed, Status

law = settings(deadline=None, derandomize=True)

# Paired tests


def right_and_wrong(both, ours, theirs, neither):
    """Two networks' scores, one seed each, from the counts of a two by two table."""
    one = [1.0] * both + [1.0] * ours + [0.0] * theirs + [0.0] * neither
    other = [1.0] * both + [0.0] * ours + [1.0] * theirs + [0.0] * neither
    return [one], [other]


@law
@given(st.tuples(*[st.integers(0, 400)] * 4).filter(any))
def test_with_one_seed_each_it_is_mcnemars_exact_test(table):
    """Against statsmodels, and against SciPy's binomial test of the examples that differ."""
    both, ours, theirs, neither = table
    test = paired_test(*right_and_wrong(both, ours, theirs, neither))
    expected = mcnemar([[both, ours], [theirs, neither]], exact=True).pvalue
    assert test.p == pytest.approx(expected, rel=1e-9)
    if ours + theirs:
        assert test.p == pytest.approx(scipy.stats.binomtest(ours, ours + theirs).pvalue, rel=1e-9)
    assert test.test == EXACT
    assert test.difference == pytest.approx((ours - theirs) / sum(table))


@pytest.mark.parametrize("n", [1, 10, 100, 1000])
def test_the_smallest_p_has_all_its_digits(n):
    """If one side is right wherever they differ, p is 2 / 2**n."""
    assert paired_test(*right_and_wrong(5, n, 0, 5)).p == pytest.approx(2.0 ** (1 - n), rel=1e-9)


def sides_of(*scores):
    """Two sides of up to four seeds and ten examples with such scores."""
    sizes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 10))

    def side(seeds, examples):
        row = st.lists(st.sampled_from(scores), min_size=examples, max_size=examples)
        return st.lists(row, min_size=seeds, max_size=seeds)

    return sizes.flatmap(lambda size: st.tuples(side(size[0], size[2]), side(size[1], size[2])))


SIDES = sides_of(0.0, 1.0)


@law
@given(SIDES | sides_of(0.0, 0.25, 0.5, 1.0) | sides_of(*(share / 30 for share in range(31))))
def test_it_is_the_share_of_all_sign_flips(sides):
    """Counted one by one, in whole numbers; the sides may have different numbers of seeds.

    Scores are right or wrong, or the share that is right of several answers.
    """
    one, other = (np.rint(60 * np.array(side)).astype(int) for side in sides)
    differences = one.sum(axis=0) * len(other) - other.sum(axis=0) * len(one)
    n = len(differences)
    flips = np.array(list(itertools.product([1, -1], repeat=n)))
    expected = np.mean(np.abs(flips @ differences) >= abs(differences.sum()))
    test = paired_test(*(np.array(side, np.float32) for side in sides))
    assert test.test == EXACT
    assert test.p == pytest.approx(expected, rel=1e-9)
    assert test.difference == pytest.approx(differences.sum() / (60 * n * len(one) * len(other)))
    assert test.n == n


@law
@given(SIDES)
def test_the_sides_may_change_places(sides):
    """Only the sign of the difference changes."""
    one, other = paired_test(*sides), paired_test(*reversed(sides))
    assert one.p == pytest.approx(other.p, rel=1e-9)
    assert one.difference == pytest.approx(-other.difference)


def test_its_level_is_kept():
    """Over all signs of the same differences, p is at most alpha in at most that share."""
    sizes = np.array([3, 3, 2, 2, 2, 1, 1, 1, 1])
    ps = []
    for signs in itertools.product([0, 1], repeat=len(sizes)):
        right = np.arange(1, 4)[:, None] <= sizes
        ours = np.array(signs, bool)
        ps.append(paired_test(right & ours, right & ~ours).p)
    for alpha in np.unique(ps):
        assert np.mean(np.array(ps) <= alpha * (1 + 1e-9)) <= alpha * (1 + 1e-9)


def test_other_scores_have_drawn_signs():
    """Near the exact share, which SciPy's permutation test counts, and the same every time."""
    generator = np.random.default_rng(1)
    one = generator.random((2, 12))
    other = one[:1] + generator.normal(0.1, 0.2, (1, 12))
    exact = scipy.stats.permutation_test(
        (one.mean(axis=0), other.mean(axis=0)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
    ).pvalue
    test = paired_test(one, other)
    assert test.test == SAMPLED
    assert test.p == pytest.approx(exact, abs=4 * np.sqrt(exact / DRAWS))
    assert test == paired_test(one, other)


def test_drawn_signs_agree_with_the_exact_test():
    """Scores of 0 and 1, and the same ones as multiples of what is no fraction."""
    generator = np.random.default_rng(2)
    one, other = (generator.random((3, 500)) < share for share in (0.85, 0.81))
    exact, drawn = paired_test(one, other), paired_test(one / np.pi, other / np.pi)
    assert 0.01 < exact.p < 0.2
    assert drawn.p == pytest.approx(exact.p, abs=0.01)


def test_no_draw_makes_p_zero():
    """The smallest is 1 / (1 + draws); sides that are the same have p = 1."""
    one = np.linspace(0.1, 0.9, 200)[None]
    assert paired_test(one, one + 0.5).p == 1 / (1 + DRAWS)
    assert paired_test(one, one).p == 1.0


@pytest.mark.parametrize("other", [[[1.0, 0.0]], [1.0, 0.0, 1.0], [[]]])
def test_scores_of_other_examples_cannot_be_paired(other):
    """Said with the shapes."""
    with pytest.raises(ResultError, match="cannot be paired"):
        paired_test([[1.0, 0.0, 1.0]], other)


# Scores


@pytest.mark.parametrize("scores", [[1.0, 0.0, 1.0] * 3, [0.25, -1.5, 3.0]])
def test_scores_are_unpacked_as_a_result_does(scores):
    """Bits and floats."""
    runs = [result_of(spec_of(seed=seed), test_scores=Packed.pack(scores)) for seed in range(2)]
    assert example_scores(runs).tolist() == [runs[0].test_scores.unpack()] * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"test_scores": None},
        {"data": None},
        {"test_scores": Packed.pack([1.0, 0.0, 1.0])},
        {"test_scores": Packed.pack([float("nan")] * 2)},
    ],
)
def test_scores_that_cannot_be_compared_are_none(fields):
    """One run without scores, without known data, with other examples, with a NaN."""
    whole = result_of(test_scores=Packed.pack([1.0, 0.0]))
    assert example_scores([whole]) is not None
    assert example_scores([whole, result_of(spec_of(seed=1), **fields)]) is None
    assert example_scores([]) is None


@pytest.mark.parametrize("data", ["", "!", "eJwDAAAAAAE=", "eJxjAAAAAQAB"])
def test_scores_that_cannot_be_decoded_name_their_run(data):
    """Only a file made by hand has such."""
    run = result_of(test_scores=Packed(encoding="bits", n=2000, data=data), status=Status.OK)
    with pytest.raises(ResultError, match=run.id):
        example_scores([run])


# Many rows


@settings(law, max_examples=20)  # the reference takes 40 ms a call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_that_of_statsmodels(p_values):
    """In any order."""
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected.tolist(), abs=1e-12)


def test_holm_of_nothing_is_nothing():
    """A board of one row has no test."""
    assert holm([]) == []


@law
@given(st.lists(st.floats(0, 10), max_size=30).map(sorted), st.floats(0, 5))
def test_groups_are_the_maximal_runs_whose_ends_are_alike(places, distance):
    """Here of numbers within a distance; in at most two questions a place."""
    asked = []

    def alike(upper, lower):
        asked.append((upper, lower))
        return places[lower] - places[upper] < distance

    found = adjacent_groups(len(places), alike)
    n = len(places)
    runs = [range(a, b) for a, b in itertools.combinations(range(n + 1), 2) if b - a > 1]
    alike_runs = [run for run in runs if places[run[-1]] - places[run[0]] < distance]
    maximal = [run for run in alike_runs if not any(set(run) < set(other) for other in alike_runs)]
    assert found == maximal
    assert len(asked) <= 2 * n


DEMSAR = {  # Demsar (2006), Table 6: AUC of C4.5 and three variants of it on 14 data sets
    "C4.5": "763 599 954 628 882 936 661 583 775 1000 940 619 972 957",
    "C4.5+m": "768 591 971 661 888 931 668 583 838 1000 962 666 981 978",
    "C4.5+cf": "771 590 968 654 886 916 609 563 866 1000 965 614 975 946",
    "C4.5+m+cf": "798 569 967 657 898 931 685 625 875 1000 962 669 975 970",
}


def test_friedman_is_that_of_scipy_on_demsars_example():
    """Whose mean ranks and critical difference are those printed there."""
    scores = np.array([line.split() for line in DEMSAR.values()], float).T
    ranks = scipy.stats.rankdata(-scores, axis=1)
    assert friedman_p(ranks) == pytest.approx(scipy.stats.friedmanchisquare(*scores.T).pvalue)
    assert ranks.mean(axis=0) == pytest.approx([3.143, 2.0, 2.893, 1.964], abs=0.04)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_friedman_says_nothing_of_two_models_or_of_ties_alone():
    """Two models are compared by the critical difference alone."""
    assert friedman_p([[1.0, 2.0], [1.0, 2.0]]) is None
    assert friedman_p([[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]) is None


@pytest.mark.parametrize(
    ("models", "q"),
    list(enumerate([1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164], start=2)),
)
def test_critical_values_are_demsars(models, q):
    """His Table 5 (a), level 0.05."""
    boards = 7
    expected = q * np.sqrt(models * (models + 1) / (6 * boards))
    assert critical_difference(models, boards) == pytest.approx(expected, rel=5e-4)


# Intervals


def drawn(shape, share=0.8, seed=0):
    """Scores of 0 and 1, some examples harder than others."""
    generator = np.random.default_rng(seed)
    return generator.random(shape) < share + 0.2 * generator.normal(size=shape[1])


def test_an_interval_is_the_same_whatever_the_order():
    """Of seeds and of examples."""
    scores = drawn((3, 1000))
    assert mean_interval(scores) == mean_interval(scores[::-1, ::-1])


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_of_one_seed_an_interval_is_that_of_a_mean_of_examples(scale):
    """As SciPy has it."""
    scores = drawn((1, 2000)) * scale
    low, high = scipy.stats.ttest_1samp(scores[0], 0.0).confidence_interval()
    assert mean_interval(scores) == pytest.approx((low, high), rel=1e-9)


def test_of_seeds_that_differ_by_much_an_interval_is_that_of_their_means():
    """Examples are many and alike, so that their share is next to nothing."""
    generator = np.random.default_rng(2)
    scores = generator.normal(size=(3, 1)) + 1e-3 * generator.normal(size=(3, 1000))
    low, high = scipy.stats.ttest_1samp(scores.mean(axis=1), 0.0).confidence_interval()
    assert mean_interval(scores) == pytest.approx((low, high), rel=1e-3)


def test_seeds_that_agree_do_not_narrow_an_interval_below_that_of_examples():
    """Three copies of a network say no more of other test examples than one of them."""
    scores = drawn((1, 500))
    assert mean_interval(np.repeat(scores, 3, axis=0)) == pytest.approx(mean_interval(scores))


@pytest.mark.parametrize(("spread", "lowest"), [(0.0, 0.92), (0.1, 0.92), (0.3, 0.88), (1.0, 0.88)])
def test_an_interval_covers_what_it_is_for(spread, lowest):
    """95% of the time or nearly, at three seeds; the bootstrap over them covers 73% at the last."""
    generator = np.random.default_rng(7)
    truth = np.mean(scipy.special.expit(2.0 + np.hypot(spread, 1.0) * generator.normal(size=10**6)))
    covered = 0
    for _ in range(400):
        logits = 2.0 + spread * generator.normal(size=(3, 1)) + generator.normal(size=300)
        low, high = mean_interval(generator.random((3, 300)) < scipy.special.expit(logits))
        covered += low <= truth <= high
    assert covered / 400 >= lowest


def test_an_interval_of_perfect_scores_is_a_point():
    """It knows nothing of errors that it has not seen."""
    assert mean_interval(np.ones((3, 100), bool)) == (1.0, 1.0)


def test_of_one_example_there_is_no_interval():
    """There is nothing to tell how others would differ."""
    assert mean_interval(np.array([[0.0], [1.0]])) is None


def test_errors_that_make_up_for_each_other_leave_an_interval_finite():
    """Seeds that are right on different examples: mean squares cancel, and freedom with them."""
    scores = np.arange(30) % 3 != np.arange(3)[:, None]
    scores[0, :2] = True
    low, high = mean_interval(scores)
    assert 0.3 < low < scores.mean() < high < 1.0


def test_an_interval_of_single_precision_scores_is_of_double_precision():
    """Else its last digits would differ between processors."""
    scores = np.random.default_rng(3).random((3, 500), dtype=np.float32)
    assert mean_interval(scores) == mean_interval(scores.astype(np.float64))
