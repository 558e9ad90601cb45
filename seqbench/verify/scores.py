"""Whether scores are possible, and every aggregate is that of the scores per example."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator, Sequence

from seqbench.result import Packed, Result, Score, score_of
from seqbench.verify.definition import definition_of
from seqbench.verify.problem import Problem, is_zero_or_one, unequal, warning

_RANGES = {"accuracy": (0.0, 1.0), "mse": (0.0, math.inf)}


def check_test(result: Result) -> Iterator[Problem]:
    """Test scores decode to exactly as many values as they say, and give the test score."""
    packed, test = result.test_scores, result.test
    if packed is None or test is None:
        return
    try:
        scores = strictly_unpacked(packed)
    except ValueError as error:
        yield Problem("test_scores", str(error), f"{packed.n} packed scores and nothing else")
        return
    yield from _values(result, packed, scores)
    true = score_of(scores)
    yield from unequal("test.n", test.n, true.n, "scores in test_scores")
    yield from unequal("test.mean", test.mean, true.mean, "of test_scores")
    yield from unequal(
        "test.standard_error", test.standard_error, true.standard_error, "of test_scores"
    )


def strictly_unpacked(packed: Packed) -> list[float]:
    """The scores of packed data that hold them and nothing else.

    Raises:
        ValueError: they are not base64, not zlib, too short or too long, padded with ones, or not
            finite.

    """
    if packed.n < 1:
        raise ValueError(f"{packed.n} scores")
    size = 4 * packed.n if packed.encoding == "float32" else (packed.n + 7) // 8
    inflating = zlib.decompressobj()
    try:
        raw = inflating.decompress(base64.b64decode(packed.data, validate=True), size + 1)
    except zlib.error as error:
        raise ValueError(f"no zlib data ({error})") from error
    if len(raw) != size or not inflating.eof:
        raise ValueError(f"data of {'more' if len(raw) >= size else 'fewer'} than {size} bytes")
    if inflating.unused_data:
        raise ValueError(f"{len(inflating.unused_data)} bytes after the data")
    padding = 8 * size - packed.n
    if packed.encoding == "bits" and raw[-1] & ((1 << padding) - 1):
        raise ValueError("padding bits that are not zero")
    scores = packed.unpack()
    if not all(map(math.isfinite, scores)):
        raise ValueError("a score that is not finite")
    return scores


def _values(result: Result, packed: Packed, scores: Sequence[float]) -> Iterator[Problem]:
    if is_zero_or_one(result) and not set(scores) <= {0.0, 1.0}:
        yield Problem("test_scores", "other values", "zeros and ones: an example is right or not")
    if packed.encoding == "float32" and set(scores) <= {0.0, 1.0}:
        yield Problem("test_scores.encoding", "float32", "bits, for zeros and ones")
    yield from _in_range("test_scores", result, min(scores))
    yield from _in_range("test_scores", result, max(scores))


def _in_range(where: str, result: Result, value: float) -> Iterator[Problem]:
    least, most = _RANGES.get(result.metric.name, (-math.inf, math.inf))
    if not least <= value <= most:
        yield Problem(where, value, f"{result.metric.name} from {least:g} to {most:g}")


def check_validation(result: Result) -> Iterator[Problem]:
    """A validation score that so many examples can have."""
    val = result.val
    if val is None:
        return
    if val.n < 1:
        yield Problem("val.n", val.n, "at least one example")
        return
    yield from _possible("val.mean", result, val.mean, val.n)
    for point in result.curve:
        if point.val_score is not None:
            where = f"curve[{point.epoch}].val_score"
            yield from _possible(where, result, point.val_score, val.n)
    yield from _spread(result, val)


def _possible(where: str, result: Result, mean: float, n: int) -> Iterator[Problem]:
    yield from _in_range(where, result, mean)
    if is_zero_or_one(result) and 0 <= mean <= 1 and abs(mean * n - round(mean * n)) > 1e-6:
        yield Problem(where, mean, f"a multiple of 1/{n}: an example is right or not")


def _spread(result: Result, val: Score) -> Iterator[Problem]:
    """The standard error of zeros and ones follows from their mean."""
    if is_zero_or_one(result) and 0 <= val.mean <= 1:
        expected = math.sqrt(val.mean * (1 - val.mean) / max(1, val.n - 1))
        why = f"of {val.n} zeros and ones with this mean"
        yield from unequal("val.standard_error", val.standard_error, expected, why)
    elif val.standard_error < 0:
        yield Problem("val.standard_error", val.standard_error, "zero or more")


def check_losses(result: Result) -> Iterator[Problem]:
    """Losses that go with the scores, for a built-in task: a wrong class costs at least ln 2.

    The mean cross-entropy of an example is at least ln 2 if another class is the more probable,
    and at most ln(classes) if its own is the most probable.
    """
    if result.test is not None and result.test_loss is None:
        yield warning("test_loss", None, "a finite number")
    if definition_of(result.spec.task) is None or result.signature is None:
        return
    pairs = [("test_loss", result.test_loss, result.test.mean if result.test else None)]
    pairs += [(f"curve[{p.epoch}].val_loss", p.val_loss, p.val_score) for p in result.curve]
    for where, loss, score in pairs:
        if loss is None or score is None:
            continue
        if is_zero_or_one(result):
            least = (1 - score) * math.log(2)
            most = math.log(result.signature.out_features) if score == 1 else math.inf
        else:
            least, most = 0.0, math.inf
        if not least * 0.999 <= loss <= most * 1.001:
            expected = f"{least:.4g} or more" if loss < least else f"{most:.4g} or less"
            yield Problem(where, loss, f"{expected}, with a score of {score:.6g}")
