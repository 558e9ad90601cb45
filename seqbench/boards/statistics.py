"""Tests and intervals over scores per example.

Scores of several seeds are one array, ``(seed, example)``, over the same test examples in the
same order.
"""

from __future__ import annotations

import base64
import math
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import friedmanchisquare, studentized_range
from scipy.stats import t as student_t

from seqbench.errors import ResultError
from seqbench.result import Packed, Result

LEVEL = 0.05

EXACT = "exact sign-flip test"
FINEST = 100
"""Scores per example that are multiples of 1/q, q up to this, are counted as whole numbers."""

DRAWS = 9_999
SAMPLED = f"sign-flip test with {DRAWS:,} draws"

Array = npt.NDArray[Any]


def example_scores(runs: Sequence[Result]) -> Array | None:
    """The test scores of runs on the same data, ``(seed, example)``; booleans if all are 0 or 1.

    ``None`` if a run has none, does not know its test data, or has scores that are not finite.

    Raises:
        ResultError: a run's scores cannot be decoded.

    """
    known = [run for run in runs if run.test_scores and run.data and run.data.test_sha256]
    rows = [_decoded(run, packed) for run in known if (packed := run.test_scores)]
    if len(rows) < len(runs) or len({len(row) for row in rows}) != 1:
        return None
    scores = np.stack(rows)
    return scores if bool(np.isfinite(scores).all()) else None


def _decoded(run: Result, packed: Packed) -> Array:
    """As ``Packed.unpack``, but into an array, which is ten times as fast."""
    try:
        raw = zlib.decompress(base64.b64decode(packed.data))
    except (ValueError, zlib.error):
        raw = b""
    size = math.ceil(packed.n / 8) if packed.encoding == "bits" else 4 * packed.n
    if len(raw) != size or not size:
        raise ResultError(
            f"the scores per example of the run {run.id} cannot be decoded: got {len(raw)} bytes, "
            f"expected {size} for {packed.n} scores",
            "`seqbench verify` says more of its file; remove it",
        )
    if packed.encoding == "float32":
        return np.frombuffer(raw, "<f4")
    bits: Array = np.unpackbits(np.frombuffer(raw, np.uint8), count=packed.n)
    return bits.view(np.bool_)


# Two rows


@dataclass(frozen=True)
class PairedTest:
    """Outcome of a paired test: its name, the number of examples, ``one - other``, two-sided p."""

    test: str
    n: int
    difference: float
    p: float


