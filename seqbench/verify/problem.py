"""What a check has to say, and how numbers are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from seqbench.result import Result


class Severity(StrEnum):
    """An error shows that a result cannot be right; a warning, that it is taken on trust."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be: where in a result, what is there, what should be."""

    where: str
    found: object
    expected: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}, expected {self.expected}"


def warning(where: str, found: object, expected: str) -> Problem:
    """A problem that proves nothing."""
    return Problem(where, found, expected, Severity.WARNING)


def unequal(
    where: str, found: float | None, expected: float, why: str, tolerance: float = 1e-6
) -> Iterator[Problem]:
    """A problem unless a number is what it must be, up to a relative tolerance."""
    if found is None or not math.isclose(found, expected, rel_tol=tolerance, abs_tol=1e-12):
        yield Problem(where, found, f"{expected:.10g} ({why})")


def is_zero_or_one(result: Result) -> bool:
    """Whether an example is either right or wrong: accuracy of one answer for a whole input."""
    signature = result.signature
    whole = signature is not None and signature.target == "sequence"
    return result.metric.name == "accuracy" and whole
