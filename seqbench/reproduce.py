"""A result run again from its file alone, and whether the outcome is the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from seqbench.boards.statistics import LEVEL, PairedTest, paired_test
from seqbench.difference import Differences, differences
from seqbench.errors import ConfigError, DataError, ResultError
from seqbench.resolve import Plan
from seqbench.result import Result, Status, result_path
from seqbench.runner import Place, existing, prepare, run, run_evaluation
from seqbench.train import Progress
from seqbench.weights import WeightsFile

_OF_ITS_TIME = ("started_at", "seconds")
"""What no two runs share, and what explains nothing."""


@dataclass(frozen=True)
class Reproduction:
    """A result and that of the same spec run again, on the same data.

    They agree bit for bit, or else unless a two-sided paired test over the same test examples
    rejects at level 0.05 that the two networks have the same mean score. The test knows the
    spread over examples, not that over trainings: two trainings that rounding has led apart may
    differ by more, as two seeds do.
    """

    original: Result
    again: Result

    @property
    def bit_for_bit(self) -> bool:
        """Whether every score, loss and epoch is the same."""
        return _outcome(self.original) == _outcome(self.again)

    @cached_property
    def test(self) -> PairedTest | None:
        """The new scores minus the original ones, example by example, if there are new ones."""
        scores, before = self.again.test_scores, self.original.test_scores
        if scores is None or before is None:
            return None
        return paired_test([scores.unpack()], [before.unpack()])

    @property
    def agrees(self) -> bool:
        """Whether the result is reproduced."""
        return self.bit_for_bit or (self.test is not None and self.test.p >= LEVEL)

    @property
    def reasons(self) -> Differences:
        """What differs in provenance: where to look for why the bits are not the same."""
        found = differences(self.original.provenance, self.again.provenance)
        return {path: pair for path, pair in found.items() if path not in _OF_ITS_TIME}


def _outcome(result: Result) -> tuple[object, ...]:
    """All that training and testing computed; compressed scores differ by version of zlib."""
    scores = result.test_scores.unpack() if result.test_scores else None
    curve = [
        (point.steps, point.learning_rate, point.train_loss, point.val_loss, point.val_score)
        for point in result.curve
    ]
    return result.status, scores, result.test_loss, result.val, result.chosen_epoch, curve


def reproduce(
    original: Result,
    place: Place,
    weights: WeightsFile | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Run a result again below ``place.output_dir``, or go on with having done so.

    Raises:
        ConfigError: the output directory holds the original, or the weights are missing.
        DataError: the data here are not those of the original; training has not begun if it is
            the training data.
        ResultError: the original has no test scores to reproduce.
        SeqbenchError: it cannot be run here.

    """
    _check_asked(original, place, weights)
    plan = Plan(original.spec, original.origin)
    if existing(original.spec, place.output_dir) is None:
        _check_same("training", prepare(plan, place).fit_sha256, _fit_data(original))
    again = run_evaluation(plan, place, weights) if weights else run(plan, place, progress)
    _check_same("training", _fit_data(again), _fit_data(original))
    if again.test:
        _check_same("test", _test_data(again), _test_data(original))
    return Reproduction(original, again)


def _check_asked(original: Result, place: Place, weights: WeightsFile | None) -> None:
    if original.status not in {Status.OK, Status.EVALUATED} or original.test_scores is None:
        raise ResultError(
            f"run {original.id} ended as {original.status}: it has no test scores to reproduce",
            "`seqbench run` with the same settings does it again",
        )
    asked = original.spec.weights_sha256
    if asked and weights is None:
        raise ConfigError(
            f"run {original.id} evaluated weights that are not in its result",
            f"give their file with --weights FILE; its SHA-256 is {asked}",
        )
    if weights and weights.sha256 != asked:
        expected = asked or "no weights: the run trains its own"
        raise ConfigError(f"--weights has SHA-256 {weights.sha256}; expected {expected}")
    there = existing(original.spec, place.output_dir)
    if there is not None and there.digest == original.digest:
        raise ConfigError(
            f"{place.output_dir / result_path(original.spec)} is the result to be reproduced",
            "choose another --output-dir, so that it is run again",
        )


def _check_same(which: str, found: str | None, expected: str | None) -> None:
    if found != expected:
        raise DataError(
            f"the {which} data here are not those of the result: their fingerprint is {found}, "
            f"expected {expected}",
            "give the same data with --data-dir; scores on other data say nothing of the result",
        )


def _fit_data(result: Result) -> str | None:
    return result.data.fit_sha256 if result.data else None


def _test_data(result: Result) -> str | None:
    return result.data.test_sha256 if result.data else None