def paired_test(one: npt.ArrayLike, other: npt.ArrayLike) -> PairedTest:
    """Whether two sets of trained networks differ in their mean score over test examples.

    Each example's scores are averaged over the seeds of either side. If the sides could be
    exchanged, either sign of an example's difference is equally likely: the p value is the chance
    of a mean difference at least as far from zero. For scores of 0 and 1, and for shares of a
    small number of answers, it is exact. For others the signs are drawn, always the same ones, and
    p = (1 + count) / (1 + draws), which keeps the level exactly.

    With one seed each, scores of 0 and 1 can be exchanged if their means are equal, and this is
    McNemar's exact test. With more seeds that asks for more than equal means (with different
    numbers of seeds it holds only nearly), so for equal means alone the level is approximate.

    It speaks of these networks on the population that the examples came from; the spread over
    seeds not trained is no part of it.

    Raises:
        ResultError: the scores are not of the same number of examples.

    """
    ours, theirs = np.asarray(one), np.asarray(other)
    if ours.ndim != 2 or theirs.ndim != 2 or ours.shape[1] != theirs.shape[1] or not ours.size:
        raise ResultError(
            f"scores of shapes {ours.shape} and {theirs.shape} (seed, example) cannot be paired: "
            "expected the same number of examples",
            "compare results on the same test data",
        )
    n = ours.shape[1]
    parts = _parts(ours, theirs)
    if parts:
        common = math.lcm(len(ours), len(theirs))
        sums = [
            np.rint(parts * side.astype(np.float64)).sum(axis=0) * (common // len(side))
            for side in (ours, theirs)
        ]
        scaled = (sums[0] - sums[1]).astype(np.int64)
        difference = int(scaled.sum()) / (parts * common * n)
        return PairedTest(EXACT, n, difference, _exact_p(scaled))
    differences = ours.mean(axis=0, dtype=np.float64) - theirs.mean(axis=0, dtype=np.float64)
    return PairedTest(SAMPLED, n, math.fsum(differences) / n, _sampled_p(differences))


def _parts(*sides: Array) -> int | None:
    """The smallest q up to ``FINEST`` of which all scores, from 0 to 1, are multiples of 1/q."""
    values = np.unique(np.concatenate([side.ravel().astype(np.float64) for side in sides]))
    if values[0] < 0.0 or values[-1] > 1.0 or len(values) > FINEST + 1:
        return None
    for parts in range(1, FINEST + 1):
        scaled = parts * values
        if np.all(np.abs(scaled - np.rint(scaled)) < 1e-5):  # float32 has 6e-6 of FINEST
            return parts
    return None


def _exact_p(differences: Array) -> float:
    """Chance that whole numbers with random signs sum to at least as much, either way.

    The sum is 2 U - D, where D is the sum of the sizes k and U that of k Binomial(m_k, 1/2).
    The distribution of U is taken from its characteristic function, tilted by exp(2 theta U) so
    that the observed value stands in its middle, which keeps all digits of a small tail (Keich
    2005, "sFFT"). A period of the discrete transform that is shorter than the range of U folds
    back less than 1e-17 of it, by Hoeffding's inequality. What is less than the smallest number
    is that: no p is zero.
    """
    observed = abs(int(differences.sum()))
    if observed == 0:
        return 1.0
    counts = np.bincount(np.abs(differences))
    counts[0] = 0
    sizes = np.flatnonzero(counts)
    counts = counts[sizes]
    total = int(counts @ sizes)
    u = (total + observed) // 2
    theta = _tilt(sizes, counts, observed - 0.5)
    reach = math.ceil(math.sqrt(20.0 * float(counts @ sizes**2))) + 1
    period = min(2 * reach, total + 1)
    index = np.arange(period // 2 + 1)
    transform = np.exp(2j * np.pi / period * (index * (u % period) % period))
    for size, count in zip(sizes, counts, strict=True):
        up = 1.0 / (1.0 + math.exp(-2.0 * theta * size))
        turn = np.exp(-2j * np.pi / period * (index * size % period))
        transform *= (1.0 - up + up * turn) ** count
    pmf = np.fft.irfft(transform, period)[: min(reach, total - u + 1)]
    tail = float(pmf @ np.exp(-2.0 * theta * np.arange(len(pmf))))
    scale = float(counts @ _log_cosh(theta * sizes)) - theta * observed
    return _steady(min(1.0, max(2.0 * math.exp(scale) * tail, sys.float_info.min)))


def _tilt(sizes: Array, counts: Array, mean: float) -> float:
    """The theta at which sum m k tanh(k theta) is ``mean``, by Newton's method from below.

    The function is concave, so no step goes past the solution; the result need not be sharp.
    """
    theta = 0.0
    for _ in range(100):
        tanh = np.tanh(theta * sizes)
        missing = mean - float(counts @ (sizes * tanh))
        if missing < 0.25:
            break
        theta += missing / float(counts @ (sizes**2 * (1.0 - tanh**2)))
    return theta


def _log_cosh(x: Array) -> Array:
    return x + np.log1p(np.exp(-2.0 * x)) - math.log(2.0)


def _sampled_p(differences: Array) -> float:
    """As ``_exact_p`` for any numbers, by random signs; sums equal but for rounding are equal."""
    signed = differences[differences != 0.0]
    observed = abs(float(signed.sum())) * (1.0 - 1e-9)
    generator = np.random.default_rng(0)
    at_least = 0
    for start in range(0, DRAWS, 1000):
        rows = min(1000, DRAWS - start)
        packed = generator.integers(0, 256, (rows, -(-len(signed) // 8)), dtype=np.uint8)
        signs = np.unpackbits(packed, axis=1, count=len(signed))
        sums = 2.0 * (signs @ signed) - signed.sum()
        at_least += int(np.count_nonzero(np.abs(sums) >= observed))
    return (1 + at_least) / (1 + DRAWS)


# Many rows


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, which control the chance of any false rejection among them."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - done) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def adjacent_groups(n: int, alike: Callable[[int, int], bool]) -> list[range]:
    """The maximal runs of two or more among ``n`` places whose first and last are alike.

    ``alike`` is asked at most ``2 n`` times, always about a lower and a higher place: places
    between two that are alike are taken to be alike, and those around two that are not, not.
    """
    groups: list[range] = []
    end = 1
    for start in range(n):
        before = end
        end = max(end, start + 1)
        while end < n and alike(start, end):
            end += 1
        if end - start > 1 and (end > before or not groups):
            groups.append(range(start, end))
    return groups


def friedman_p(ranks: npt.ArrayLike) -> float | None:
    """Friedman's test that all columns of (board, model) are alike; ``None`` below 3 columns.

    By the chi-square approximation, which is rough below about 10 boards (Demsar 2006).
    """
    table = np.asarray(ranks)
    if table.shape[1] < 3 or bool(np.all(table == table[:, :1])):
        return None
    return _steady(friedmanchisquare(*table.T).pvalue)


def critical_difference(models: int, boards: int) -> float:
    """Nemenyi's critical difference of mean ranks at level 0.05 (Demsar 2006, section 3.2.2)."""
    q = float(studentized_range.ppf(1.0 - LEVEL, models, np.inf)) / math.sqrt(2.0)
    return _steady(q * math.sqrt(models * (models + 1) / (6.0 * boards)))


# One row


def mean_interval(scores: Array) -> tuple[float, float] | None:
    """The 95% interval of the mean of scores ``(seed, example)``, by Student's t.

    Seeds and test examples are both drawn at random and crossed, for every network is tested on
    the same examples. So the variance of the mean comes from mean squares of a two-way layout,
    that of seeds only where it is more than what is left over, and its degrees of freedom are
    Satterthwaite's (1946, "An approximate distribution of estimates of variance components"): few
    where seeds are found to differ. It is of what another training and another test set of this
    size would change; of one seed nothing of another training. Scores without any error are a
    point, for they tell nothing of errors not seen; of one example there is no interval.
    """
    seeds, n = scores.shape
    if n < 2:
        return None
    scores = scores.astype(np.float64)
    by_seed, by_example = scores.mean(axis=1), scores.mean(axis=0)
    mean = float(by_seed.mean())
    squares = [(seeds * float(by_example.var(ddof=1)), n - 1)]
    total = squares[0][0]
    if seeds > 1:
        of_seeds = n * float(by_seed.var(ddof=1))
        freedom = (seeds - 1) * (n - 1)
        rest = scores - by_seed[:, None] - by_example + mean
        left_over = float((rest**2).sum()) / freedom
        if of_seeds > left_over:
            total += of_seeds - left_over
            squares += [(of_seeds, seeds - 1), (left_over, freedom)]
    if total == 0.0:
        return _steady(mean), _steady(mean)
    degrees = total**2 / sum(square**2 / of for square, of in squares)
    degrees = max(degrees, min(of for _, of in squares))  # it falls without end as terms cancel
    reach = float(student_t.ppf(1.0 - LEVEL / 2.0, degrees)) * math.sqrt(total / (seeds * n))
    return _steady(mean - reach), _steady(mean + reach)


def _steady(value: float) -> float:
    """To ten digits: the last ones differ between processors, and pages are compared by bytes."""
    return float(f"{value:.10g}")
