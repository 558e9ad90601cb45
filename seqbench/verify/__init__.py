"""Whether result files hold together: what can be known without running anything again.

A forgery that is consistent in all this cannot be told from a result; only a run can.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqbench.errors import ResultError
from seqbench.files import Location, files_below
from seqbench.result import Result, Status, parse_result
from seqbench.verify.between import check_between, check_parents, check_searches
from seqbench.verify.facts import (
    check_cost,
    check_data,
    check_provenance,
    check_status,
    check_task,
)
from seqbench.verify.problem import Problem, Severity
from seqbench.verify.scores import check_losses, check_test, check_validation
from seqbench.verify.training import check_choice, check_curve, check_training_cost

__all__ = ["Check", "Finding", "Problem", "Severity", "Verification", "verify"]

Check = Callable[[Result], Iterator[Problem]]
"""Of one result, by itself."""

_TRIALS = "trials"
"""The folder of a search's trials, beside ``results``."""

CHECKS: tuple[Check, ...] = (
    check_status,
    check_task,
    check_test,
    check_validation,
    check_losses,
    check_curve,
    check_choice,
    check_training_cost,
    check_cost,
    check_data,
    check_provenance,
)


@dataclass(frozen=True)
class Finding:
    """A problem and the file that has it, relative to what was verified."""

    path: Path
    problem: Problem

    def __str__(self) -> str:
        return f"{self.problem.severity.value:7}  {self.path}  {self.problem}"


@dataclass(frozen=True)
class Verification:
    """How many result files there were, and what was found in them."""

    files: int
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """Findings of one severity."""
        return sum(finding.problem.severity is severity for finding in self.findings)


def verify(directory: Location, more: Sequence[Check] = ()) -> Verification:
    """Check every result below ``directory``, trials too, one by one and against each other.

    ``more`` are checks of one result beside the usual ones.

    Raises:
        ResultError: there is no result.

    """
    results, findings = _read(directory, "results")
    trials, findings_in_trials = _read(directory, f"{_TRIALS}/results")
    findings += findings_in_trials
    files = len(results) + len(trials) + len(findings)
    if not files:
        raise ResultError(
            f"there are no results below {directory}", "expected results/TASK/*.json in it"
        )
    for part in (results, trials):
        for path, result in part.items():
            found = (problem for check in (*CHECKS, *more) for problem in check(result))
            findings += [Finding(path, problem) for problem in (*_place(path, result), *found)]
        findings += itertools.starmap(Finding, check_between(part))
    findings += itertools.starmap(Finding, check_parents(results))
    findings += itertools.starmap(Finding, check_searches(results, trials))
    return Verification(files, tuple(sorted(findings, key=lambda finding: str(finding.path))))


def _read(directory: Location, below: str) -> tuple[dict[Path, Result], list[Finding]]:
    """Results by path relative to ``directory``, and a finding for each file that is none."""
    results: dict[Path, Result] = {}
    findings = []
    for file in files_below(directory, below):
        try:
            results[file.relative] = parse_result(file.name, file.read)
        except ResultError as error:
            found = f"one that {error.message.removeprefix(f'{file.name} ')}"
            problem = Problem("file", found, "a result as it was written")
            findings.append(Finding(file.relative, problem))
    return results, findings


def _place(path: Path, result: Result) -> Iterator[Problem]:
    """The file stands where the runner puts it."""
    below = Path(_TRIALS) if path.parts[0] == _TRIALS else Path()
    if path != below / result.path:
        yield Problem("file", f"at {path}", f"it at {below / result.path}")
    if result.status is Status.TRIAL and below.name != _TRIALS:
        yield Problem("status", "trial among results", f"it below {_TRIALS}/results")
    if result.test and below.name == _TRIALS:
        yield Problem("test", "a test score among trials", "none: trials see no test data")
