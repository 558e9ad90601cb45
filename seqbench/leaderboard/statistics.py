"""Tests and intervals over scores per example.

Scores of several seeds are one array, ``(seed, example)``, over the same test examples in the
same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqbench.errors import ResultError

EXACT = "exact sign-flip test"
DRAWS = 9_999
SAMPLED = f"sign-flip test, {DRAWS:,} draws"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PairedTest:
    """Outcome of a paired test: its name, the number of examples, ``one - other``, two-sided p."""

    test: str
    n: int
    difference: float
    p: float


def paired_test(one: npt.ArrayLike, other: npt.ArrayLike) -> PairedTest:
    """Whether two sets of trained networks differ in their mean score over test examples.

    Each example's scores are averaged over the seeds of either side, which may have different
    numbers of them. If the two sides are the same, either sign of an example's difference is
    equally likely: the p value is the chance of a mean difference at least as far from zero.
    For scores of 0 and 1 it is exact; with one seed each this is McNemar's exact test. For other
    scores the signs are drawn, always the same ones, and p = (1 + count) / (1 + draws), which
    keeps the level exactly.

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
    if _binary(ours) and _binary(theirs):
        common = math.lcm(len(ours), len(theirs))
        counts = ours.sum(axis=0, dtype=np.int64), theirs.sum(axis=0, dtype=np.int64)
        scaled = counts[0] * (common // len(ours)) - counts[1] * (common // len(theirs))
        return PairedTest(EXACT, n, int(scaled.sum()) / (common * n), _exact_p(scaled))
    differences = ours.mean(axis=0, dtype=np.float64) - theirs.mean(axis=0, dtype=np.float64)
    return PairedTest(SAMPLED, n, math.fsum(differences) / n, _sampled_p(differences))


def _binary(scores: Array) -> bool:
    return scores.dtype == np.bool_ or bool(np.all((scores == 0) | (scores == 1)))


def _exact_p(differences: Array) -> float:
    """Chance that whole numbers with random signs sum to at least as much, either way.

    The sum is 2 U - D, where D is the sum of the sizes k and U that of k Binomial(m_k, 1/2).
    The distribution of U is taken from its characteristic function, tilted by exp(2 theta U) so
    that the observed value stands in its middle, which keeps all digits of a small tail (Keich
    2005, "sFFT"). A period of the discrete transform that is shorter than the range of U folds
    back less than 1e-17 of it, by Hoeffding's inequality.
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
    return min(1.0, 2.0 * math.exp(scale) * tail)


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
